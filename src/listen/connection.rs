//! One accepted connection, as Pingora reads and writes it: it knows its peer, it bounds what a client may take its time
//! over, and it sends small writes together. Pingora bounds each read only, so a client could send a head byte by byte
//! for hours; and it writes an answer's head and its body apart, which is a packet and a system call each.

mod layers;
mod tunnel;

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use self::tunnel::Tunnel;
use super::{Bounds, Line, Peer, alarm::Alarm, pace::Pace, seats::Seat, tls::Secured, wire::Wire};
use crate::telemetry::metrics::Slow;

/// Bytes that are read in search of a head's end. Pingora would keep a mebibyte of each, and begin anew with every read. A
/// head over the limit, but not far, is still told so.
const HEAD_BYTES: usize = 256 << 10;

/// Bytes of an answer that wait for the rest of it.
const TOGETHER: usize = 8 << 10;
/// Bytes that a client must take at once, without a pause of [`PAUSE`], to be given more at a time than [`TOGETHER`]. The
/// kernel takes a large piece as a whole, and then shows no progress until a slow line has carried nearly all of it.
const FAST: usize = 256 << 10;
const PAUSE: Duration = Duration::from_secs(1);

/// What a client is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Its next request.
    Idle,
    /// The rest of a head.
    Head,
    /// Its body, once it is told to go on (`Expect: 100-continue`).
    Held,
    /// Its body.
    Body,
    /// Nothing; the upstream is, until [`Connection::answer_is_due`].
    Answer,
    /// Whatever it likes to send, as is the other end of the tunnel ([`tunnel`]).
    Tunnel,
    /// Nothing; with the next read, its next request.
    Over,
    /// Frames of HTTP/2, whose streams have bounds of their own ([`super::streams`]).
    Frames,
}

/// What follows a request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Nothing more, or all of it is here.
    Read,
    /// A body.
    Awaited,
    /// A body, when the client is told to go on.
    Held,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    io: Wire,
    peer: Peer,
    secured: Option<Arc<Secured>>,
    bounds: Arc<Bounds>,
    began: Instant,
    phase: AtomicU8,
    /// When the present phase began, if that is [`Phase::Idle`] or [`Phase::Head`].
    since: Instant,
    head_bytes: usize,
    /// To be read once more.
    unread: BytesMut,
    /// Of the body that is awaited.
    coming: Option<Box<Pace>>,
    alarm: Alarm,
    /// In [`Phase::Answer`]: when the answer must have begun, in milliseconds since `began`; 0 is never.
    due: AtomicU64,
    tunnel: Mutex<Option<Box<Tunnel>>>,
    /// Written, and not sent yet. Sent when Pingora flushes, when it is too much, and before waiting for the client.
    unsent: BytesMut,
    /// Of the answer that is being taken.
    taking: Option<Box<Pace>>,
    taken_at_once: usize,
    /// Of what the system has taken.
    seen: u64,
    write_alarm: Alarm,
    /// Given back last, when the descriptor has been.
    seat: Arc<Seat>,
}

impl Connection {
    /// Wraps what was accepted from that peer.
    pub(super) fn new(io: Wire, peer: Peer, secured: Option<Arc<Secured>>, seat: Seat, bounds: Arc<Bounds>) -> Self {
        let now = Instant::now();
        Self {
            seen: io.taken(),
            io,
            peer,
            secured,
            bounds,
            began: now,
            phase: AtomicU8::new(Phase::Idle as u8),
            since: now,
            head_bytes: 0,
            unread: BytesMut::new(),
            coming: None,
            alarm: Alarm::default(),
            due: AtomicU64::new(0),
            tunnel: Mutex::new(None),
            unsent: BytesMut::new(),
            taking: None,
            taken_at_once: 0,
            write_alarm: Alarm::default(),
            seat: Arc::new(seat),
        }
    }

    /// Who is at the other end.
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// What TLS told of it; none where that is not spoken.
    pub(crate) fn secured(&self) -> Option<&Secured> {
        self.secured.as_deref()
    }

    /// To be told when a head has been read, and what follows it. False if the connection had to go just before.
    pub(crate) fn head_is_read(&self, body: Body) -> bool {
        self.enter(match body {
            Body::Read => Phase::Answer,
            Body::Awaited => Phase::Body,
            Body::Held => Phase::Held,
        });
        self.seat.begins()
    }

    /// To be told when a body has been read to its end. Whatever is read then is to see whether the client hangs up.
    pub(crate) fn body_is_read(&self) {
        self.enter(Phase::Answer);
    }

    /// To be told when its request is answered.
    pub(crate) fn request_is_over(&self) {
        self.enter(Phase::Over);
    }

    /// Whether its next answer is to be its last.
    pub(crate) fn is_old(&self) -> bool {
        self.began.elapsed() >= self.bounds.max_lifetime
    }

    /// To be told when it speaks HTTP/2; what is returned keeps its time from now on.
    pub(crate) fn multiplexes(&self) -> Line {
        self.enter(Phase::Frames);
        Line::new(self.peer, self.secured.clone(), Arc::clone(&self.seat), Arc::clone(&self.bounds), self.began)
    }

    /// Puts back all that was read: the beginning of a head.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.unread = bytes.into();
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn is_in(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    /// After a read that brought so many bytes, or is `pending`: whether it may be waited for, or had been.
    fn keep_time(&mut self, came: usize, pending: bool, cx: &mut Context<'_>) -> io::Result<()> {
        if self.is_in(Phase::Idle) && came > 0 {
            self.enter(Phase::Head);
            (self.since, self.head_bytes) = (Instant::now(), 0);
        }
        if self.is_in(Phase::Held) && came > 0 {
            self.enter(Phase::Body);
        }
        if self.is_in(Phase::Idle) && pending {
            let until = self.since + self.bounds.idle_timeout(&self.seat);
            return unless(self.alarm.rings_at(until, cx).is_ready());
        }
        if self.is_in(Phase::Head) {
            self.head_bytes += came;
            if self.head_bytes > HEAD_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let until = self.since + self.bounds.header_timeout;
            let late = if pending { self.alarm.rings_at(until, cx).is_ready() } else { Instant::now() >= until };
            return self.unless_slow(late, Slow::Head);
        }
        if self.is_in(Phase::Body) {
            return self.keep_pace(came, pending, cx);
        }
        if self.is_in(Phase::Tunnel) {
            return self.keep_tunnel(came, pending, cx);
        }
        match self.due() {
            Some(due) if pending && self.is_in(Phase::Answer) => unless(self.alarm.rings_at(due, cx).is_ready()),
            _ => Ok(()),
        }
    }

    fn keep_pace(&mut self, came: usize, pending: bool, cx: &mut Context<'_>) -> io::Result<()> {
        let Bounds { min_rate, body_timeout, .. } = *self.bounds;
        if !pending {
            if let Some(pace) = &mut self.coming {
                pace.moved(came, Instant::now());
            }
            return Ok(());
        }
        // Most bodies come with their head.
        let pace = self.coming.get_or_insert_with(|| Box::new(Pace::of_body(min_rate, body_timeout)));
        let slow = is_slow(pace, &mut self.alarm, cx);
        self.unless_slow(slow, Slow::Body)
    }

    fn unless_slow(&self, slow: bool, at: Slow) -> io::Result<()> {
        if slow {
            self.bounds.metrics.connection_was_slow(at);
        }
        unless(slow)
    }

    /// Sends what was held back.
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let written = Pin::new(&mut self.io).poll_write(cx, &self.unsent);
            match ready!(self.unless_too_slow(cx, written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => {
                    self.unsent.advance(sent);
                    self.tunnel_moves();
                }
            }
        }
        // Idle connections are many; each keeps nothing.
        self.unsent = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Has all of it sent that TLS may still hold.
    fn send_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send(cx))?;
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.unless_too_slow(cx, flushed)
    }

    /// A write's progress, or the end of waiting for it. What counts is what the system took, which TLS may not show.
    fn unless_too_slow<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let taken = self.io.taken();
        let bytes = usize::try_from(taken.wrapping_sub(self.seen)).unwrap_or(usize::MAX);
        if bytes > 0 {
            self.seen = taken;
            let waited = self.taking.as_mut().map_or(Duration::ZERO, |pace| pace.moved(bytes, Instant::now()));
            self.taken_at_once = if waited < PAUSE { self.taken_at_once.saturating_add(bytes) } else { 0 };
        }
        self.seat.is_held_up(written.is_pending());
        if written.is_ready() {
            return written;
        }
        let min_rate = self.bounds.min_rate;
        let pace = self.taking.get_or_insert_with(|| Box::new(Pace::of_answer(min_rate)));
        let slow = is_slow(pace, &mut self.write_alarm, cx);
        match self.unless_slow(slow, Slow::Answer) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Whether so many bytes more are held back with the others.
    fn holds(&self, bytes: usize) -> bool {
        self.unsent.len() + bytes <= TOGETHER
    }

    /// What was held back goes first; who was to go on is told now.
    fn before_writing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_in(Phase::Held) {
            self.enter(Phase::Body);
        }
        self.tunnel_moves();
        self.send(cx)
    }
}

/// Whether a client that is waited for is too slow; wakes the task when that is to be asked again.
fn is_slow(pace: &mut Pace, alarm: &mut Alarm, cx: &mut Context<'_>) -> bool {
    while let Some(until) = pace.waits(Instant::now()) {
        if alarm.rings_at(until, cx).is_pending() {
            return false;
        }
    }
    true
}

fn unless(late: bool) -> io::Result<()> {
    if late { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Whoever waits for the client has said all that he has to say. If it cannot be sent, a write will tell.
        let _ = self.send(cx);
        let _ = Pin::new(&mut self.io).poll_flush(cx);
        if self.is_in(Phase::Over) {
            self.enter(Phase::Idle);
            self.since = Instant::now();
            (self.coming, self.taking) = (None, None);
            self.due.store(0, Ordering::Relaxed);
            self.write_alarm.clear();
            self.seat.waits();
        }
        if !self.unread.is_empty() {
            let most = buf.remaining().min(self.unread.len());
            buf.put_slice(&self.unread.split_to(most));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let came = buf.filled().len().saturating_sub(before);
        match self.keep_time(came, read.is_pending(), cx) {
            Ok(()) => read,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.holds(buf.len()) {
            self.unsent.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(self.before_writing(cx))?;
        let most = if self.taken_at_once < FAST { TOGETHER } else { buf.len() };
        let piece = buf.get(..most).unwrap_or(buf);
        let written = Pin::new(&mut self.io).poll_write(cx, piece);
        self.unless_too_slow(cx, written)
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
        if self.taken_at_once < FAST {
            let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| &**buf);
            return self.poll_write(cx, first);
        }
        ready!(self.before_writing(cx))?;
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.unless_too_slow(cx, written)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.before_writing(cx))?;
        self.send_all(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send(cx))?;
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.unless_too_slow(cx, shut)
    }
}

#[cfg(test)]
mod tests;
