//! How a client gets a connection.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::support::tls::Speaker;

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

#[derive(Clone)]
pub(crate) struct Dial {
    address: SocketAddr,
    tls: Option<Speaker>,
    hasty: bool,
}

impl Dial {
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None, hasty: false }
    }

    /// Who offers the protocol that is spoken.
    pub(crate) fn tls(address: SocketAddr, speaker: Speaker) -> Self {
        Self { tls: Some(speaker), ..Self::plain(address) }
    }

    /// A connection for each request.
    pub(crate) fn hasty(self) -> Self {
        Self { hasty: true, ..self }
    }

    pub(super) fn is_hasty(&self) -> bool {
        self.hasty
    }

    pub(super) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(speaker) => Ok(Box::new(speaker.over(stream).await?)),
        }
    }
}
