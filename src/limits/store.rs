//! Where the limiters keep their state: a map that never grows beyond a fixed number of keys.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hash, Hasher},
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use governor::{nanos::Nanos, state::StateStore};
use parking_lot::Mutex;

use super::tiers::TIERS;
use crate::reset::ports::{About, Event, Events};

/// Locks, and maps that grow one at a time. Enough that a core rarely waits for another, few enough to be small.
const SHARDS: usize = 64;

/// A full store is tidied by whoever finds it full, but not more often than this: tidying walks every key, which takes
/// a few milliseconds.
const TIDY_GAP: Duration = Duration::from_millis(100);

/// Keys are kept this much longer than they must be: rates that share a store began milliseconds apart.
const GRACE: Nanos = Nanos::new(1_000_000_000);

/// A keyed hash of what is limited. Its key is ours, so nobody can choose where it lands, nor find two that are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Key(pub(super) u64);

impl Key {
    /// Of bits that no map looks at: it finds a place by the lowest, and tells keys apart by the highest first.
    const fn shard(self) -> usize {
        (self.0 >> 40) as usize % SHARDS
    }
}

/// The keys of one client or account: up to one a tier.
#[derive(Default)]
pub(super) struct Keys {
    all: [Key; TIERS],
    count: usize,
}

impl FromIterator<Key> for Keys {
    fn from_iter<I: IntoIterator<Item = Key>>(keys: I) -> Self {
        let mut these = Self::default();
        for (place, key) in these.all.iter_mut().zip(keys) {
            *place = key;
            these.count += 1;
        }
        these
    }
}

impl Deref for Keys {
    type Target = [Key];

    fn deref(&self) -> &[Key] {
        self.all.get(..self.count).unwrap_or_default()
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// Takes a [`Key`]'s own bits: hashing a hash again would gain nothing.
#[derive(Default)]
struct Taken(u64);

impl Hasher for Taken {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write_u64(&mut self, bits: u64) {
        self.0 = bits;
    }
    fn write(&mut self, bytes: &[u8]) {
        // Not reached by `Key`; right for anything else all the same.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

type Shard = Mutex<HashMap<Key, Nanos, BuildHasherDefault<Taken>>>;

/// GCRA states of at most `max` keys. A new key that finds it full is counted in one state shared by all such keys:
/// together they get what one key would get alone, so a full store refuses more, never less.
pub(super) struct Bounded {
    shards: Vec<Shard>,
    len: AtomicUsize,
    max: usize,
    overflow: Mutex<Option<Nanos>>,
    /// When it was last tidied because it was full, in nanoseconds.
    tidied: AtomicU64,
    events: Arc<dyn Events>,
}

impl Bounded {
    pub(super) fn new(max: usize, events: Arc<dyn Events>) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Self { shards, len: AtomicUsize::new(0), max, overflow: Mutex::default(), tidied: AtomicU64::new(0), events }
    }

    /// Keys kept.
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Keys that it keeps at most.
    pub(super) const fn capacity(&self) -> usize {
        self.max
    }

    /// Drops the keys whose state says nothing any more, and gives memory back where a shard is mostly empty. Each
    /// shard is locked on its own, for well under a millisecond.
    pub(super) fn tidy(&self, now: Nanos) {
        let drop_below = now.saturating_sub(GRACE);
        for shard in &self.shards {
            let mut states = shard.lock();
            let before = states.len();
            states.retain(|_, state| *state > drop_below);
            self.len.fetch_sub(before - states.len(), Ordering::Relaxed);
            let kept = states.len();
            if states.capacity() / 4 > kept {
                states.shrink_to(kept * 2);
            }
        }
    }

    pub(super) fn tidy_when_full(&self, now: impl FnOnce() -> Nanos) {
        if self.len() < self.max {
            return;
        }
        let now = now();
        let at = now.as_u64();
        let due = |last: u64| (last == 0 || at.saturating_sub(last) >= TIDY_GAP.as_nanos() as u64).then_some(at.max(1));
        // Whoever moves the time on tidies; everyone else goes on.
        if self.tidied.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok() {
            self.tidy(now);
        }
    }

    /// Moves the key's state back by `step`, and forgets the key if its state then says nothing.
    pub(super) fn give_back(&self, key: &Key, step: Nanos, now: Nanos) {
        if let Some(shard) = self.shards.get(key.shard())
            && let Entry::Occupied(mut state) = shard.lock().entry(*key)
        {
            let before = state.get().saturating_sub(step);
            if before > now {
                state.insert(before);
            } else {
                state.remove();
                self.len.fetch_sub(1, Ordering::Relaxed);
            }
            return;
        }
        // It was taken from what newcomers share.
        let mut state = self.overflow.lock();
        *state = state.map(|state| state.saturating_sub(step));
    }

    /// How far the key's state is ahead of `now`: the time until its budget is whole. A newcomer for whom there is no place
    /// has the state that all such share.
    pub(super) fn ahead(&self, key: &Key, now: Nanos) -> Nanos {
        let own = self.shards.get(key.shard()).and_then(|shard| shard.lock().get(key).copied());
        let state = match own {
            None if self.len() >= self.max => *self.overflow.lock(),
            own => own,
        };
        state.map_or(Nanos::new(0), |state| state.saturating_sub(now))
    }

    /// Forgets the key, whose budget is whole again. What it took of what newcomers share stays taken.
    pub(super) fn forget(&self, key: &Key) {
        if let Some(shard) = self.shards.get(key.shard())
            && shard.lock().remove(key).is_some()
        {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Each key with how far its state is ahead of `now`.
    pub(super) fn keep(&self, now: Nanos) -> Vec<(u64, u64)> {
        let ahead = |(key, state): (&Key, &Nanos)| (key.0, state.saturating_sub(now).as_u64());
        let of_shard = |shard: &Shard| shard.lock().iter().map(ahead).filter(|(_, ahead)| *ahead > 0).collect();
        self.shards.iter().flat_map::<Vec<_>, _>(of_shard).collect()
    }

    /// Takes such a state, if there is room.
    pub(super) fn go_on(&self, key: Key, ahead: u64, now: Nanos) {
        if let Some(shard) = self.shards.get(key.shard())
            && self.reserve()
            && shard.lock().insert(key, now + Nanos::new(ahead)).is_some()
        {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn reserve(&self) -> bool {
        let more = |len| (len < self.max).then_some(len + 1);
        self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

/// A store, for one of the rates that share it.
pub(super) struct Shared(pub(super) Arc<Bounded>);

impl StateStore for Shared {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure_and_replace(key, f)
    }
}

impl StateStore for Bounded {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if let Some(shard) = self.shards.get(key.shard()) {
            // The lock is held over measuring and replacing: parallel requests cannot both take the last one.
            let mut states = shard.lock();
            match states.entry(*key) {
                Entry::Occupied(mut state) => {
                    let (outcome, next) = f(Some(*state.get()))?;
                    state.insert(next);
                    return Ok(outcome);
                }
                Entry::Vacant(place) => {
                    if self.reserve() {
                        // A fresh bucket is never empty; should it be, the count is given back below.
                        return match f(None) {
                            Ok((outcome, next)) => {
                                place.insert(next);
                                Ok(outcome)
                            }
                            Err(denied) => {
                                self.len.fetch_sub(1, Ordering::Relaxed);
                                Err(denied)
                            }
                        };
                    }
                }
            }
        }
        let mut state = self.overflow.lock();
        let counted = f(*state).map(|(outcome, next)| {
            *state = Some(next);
            outcome
        });
        drop(state);
        if counted.is_err() {
            self.events.record(Event::KeysFull, &About::default());
        }
        counted
    }
}
