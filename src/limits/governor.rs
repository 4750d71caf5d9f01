//! [`Limits`] with one `governor` limiter a rule.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use governor::{Quota, RateLimiter, clock, middleware::NoOpMiddleware, nanos::Nanos};
use ring::hmac;

use super::store::{Bounded, Key};
use crate::{
    config::{self, Rate},
    reset::ports::{Client, Clock, Decision, LimitKey, Limits, Rule, Time},
};

/// Keys a rule, where nothing else is asked for. At 30 to 60 bytes each, a full rule takes up to 60 MB.
pub const DEFAULT_CAPACITY: usize = 1_000_000;

/// A full store is tidied by whoever finds it full, but not more often than this: tidying walks every key.
const TIDY_GAP: Duration = Duration::from_secs(1);

/// Longer periods are as good as for ever, and governor counts nanoseconds in 64 bits.
const LONGEST_PERIOD: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The rate limits of one process, in memory.
///
/// A rule allows `count` at once and one more every `period / count` after that. What is denied is not charged. A rule
/// that the configuration turns off allows everything.
///
/// Each rule keeps the states of a bounded number of keys. When it is full of keys whose budget is not back to whole,
/// further keys share one budget between them, as clients of unknown address always do.
pub struct Governor {
    client: Option<Limiter>,
    start_per_client: Option<Limiter>,
    start_total: Option<Limiter>,
    mail_per_account: Option<Limiter>,
    mail_total: Option<Limiter>,
    hash: hmac::Key,
}

impl Governor {
    /// Limits after `config`, each for at most `capacity` keys at a time. `hash_key` is any secret of this process: with
    /// it the keys are hashed, so that addresses are not kept and nobody can aim at one part of the map.
    pub fn new(config: &config::Limits, clock: &Arc<dyn Clock>, hash_key: &[u8; 32], capacity: usize) -> Self {
        let limiter = |rate: Option<Rate>| rate.map(|rate| Limiter::new(rate, clock, capacity));
        Self {
            client: limiter(config.client),
            start_per_client: limiter(config.start_per_client),
            start_total: limiter(config.start_total),
            mail_per_account: limiter(config.mail_per_account),
            mail_total: limiter(config.mail_total),
            hash: hmac::Key::new(hmac::HMAC_SHA256, hash_key),
        }
    }

    /// Forgets the keys whose budget is back to whole. To be called every few minutes: it walks every key, locking a
    /// sixty-fourth of a rule's at a time.
    pub fn tidy(&self) {
        for limiter in self.limiters() {
            limiter.states.retain_recent();
        }
    }

    /// Keys remembered at the moment, of all rules.
    pub fn len(&self) -> usize {
        self.limiters().map(|limiter| limiter.states.len()).sum()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// [`Limits::charge`], which never waits.
    pub fn check(&self, rule: Rule, key: LimitKey) -> Decision {
        self.limiter(rule).map_or(Decision::Allowed, |limiter| limiter.charge(&self.key(key)))
    }

    const fn limiter(&self, rule: Rule) -> Option<&Limiter> {
        match rule {
            Rule::Client => self.client.as_ref(),
            Rule::StartPerClient => self.start_per_client.as_ref(),
            Rule::StartTotal => self.start_total.as_ref(),
            Rule::MailPerAccount => self.mail_per_account.as_ref(),
            Rule::MailTotal => self.mail_total.as_ref(),
        }
    }

    fn limiters(&self) -> impl Iterator<Item = &Limiter> {
        [&self.client, &self.start_per_client, &self.start_total, &self.mail_per_account, &self.mail_total]
            .into_iter()
            .flatten()
    }

    fn key(&self, key: LimitKey) -> Key {
        let mut mac = hmac::Context::with_key(&self.hash);
        // One byte says what follows, so that no two kinds of key are ever the same bytes.
        match key {
            LimitKey::Client(Client::V4(address)) => [&[4][..], &address].iter().for_each(|part| mac.update(part)),
            LimitKey::Client(Client::V6(prefix)) => [&[6][..], &prefix].iter().for_each(|part| mac.update(part)),
            LimitKey::Client(Client::Unknown) => mac.update(&[0]),
            LimitKey::Account(account) => [&[1][..], &account].iter().for_each(|part| mac.update(part)),
            LimitKey::Everyone => mac.update(&[2]),
        }
        let mut hash = [0; 16];
        for (to, from) in hash.iter_mut().zip(mac.sign().as_ref()) {
            *to = *from;
        }
        Key::new(hash)
    }
}

#[async_trait]
impl Limits for Governor {
    async fn charge(&self, rule: Rule, key: LimitKey) -> Decision {
        self.check(rule, key)
    }
}

/// One rule.
struct Limiter {
    states: RateLimiter<Key, Bounded, Ticks, NoOpMiddleware<Nanos>>,
    capacity: usize,
    /// When a full store was last tidied, in nanoseconds of [`Ticks`].
    tidied: AtomicU64,
}

impl Limiter {
    fn new(rate: Rate, clock: &Arc<dyn Clock>, capacity: usize) -> Self {
        let refill = Rate { period: rate.period.min(LONGEST_PERIOD), ..rate }.refill();
        // A refill of zero would mean no limit; governor has nothing shorter than a nanosecond either.
        let quota = Quota::with_period(refill.max(Duration::from_nanos(1)))
            .unwrap_or(Quota::per_second(std::num::NonZeroU32::MIN))
            .allow_burst(rate.count);
        let ticks = Ticks { clock: Arc::clone(clock), start: clock.now() };
        Self { states: RateLimiter::new(quota, Bounded::new(capacity), ticks), capacity, tidied: AtomicU64::new(0) }
    }

    fn charge(&self, key: &Key) -> Decision {
        if self.states.len() >= self.capacity {
            self.tidy_when_full();
        }
        match self.states.check_key(key) {
            Ok(()) => Decision::Allowed,
            Err(denied) => {
                Decision::Denied { retry_after: denied.wait_time_from(clock::Clock::now(self.states.clock())) }
            }
        }
    }

    fn tidy_when_full(&self) {
        let now = clock::Clock::now(self.states.clock()).as_u64();
        let due =
            |last: u64| (last == 0 || now.saturating_sub(last) >= TIDY_GAP.as_nanos() as u64).then_some(now.max(1));
        // Whoever moves the time on tidies; everyone else goes on.
        if self.tidied.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok() {
            self.states.retain_recent();
        }
    }
}

/// Our clock as governor reads it: nanoseconds since the limiter was made.
struct Ticks {
    clock: Arc<dyn Clock>,
    start: Time,
}

impl clock::Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        let nanos = self.clock.now().since(self.start).as_nanos();
        // governor adds to it without looking; a century leaves it room.
        Nanos::new(u64::try_from(nanos).unwrap_or(u64::MAX).min(LONGEST_PERIOD.as_nanos() as u64))
    }
}
