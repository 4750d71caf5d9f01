//! HTTP/2: many requests at a time on one connection, each a stream. The connection waits for a request while it has no
//! stream; what a client may take its time over is bounded for each stream.
//!
//! The window of a stream is the client's to open, and its body the client's to send, while the connection looks busy. So
//! neither shows in what the socket does, and both are timed here.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Bounds, Peer,
    pace::{Pace, time_of},
    seats::{Place, Seat},
    tls::Secured,
};
use crate::telemetry::metrics::Slow;

/// Bytes of an answer of our own, at most, that a client must have time for.
const OWN: usize = 4 << 10;

/// A connection that speaks HTTP/2.
#[derive(Debug)]
pub(crate) struct Line {
    peer: Peer,
    secured: Option<Arc<Secured>>,
    seat: Arc<Seat>,
    bounds: Arc<Bounds>,
    began: Instant,
}

impl Line {
    pub(super) const fn new(
        peer: Peer,
        secured: Option<Arc<Secured>>,
        seat: Arc<Seat>,
        bounds: Arc<Bounds>,
        began: Instant,
    ) -> Self {
        Self { peer, secured, seat, bounds, began }
    }

    /// One more stream of it; `None` if its client, or all clients, have as many as they may.
    pub(crate) fn exchange(&self) -> Option<Exchange> {
        Some(Exchange {
            _place: self.seat.stream()?,
            peer: self.peer,
            secured: self.secured.clone(),
            bounds: Arc::clone(&self.bounds),
            coming: Mutex::new(None),
            due: Mutex::new(None),
            changed: Notify::new(),
            largest: AtomicUsize::new(OWN),
        })
    }

    /// To be told when it has a stream. False if it had to go just before.
    pub(crate) fn begins(&self) -> bool {
        self.seat.begins()
    }

    /// To be told when it has none any more; it may have to go for another connection.
    pub(crate) fn waits(&self) {
        self.seat.waits(Instant::now());
    }

    /// Whether nothing of the answers is left here.
    pub(crate) fn has_sent_all(&self) -> bool {
        self.seat.has_sent_all()
    }

    /// How long what comes first may take.
    pub(crate) fn header_timeout(&self) -> Duration {
        self.bounds.header_timeout
    }

    /// Until when it may be without a stream, that has been since then.
    pub(crate) fn waits_until(&self, since: Instant) -> Instant {
        since + self.bounds.idle_timeout(&self.seat)
    }

    /// When it is to have no new streams.
    pub(crate) fn is_old_at(&self) -> Instant {
        self.began + self.bounds.max_lifetime
    }
}

/// A request and its answer on a stream, as the gate sees it.
#[derive(Debug)]
pub(crate) struct Exchange {
    _place: Place,
    peer: Peer,
    secured: Option<Arc<Secured>>,
    bounds: Arc<Bounds>,
    /// Of the body that is awaited, where nobody else times it.
    coming: Mutex<Option<Pace>>,
    /// When the answer must have begun.
    due: Mutex<Option<Instant>>,
    changed: Notify,
    /// Bytes of the answer's largest piece.
    largest: AtomicUsize,
}

impl Exchange {
    /// Who is at the other end.
    pub(crate) const fn peer(&self) -> Peer {
        self.peer
    }

    /// What TLS told of its connection; none where that is not spoken.
    pub(crate) fn secured(&self) -> Option<&Secured> {
        self.secured.as_deref()
    }

    /// To be told when its body is to pass.
    pub(crate) fn awaits_body(&self) {
        let Bounds { min_rate, body_timeout, .. } = *self.bounds;
        *self.coming.lock() = Some(Pace::of_body(min_rate, body_timeout));
        self.changed.notify_one();
    }

    /// To be told of each piece of that body.
    pub(crate) fn body_came(&self, bytes: usize) {
        if let Some(pace) = &mut *self.coming.lock() {
            pace.moved(bytes, Instant::now());
        }
        self.changed.notify_one();
    }

    /// To be told when that body has been read to its end.
    pub(crate) fn body_is_read(&self) {
        *self.coming.lock() = None;
        self.changed.notify_one();
    }

    /// To be told when the answer must have begun; nothing when it has, or somebody else says so.
    pub(crate) fn answer_is_due(&self, at: Option<Instant>) {
        *self.due.lock() = at;
        self.changed.notify_one();
    }

    /// Resolves when that body has been too slow, or the answer is not there when it is due.
    pub(crate) async fn is_late(&self) {
        loop {
            let (due, now) = (*self.due.lock(), Instant::now());
            let waits = self.coming.lock().as_mut().map(|pace| pace.waits(now));
            let body = match waits {
                Some(None) => {
                    self.bounds.metrics.connection_was_slow(Slow::Body);
                    return;
                }
                Some(until) => until,
                None => None,
            };
            let until = body.into_iter().chain(due).min();
            if due.is_some_and(|due| due <= now) {
                return;
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = async { sleep_until(until.unwrap_or(now)).await }, if until.is_some() => {}
            }
        }
    }

    /// One piece of a body that is read here, unless it is too long in coming.
    ///
    /// # Errors
    /// `TimedOut`.
    pub(crate) async fn in_time<T>(&self, piece: impl Future<Output = T>) -> io::Result<T> {
        let piece = timeout(self.bounds.body_timeout, piece).await;
        piece.map_err(|_| {
            self.bounds.metrics.connection_was_slow(Slow::Body);
            io::ErrorKind::TimedOut.into()
        })
    }

    /// How long a client may take over an answer's next piece of so many bytes. Pingora may hold some of those before it.
    pub(crate) fn to_take(&self, bytes: usize) -> Duration {
        let largest = self.largest.fetch_max(bytes, Ordering::Relaxed).max(bytes);
        self.bounds.body_timeout + time_of(largest as u64, self.bounds.min_rate)
    }

    /// To be told when it took longer.
    pub(crate) fn answer_was_slow(&self) {
        self.bounds.metrics.connection_was_slow(Slow::Answer);
    }
}
