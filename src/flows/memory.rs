//! The code cache in this process's memory: one moka entry an account, changed only inside its `compute`.
//!
//! A record that ends frees its room; a live one is never evicted, for the room is counted here and starts are refused
//! when none is left. What is in it is lost at exit.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use moka::{Expiry, future::Cache, ops::compute::Op};
use tokio::sync::Semaphore;

use super::record::Record;
pub use super::record::Rules;
use crate::reset::ports::{Claim, Clock, Digest, Down, FlowRef, Flows, Lane, NewCode, Opened, Settled, Time};

/// The code cache.
pub struct MemoryFlows {
    records: Cache<Digest, Record>,
    room: Arc<Semaphore>,
    capacity: usize,
    rules: Rules,
    clock: Arc<dyn Clock>,
}

impl MemoryFlows {
    /// A cache for that many accounts with live flows.
    pub fn new(capacity: usize, rules: Rules, clock: Arc<dyn Clock>) -> Self {
        let capacity = capacity.min(Semaphore::MAX_PERMITS);
        // No capacity of moka's own: it would choose whom to evict.
        let records = Cache::builder().expire_after(Lives(Arc::clone(&clock))).build();
        Self { records, room: Arc::new(Semaphore::new(capacity)), capacity, rules, clock }
    }

    /// Accounts with live flows.
    pub fn live(&self) -> usize {
        self.capacity.saturating_sub(self.room.available_permits())
    }

    /// Frees the room of records that have ended; to be called every few seconds.
    pub async fn tidy(&self) {
        self.records.run_pending_tasks().await;
    }

    /// One atomic step on an account's record, if there is one.
    async fn change<T>(&self, at: &FlowRef, missing: T, step: impl FnOnce(&mut Record, Time) -> T) -> T {
        let now = self.clock.now();
        let mut outcome = missing;
        self.records
            .entry(at.account)
            .and_compute_with(|entry| {
                let Some(entry) = entry else { return std::future::ready(Op::Nop) };
                let mut record = entry.into_value();
                record.prune(now);
                outcome = step(&mut record, now);
                std::future::ready(if record.ends() <= now { Op::Remove } else { Op::Put(record) })
            })
            .await;
        outcome
    }
}

#[async_trait]
impl Flows for MemoryFlows {
    fn has_room(&self) -> bool {
        self.room.available_permits() > 0
    }

    async fn open(&self, at: &FlowRef, code: NewCode) -> Result<Opened, Down> {
        let now = self.clock.now();
        let mut outcome = Opened::Full;
        self.records
            .entry(at.account)
            .and_compute_with(|entry| {
                let mut record = entry.map(moka::Entry::into_value).unwrap_or_default();
                record.prune(now);
                if record.room.is_none() {
                    let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
                        return std::future::ready(Op::Nop);
                    };
                    record.room = Some(Arc::new(room));
                }
                outcome = record.open(at, code, self.rules, now);
                std::future::ready(Op::Put(record))
            })
            .await;
        Ok(outcome)
    }

    async fn withdraw(&self, at: &FlowRef) -> Result<(), Down> {
        self.change(at, (), |record, _| record.withdraw(at)).await;
        Ok(())
    }

    async fn attempt(&self, at: &FlowRef, lane: Lane, code: Digest, until: Time) -> Result<bool, Down> {
        Ok(self.change(at, false, |record, _| record.attempt(at, lane, &code, until)).await)
    }

    async fn claim(&self, at: &FlowRef, password: Digest, lease: Duration) -> Result<Claim, Down> {
        Ok(self.change(at, Claim::Gone, |record, now| record.claim(at, password, lease, now)).await)
    }

    async fn settle(&self, at: &FlowRef, how: Settled) -> Result<(), Down> {
        self.change(at, (), |record, _| record.settle(at, how)).await;
        Ok(())
    }
}

/// Entries live as long as the record has something to keep, by the product's own clock.
struct Lives(Arc<dyn Clock>);

impl Lives {
    fn left(&self, record: &Record) -> Duration {
        record.ends().since(self.0.now())
    }
}

impl Expiry<Digest, Record> for Lives {
    fn expire_after_create(&self, _: &Digest, record: &Record, _: std::time::Instant) -> Option<Duration> {
        Some(self.left(record))
    }

    fn expire_after_update(
        &self,
        _: &Digest,
        record: &Record,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.left(record))
    }
}
