//! One rate over a store that other rates may share.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{Quota, RateLimiter, clock, middleware::StateInformationMiddleware, nanos::Nanos};

use super::store::{Bounded, Key, Shared};
use crate::{
    config::Rate,
    reset::ports::{Clock, Time},
};

/// Longer periods are as good as for ever, and governor counts nanoseconds in 64 bits.
const LONGEST_PERIOD: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A rate, and the store that it keeps its keys' states in. Rates that share a store must not share keys.
pub(super) struct Meter {
    limiter: RateLimiter<Key, Shared, Ticks, StateInformationMiddleware>,
    store: Arc<Bounded>,
    refill: Nanos,
    /// Nearly used up is what leaves no more than this.
    near: u32,
    /// What is used up to more than the half has more than that to come back.
    half: Nanos,
}

impl Meter {
    pub(super) fn new(rate: Rate, store: &Arc<Bounded>, ticks: &Ticks) -> Self {
        let refill = Rate { period: rate.period.min(LONGEST_PERIOD), ..rate }.refill();
        // A refill of zero would mean no limit; governor has nothing shorter than a nanosecond either.
        let refill = refill.max(Duration::from_nanos(1));
        let quota = Quota::with_period(refill).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(rate.count);
        Self {
            limiter: RateLimiter::new(quota, Shared(Arc::clone(store)), ticks.clone()),
            store: Arc::clone(store),
            refill: refill.into(),
            half: (refill.saturating_mul(rate.count.get()) / 2).into(),
            near: rate.count.get() / 5,
        }
    }

    /// Takes one; whether four fifths or more are used up then.
    ///
    /// # Errors
    /// The time until there is one. Nothing was taken.
    pub(super) fn charge(&self, key: &Key) -> Result<bool, Duration> {
        let now = || clock::Clock::now(self.limiter.clock());
        self.store.tidy_when_full(now);
        let taken = self.limiter.check_key(key).map_err(|denied| denied.wait_time_from(now()))?;
        Ok(taken.remaining_burst_capacity() <= self.near)
    }

    /// Whether more than half is used up. It takes nothing.
    pub(super) fn is_half_used(&self, key: &Key) -> bool {
        self.store.ahead(key, clock::Clock::now(self.limiter.clock())) > self.half
    }

    /// Puts one back that was just taken: as if it had never been, whatever others took in between.
    pub(super) fn give_back(&self, key: &Key) {
        self.store.give_back(key, self.refill, clock::Clock::now(self.limiter.clock()));
    }
}

/// Our clock as governor reads it: nanoseconds since the limits were made.
#[derive(Clone)]
pub(super) struct Ticks {
    clock: Arc<dyn Clock>,
    start: Time,
}

impl Ticks {
    pub(super) fn new(clock: &Arc<dyn Clock>) -> Self {
        Self { clock: Arc::clone(clock), start: clock.now() }
    }
}

impl clock::Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        let nanos = self.clock.now().since(self.start).as_nanos();
        // governor adds to it without looking; a century leaves it room.
        Nanos::new(u64::try_from(nanos).unwrap_or(u64::MAX).min(LONGEST_PERIOD.as_nanos() as u64))
    }
}
