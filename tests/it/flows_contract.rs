//! What every code cache must do. Each story runs over every adapter; over the one on a server, each step is another
//! process's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use resetgate::{
    config::TokenKey,
    flows::{
        memory::{MemoryFlows, Rules},
        redis::RedisFlows,
    },
    keys::shared::Shared,
    kv::{Kv, Vault},
    reset::ports::{Attempt, Claim, Clock, FlowRef, Flows, Lane, NewCode, Opened, Secret, Settled, Spent, Time, Turn},
    telemetry::metrics::Metrics,
};

use crate::support::{clock::ManualClock, redis::RedisServer};

const TRIES: u32 = 5;
const REFUSED: u32 = 3;
const GAP: Duration = Duration::from_secs(60);
const LIFE: Duration = Duration::from_secs(1200);
const LEASE: Duration = Duration::from_secs(60);
const CODE: [u8; 16] = [1; 16];
const DIGITS: [u8; 16] = [5; 16];
const WRONG: [u8; 16] = [2; 16];
const PASSWORD: [u8; 16] = [3; 16];
const OTHER_PASSWORD: [u8; 16] = [4; 16];
const RULES: Rules = Rules { tries: TRIES, refused: REFUSED, mail_gap: GAP };

struct Cache {
    /// All of one cache; each step is the next one's.
    replicas: Vec<Arc<dyn Flows>>,
    next: AtomicUsize,
    clock: Arc<ManualClock>,
    /// How exactly times are kept.
    slack: Duration,
    server: Option<Server>,
}

/// A server, and the connections to it.
struct Server {
    connections: Vec<Arc<Kv>>,
    ahead: AtomicU64,
    _running: RedisServer,
}

impl Cache {
    fn of(replicas: Vec<Arc<dyn Flows>>, clock: Arc<ManualClock>, slack: Duration, server: Option<Server>) -> Self {
        Self { replicas, next: AtomicUsize::new(0), clock, slack, server }
    }

    fn memory(capacity: usize) -> Self {
        let clock = Arc::new(ManualClock::new());
        let flows = Arc::new(MemoryFlows::new(capacity, RULES, clock.clone()));
        Self::of(vec![flows], clock, Duration::from_millis(1), None)
    }

    async fn redis(capacity: usize) -> Option<Self> {
        let running = RedisServer::start().await?;
        let clock = Arc::new(ManualClock::new());
        let (mut connections, mut replicas): (Vec<_>, Vec<Arc<dyn Flows>>) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (kv, vault) = connected(&running);
            kv.met().await.unwrap();
            replicas.push(Arc::new(RedisFlows::new(kv.clone(), vault, capacity, RULES, clock.clone())));
            connections.push(kv);
        }
        let server = Server { connections, ahead: AtomicU64::new(0), _running: running };
        // Its own clock goes on meanwhile, and room is freed in steps.
        Some(Self::of(replicas, clock, LIFE / 64 + Duration::from_secs(5), Some(server)))
    }

    fn flows(&self) -> &dyn Flows {
        &*self.replicas[self.next.fetch_add(1, Ordering::Relaxed) % self.replicas.len()]
    }

    fn forward(&self, span: Duration) {
        self.clock.forward(span);
        let Some(Server { connections, ahead, .. }) = &self.server else { return };
        let millis = u64::try_from(span.as_millis()).unwrap();
        let ahead = Duration::from_millis(ahead.fetch_add(millis, Ordering::Relaxed) + millis);
        connections.iter().for_each(|kv| kv.ahead(ahead));
    }

    fn later(&self, span: Duration) -> Time {
        self.clock.now().after(span)
    }

    async fn open(&self, at: &FlowRef, digest: [u8; 16]) -> Opened {
        self.flows().open(at, NewCode { digest, digits: Some(DIGITS), expires: self.later(LIFE) }).await.unwrap()
    }

    async fn attempt(&self, at: &FlowRef, lane: Lane, code: [u8; 16]) -> bool {
        self.shows(at, lane, code).await == Attempt::Right
    }

    async fn shows(&self, at: &FlowRef, lane: Lane, code: [u8; 16]) -> Attempt {
        self.flows().attempt(at, lane, code, self.later(Duration::from_secs(300))).await.unwrap()
    }

    async fn claim(&self, at: &FlowRef, password: [u8; 16]) -> Claim {
        self.flows().claim(at, password, LEASE).await.unwrap()
    }
}

/// A process's connection, and what it seals with.
pub(crate) fn connected(running: &RedisServer) -> (Arc<Kv>, Arc<dyn Vault>) {
    let shared = Arc::new(Shared::new(&[TokenKey(Secret::of([7; 32]))]).unwrap());
    let numbers = Metrics::new(Time::default()).unwrap().kv().unwrap();
    let ids = shared.ids();
    (Arc::new(Kv::new(&running.config(), shared, numbers).unwrap()), ids)
}

fn flow(account: u8, flow: u8) -> FlowRef {
    FlowRef { account: [account; 16], flow: [flow; 16] }
}

/// Each story over each adapter.
macro_rules! contract {
    ($($name:ident: $capacity:literal,)*) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Cache::memory($capacity)).await;
            })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $name() {
                if let Some(cache) = super::Cache::redis($capacity).await {
                    super::$name(cache).await;
                }
            })*
        }
    };
}

contract! {
    the_right_code_is_right_as_often_as_it_is_shown: 10,
    a_strangers_tries_leave_the_mailed_link_good: 10,
    digits_are_right_for_the_asker_only: 10,
    tries_hold_however_many_come_at_once: 10,
    nothing_is_found_for_a_decoy: 10,
    a_start_within_the_gap_joins_the_mailed_code_with_tries_of_its_own: 10,
    starts_beyond_the_cap_are_crowded_out_and_end_nothing: 10,
    a_withdrawn_code_is_worth_nothing_and_joined_by_nobody: 10,
    a_code_ends_with_its_link_unless_it_was_shown: 10,
    a_password_is_set_once_and_ends_every_flow_of_the_account: 10,
    one_of_many_claims_is_granted: 10,
    what_was_never_sent_changes_nothing: 10,
    after_an_unknown_outcome_only_the_same_password_may_be_tried: 10,
    a_lease_that_nobody_settles_leaves_its_password_undecided: 10,
    refused_passwords_are_counted: 10,
    one_of_many_has_the_turn_to_answer: 10,
    the_turn_to_answer_ends_by_itself: 10,
    right_answers_prolong_the_flow: 10,
    room_is_taken_by_every_start_until_its_time_and_by_nothing_else: 3,
    parallel_starts_take_no_more_room_than_there_is: 16,
    what_is_spent_is_spent_until_its_time: 10,
    one_of_many_spends_it: 10,
    what_nothing_came_of_can_be_taken_back: 10,
    there_is_no_more_spent_than_there_is_room: 16,
}

async fn one_of_many_has_the_turn_to_answer(cache: Cache) {
    let cache = Arc::new(cache);
    cache.open(&flow(1, 1), CODE).await;
    cache.open(&flow(1, 2), CODE).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64 {
        let cache = cache.clone();
        tasks.spawn(async move { cache.flows().turn(&flow(1, 1 + n % 2), [n; 16], LEASE).await.unwrap() });
    }
    let turns = tasks.join_all().await;
    assert_eq!(turns.iter().filter(|turn| **turn == Turn::Ours).count(), 1, "{turns:?}");
    assert_eq!(turns.iter().filter(|turn| **turn == Turn::Busy).count(), 63);
    assert_eq!(cache.flows().turn(&flow(2, 1), [1; 16], LEASE).await.unwrap(), Turn::Gone, "no such flow");
    assert_eq!(cache.flows().turn(&flow(1, 9), [1; 16], LEASE).await.unwrap(), Turn::Gone, "nor this");
}

async fn the_turn_to_answer_ends_by_itself(cache: Cache) {
    let turn = async |ticket| cache.flows().turn(&flow(1, 1), [ticket; 16], LEASE).await.unwrap();
    cache.open(&flow(1, 1), CODE).await;
    assert_eq!(turn(1).await, Turn::Ours);
    assert_eq!(turn(1).await, Turn::Ours, "for the same one it is no other");
    assert_eq!(turn(2).await, Turn::Busy);
    cache.flows().pass(&flow(1, 1), [2; 16], None).await.unwrap();
    assert_eq!(turn(2).await, Turn::Busy, "nobody passes on what is another's");
    cache.flows().pass(&flow(1, 1), [1; 16], None).await.unwrap();
    assert_eq!(turn(2).await, Turn::Ours);
    cache.forward(LEASE + cache.slack);
    assert_eq!(turn(3).await, Turn::Ours, "whoever had it is not heard of any more");
    assert_eq!(cache.claim(&flow(1, 1), PASSWORD).await, Claim::Granted, "passwords have turns of their own");
}

async fn right_answers_prolong_the_flow(cache: Cache) {
    for n in 1..=2 {
        cache.open(&flow(n, 1), CODE).await;
        assert_eq!(cache.flows().turn(&flow(n, 1), [1; 16], LEASE).await.unwrap(), Turn::Ours);
    }
    let later = cache.later(LIFE + Duration::from_secs(300));
    cache.flows().pass(&flow(1, 1), [1; 16], Some(later)).await.unwrap();
    cache.flows().pass(&flow(2, 1), [1; 16], None).await.unwrap();
    cache.forward(LIFE + cache.slack);
    assert_eq!(cache.claim(&flow(1, 1), PASSWORD).await, Claim::Granted);
    assert_eq!(cache.claim(&flow(2, 1), PASSWORD).await, Claim::Gone);
}

async fn the_right_code_is_right_as_often_as_it_is_shown(cache: Cache) {
    assert_eq!(cache.open(&flow(1, 1), CODE).await, Opened::Mail);
    for _ in 0..3 * TRIES {
        assert!(cache.attempt(&flow(1, 1), Lane::Link, CODE).await);
        assert!(cache.attempt(&flow(1, 1), Lane::Asker, CODE).await);
    }
}

async fn a_strangers_tries_leave_the_mailed_link_good(cache: Cache) {
    cache.open(&flow(1, 1), CODE).await;
    for _ in 0..TRIES {
        assert!(!cache.attempt(&flow(1, 1), Lane::Asker, WRONG).await);
    }
    let shown = cache.shows(&flow(1, 1), Lane::Asker, CODE).await;
    assert_eq!(shown, Attempt::TriedOut, "even for the right code");
    assert!(cache.attempt(&flow(1, 1), Lane::Link, CODE).await);
}

async fn digits_are_right_for_the_asker_only(cache: Cache) {
    cache.open(&flow(1, 1), CODE).await;
    assert!(cache.attempt(&flow(1, 1), Lane::Asker, DIGITS).await);
    assert!(!cache.attempt(&flow(1, 1), Lane::Link, DIGITS).await);
    assert_eq!(cache.open(&flow(1, 2), WRONG).await, Opened::Joined);
    assert!(cache.attempt(&flow(1, 2), Lane::Asker, DIGITS).await, "whoever joins types what was mailed");
}

async fn tries_hold_however_many_come_at_once(cache: Cache) {
    let cache = Arc::new(cache);
    cache.open(&flow(1, 1), CODE).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let cache = cache.clone();
        tasks.spawn(async move { cache.attempt(&flow(1, 1), Lane::Asker, WRONG).await });
    }
    assert!(tasks.join_all().await.iter().all(|right| !right));
    assert!(!cache.attempt(&flow(1, 1), Lane::Asker, CODE).await);
}

async fn nothing_is_found_for_a_decoy(cache: Cache) {
    cache.open(&flow(1, 1), CODE).await;
    assert!(!cache.attempt(&flow(9, 1), Lane::Asker, CODE).await);
    assert_eq!(cache.claim(&flow(9, 1), PASSWORD).await, Claim::Gone);
    assert!(!cache.attempt(&flow(1, 9), Lane::Asker, CODE).await, "another flow of the same account");
}

async fn a_start_within_the_gap_joins_the_mailed_code_with_tries_of_its_own(cache: Cache) {
    cache.open(&flow(1, 1), CODE).await;
    for _ in 0..TRIES {
        cache.attempt(&flow(1, 1), Lane::Asker, WRONG).await;
    }
    cache.forward(GAP - cache.slack);
    assert_eq!(cache.open(&flow(1, 2), WRONG).await, Opened::Joined);
    assert!(!cache.attempt(&flow(1, 2), Lane::Asker, WRONG).await, "the code that was never mailed is worth nothing");
    assert!(cache.attempt(&flow(1, 2), Lane::Asker, CODE).await);
    cache.forward(cache.slack);
    assert_eq!(cache.open(&flow(1, 3), WRONG).await, Opened::Mail, "the gap is over");
    assert!(cache.attempt(&flow(1, 1), Lane::Link, CODE).await, "no start ends an earlier flow");
}

async fn starts_beyond_the_cap_are_crowded_out_and_end_nothing(cache: Cache) {
    cache.open(&flow(1, 0), CODE).await;
    let mut outcomes = Vec::new();
    for n in 1..100 {
        outcomes.push(cache.open(&flow(1, n), WRONG).await);
    }
    assert!(outcomes.contains(&Opened::Joined) && outcomes.last() == Some(&Opened::Crowded));
    assert!(cache.attempt(&flow(1, 0), Lane::Link, CODE).await);
    cache.forward(GAP);
    assert_eq!(cache.open(&flow(1, 200), [9; 16]).await, Opened::Mail, "joined flows take no mail's place");
    assert_eq!(cache.open(&flow(1, 201), WRONG).await, Opened::Joined, "nor that of another code's joined flows");
}

async fn a_withdrawn_code_is_worth_nothing_and_joined_by_nobody(cache: Cache) {
    cache.open(&flow(1, 1), CODE).await;
    assert_eq!(cache.open(&flow(1, 2), WRONG).await, Opened::Joined);
    cache.flows().withdraw(&flow(1, 1)).await.unwrap();
    assert!(!cache.attempt(&flow(1, 1), Lane::Link, CODE).await);
    assert!(!cache.attempt(&flow(1, 2), Lane::Asker, CODE).await);
    assert_eq!(cache.open(&flow(1, 3), CODE).await, Opened::Mail);
}

async fn a_code_ends_with_its_link_unless_it_was_shown(cache: Cache) {
    cache.open(&flow(1, 1), CODE).await;
    cache.open(&flow(2, 1), CODE).await;
    cache.forward(LIFE - cache.slack);
    assert!(cache.attempt(&flow(1, 1), Lane::Link, CODE).await, "shown at the last moment");
    cache.forward(cache.slack);
    assert_eq!(cache.claim(&flow(1, 1), PASSWORD).await, Claim::Granted, "there is time to type a password");
    assert_eq!(cache.shows(&flow(2, 1), Lane::Link, CODE).await, Attempt::Gone);
}

async fn a_password_is_set_once_and_ends_every_flow_of_the_account(cache: Cache) {
    cache.open(&flow(1, 1), CODE).await;
    cache.forward(GAP);
    cache.open(&flow(1, 2), WRONG).await;
    assert_eq!(cache.claim(&flow(1, 1), PASSWORD).await, Claim::Granted);
    assert_eq!(cache.claim(&flow(1, 1), PASSWORD).await, Claim::Busy);
    assert_eq!(cache.claim(&flow(1, 2), OTHER_PASSWORD).await, Claim::Busy);
    cache.flows().settle(&flow(1, 1), Settled::Set).await.unwrap();
    assert_eq!(cache.claim(&flow(1, 1), PASSWORD).await, Claim::AlreadySet);
    assert_eq!(cache.claim(&flow(1, 1), OTHER_PASSWORD).await, Claim::Gone);
    assert_eq!(cache.claim(&flow(1, 2), PASSWORD).await, Claim::Gone);
    assert_eq!(cache.shows(&flow(1, 1), Lane::Link, CODE).await, Attempt::Spent);
    assert_eq!(cache.shows(&flow(1, 2), Lane::Link, WRONG).await, Attempt::Spent);
    assert_eq!(cache.open(&flow(1, 3), CODE).await, Opened::Mail, "a new start is a new mail, gap or not");
}

async fn one_of_many_claims_is_granted(cache: Cache) {
    let cache = Arc::new(cache);
    cache.open(&flow(1, 1), CODE).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64 {
        let cache = cache.clone();
        tasks.spawn(async move { cache.claim(&flow(1, 1), [n; 16]).await });
    }
    assert_eq!(tasks.join_all().await.iter().filter(|claim| **claim == Claim::Granted).count(), 1);
}

async fn what_was_never_sent_changes_nothing(cache: Cache) {
    cache.open(&flow(1, 1), CODE).await;
    assert_eq!(cache.claim(&flow(1, 1), PASSWORD).await, Claim::Granted);
    cache.flows().settle(&flow(1, 1), Settled::NotSent).await.unwrap();
    assert_eq!(cache.claim(&flow(1, 1), OTHER_PASSWORD).await, Claim::Granted);
}

async fn after_an_unknown_outcome_only_the_same_password_may_be_tried(cache: Cache) {
    cache.open(&flow(1, 1), CODE).await;
    cache.claim(&flow(1, 1), PASSWORD).await;
    cache.flows().settle(&flow(1, 1), Settled::Unknown).await.unwrap();
    assert_eq!(cache.claim(&flow(1, 1), OTHER_PASSWORD).await, Claim::Undecided);
    assert_eq!(cache.claim(&flow(1, 1), PASSWORD).await, Claim::Granted);
}

async fn a_lease_that_nobody_settles_leaves_its_password_undecided(cache: Cache) {
    cache.open(&flow(1, 1), CODE).await;
    cache.claim(&flow(1, 1), PASSWORD).await;
    cache.forward(LEASE);
    assert_eq!(cache.claim(&flow(1, 1), OTHER_PASSWORD).await, Claim::Undecided);
    assert_eq!(cache.claim(&flow(1, 1), PASSWORD).await, Claim::Granted);
}

async fn refused_passwords_are_counted(cache: Cache) {
    cache.open(&flow(1, 1), CODE).await;
    let mut granted = 0;
    while cache.claim(&flow(1, 1), PASSWORD).await == Claim::Granted {
        granted += 1;
        let until = cache.later(Duration::from_secs(300));
        cache.flows().settle(&flow(1, 1), Settled::Refused { until }).await.unwrap();
    }
    assert_eq!(granted, REFUSED);
}

async fn room_is_taken_by_every_start_until_its_time_and_by_nothing_else(cache: Cache) {
    let reserve = async |life| cache.flows().reserve(cache.later(life)).await.unwrap();
    assert!(reserve(LIFE).await && reserve(LIFE + GAP).await && reserve(2 * LIFE).await);
    assert!(!reserve(LIFE).await, "full");
    cache.open(&flow(1, 1), CODE).await;
    cache.claim(&flow(1, 1), PASSWORD).await;
    cache.flows().settle(&flow(1, 1), Settled::Set).await.unwrap();
    assert!(!reserve(LIFE).await, "what an owner does frees nothing");
    cache.forward(LIFE - cache.slack);
    assert!(!reserve(LIFE).await);
    cache.forward(2 * cache.slack);
    assert!(reserve(LIFE).await && !reserve(LIFE).await, "one has ended");
    cache.forward(LIFE + 2 * cache.slack);
    assert!(reserve(LIFE).await && reserve(LIFE).await && reserve(LIFE).await && !reserve(LIFE).await);
}

async fn parallel_starts_take_no_more_room_than_there_is(cache: Cache) {
    let cache = Arc::new(cache);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let cache = cache.clone();
        tasks.spawn(async move { cache.flows().reserve(cache.later(LIFE)).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.iter().filter(|found| **found).count(), 16);
}

async fn what_is_spent_is_spent_until_its_time(cache: Cache) {
    let spend = async |mark: u8, life| cache.flows().spend_once([mark; 16], cache.later(life)).await.unwrap();
    assert_eq!((spend(1, LIFE).await, spend(2, LIFE).await), (Spent::Now, Spent::Now));
    assert_eq!((spend(1, LIFE).await, spend(1, 2 * LIFE).await), (Spent::Before, Spent::Before));
    assert!(!cache.attempt(&flow(1, 1), Lane::Asker, CODE).await, "a mark is no record");
    if cache.server.is_none() {
        // A server forgets them by its own clock, which nobody can move.
        cache.forward(LIFE);
        assert_eq!(spend(1, LIFE).await, Spent::Now);
    }
}

async fn one_of_many_spends_it(cache: Cache) {
    let cache = Arc::new(cache);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let cache = cache.clone();
        tasks.spawn(async move { cache.flows().spend_once([1; 16], cache.later(LIFE)).await.unwrap() });
    }
    let spent = tasks.join_all().await;
    assert_eq!(spent.iter().filter(|spent| **spent == Spent::Now).count(), 1);
    assert_eq!(spent.iter().filter(|spent| **spent == Spent::Before).count(), 63);
}

async fn what_nothing_came_of_can_be_taken_back(cache: Cache) {
    let spend = async || cache.flows().spend_once([1; 16], cache.later(LIFE)).await.unwrap();
    assert_eq!((spend().await, spend().await), (Spent::Now, Spent::Before));
    cache.flows().unspend([1; 16]).await.unwrap();
    assert_eq!((spend().await, spend().await), (Spent::Now, Spent::Before));
    cache.flows().unspend([9; 16]).await.unwrap();
}

async fn there_is_no_more_spent_than_there_is_room(cache: Cache) {
    let cache = Arc::new(cache);
    let mut tasks = tokio::task::JoinSet::new();
    for mark in 0..64 {
        let cache = cache.clone();
        tasks.spawn(async move { cache.flows().spend_once([mark; 16], cache.later(LIFE)).await.unwrap() });
    }
    let spent = tasks.join_all().await;
    assert_eq!(spent.iter().filter(|spent| **spent == Spent::Now).count(), 16);
    assert_eq!(spent.iter().filter(|spent| **spent == Spent::Full).count(), 48);
    let one = spent.iter().position(|spent| *spent == Spent::Now).unwrap();
    let known = cache.flows().spend_once([u8::try_from(one).unwrap(); 16], cache.later(LIFE)).await.unwrap();
    assert_eq!(known, Spent::Before, "also where there is room for no more");
    cache.forward(LIFE + cache.slack);
    let again = cache.flows().spend_once([100; 16], cache.later(LIFE)).await.unwrap();
    assert_eq!(again, Spent::Now, "their time is over");
}

/// A restart, or an upgrade, makes nothing good again that was spent.
#[tokio::test]
async fn what_is_spent_goes_over_to_the_next_process() {
    let clock = Arc::new(ManualClock::new());
    let (before, after) = (MemoryFlows::new(3, RULES, clock.clone()), MemoryFlows::new(3, RULES, clock.clone()));
    let until = clock.now().after(LIFE);
    assert_eq!(before.spend_once([1; 16], until).await, Ok(Spent::Now));
    after.go_on(before.keep());
    assert_eq!(after.spend_once([1; 16], until).await, Ok(Spent::Before));
    assert_eq!(after.spend_once([2; 16], until).await, Ok(Spent::Now));
}

#[tokio::test]
async fn a_record_that_has_ended_is_forgotten() {
    let clock = Arc::new(ManualClock::new());
    let flows = MemoryFlows::new(3, RULES, clock.clone());
    let code = NewCode { digest: CODE, digits: None, expires: clock.now().after(LIFE) };
    for account in 1..=3 {
        assert!(flows.reserve(code.expires).await.unwrap());
        assert_eq!(flows.open(&flow(account, 1), code).await, Ok(Opened::Mail));
    }
    flows.tidy();
    assert_eq!((flows.live(), flows.starts()), (3, 3));
    clock.forward(LIFE);
    // The cache's own clock, by which it finds them by itself, is not this one.
    for account in 1..=3 {
        assert_eq!(flows.attempt(&flow(account, 1), Lane::Link, CODE, clock.now()).await, Ok(Attempt::Gone));
    }
    assert_eq!(flows.starts(), 0);
    empties(&flows).await;
}

/// Waits until no account has live flows.
async fn empties(flows: &MemoryFlows) {
    let tidied = async {
        // What is removed is dropped as soon as no other thread can be reading it, which on a busy machine takes a while.
        while flows.live() > 0 {
            flows.tidy();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), tidied).await.expect("forgotten");
}

#[tokio::test]
async fn codes_that_nobody_comes_back_to_are_forgotten() {
    let clock = Arc::new(ManualClock::new());
    let flows = MemoryFlows::new(2, RULES, clock.clone());
    let expires = clock.now().after(Duration::from_millis(200));
    for account in 1..=2 {
        let code = NewCode { digest: CODE, digits: None, expires };
        assert_eq!(flows.open(&flow(account, 1), code).await, Ok(Opened::Mail));
    }
    // One is shown; on a busy machine it may have ended by now.
    let _ = flows.attempt(&flow(2, 1), Lane::Link, CODE, expires).await;
    empties(&flows).await;
}

/// As at a restart: what is written, read, and gone on with.
#[tokio::test]
async fn what_one_cache_knows_the_next_goes_on_with() {
    let clock = Arc::new(ManualClock::new());
    let cache = |capacity| {
        let flows = Arc::new(MemoryFlows::new(capacity, RULES, clock.clone()));
        (Cache::of(vec![flows.clone()], clock.clone(), Duration::ZERO, None), flows)
    };
    let (former, flows) = cache(10);
    for at in [1, 2, 3, 4] {
        former.flows().reserve(former.later(LIFE)).await.unwrap();
        former.open(&flow(at, 1), CODE).await;
    }
    for _ in 0..TRIES {
        assert!(!former.attempt(&flow(1, 1), Lane::Asker, WRONG).await);
    }
    former.attempt(&flow(2, 1), Lane::Link, CODE).await;
    former.claim(&flow(2, 1), PASSWORD).await;
    former.flows().settle(&flow(2, 1), Settled::Set).await.unwrap();
    former.attempt(&flow(3, 1), Lane::Link, CODE).await;
    former.claim(&flow(3, 1), PASSWORD).await;

    let kept = serde_json::to_vec(&flows.keep()).unwrap();
    // Room that was taken stays taken, up to what there is.
    let (next, flows) = cache(3);
    flows.go_on(serde_json::from_slice(&kept).unwrap());
    assert_eq!(flows.starts(), 3);
    assert!(!next.attempt(&flow(1, 1), Lane::Asker, CODE).await, "tried out before");
    assert!(next.attempt(&flow(1, 1), Lane::Link, CODE).await);
    assert_eq!(next.claim(&flow(2, 1), PASSWORD).await, Claim::AlreadySet);
    assert_eq!(next.claim(&flow(2, 1), OTHER_PASSWORD).await, Claim::Gone);
    assert_eq!(next.claim(&flow(3, 1), PASSWORD).await, Claim::Busy);
    assert_eq!(next.open(&flow(4, 2), WRONG).await, Opened::Joined);
    // Nobody knows what became of the password that was on its way.
    clock.forward(LEASE);
    assert_eq!(next.claim(&flow(3, 1), OTHER_PASSWORD).await, Claim::Undecided);
    assert_eq!(next.claim(&flow(3, 1), PASSWORD).await, Claim::Granted);

    // What has ended since is not gone on with.
    clock.forward(LIFE);
    let (next, flows) = cache(10);
    flows.go_on(serde_json::from_slice(&kept).unwrap());
    assert_eq!(flows.starts(), 0);
    assert!(!next.attempt(&flow(1, 1), Lane::Link, CODE).await);
}
