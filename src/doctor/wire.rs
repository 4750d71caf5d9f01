//! A question in plain HTTP/1.1, whose target goes out byte for byte: no library sends what a stranger may.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest head of an answer.
const HEAD: usize = 32 << 10;
/// Interim answers that are waited out.
const INTERIM: usize = 4;
/// By which a server's own logs tell these questions from clients'.
const USER_AGENT: &str = concat!("resetgate/", env!("CARGO_PKG_VERSION"), " (doctor)");

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// A header's value, the first if there are several.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Whatever bytes go over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Asks, and reads the head of the answer. The connection is done with then.
pub(super) async fn get(stream: &mut dyn Stream, target: &[u8], host: &str) -> io::Result<Head> {
    let mut request = b"GET ".to_vec();
    request.extend_from_slice(target);
    let rest = format!(
        " HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\nAccept: application/json\r\n\
         X-OpenIDM-NoSession: true\r\nConnection: close\r\n\r\n"
    );
    request.extend_from_slice(rest.as_bytes());
    stream.write_all(&request).await?;
    stream.flush().await?;
    let mut read = Vec::new();
    for _ in 0..=INTERIM {
        let head = next(stream, &mut read).await?;
        if head.status >= 200 {
            return Ok(head);
        }
    }
    Err(odd())
}

async fn next(stream: &mut dyn Stream, read: &mut Vec<u8>) -> io::Result<Head> {
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = read.drain(..end + 4).collect();
            return parse(&String::from_utf8_lossy(&head)).ok_or_else(odd);
        }
        if read.len() > HEAD {
            return Err(odd());
        }
        if stream.read_buf(read).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed without an answer"));
        }
    }
}

fn parse(head: &str) -> Option<Head> {
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(':'));
    Some(Head { status, headers: headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect() })
}

fn odd() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what answered does not speak HTTP/1.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_target_goes_out_as_it_is_and_interim_answers_are_waited_out() {
        let (mut here, mut there) = tokio::io::duplex(4096);
        let answer = "HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 204 No\r\nDate: now\r\n\r\n";
        there.write_all(answer.as_bytes()).await.unwrap();
        let head = get(&mut here, b"/a\\%zz b", "h:1").await.unwrap();
        assert_eq!((head.status, head.header("date"), head.header("a")), (204, Some("now"), None));
        let mut sent = vec![0; 64];
        there.read_exact(&mut sent).await.unwrap();
        assert!(sent.starts_with(b"GET /a\\%zz b HTTP/1.1\r\nHost: h:1\r\n"));
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error() {
        for answer in ["", "220 mail.example ESMTP\r\n\r\n", "HTTP/1.1 x\r\n\r\n"] {
            let (mut here, mut there) = tokio::io::duplex(4096);
            there.write_all(answer.as_bytes()).await.unwrap();
            there.shutdown().await.unwrap();
            drop(there);
            assert!(get(&mut here, b"/", "h").await.is_err(), "{answer}");
        }
    }
}
