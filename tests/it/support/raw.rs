//! A client that sends exactly the bytes it is given, which no HTTP library does.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::answer::Answer;

/// For what should come at once; longer than any deadline of the gate that a test waits out on a stopped clock.
const PATIENCE: Duration = Duration::from_secs(45);

/// One connection.
pub(crate) struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() }
    }

    /// From that address of this machine, with buffers as small as they come on this side.
    pub(crate) async fn from(client: impl Into<IpAddr>, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        socket.bind(SocketAddr::new(client.into(), 0)).unwrap();
        Self { stream: socket.connect(address).await.unwrap(), read: Vec::new() }
    }

    /// Sends one request and reads its answer; `None` if the connection ends without one.
    pub(crate) async fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> Option<Answer> {
        let head = request.as_ref().starts_with(b"HEAD ");
        let mut raw = Self::to(address).await;
        raw.send(request).await;
        if head { raw.answer_to_head().await } else { raw.answer().await }
    }

    /// A peer that answers before it has read all may close: what it says is read nevertheless.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// The next answer that is final.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        loop {
            let head = self.head().await?;
            if head.0 >= 200 {
                return self.rest(head, false).await;
            }
        }
    }

    pub(crate) async fn answer_to_head(&mut self) -> Option<Answer> {
        let head = self.head().await?;
        self.rest(head, true).await
    }

    /// Status and headers of whatever comes next, `100 Continue` included.
    pub(crate) async fn head(&mut self) -> Option<(u16, HeaderMap)> {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            self.more().await?;
        };
        let head: Vec<u8> = self.read.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            headers
                .append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value.trim()).unwrap());
        }
        Some((status, headers))
    }

    /// The next answer as it stands on the wire: its head with every line, and its body, whose length it says.
    pub(crate) async fn verbatim(&mut self) -> Option<(String, String)> {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            self.more().await?;
        };
        let head = String::from_utf8(self.read.drain(..end + 4).collect()).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let body = self.take(length.parse().unwrap()).await?;
        Some((head, String::from_utf8(body).unwrap()))
    }

    /// Whether the peer ends the connection, with nothing more to say.
    pub(crate) async fn ends(&mut self) -> bool {
        self.read.is_empty() && self.more().await.is_none()
    }

    /// Up to `most` of the bytes that come next.
    pub(crate) async fn some(&mut self, most: usize) -> Option<Vec<u8>> {
        if self.read.is_empty() {
            self.more().await?;
        }
        Some(self.read.drain(..most.min(self.read.len())).collect())
    }

    async fn rest(&mut self, (status, headers): (u16, HeaderMap), head: bool) -> Option<Answer> {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let body = if head || status == 204 || status == 304 {
            Vec::new()
        } else if text("transfer-encoding").is_some() {
            self.chunks().await?
        } else if let Some(length) = text("content-length") {
            self.take(length.parse().unwrap()).await?
        } else {
            while self.more().await.is_some() {}
            std::mem::take(&mut self.read)
        };
        Some(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }

    pub(crate) async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.read.len() < length {
            self.more().await?;
        }
        Some(self.read.drain(..length).collect())
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = self.read.windows(2).position(|window| window == b"\r\n") {
                    break end;
                }
                self.more().await?;
            };
            let line = self.take(end + 2).await?;
            let length = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            let chunk = self.take(length + 2).await?;
            if length == 0 {
                return Some(body);
            }
            body.extend_from_slice(&chunk[..length]);
        }
    }

    /// `None` at the end, be it a reset.
    async fn more(&mut self) -> Option<()> {
        let mut some = [0; 16 << 10];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut some));
        let read = read.await.expect("the peer says something, or ends").unwrap_or(0);
        self.read.extend_from_slice(&some[..read]);
        (read > 0).then_some(())
    }
}

/// Each character as one byte.
pub(crate) fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|char| u8::try_from(u32::from(char)).unwrap()).collect()
}

/// A request with a Host, with a length if it has a body, and with these headers.
pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)], body: Option<&str>) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: id.example.com\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    match body {
        Some(body) => text += &format!("Content-Length: {}\r\n\r\n{body}", body.len()),
        None => text += "\r\n",
    }
    text.into_bytes()
}
