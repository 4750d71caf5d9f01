//! The code cache in this process's memory: one moka entry an account, whose record is changed under its own lock.
//!
//! A live record is never evicted: starts are counted before anybody is looked up, each until its link's end, and
//! refused when there are too many. Who is found has no more room than who is not, and nothing frees it early, so how
//! full it is tells of nobody. A record whose code was shown may outlast its room by a token's life; an account has one.
//! What is in it is lost at exit.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration};

use async_trait::async_trait;
use moka::{Entry, Expiry, ops::compute::Op, sync::Cache};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

pub use super::record::Rules;
use super::{packed::Packed, record::Record, spent::Marks};
use crate::reset::ports::{
    Attempt, Claim, Clock, Digest, Down, FlowRef, Flows, Lane, NewCode, Opened, Settled, Spent, Time, Turn,
};

/// A record, or none once nothing in it is worth keeping.
type Slot = Option<Packed>;

/// An account's. Never locked while moka is called: moka asks it when it ends.
type Held = Arc<Mutex<Slot>>;

/// The code cache.
pub struct MemoryFlows {
    records: Cache<Digest, Held>,
    /// What is changed in the place of a record that is not there.
    stand_in: Mutex<Slot>,
    /// When each start's room is free again; never more than `capacity` of them.
    rooms: Mutex<BinaryHeap<Reverse<Time>>>,
    /// What was spent; never more than `capacity` of that either.
    spent: Mutex<Marks>,
    capacity: usize,
    rules: Rules,
    clock: Arc<dyn Clock>,
}

impl MemoryFlows {
    /// A cache for that many starts whose link may still live.
    pub fn new(capacity: usize, rules: Rules, clock: Arc<dyn Clock>) -> Self {
        // No capacity of moka's own: it would choose whom to evict.
        let records = Cache::builder().expire_after(Lives(Arc::clone(&clock))).build();
        let stand_in = Mutex::new(Some(Packed::new(Record::stand_in())));
        Self { records, stand_in, rooms: Mutex::default(), spent: Mutex::default(), capacity, rules, clock }
    }

    /// Accounts with live flows, as of the last [`MemoryFlows::tidy`].
    pub fn live(&self) -> u64 {
        self.records.entry_count()
    }

    /// How many starts there may be.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Starts whose link may still live, of accounts and of decoys.
    pub fn starts(&self) -> usize {
        self.rooms().len()
    }

    /// All that it holds, for a process that goes on with it. Nothing may be at work on it.
    pub fn keep(&self) -> Kept {
        let records = self
            .records
            .iter()
            .filter_map(|(account, held)| Some((*account, held.lock().as_ref()?.unpacked())))
            .collect();
        let rooms = self.rooms().iter().map(|Reverse(until)| *until).collect();
        Kept { records, rooms, spent: self.spent.lock().all() }
    }

    /// Goes on with what another process held, as far as that has not ended. Room that it had taken stays taken, up to
    /// the capacity of this cache.
    pub fn go_on(&self, kept: Kept) {
        let now = self.clock.now();
        for (account, mut record) in kept.records {
            record.prune(now);
            if record.ends() > now {
                self.records.insert(account, Arc::new(Mutex::new(Some(Packed::new(record)))));
            }
        }
        let mut rooms = self.rooms();
        let free = self.capacity.saturating_sub(rooms.len());
        rooms.extend(kept.rooms.into_iter().filter(|until| *until > now).take(free).map(Reverse));
        drop(rooms);
        let mut spent = self.spent.lock();
        for (mark, until) in kept.spent.into_iter().filter(|(_, until)| *until > now) {
            spent.spend(mark, until, now, self.capacity);
        }
    }

    /// Forgets records that have ended; to be called every few seconds.
    pub fn tidy(&self) {
        self.records.run_pending_tasks();
    }

    /// The rooms that are still taken.
    fn rooms(&self) -> MutexGuard<'_, BinaryHeap<Reverse<Time>>> {
        let (now, mut rooms) = (self.clock.now(), self.rooms.lock());
        while rooms.peek().is_some_and(|Reverse(until)| *until <= now) {
            rooms.pop();
        }
        rooms
    }

    /// One atomic step on an account's record, if there is one.
    fn change<T>(&self, at: &FlowRef, now: Time, step: impl FnOnce(&mut Record) -> T) -> Option<T> {
        let held = self.records.get(&at.account)?;
        let stepped = stepped(&mut held.lock(), now, step)?;
        if stepped.has_another_end {
            self.renew(at.account, &held);
        }
        Some(stepped.outcome)
    }

    /// Has the entry end when its record does, which is now if there is none.
    fn renew(&self, account: Digest, held: &Held) {
        self.records.entry(account).and_compute_with(|entry| {
            // It may have ended meanwhile, or have made room for another.
            let is_there = entry.is_some();
            if entry.is_some_and(|entry| !Arc::ptr_eq(entry.value(), held)) {
                return Op::Nop;
            }
            match held.lock().is_some() {
                true => Op::Put(Arc::clone(held)),
                false if is_there => Op::Remove,
                false => Op::Nop,
            }
        });
    }
}

/// What came of a step on a record.
struct Stepped<T> {
    outcome: T,
    has_another_end: bool,
}

/// A step on what is in the slot, which then keeps what is still worth it.
fn stepped<T>(slot: &mut Slot, now: Time, step: impl FnOnce(&mut Record) -> T) -> Option<Stepped<T>> {
    let mut record = slot.as_ref()?.unpacked();
    let before = record.ends();
    record.prune(now);
    let outcome = step(&mut record);
    let ends = record.ends();
    *slot = (ends > now).then(|| Packed::new(record));
    Some(Stepped { outcome, has_another_end: ends != before })
}

#[async_trait]
impl Flows for MemoryFlows {
    async fn reserve(&self, until: Time) -> Result<bool, Down> {
        let mut rooms = self.rooms();
        let found = rooms.len() < self.capacity;
        if found {
            rooms.push(Reverse(until));
        }
        Ok(found)
    }

    async fn open(&self, at: &FlowRef, code: NewCode) -> Result<Opened, Down> {
        let now = self.clock.now();
        let mut outcome = Opened::Crowded;
        self.records.entry(at.account).and_compute_with(|entry| {
            let held = entry.map(Entry::into_value).unwrap_or_default();
            let mut slot = held.lock();
            slot.get_or_insert_with(|| Packed::new(Record::default()));
            if let Some(stepped) = stepped(&mut slot, now, |record| record.open(at, code, self.rules, now)) {
                outcome = stepped.outcome;
            }
            drop(slot);
            Op::Put(held)
        });
        Ok(outcome)
    }

    async fn withdraw(&self, at: &FlowRef) -> Result<(), Down> {
        self.change(at, self.clock.now(), |record| record.withdraw(at));
        Ok(())
    }

    async fn attempt(&self, at: &FlowRef, lane: Lane, code: Digest, until: Time) -> Result<Attempt, Down> {
        let now = self.clock.now();
        let attempt = self.change(at, now, |record| record.attempt(at, lane, &code, until));
        Ok(attempt.unwrap_or_else(|| {
            // As much work, for nobody.
            stepped(&mut self.stand_in.lock(), now, |record| record.attempt_in_vain(lane, &code, until));
            Attempt::Gone
        }))
    }

    fn takes_alike(&self) -> bool {
        true
    }

    async fn turn(&self, at: &FlowRef, ticket: [u8; 16], lease: Duration) -> Result<Turn, Down> {
        let now = self.clock.now();
        Ok(self.change(at, now, |record| record.turn(at, ticket, lease, now)).unwrap_or(Turn::Gone))
    }

    async fn pass(&self, at: &FlowRef, ticket: [u8; 16], until: Option<Time>) -> Result<(), Down> {
        self.change(at, self.clock.now(), |record| record.pass(at, ticket, until));
        Ok(())
    }

    async fn claim(&self, at: &FlowRef, password: Digest, lease: Duration) -> Result<Claim, Down> {
        let now = self.clock.now();
        Ok(self.change(at, now, |record| record.claim(at, password, lease, now)).unwrap_or(Claim::Gone))
    }

    async fn settle(&self, at: &FlowRef, how: Settled) -> Result<(), Down> {
        self.change(at, self.clock.now(), |record| record.settle(at, how, self.rules));
        Ok(())
    }

    async fn spend_once(&self, mark: Digest, until: Time) -> Result<Spent, Down> {
        Ok(self.spent.lock().spend(mark, until, self.clock.now(), self.capacity))
    }

    async fn unspend(&self, mark: Digest) -> Result<(), Down> {
        self.spent.lock().unspend(&mark);
        Ok(())
    }
}

/// What a code cache holds: digests and counters, and nothing that could be read or shown.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Kept {
    records: Vec<(Digest, Record)>,
    rooms: Vec<Time>,
    spent: Vec<(Digest, Time)>,
}

/// Entries live as long as the record has something to keep, by the product's own clock.
struct Lives(Arc<dyn Clock>);

impl Lives {
    fn left(&self, held: &Held) -> Duration {
        held.lock().as_ref().map_or(Duration::ZERO, |packed| packed.ends().since(self.0.now()))
    }
}

impl Expiry<Digest, Held> for Lives {
    fn expire_after_create(&self, _: &Digest, held: &Held, _: std::time::Instant) -> Option<Duration> {
        Some(self.left(held))
    }

    fn expire_after_update(
        &self,
        _: &Digest,
        held: &Held,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.left(held))
    }
}
