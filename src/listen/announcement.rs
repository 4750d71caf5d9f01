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
