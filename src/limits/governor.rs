//! [`Limits`] with one `governor` limiter a rule.

use std::{hash::Hasher, num::NonZeroU32, sync::Arc, time::Duration};

use async_trait::async_trait;
use governor::clock;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use super::{
    meter::Ticks,
    networks::Networks,
    store::{Bounded, Key, Keys},
    tiers::{self, Ladder, TIERS},
};
use crate::{
    config::{self, LimitName, Rate},
    reset::ports::{About, Client, Clock, Decision, Event, Events, LimitKey, Limits, Policy, Rule, Share, Start, Time},
};

/// One start in so many of a client's own budget is a first one.
const FIRST: u32 = 30;
/// Later starts may use one in so many of everyone's, and never less than one client has of its own.
const LATER: u32 = 4;

/// A day.
const LONGEST_KEPT: u64 = 86_400_000_000_000;

/// What is used up of the budgets of many keys.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Kept {
    at: Time,
    /// In the order of the rules: hashes, and nanoseconds until the budget is whole.
    stores: Vec<Vec<(u64, u64)>>,
}

/// The rate limits of one process, in memory.
///
/// A rule allows `count` at once and one more every `period / count` after that. What is denied is not charged. A rule
/// that the configuration turns off allows everything. An IPv6 client counts as its /64, and also with the others of
/// its /56 and of its /48, which have four and sixteen times the budget.
///
/// Each rule keeps the states of a bounded number of keys. When it is full of keys whose budget is not back to whole,
/// further keys share one budget between them, as clients of unknown address always do.
///
/// What is everyone's can be used up by a few who have many addresses. So up to three quarters of it are left to first starts:
/// those within a thirtieth of the client's own budget, which is one in ten minutes unless configured otherwise.
pub struct Governor {
    client: Limiter,
    start_per_client: Limiter,
    /// Tells first starts from later ones; refuses nothing.
    first_start: Limiter,
    start_total: Limiter,
    /// What later starts may have of it: the same state, with less allowed at once.
    later_start_total: Option<Ladder>,
    mail_per_account: Limiter,
    mail_total: Limiter,
    code_per_account: Limiter,
    answer_per_account: Limiter,
    networks: Networks,
    hash: SipHasher24,
    clock: Arc<dyn Clock>,
    ticks: Ticks,
    events: Arc<dyn Events>,
}

impl Governor {
    /// Limits after `config`, each for at most its `capacity` keys at a time in each tier. `hash_key` is any secret of this
    /// process: with it the keys are hashed, so that addresses are not kept and nobody can aim at one part of the map.
    ///
    /// Two rules count clients, in three tiers, and three count accounts: nine stores of up to 9 MB each, by default (17
    /// bytes a place, and so few keys that no map doubles once more). Who has had its first start is kept for a quarter.
    pub fn new(config: &config::Limits, clock: &Arc<dyn Clock>, events: &Arc<dyn Events>, hash_key: &[u8; 32]) -> Self {
        let room = Room { keys: config.capacity, events };
        let ticks = Ticks::new(clock);
        let mode = |name| if config.observe.contains(&name) { Mode::Observe } else { Mode::Refuse };
        let limiter = |name, rate: Option<Rate>| Limiter::new(mode(name), rate, &[], &ticks, &room);
        let own = |rate: fn(&config::Override) -> Option<Rate>| config.overrides.iter().map(rate).collect::<Vec<_>>();
        let (requests, starts) = (own(|own| own.client), own(|own| own.start_per_client));
        let firsts: Vec<_> = starts.iter().map(|rate| rate.map(first)).collect();
        let per_client = |name, rate, own: &[_]| Limiter::new(mode(name), rate, own, &ticks, &room);
        let start_total = limiter(LimitName::StartTotal, config.start_total);
        Self {
            client: per_client(LimitName::Client, config.client, &requests),
            start_per_client: per_client(LimitName::StartPerClient, config.start_per_client, &starts),
            first_start: Limiter::new(
                Mode::Observe,
                config.start_per_client.map(first),
                &firsts,
                &ticks,
                &Room { keys: config.capacity.div_ceil(4), events },
            ),
            later_start_total: config
                .start_total
                .map(|rate| Ladder::new(later(rate, config.start_per_client), &start_total.stores, &ticks)),
            start_total,
            mail_per_account: limiter(LimitName::MailPerAccount, config.mail_per_account),
            mail_total: limiter(LimitName::MailTotal, config.mail_total),
            code_per_account: limiter(LimitName::CodePerAccount, config.code_per_account),
            answer_per_account: limiter(LimitName::AnswerPerAccount, config.answer_per_account),
            networks: Networks::new(&config.overrides),
            hash: SipHasher24::new_with_key(hash_key.first_chunk().unwrap_or(&[0; 16])),
            clock: Arc::clone(clock),
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

    /// Keys that would be remembered if all rules were full.
    pub fn capacity(&self) -> usize {
        let clients = [&self.client, &self.start_per_client, &self.first_start].into_iter().flat_map(|l| &l.stores);
        // An account has one tier, and what is everyone's has one key.
        let accounts = [&self.mail_per_account, &self.code_per_account, &self.answer_per_account]
            .into_iter()
            .filter_map(|l| l.stores.first());
        clients.chain(accounts).map(|store| store.capacity()).sum::<usize>() + 2
    }

    /// What is used up of all budgets, for a process that goes on with it by the same hash key.
    pub fn keep(&self) -> Kept {
        let now = clock::Clock::now(&self.ticks);
        Kept { at: self.clock.now(), stores: self.stores().map(|store| store.keep(now)).collect() }
    }

    /// Goes on with what another had used up, whose rates may have been others: time that has passed since is given back
    /// as ever, and a clock that was set back in between gives nothing.
    pub fn go_on(&self, kept: &Kept) {
        let (now, passed) = (clock::Clock::now(&self.ticks), self.clock.now().since(kept.at));
        let passed = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
        for (store, states) in self.stores().zip(&kept.stores) {
            for (hash, ahead) in states {
                // Nobody is kept out for longer than the longest of usual periods for what a broken clock wrote.
                let ahead = (*ahead).min(LONGEST_KEPT).saturating_sub(passed);
                if ahead > 0 {
                    store.go_on(Key(*hash), ahead, now);
                }
            }
        }
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// [`Limits::charge`], which never waits.
    pub fn check(&self, rule: Rule, key: LimitKey) -> Decision {
        let group = self.group(key);
        match self.take(rule, self.limiter(rule).ladder(group), &self.keys(key, group)) {
            Ok(_) => Decision::Allowed,
            Err(Refused { retry_after, policy }) => Decision::Denied { retry_after, policy },
        }
    }

    /// [`Limits::start`], which never waits.
    pub fn check_start(&self, client: Client) -> Start {
        let denied = |rule, Refused { retry_after, policy }| Start::Denied { rule, retry_after, policy };
        let key = LimitKey::Client(client);
        let group = self.group(key);
        let keys = self.keys(key, group);
        let own = match self.take(Rule::StartPerClient, self.start_per_client.ladder(group), &keys) {
            Ok(own) => own,
            Err(refused) => return denied(Rule::StartPerClient, refused),
        };
        // Whose starts are not limited has no first one, or only such.
        let firsts = self.first_start.ladder(group);
        let first = firsts.filter(|firsts| firsts.charge(&keys).is_ok());
        let share = if firsts.is_none() || first.is_some() { Share::First } else { Share::Later };
        let total = match share {
            Share::First => self.start_total.ladder(None),
            Share::Later => self.later_start_total.as_ref(),
        };
        match self.take(Rule::StartTotal, total, &self.keys(LimitKey::Everyone, None)) {
            Ok(_) => Start::Allowed(share),
            Err(refused) => {
                // What did not come about costs nothing, and is not remembered: a flood fills no store with it.
                own.into_iter().chain(first).for_each(|ladder| ladder.give_back(&keys));
                denied(Rule::StartTotal, refused)
            }
        }
    }

    /// The rate that holds for this key, where there is one.
    pub(super) fn ladder(&self, rule: Rule, key: LimitKey) -> Option<&Ladder> {
        self.limiter(rule).ladder(self.group(key))
    }

    /// What a client's first starts are, where its starts are limited.
    pub(super) fn firsts(&self, client: Client) -> Option<&Ladder> {
        self.first_start.ladder(self.group(LimitKey::Client(client)))
    }

    /// What later starts may have of everyone's.
    pub(super) const fn later_total(&self) -> Option<&Ladder> {
        self.later_start_total.as_ref()
    }

    /// Whether a rule only counts what it would refuse.
    pub(super) fn observes(&self, rule: Rule) -> bool {
        self.limiter(rule).mode == Mode::Observe
    }

    /// Takes one, and tells where it can be put back; from nowhere, where there is no limit or it only watches.
    fn take<'a>(&self, rule: Rule, from: Option<&'a Ladder>, keys: &[Key]) -> Result<Option<&'a Ladder>, Refused> {
        let Some(ladder) = from else { return Ok(None) };
        match ladder.charge(keys) {
            Ok(near) => {
                if near {
                    self.events.record(Event::LimitNear { rule }, &About::default());
                }
                Ok(Some(ladder))
            }
            Err(_) if self.limiter(rule).mode == Mode::Observe => {
                self.events.record(Event::LimitObserved { rule }, &About::default());
                Ok(None)
            }
            Err(retry_after) => Err(Refused { retry_after, policy: policy(rule, ladder.rate()) }),
        }
    }

    /// The override that is for this key.
    pub(super) fn group(&self, key: LimitKey) -> Option<usize> {
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
            Rule::AnswerPerAccount => &self.answer_per_account,
        }
    }

    fn stores(&self) -> impl Iterator<Item = &Arc<Bounded>> {
        let Self {
            client,
            start_per_client,
            first_start,
            start_total,
            mail_per_account,
            mail_total,
            code_per_account,
            answer_per_account,
            ..
        } = self;
        [
            client,
            start_per_client,
            first_start,
            start_total,
            mail_per_account,
            mail_total,
            code_per_account,
            answer_per_account,
        ]
        .into_iter()
        .flat_map(|limiter| &limiter.stores)
    }

    /// One key a tier. Those of an override have keys of their own, also for the networks that they share with others:
    /// nobody spends what is somebody else's by another measure.
    pub(super) fn keys(&self, key: LimitKey, group: Option<usize>) -> Keys {
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
            LimitKey::Account(account) => [self.key(1, group, &account)].into_iter().collect(),
            LimitKey::Everyone => [self.key(2, group, &[])].into_iter().collect(),
        }
    }

    fn key(&self, kind: u8, group: Option<usize>, name: &[u8]) -> Key {
        let mut hasher = self.hash;
        hasher.write(&[kind]);
        hasher.write(&group.map_or(0, |group| group + 1).to_be_bytes());
        hasher.write(name);
        Key(hasher.finish())
    }
}

#[async_trait]
impl Limits for Governor {
    async fn charge(&self, rule: Rule, key: LimitKey) -> Decision {
        self.check(rule, key)
    }

    async fn restore(&self, rule: Rule, key: LimitKey) {
        let group = self.group(key);
        for (store, key) in self.limiter(rule).stores.iter().zip(self.keys(key, group).iter()) {
            store.forget(key);
        }
    }

    async fn start(&self, client: Client) -> Start {
        self.check_start(client)
    }

    async fn is_pressed(&self, client: Client) -> bool {
        self.pressure(client)
    }
}

/// A budget that is spent.
struct Refused {
    retry_after: Duration,
    policy: Option<Policy>,
}

/// How many of a client's starts are first ones.
fn first(rate: Rate) -> Rate {
    Rate { count: (rate.count.get() / FIRST).try_into().unwrap_or(NonZeroU32::MIN), ..rate }
}

/// What later starts may have of everyone's: it comes back as fast, but less of it is ever there. Who is alone is held up
/// by its own budget only.
fn later(rate: Rate, of_one: Option<Rate>) -> Rate {
    let alone = of_one.map_or(rate.count, |of_one| of_one.count.min(rate.count));
    let count = NonZeroU32::new(rate.count.get() / LATER).map_or(alone, |part| part.max(alone));
    Rate { count, period: rate.refill().saturating_mul(count.get()) }
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
pub(super) const fn policy(rule: Rule, rate: Rate) -> Option<Policy> {
    let name = match rule {
        Rule::Client => "client",
        Rule::StartPerClient => "start_per_client",
        Rule::StartTotal | Rule::MailPerAccount | Rule::MailTotal | Rule::CodePerAccount | Rule::AnswerPerAccount => {
            return None;
        }
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

/// How many keys a store keeps, and who is told of a newcomer refused for want of it.
struct Room<'a> {
    keys: usize,
    events: &'a Arc<dyn Events>,
}

impl Limiter {
    fn new(mode: Mode, rate: Option<Rate>, overrides: &[Option<Rate>], ticks: &Ticks, room: &Room<'_>) -> Self {
        let stores = std::array::from_fn(|_| Arc::new(Bounded::new(room.keys, Arc::clone(room.events))));
        let ladder = |rate: Option<Rate>| rate.map(|rate| Ladder::new(rate, &stores, ticks));
        let (usual, overrides) = (ladder(rate), overrides.iter().copied().map(ladder).collect());
        Self { mode, stores, usual, overrides }
    }

    fn ladder(&self, group: Option<usize>) -> Option<&Ladder> {
        group.and_then(|group| self.overrides.get(group)).unwrap_or(&self.usual).as_ref()
    }
}
