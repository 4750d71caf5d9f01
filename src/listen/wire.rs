//! What a connection's bytes come and go by: a socket, or TLS over one. Pingora's own stream would hold 64 KiB for each,
//! idle or not.

use std::{
    io::{self, ErrorKind, IoSlice},
    os::fd::{AsRawFd, RawFd},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::server::TlsStream;

/// A socket, with what has been read of it too early.
#[derive(Debug)]
pub(super) struct Bare {
    socket: Socket,
    ahead: BytesMut,
    taken: u64,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(test)]
    Within(tokio::io::DuplexStream),
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl Bare {
    fn new(socket: Socket) -> Self {
        Self { socket, ahead: BytesMut::new(), taken: 0 }
    }

    /// To be read once more, before all else.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.ahead = bytes.into();
    }

    fn duplex(&mut self) -> Pin<&mut dyn Duplex> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket),
            Socket::Unix(socket) => Pin::new(socket),
            #[cfg(test)]
            Socket::Within(socket) => Pin::new(socket),
        }
    }

    fn count(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.taken = self.taken.wrapping_add(bytes as u64);
        }
        written
    }

    fn fd(&self) -> RawFd {
        match &self.socket {
            Socket::Tcp(socket) => socket.as_raw_fd(),
            Socket::Unix(socket) => socket.as_raw_fd(),
            #[cfg(test)]
            Socket::Within(_) => -1,
        }
    }
}

impl From<TcpStream> for Bare {
    fn from(socket: TcpStream) -> Self {
        Self::new(Socket::Tcp(socket))
    }
}

impl From<UnixStream> for Bare {
    fn from(socket: UnixStream) -> Self {
        Self::new(Socket::Unix(socket))
    }
}

#[cfg(test)]
impl From<tokio::io::DuplexStream> for Bare {
    fn from(socket: tokio::io::DuplexStream) -> Self {
        Self::new(Socket::Within(socket))
    }
}

impl AsyncRead for Bare {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return self.duplex().poll_read(cx, buf);
        }
        let most = buf.remaining().min(self.ahead.len());
        buf.put_slice(&self.ahead.split_to(most));
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bare {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.duplex().poll_write(cx, buf);
        self.count(written)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.duplex().poll_write_vectored(cx, bufs);
        self.count(written)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.duplex().poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.duplex().poll_shutdown(cx)
    }
}

/// A connection's bytes.
#[derive(Debug)]
pub(super) enum Wire {
    /// As they are.
    Bare(Bare),
    /// Within TLS.
    Tls(Box<TlsStream<Bare>>),
}

impl Wire {
    /// How many bytes the system has taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.bare().taken
    }

    pub(super) fn fd(&self) -> RawFd {
        self.bare().fd()
    }

    fn bare(&self) -> &Bare {
        match self {
            Self::Bare(bare) => bare,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    fn duplex(&mut self) -> Pin<&mut dyn Duplex> {
        match self {
            Self::Bare(bare) => Pin::new(bare),
            Self::Tls(tls) => Pin::new(&mut **tls),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.duplex().poll_read(cx, buf) {
            // The end of TLS was not announced. HTTP knows by itself whether anything is missing.
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            read => read,
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.duplex().poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.duplex().poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.duplex().poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.duplex().poll_shutdown(cx)
    }
}
