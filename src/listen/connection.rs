//! One accepted connection, as Pingora reads and writes it: it knows its peer, it bounds the time that a request's head
//! may take as a whole, and it sends small writes together. Pingora bounds each read only, so a client could send a head
//! byte by byte for hours; and it writes an answer's head and its body apart, which is a packet and a system call each.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType, raw_connect::ProxyDigest, tls::SslDigest,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep, sleep_until},
};

use super::Peer;

/// How long a request's head may take, from its first byte to its last.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Bytes that are read in search of a head's end. Pingora would keep a mebibyte of each, and begin anew with every read. A
/// head over the limit, but not far, is still told so.
const HEAD_BYTES: usize = 256 << 10;

/// Bytes of an answer that wait for the rest of it.
const TOGETHER: usize = 8 << 10;
/// How long a client may take none of what was written. Pingora bounds neither heads nor flushes, and small writes to a
/// second each, which a slow line can need.
const STALLED: Duration = Duration::from_secs(10);

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
    head_bytes: usize,
    timer: Option<Pin<Box<Sleep>>>,
    /// Written, and not sent yet. Sent when Pingora flushes, when it is too much, and before waiting for the client.
    unsent: BytesMut,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    /// Wraps what was accepted from that peer.
    pub fn new(io: Stream, peer: Peer) -> Self {
        Self {
            io,
            peer,
            phase: AtomicU8::new(IDLE),
            deadline: Instant::now(),
            head_bytes: 0,
            timer: None,
            unsent: BytesMut::new(),
            stalled: None,
        }
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

    /// Sends what was held back.
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let written = Pin::new(&mut self.io).poll_write(cx, &self.unsent);
            match ready!(self.unless_stalled(cx, written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.unsent.advance(sent),
            }
        }
        // Idle connections are many; each keeps nothing.
        self.unsent = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// A write's progress, or the end of waiting for it.
    fn unless_stalled<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALLED)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Whether so many bytes more are held back with the others.
    fn holds(&self, bytes: usize) -> bool {
        self.unsent.len() + bytes <= TOGETHER
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Whoever waits for the client has said all that he has to say. If it cannot be sent, a write will tell.
        let _ = self.send(cx);
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if self.phase.load(Ordering::Relaxed) == IDLE && buf.filled().len() > before {
            self.phase.store(HEAD, Ordering::Relaxed);
            self.deadline = Instant::now() + HEAD_WITHIN;
            self.head_bytes = 0;
        }
        let in_head = self.phase.load(Ordering::Relaxed) == HEAD;
        if in_head {
            self.head_bytes += buf.filled().len().saturating_sub(before);
            if self.head_bytes > HEAD_BYTES {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
        }
        let late = match read {
            Poll::Pending => in_head && self.is_late(cx),
            Poll::Ready(_) => in_head && Instant::now() >= self.deadline,
        };
        if late { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { read }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.holds(buf.len()) {
            self.unsent.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(self.send(cx))?;
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.unless_stalled(cx, written)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = bufs.iter().map(|buf| buf.len()).sum();
        if self.holds(bytes) {
            bufs.iter().for_each(|buf| self.unsent.extend_from_slice(buf));
            return Poll::Ready(Ok(bytes));
        }
        ready!(self.send(cx))?;
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.unless_stalled(cx, written)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        // A client that is gone gets nothing more.
        let _ = poll_fn(|cx| self.send(cx)).await;
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
        time::{advance, timeout},
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

    #[tokio::test]
    async fn a_head_has_its_room_and_no_more() {
        let (mut client, server) = duplex(1 << 20);
        let mut connection = Connection::new(Box::new(server), Peer::Unix);
        client.write_all(&[b'x'; 2 * HEAD_BYTES]).await.unwrap();
        connection.read_exact(&mut [0; HEAD_BYTES]).await.unwrap();
        connection.head_is_read();
        connection.read_exact(&mut [0; HEAD_BYTES / 2]).await.unwrap();
        connection.request_is_over();
        connection.read_exact(&mut [0; HEAD_BYTES / 2]).await.unwrap();
        client.write_all(&[b'x'; HEAD_BYTES]).await.unwrap();
        let too_much = connection.read_exact(&mut [0; HEAD_BYTES]).await;
        assert_eq!(too_much.unwrap_err().kind(), io::ErrorKind::InvalidData);
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

    /// How many bytes have come to the client.
    async fn came(client: &mut (impl AsyncRead + Unpin)) -> usize {
        let mut bytes = vec![0; 4 * TOGETHER];
        timeout(Duration::from_millis(1), client.read(&mut bytes)).await.map_or(0, |read| read.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_and_a_body_go_together() {
        let (mut client, server) = duplex(4 * TOGETHER);
        let mut connection = Connection::new(Box::new(server), Peer::Unix);
        connection.write_all(b"head").await.unwrap();
        connection.write_all(b"body").await.unwrap();
        assert_eq!(came(&mut client).await, 0);
        connection.flush().await.unwrap();
        assert_eq!(came(&mut client).await, 8);
        assert_eq!(connection.unsent.capacity(), 0);
        // More than is held back goes at once, in order.
        connection.write_all(b"head").await.unwrap();
        connection.write_all(&[b'x'; TOGETHER]).await.unwrap();
        assert_eq!(came(&mut client).await, 4 + TOGETHER);
        // And nothing waits while the client is waited for.
        connection.write_all(b"part").await.unwrap();
        assert!(timeout(Duration::from_millis(1), connection.read_u8()).await.is_err());
        assert_eq!(came(&mut client).await, 4);
        connection.write_all(b"last").await.unwrap();
        Shutdown::shutdown(&mut connection).await;
        assert_eq!(came(&mut client).await, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_not_waited_for() {
        let (mut client, server) = duplex(4);
        let mut connection = Connection::new(Box::new(server), Peer::Unix);
        connection.write_all(b"twelve bytes").await.unwrap();
        let started = Instant::now();
        assert_eq!(connection.flush().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), STALLED.as_secs());
        // One that takes a little now and then is.
        let (reader, flushed) = tokio::join!(
            async {
                for _ in 0..2 {
                    sleep(STALLED * 3 / 4).await;
                    client.read_exact(&mut [0; 4]).await.unwrap();
                }
                client
            },
            async {
                connection.stalled = None;
                connection.flush().await
            }
        );
        assert!(flushed.is_ok());
        drop(reader);
    }
}
