//! HTTP/1.1 and lines, no more of them than the measurements need.

use std::io::{Error, ErrorKind, Result};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A connection, and what has come of the next message.
pub(crate) struct Wire {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, bytes: Vec::with_capacity(64 << 10) })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await
    }

    /// All up to and with that end.
    pub(crate) async fn until(&mut self, end: &[u8]) -> Result<String> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.bytes[seen..].windows(end.len()).position(|some| some == end) {
                let found: Vec<u8> = self.bytes.drain(..seen + at + end.len()).collect();
                return String::from_utf8(found).map_err(|_| ErrorKind::InvalidData.into());
            }
            seen = self.bytes.len().saturating_sub(end.len());
            self.more().await?;
        }
    }

    /// A request or an answer: its head, and its body.
    pub(crate) async fn message(&mut self) -> Result<(String, Vec<u8>)> {
        let head = self.until(b"\r\n\r\n").await?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        let length: usize = length.unwrap_or(0);
        while self.bytes.len() < length {
            self.more().await?;
        }
        Ok((head, self.bytes.drain(..length).collect()))
    }

    async fn more(&mut self) -> Result<()> {
        // Who sends by Nagle's algorithm, as mailers do, waits for acknowledgements.
        SockRef::from(&self.stream).set_tcp_quickack(true)?;
        match self.stream.read_buf(&mut self.bytes).await? {
            0 => Err(Error::from(ErrorKind::UnexpectedEof)),
            _ => Ok(()),
        }
    }
}
