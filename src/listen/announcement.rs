//! Whom a connection is from, as a proxy in front says it before all else: the PROXY protocol, version 1 or 2.

use std::{io, net::SocketAddr};

use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of a header. A line of version 1 has 107 at most; version 2 may carry much that nobody here reads.
const MAX: usize = 4 << 10;

/// What a header said, and what came after it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Announcement {
    /// `None` if the proxy speaks for itself, or of somebody without an address.
    pub(super) client: Option<SocketAddr>,
    pub(super) rest: Vec<u8>,
}

/// Reads one; `None` if there is none, or none that can be read.
///
/// # Errors
/// The connection's.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Announcement>> {
    let mut read = Vec::with_capacity(256);
    loop {
        if from.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match parse(&read) {
            Parsed::Whole(announcement) => return Ok(Some(announcement)),
            Parsed::Part if read.len() < MAX => {}
            Parsed::Part | Parsed::Wrong => return Ok(None),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Whole(Announcement),
    Part,
    Wrong,
}

fn parse(read: &[u8]) -> Parsed {
    // Else fifteen bytes would be waited for, of a client that has said two and waits itself.
    const BEGINNINGS: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];
    let begins = |with: &&[u8]| read.iter().zip(*with).all(|(byte, wanted)| byte == wanted);
    if !BEGINNINGS.iter().any(begins) {
        return Parsed::Wrong;
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(read, config) {
        Ok((header, length)) => {
            let rest = read.get(length..).unwrap_or_default().to_vec();
            match header.proxied_address() {
                Some(address) if address.protocol != Protocol::Stream => Parsed::Wrong,
                Some(address) => Parsed::Whole(Announcement { client: Some(address.source), rest }),
                None => Parsed::Whole(Announcement { client: None, rest }),
            }
        }
        Err(Error::BufferTooShort) => Parsed::Part,
        Err(_) => Parsed::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(parsed: Parsed) -> Announcement {
        let Parsed::Whole(announcement) = parsed else { panic!("{parsed:?}") };
        announcement
    }

    #[test]
    fn nothing_is_waited_for_that_is_no_header() {
        for begins in ["G", "PR", "PROXY", "PROXY TCP4 192.0.2.1 ", "\r\n", "\r\n\r\n\0\r\nQUIT\n"] {
            let expected = if begins == "G" { Parsed::Wrong } else { Parsed::Part };
            assert_eq!(parse(begins.as_bytes()), expected, "{begins:?}");
        }
        for wrong in ["PRI * HTTP/2.0\r\n", "PROXYTCP4", "\r\nGET", "PROXY TCP7 1 2 3 4\r\n"] {
            assert_eq!(parse(wrong.as_bytes()), Parsed::Wrong, "{wrong:?}");
        }
    }

    proptest! {
        /// However it is cut, it is a part until it is whole, and what follows is left alone.
        #[test]
        fn a_header_is_read_to_its_end(
            client in any::<SocketAddr>(), port in any::<u16>(), second in any::<bool>(), rest in any::<Vec<u8>>(),
        ) {
            // Neither version has room for more of an address.
            let client = SocketAddr::new(client.ip(), client.port());
            let address = proxy_header::ProxiedAddress::stream(client, SocketAddr::new(client.ip(), port));
            let header = ProxyHeader::with_address(address);
            let mut bytes = Vec::new();
            if second { header.encode_v2(&mut bytes).unwrap() } else { header.encode_v1(&mut bytes).unwrap() }
            for cut in 1..bytes.len() {
                prop_assert_eq!(parse(&bytes[..cut]), Parsed::Part);
            }
            let announcement = whole(parse(&[&bytes[..], &rest].concat()));
            prop_assert_eq!(announcement, Announcement { client: Some(client), rest });
        }

        #[test]
        fn whatever_comes_is_read_or_not(
            begins in prop::sample::select(vec!["", "PROXY ", "PROXY TCP4 ", "PROXY UNKNOWN", "\r\n\r\n\0\r\nQUIT\n!"]),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let read = [begins.as_bytes(), &bytes].concat();
            if let Parsed::Whole(announcement) = parse(&read) {
                prop_assert!(read.ends_with(&announcement.rest) && announcement.rest.len() < read.len());
            }
        }
    }
}
