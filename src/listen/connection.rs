//! One accepted connection, as Pingora reads and writes it: it knows its peer, and it bounds the time that a request's
//! head may take as a whole. Pingora bounds each read only, so a client could send a head byte by byte for hours.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType, raw_connect::ProxyDigest, tls::SslDigest,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::Peer;

/// How long a request's head may take, from its first byte to its last.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Between requests: the next byte begins a head.
const IDLE: u8 = 0;
/// Within a head.
const HEAD: u8 = 1;
/// From a head's end to the answer's: bodies have bounds of their own.
const BUSY: u8 = 2;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    io: Stream,
    peer: Peer,
    phase: AtomicU8,
    deadline: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    /// Wraps what was accepted from that peer.
    pub fn new(io: Stream, peer: Peer) -> Self {
        Self { io, peer, phase: AtomicU8::new(IDLE), deadline: Instant::now(), timer: None }
    }

    /// Who is at the other end.
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// To be told when a head has been read.
    pub(crate) fn head_is_read(&self) {
        self.phase.store(BUSY, Ordering::Relaxed);
    }

    /// To be told when its request is answered.
    pub(crate) fn request_is_over(&self) {
        self.phase.store(IDLE, Ordering::Relaxed);
    }

    /// Whether the head being read is late; wakes the task when it will be.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = self.deadline;
        // Most heads come in one piece and never need a timer.
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx).is_ready()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if self.phase.load(Ordering::Relaxed) == IDLE && buf.filled().len() > before {
            self.phase.store(HEAD, Ordering::Relaxed);
            self.deadline = Instant::now() + HEAD_WITHIN;
        }
        let in_head = self.phase.load(Ordering::Relaxed) == HEAD;
        let late = match read {
            Poll::Pending => in_head && self.is_late(cx),
            Poll::Ready(_) => in_head && Instant::now() >= self.deadline,
        };
        if late { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { read }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        self.io.shutdown().await;
    }
}

#[async_trait]
impl Peek for Connection {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        self.io.try_peek(buf).await
    }
}

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        self.io.id()
    }
}

impl Ssl for Connection {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.io.get_ssl_digest()
    }
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.io.selected_alpn_proto()
    }
}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.io.get_timing_digest()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.io.get_proxy_digest()
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.io.get_socket_digest()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::advance,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_and_no_more() {
        let (mut client, server) = duplex(64);
        let mut connection = Connection::new(Box::new(server), Peer::Unix);
        // Waiting for a request takes no time from it.
        advance(HEAD_WITHIN * 3).await;
        client.write_all(b"G").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'G');
        advance(HEAD_WITHIN / 2).await;
        client.write_all(b"E").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'E');
        let started = Instant::now();
        assert_eq!(connection.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() <= HEAD_WITHIN / 2 + Duration::from_millis(2));
        client.write_all(b"T").await.unwrap();
        assert!(connection.read_u8().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_and_pauses_have_theirs() {
        let (mut client, server) = duplex(64);
        let mut connection = Connection::new(Box::new(server), Peer::Unix);
        for _ in 0..2 {
            client.write_all(b"GET").await.unwrap();
            connection.read_exact(&mut [0; 3]).await.unwrap();
            connection.head_is_read();
            advance(HEAD_WITHIN * 2).await;
            client.write_all(b"body").await.unwrap();
            connection.read_exact(&mut [0; 4]).await.unwrap();
            connection.request_is_over();
            advance(HEAD_WITHIN * 2).await;
        }
    }
}
