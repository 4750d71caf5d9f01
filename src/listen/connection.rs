//! One accepted connection, as Pingora reads and writes it: it knows its peer, it bounds what a client may take its time
//! over, and it sends small writes together. Pingora bounds each read only, so a client could send a head byte by byte
//! for hours; and it writes an answer's head and its body apart, which is a packet and a system call each.

mod layers;
mod stream;
mod tunnel;

use std::{
    future::poll_fn,
    io,
    mem::{self, MaybeUninit},
    pin::{Pin, pin},
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
    task::yield_now,
    time::Instant,
};

use self::tunnel::Tunnel;
use super::{Bounds, Line, Peer, alarm::Alarm, pace::Pace, seats::Seat, tls::Secured, wire::Wire};
use crate::telemetry::metrics::Slow;

/// Bytes that are read in search of a head's end. Pingora would keep a mebibyte of each, and begin anew with every read. A
/// head over the limit, but not far, is still told so.
const HEAD_BYTES: usize = 256 << 10;

/// Bytes that are read to see that a request comes: mostly all of its head.
const AT_FIRST: usize = 4 << 10;

/// How much of what was read belongs to which request is not known.
const UNCLEAR: u64 = u64::MAX;

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
    /// Nothing; the end of the answer is written, or about to be, and sent with the next read.
    Whole,
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
    /// Bytes that were read and not put back.
    given: u64,
    /// Bytes that its requests so far had; [`UNCLEAR`] if that is not certain.
    asked: AtomicU64,
    /// Of the body that is awaited.
    coming: Option<Box<Pace>>,
    alarm: Alarm,
    /// In [`Phase::Answer`]: when the answer must have begun, in milliseconds since `began`; 0 is never.
    due: AtomicU64,
    tunnel: Mutex<Option<Box<Tunnel>>>,
    /// Written, and not sent yet. Sent when Pingora flushes, when it is too much, and before waiting for the client.
    unsent: BytesMut,
    /// Whether that has waited for what others are about to send.
    has_waited: bool,
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
            given: 0,
            asked: AtomicU64::new(0),
            coming: None,
            alarm: Alarm::default(),
            due: AtomicU64::new(0),
            tunnel: Mutex::new(None),
            unsent: BytesMut::new(),
            has_waited: false,
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

    /// To be told how many bytes a request has, its head and its body, if that is known.
    pub(crate) fn asks(&self, bytes: Option<u64>) {
        let so_far = self.asked.load(Ordering::Relaxed);
        let asked = bytes.filter(|_| so_far != UNCLEAR).map_or(UNCLEAR, |bytes| so_far.saturating_add(bytes));
        self.asked.store(asked, Ordering::Relaxed);
    }

    /// Whether nothing was read that belongs to its next request. Pingora keeps what was, and does not say so.
    pub(crate) fn is_used_up(&self) -> bool {
        self.given == self.asked.load(Ordering::Relaxed)
    }

    /// To be told when a body has been read to its end. Whatever is read then is to see whether the client hangs up.
    pub(crate) fn body_is_read(&self) {
        self.enter(Phase::Answer);
    }

    /// To be told when what is written next is the end of the answer. It is sent when the next request is waited for: many
    /// answers wait until they go together, and a request needs fifty times the memory of its answer until it is over.
    pub(crate) fn answer_is_whole(&self) {
        // Else the client has yet to send its body, or is to be told to.
        if self.is_in(Phase::Answer) {
            self.enter(Phase::Whole);
        }
    }

    /// To be told when its request is answered.
    pub(crate) fn request_is_over(&self) {
        self.enter(Phase::Over);
    }

    /// Whether an answer to what was asked then is to be its last.
    pub(crate) fn is_old(&self, asked: Instant) -> bool {
        asked.saturating_duration_since(self.began) >= self.bounds.max_lifetime
    }

    /// To be told when it speaks HTTP/2; what is returned keeps its time from now on.
    pub(crate) fn multiplexes(&self) -> Line {
        self.enter(Phase::Frames);
        Line::new(self.peer, self.secured.clone(), Arc::clone(&self.seat), Arc::clone(&self.bounds), self.began)
    }

    /// Waits for its next request, with nothing in hand but itself. False at its end.
    ///
    /// # Errors
    /// It is idle for too long, or broken.
    pub(crate) async fn next_comes(&mut self) -> io::Result<bool> {
        poll_fn(|cx| {
            let mut some = [const { MaybeUninit::uninit() }; AT_FIRST];
            let mut read = ReadBuf::uninit(&mut some);
            ready!(Pin::new(&mut *self).poll_read(cx, &mut read))?;
            self.unread(read.filled());
            Poll::Ready(Ok(!self.unread.is_empty()))
        })
        .await
    }

    /// Gives away what was read of its next request, the first bytes of its head, to somebody who reads no other first.
    pub(crate) fn beginning(&mut self) -> BytesMut {
        self.given += self.unread.len() as u64;
        mem::take(&mut self.unread)
    }

    /// Puts back all that was read: the beginning of a head.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.given = self.given.saturating_sub(bytes.len() as u64);
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
        let begins = self.is_in(Phase::Idle) && came > 0;
        if begins {
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
            let late =
                if pending { self.alarm.rings_at(until, cx).is_ready() } else { !begins && Instant::now() >= until };
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

    /// Lets whoever is at work on an answer finish it first: so they are sent one after the other, and the other ends, where
    /// they share a processor, are woken once. To wake one that sleeps takes longer than to make an answer.
    fn wait_for_others(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.unsent.is_empty() || mem::replace(&mut self.has_waited, true) {
            return Poll::Ready(());
        }
        pin!(yield_now()).poll(cx)
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
        (self.unsent, self.has_waited) = (BytesMut::new(), false);
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

#[cfg(test)]
mod tests;
