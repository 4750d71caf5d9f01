//! Who holds which connections, and whose goes when one too many comes.
//!
//! A full house makes room: else those who hold many slow connections would keep everybody behind the same address out,
//! or simply everybody. A connection that waits for a request, be it idle or within a head, can go; one within a request
//! never does.
//!
//! Requests must not queue at a lock, so what a connection does is one atomic of its own, and the lists that say who has
//! waited longest are corrected only where somebody has to go. An entry's time is the one at which it was listed; the
//! real one can only be later. So the first entry whose time still is the real one has waited longest of all. One found
//! within a request leaves the list, and lists itself again when it waits. Each correction is paid for by a request that
//! went before, so an arrival costs O(log n) on average.

mod seat;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    fmt,
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{task::AbortHandle, time::Instant};

pub(super) use self::seat::{Place, Seat};
use super::Peer;
use crate::{
    reset::ports::Client,
    telemetry::{
        metrics::{Cap, Metrics},
        throttle::Throttle,
    },
};

/// How often a full house is told of.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Microseconds since the start at which a connection began to wait, or one of these.
type State = u64;
/// Within a request.
const BUSY: State = u64::MAX;
/// The same, and not listed among those that wait.
const UNLISTED: State = u64::MAX - 1;
/// It had to go.
const EVICTED: State = u64::MAX - 2;

/// When a connection was listed as waiting, and which it is.
type Turn = (State, u64);
/// Who is to lose a connection: the greatest. Not a proxy, the most connections, the longest wait.
type Rank = (bool, usize, Reverse<Turn>);

/// Whether a peer may speak for others, as the present configuration says: one at an address, or one on a Unix socket.
pub(crate) struct Trust(Box<dyn Fn(Option<IpAddr>) -> bool + Send + Sync>);

/// All connections, of all listeners.
#[derive(Debug)]
pub(crate) struct Seats {
    max: usize,
    max_per_client: usize,
    trust: Trust,
    began: Instant,
    metrics: Arc<Metrics>,
    book: Mutex<Book>,
    /// How often a full house is told of.
    told: Throttle,
    /// Of HTTP/2, of all clients.
    streams: AtomicUsize,
}

#[derive(Debug, Default)]
struct Book {
    taken: usize,
    last: u64,
    holders: HashMap<Holder, Held>,
    /// Those of whom a connection waits.
    order: BTreeMap<Rank, Holder>,
}

/// Who connections are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Holder {
    client: Client,
    /// It speaks for many.
    proxy: bool,
}

#[derive(Debug, Default)]
struct Held {
    taken: usize,
    waiting: BTreeMap<Turn, Arc<Slot>>,
    rank: Option<Rank>,
    streams: Arc<AtomicUsize>,
}

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Slot {
    holder: Holder,
    number: u64,
    state: AtomicU64,
    /// Where it stands in its holder's list. Changed under the lock only.
    listed: AtomicU64,
    task: Arc<Task>,
    /// Its holder's, of HTTP/2.
    streams: Arc<AtomicUsize>,
}

/// What serves a connection. Its seat may become another's, and it may have to end before it is known here: all that is
/// under the lock.
#[derive(Debug, Default)]
struct Task {
    handle: OnceLock<AbortHandle>,
    ends: AtomicBool,
}

/// What became of a look at somebody's longest wait.
enum Found {
    /// It is over.
    Evicted,
    /// It was not what the list said.
    Corrected,
    /// Nobody of theirs waits.
    Nobody,
}

impl Trust {
    /// What such a function says of an address, IPv4 if it is one, or of a Unix socket.
    pub(crate) fn by(trusts: impl Fn(Option<IpAddr>) -> bool + Send + Sync + 'static) -> Self {
        Self(Box::new(trusts))
    }

    fn of(&self, ip: Option<IpAddr>) -> bool {
        (self.0)(ip.map(|ip| ip.to_canonical()))
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

impl Seats {
    /// So many places in all.
    pub(crate) fn new(max: usize, max_per_client: usize, trust: Trust, metrics: Arc<Metrics>) -> Self {
        Self {
            max,
            max_per_client,
            trust,
            began: Instant::now(),
            metrics,
            book: Mutex::default(),
            told: Throttle::new(TOLD_EVERY),
            streams: AtomicUsize::new(0),
        }
    }

    /// A place for a connection from there, which waits for its first request; another connection may have to go for it.
    pub(super) fn admit(self: &Arc<Self>, peer: Peer) -> Option<Seat> {
        let seat = self.seat(peer, Arc::default())?;
        self.metrics.connection_accepted();
        Some(seat)
    }

    fn seat(self: &Arc<Self>, peer: Peer, task: Arc<Task>) -> Option<Seat> {
        let holder = self.holder(peer);
        let mut book = self.book.lock();
        let own = book.holders.get(&holder).map_or(0, |held| held.taken);
        if !holder.proxy && own >= self.max_per_client && !self.make_room(&mut book, Cap::Client, holder) {
            return None;
        }
        if book.taken >= self.max && !self.make_room(&mut book, Cap::Total, holder) {
            return None;
        }
        let now = self.at(Instant::now());
        book.last += 1;
        book.taken += 1;
        let slot = Arc::new(Slot {
            holder,
            number: book.last,
            state: AtomicU64::new(now),
            listed: AtomicU64::new(now),
            task,
            streams: book.holders.get(&holder).map(|held| Arc::clone(&held.streams)).unwrap_or_default(),
        });
        book.update(holder, |held| {
            held.taken += 1;
            held.streams = Arc::clone(&slot.streams);
            held.waiting.insert((now, slot.number), Arc::clone(&slot));
        });
        self.metrics.connections(book.taken);
        Some(Seat::new(slot, Arc::clone(self)))
    }

    /// To be told what serves a connection, and ends if it must go. One of HTTP/2 is one task as well.
    pub(super) fn served_by(&self, slot: &Slot, task: AbortHandle) {
        let _book = self.book.lock();
        slot.task.is(task);
    }

    /// Sends away whoever has waited longest: of the newcomer's own, or of those who hold most.
    fn make_room(&self, book: &mut Book, cap: Cap, newcomer: Holder) -> bool {
        let own = book.holders.get(&newcomer).map_or(0, |held| held.taken);
        let room = loop {
            let holder = match (cap, book.order.last_key_value()) {
                (Cap::Client, _) => newcomer,
                // Who holds more than anybody who waits is not helped at their cost.
                (Cap::Total, Some(((_, held, _), holder))) if newcomer.proxy || *held >= own => *holder,
                (Cap::Total, _) => break false,
            };
            match book.evict(holder) {
                Found::Evicted => break true,
                Found::Corrected => {}
                Found::Nobody => break false,
            }
        };
        if room {
            self.metrics.connection_evicted(cap)
        } else {
            self.metrics.connection_refused(cap)
        }
        self.tell(cap);
        room
    }

    fn holder(&self, peer: Peer) -> Holder {
        match peer {
            Peer::Tcp(address) => Holder { client: Client::of(address.ip()), proxy: self.trust.of(Some(address.ip())) },
            Peer::Unix | Peer::Former => Holder { client: Client::Unknown, proxy: true },
        }
    }

    /// Without the address: the log is not where to look for who connects.
    fn tell(&self, cap: Cap) {
        if self.told.pass(self.began.elapsed()).is_some() {
            let cap = match cap {
                Cap::Client => "max_connections_per_client",
                Cap::Total => "max_connections",
            };
            tracing::warn!(cap, "connections at their limit: waiting ones are closed for new ones, or these refused");
        }
    }

    fn at(&self, time: Instant) -> State {
        micros(time.saturating_duration_since(self.began)).max(1)
    }
}

impl Task {
    fn is(&self, handle: AbortHandle) {
        if self.ends.load(Ordering::Relaxed) {
            handle.abort();
        } else {
            // Told once.
            let _ = self.handle.set(handle);
        }
    }

    fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(handle) = self.handle.get() {
            handle.abort();
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(EVICTED).min(EVICTED - 1)
}

impl Book {
    /// Changes what somebody holds, and where that puts them.
    fn update(&mut self, holder: Holder, change: impl FnOnce(&mut Held)) {
        let held = self.holders.entry(holder).or_default();
        change(held);
        let oldest = held.waiting.first_key_value().map(|(turn, _)| *turn);
        let rank = oldest.map(|turn| (!holder.proxy, held.taken, Reverse(turn)));
        let before = std::mem::replace(&mut held.rank, rank);
        if held.taken == 0 {
            self.holders.remove(&holder);
        }
        if before != rank {
            if let Some(before) = before {
                self.order.remove(&before);
            }
            if let Some(rank) = rank {
                self.order.insert(rank, holder);
            }
        }
    }

    /// Looks at the first that somebody has listed: sends it away if it has waited since then.
    fn evict(&mut self, holder: Holder) -> Found {
        let first = self.holders.get(&holder).and_then(|held| held.waiting.first_key_value());
        let Some((turn, slot)) = first.map(|(turn, slot)| (*turn, Arc::clone(slot))) else { return Found::Nobody };
        let seen = slot.state.load(Ordering::Acquire);
        let next = if seen == turn.0 {
            EVICTED
        } else if seen == BUSY {
            UNLISTED
        } else {
            seen
        };
        // Else it has just begun or ended a request.
        if slot.state.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return Found::Corrected;
        }
        self.update(holder, |held| {
            held.waiting.remove(&turn);
            if next == EVICTED {
                held.taken -= 1;
            } else if next != UNLISTED {
                slot.listed.store(next, Ordering::Relaxed);
                held.waiting.insert((next, slot.number), Arc::clone(&slot));
            }
        });
        if next != EVICTED {
            return Found::Corrected;
        }
        self.taken -= 1;
        slot.task.end();
        Found::Evicted
    }
}

#[cfg(test)]
mod tests;
