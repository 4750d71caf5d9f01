//! One connection's place, and those of its streams.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::time::Instant;

use super::{BUSY, EVICTED, Holder, Seats, Slot, UNLISTED};
use crate::{listen::Peer, reset::ports::Client, telemetry::metrics::Cap};

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(in crate::listen) struct Seat {
    pub(super) slot: Arc<Slot>,
    seats: Arc<Seats>,
    held_up: AtomicBool,
}

/// One stream's place; given back when dropped.
#[derive(Debug)]
pub(in crate::listen) struct Place(Arc<Seat>);

impl Seat {
    pub(super) const fn new(slot: Arc<Slot>, seats: Arc<Seats>) -> Self {
        Self { slot, seats, held_up: AtomicBool::new(false) }
    }

    /// That of whom the peer has announced, who may have no room for it. The peer's is given back first: else the last
    /// one would be needed twice.
    pub(in crate::listen) fn moves_to(self, peer: Peer) -> Option<Self> {
        let (seats, task) = (Arc::clone(&self.seats), Arc::clone(&self.slot.task));
        drop(self);
        seats.seat(peer, task)
    }

    /// What [`Seats::served_by`] is to be told of it.
    pub(in crate::listen) fn slot(&self) -> Arc<Slot> {
        Arc::clone(&self.slot)
    }

    /// Whether its peer speaks for many.
    pub(in crate::listen) fn is_of_a_proxy(&self) -> bool {
        self.slot.holder.proxy
    }

    /// Whether its peer is believed when it says whom a connection is from.
    pub(in crate::listen) fn may_announce(&self) -> bool {
        let Holder { client, proxy } = self.slot.holder;
        proxy && (client != Client::Unknown || self.seats.trust.of(None))
    }

    /// To be told whether its client has yet to take what was written.
    pub(in crate::listen) fn is_held_up(&self, held_up: bool) {
        self.held_up.store(held_up, Ordering::Relaxed);
    }

    /// Whether all that was written is on its way.
    pub(in crate::listen) fn has_sent_all(&self) -> bool {
        !self.held_up.load(Ordering::Relaxed)
    }

    /// A place for a stream, which works as hard as a connection: a client, and all of them, may have as many of the one
    /// as of the other.
    pub(in crate::listen) fn stream(self: &Arc<Self>) -> Option<Place> {
        let (slot, seats) = (&self.slot, &self.seats);
        let own = slot.streams.fetch_add(1, Ordering::Relaxed);
        let all = seats.streams.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        let cap = match slot.holder.proxy {
            false if own >= seats.max_per_client => Cap::Client,
            _ if all >= seats.max => Cap::Total,
            _ => return Some(place),
        };
        seats.metrics.connection_refused(cap);
        seats.tell(cap);
        None
    }

    /// From now on it waits for a request.
    pub(in crate::listen) fn waits(&self, now: Instant) {
        let (now, state) = (self.seats.at(now), &self.slot.state);
        let was_listed = state.compare_exchange(BUSY, now, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !was_listed && state.load(Ordering::Acquire) == UNLISTED {
            let mut book = self.seats.book.lock();
            state.store(now, Ordering::Release);
            self.slot.listed.store(now, Ordering::Relaxed);
            book.update(self.slot.holder, |held| {
                held.waiting.insert((now, self.slot.number), self.slot());
            });
        }
    }

    /// From now on it is within a request; false if it had to go before that. An HTTP/2 connection is within one as long
    /// as it has a stream.
    pub(in crate::listen) fn begins(&self) -> bool {
        let state = &self.slot.state;
        let seen = state.load(Ordering::Acquire);
        match seen {
            BUSY | UNLISTED => true,
            EVICTED => false,
            // Only an eviction can come between.
            waiting => state.compare_exchange(waiting, BUSY, Ordering::AcqRel, Ordering::Acquire).is_ok(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.slot.streams.fetch_sub(1, Ordering::Relaxed);
        self.0.seats.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut book = self.seats.book.lock();
        let state = self.slot.state.load(Ordering::Acquire);
        if state != EVICTED {
            book.taken -= 1;
            let turn = (self.slot.listed.load(Ordering::Relaxed), self.slot.number);
            book.update(self.slot.holder, |held| {
                held.taken -= 1;
                // Nothing is there if it is unlisted.
                held.waiting.remove(&turn);
            });
        }
        self.seats.metrics.connections(book.taken);
    }
}
