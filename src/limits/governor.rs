//! [`Limits`] with one `governor` limiter a rule.

use std::sync::Arc;

use async_trait::async_trait;
use governor::clock;
use ring::hmac;

use super::{
    meter::Ticks,
    networks::Networks,
    store::{Bounded, Key},
    tiers::{self, Ladder, TIERS},
};
use crate::{
    config::{self, LimitName, Rate},
    reset::ports::{Client, Clock, Decision, Event, Events, LimitKey, Limits, Policy, Rule},
};

/// Keys a rule and tier, where nothing else is asked for. Two rules count clients, in three tiers, and one counts
/// accounts: seven stores of up to 26 MB each (25 bytes a place, and so few keys that no map doubles once more).
pub const DEFAULT_CAPACITY: usize = 850_000;

/// The rate limits of one process, in memory.
///
/// A rule allows `count` at once and one more every `period / count` after that. What is denied is not charged. A rule
/// that the configuration turns off allows everything. An IPv6 client counts as its /64, and also with the others of
/// its /56 and of its /48, which have four and sixteen times the budget.
///
/// Each rule keeps the states of a bounded number of keys. When it is full of keys whose budget is not back to whole,
/// further keys share one budget between them, as clients of unknown address always do.
pub struct Governor {
    client: Limiter,
    start_per_client: Limiter,
    start_total: Limiter,
    mail_per_account: Limiter,
    mail_total: Limiter,
    code_per_account: Limiter,
    networks: Networks,
    hash: hmac::Key,
    ticks: Ticks,
    events: Arc<dyn Events>,
}

impl Governor {
    /// Limits after `config`, each for at most `capacity` keys at a time in each tier. `hash_key` is any secret of this process: with
    /// it the keys are hashed, so that addresses are not kept and nobody can aim at one part of the map.
    pub fn new(
        config: &config::Limits,
        clock: &Arc<dyn Clock>,
        events: &Arc<dyn Events>,
        hash_key: &[u8; 32],
        capacity: usize,
    ) -> Self {
        let ticks = Ticks::new(clock);
        let mode = |name| if config.observe.contains(&name) { Mode::Observe } else { Mode::Refuse };
        let limiter = |name, rate: Option<Rate>| Limiter::new(mode(name), rate, &[], &ticks, capacity);
        let per_client = |name, rate: Option<Rate>, own: fn(&config::Override) -> Option<Rate>| {
            let overrides: Vec<_> = config.overrides.iter().map(own).collect();
            Limiter::new(mode(name), rate, &overrides, &ticks, capacity)
        };
        Self {
            client: per_client(LimitName::Client, config.client, |own| own.client),
            start_per_client: per_client(LimitName::StartPerClient, config.start_per_client, |own| {
                own.start_per_client
            }),
            start_total: limiter(LimitName::StartTotal, config.start_total),
            mail_per_account: limiter(LimitName::MailPerAccount, config.mail_per_account),
            mail_total: limiter(LimitName::MailTotal, config.mail_total),
            code_per_account: limiter(LimitName::CodePerAccount, config.code_per_account),
            networks: Networks::new(&config.overrides),
            hash: hmac::Key::new(hmac::HMAC_SHA256, hash_key),
            ticks,
            events: Arc::clone(events),
        }
    }

    /// Forgets the keys whose budget is back to whole. To be called every few minutes: it walks every key, locking a
    /// sixty-fourth of a rule's at a time.
    pub fn tidy(&self) {
        let now = clock::Clock::now(&self.ticks);
        self.stores().for_each(|store| store.tidy(now));
    }

    /// Keys remembered at the moment, of all rules.
    pub fn len(&self) -> usize {
        self.stores().map(|store| store.len()).sum()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// [`Limits::charge`], which never waits.
    pub fn check(&self, rule: Rule, key: LimitKey) -> Decision {
        let group = self.group(key);
        let limiter = self.limiter(rule);
        let Some(ladder) = limiter.ladder(group) else { return Decision::Allowed };
        match ladder.charge(&self.keys(key, group)) {
            Ok(false) => Decision::Allowed,
            Ok(true) => {
                self.events.record(Event::LimitNear { rule });
                Decision::Allowed
            }
            Err(_) if limiter.mode == Mode::Observe => {
                self.events.record(Event::LimitObserved { rule });
                Decision::Allowed
            }
            Err(retry_after) => Decision::Denied { retry_after, policy: policy(rule, ladder.rate()) },
        }
    }

    /// The override that is for this key.
    fn group(&self, key: LimitKey) -> Option<usize> {
        match key {
            LimitKey::Client(client) => self.networks.first(client),
            LimitKey::Account(_) | LimitKey::Everyone => None,
        }
    }

    const fn limiter(&self, rule: Rule) -> &Limiter {
        match rule {
            Rule::Client => &self.client,
            Rule::StartPerClient => &self.start_per_client,
            Rule::StartTotal => &self.start_total,
            Rule::MailPerAccount => &self.mail_per_account,
            Rule::MailTotal => &self.mail_total,
            Rule::CodePerAccount => &self.code_per_account,
        }
    }

    fn stores(&self) -> impl Iterator<Item = &Arc<Bounded>> {
        let Self { client, start_per_client, start_total, mail_per_account, mail_total, code_per_account, .. } = self;
        [client, start_per_client, start_total, mail_per_account, mail_total, code_per_account]
            .into_iter()
            .flat_map(|limiter| &limiter.stores)
    }

    /// One key a tier. Those of an override have keys of their own, also for the networks that they share with others:
    /// nobody spends what is somebody else's by another measure.
    fn keys(&self, key: LimitKey, group: Option<usize>) -> Vec<Key> {
        // The first byte says what follows, so that no two kinds of key are ever the same bytes.
        match key {
            LimitKey::Client(client) => {
                let kind = match client {
                    Client::V4(_) => 4,
                    Client::V6(_) => 6,
                    Client::Unknown => 0,
                };
                tiers::names(&client).map(|name| self.key(kind, group, name)).collect()
            }
            LimitKey::Account(account) => vec![self.key(1, group, &account)],
            LimitKey::Everyone => vec![self.key(2, group, &[])],
        }
    }

    fn key(&self, kind: u8, group: Option<usize>, name: &[u8]) -> Key {
        let mut mac = hmac::Context::with_key(&self.hash);
        mac.update(&[kind]);
        mac.update(&group.map_or(0, |group| group + 1).to_be_bytes());
        mac.update(name);
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

    async fn restore(&self, rule: Rule, key: LimitKey) {
        let group = self.group(key);
        for (store, key) in self.limiter(rule).stores.iter().zip(self.keys(key, group)) {
            store.forget(&key);
        }
    }
}

/// What becomes of a request over the budget.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Refuse,
    /// It is counted, and let through.
    Observe,
}

/// What a client is told of its own budget. What is everyone's or an account's is nobody's business; what a wider network
/// has is told as what one client has.
const fn policy(rule: Rule, rate: Rate) -> Option<Policy> {
    let name = match rule {
        Rule::Client => "client",
        Rule::StartPerClient => "start_per_client",
        Rule::StartTotal | Rule::MailPerAccount | Rule::MailTotal | Rule::CodePerAccount => return None,
    };
    Some(Policy { name, quota: rate.count.get(), window: rate.period })
}

/// One rule: a store a tier, and what is allowed; where nothing is said of that, there is no limit.
struct Limiter {
    mode: Mode,
    stores: [Arc<Bounded>; TIERS],
    usual: Option<Ladder>,
    /// Instead of it, for the clients of each override.
    overrides: Vec<Option<Ladder>>,
}

impl Limiter {
    fn new(mode: Mode, rate: Option<Rate>, overrides: &[Option<Rate>], ticks: &Ticks, capacity: usize) -> Self {
        let stores = std::array::from_fn(|_| Arc::new(Bounded::new(capacity)));
        let ladder = |rate: Option<Rate>| rate.map(|rate| Ladder::new(rate, &stores, ticks));
        let (usual, overrides) = (ladder(rate), overrides.iter().copied().map(ladder).collect());
        Self { mode, stores, usual, overrides }
    }

    fn ladder(&self, group: Option<usize>) -> Option<&Ladder> {
        group.and_then(|group| self.overrides.get(group)).unwrap_or(&self.usual).as_ref()
    }
}
