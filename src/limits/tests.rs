use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;

use super::*;
use crate::{
    config::{self, LimitName, Rate},
    reset::ports::{About, Client, Clock, Decision, Event, Events, LimitKey, Limits, Policy, Rule, Share, Start, Time},
};

/// Stands still until it is moved.
struct Manual(AtomicU64);

impl Manual {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(1_800_000_000_000)))
    }
    fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for Manual {
    fn now(&self) -> Time {
        Time::from_millis(self.0.load(Ordering::SeqCst))
    }
    async fn until(&self, _: Time) {}
}

/// Keeps what is reported.
#[derive(Default)]
struct Noted(parking_lot::Mutex<Vec<Event>>);

impl Events for Noted {
    fn record(&self, event: Event, _: &About<'_>) {
        self.0.lock().push(event);
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn rate(count: u32, period: Duration) -> Option<Rate> {
    Some(Rate { count: NonZeroU32::new(count).unwrap(), period })
}

/// `client` is given; `start_per_client` is 2 in 10 s; `mail_total` is 1 in 1 s; the others are off.
fn limits(client: Option<Rate>, capacity: usize) -> (Arc<Manual>, Governor) {
    let config = config::Limits {
        shared: false,
        client,
        start_per_client: rate(2, 10 * SECOND),
        start_total: None,
        mail_per_account: None,
        mail_total: rate(1, SECOND),
        code_per_account: None,
        answer_per_account: None,
        overrides: vec![],
        observe: vec![],
        capacity,
    };
    made(&config)
}

fn made(config: &config::Limits) -> (Arc<Manual>, Governor) {
    let clock = Manual::new();
    let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
    (clock, Governor::new(config, &shared, &(Arc::new(Noted::default()) as _), &[7; 32]))
}

fn v4(address: u32) -> LimitKey {
    LimitKey::Client(Client::V4(address.to_be_bytes()))
}

fn denied(retry_after: Duration) -> Denial {
    Denial(retry_after)
}

/// Denied for so long, whatever may be told of it.
#[derive(Debug)]
struct Denial(Duration);

impl PartialEq<Denial> for Decision {
    fn eq(&self, denial: &Denial) -> bool {
        matches!(self, Self::Denied { retry_after, .. } if *retry_after == denial.0)
    }
}

#[test]
fn only_a_clients_own_budget_is_told() {
    let (_, limits) = limits(rate(1, SECOND), 100);
    let told = |rule, key| {
        (0..9).find_map(|_| match limits.check(rule, key) {
            Decision::Denied { policy, .. } => Some(policy),
            Decision::Allowed => None,
        })
    };
    let own = |name, quota, window| Some(Some(Policy { name, quota, window }));
    assert_eq!(told(Rule::Client, v4(1)), own("client", 1, SECOND));
    assert_eq!(told(Rule::StartPerClient, v4(1)), own("start_per_client", 2, 10 * SECOND));
    assert_eq!(told(Rule::MailTotal, LimitKey::Everyone), Some(None));
    // Where the /56 denies: one client's all the same.
    assert_eq!(allowed(&limits, 0..4), 4);
    assert_eq!(told(Rule::Client, v6(5)), own("client", 1, SECOND));
}

#[test]
fn a_burst_then_one_a_refill() {
    let (clock, limits) = limits(rate(5, 10 * SECOND), 100);
    for _ in 0..5 {
        assert_eq!(limits.check(Rule::Client, v4(1)), Decision::Allowed);
    }
    // Denied ones cost nothing: the wait stays the same, however often one asks.
    for _ in 0..50 {
        assert_eq!(limits.check(Rule::Client, v4(1)), denied(2 * SECOND));
    }
    clock.advance(Duration::from_millis(500));
    assert_eq!(limits.check(Rule::Client, v4(1)), denied(Duration::from_millis(1500)));
    clock.advance(Duration::from_millis(1499));
    assert_eq!(limits.check(Rule::Client, v4(1)), denied(Duration::from_millis(1)));
    clock.advance(Duration::from_millis(1));
    assert_eq!(limits.check(Rule::Client, v4(1)), Decision::Allowed);
    assert_eq!(limits.check(Rule::Client, v4(1)), denied(2 * SECOND));
    clock.advance(10 * SECOND);
    assert_eq!((0..9).filter(|_| limits.check(Rule::Client, v4(1)) == Decision::Allowed).count(), 5);
}

#[test]
fn keys_and_rules_are_told_apart() {
    let (_, limits) = limits(rate(1, SECOND), 100);
    let prefix = [0, 0, 0, 1, 0, 0, 0, 0];
    let keys = [
        v4(1),
        v4(2),
        LimitKey::Client(Client::V6(prefix)),
        LimitKey::Client(Client::V6([0; 8])),
        LimitKey::Client(Client::Unknown),
        LimitKey::Account([0; 16]),
        LimitKey::Account([1; 16]),
        LimitKey::Everyone,
    ];
    for key in keys {
        assert_eq!(limits.check(Rule::Client, key), Decision::Allowed, "{key:?}");
        assert_eq!(limits.check(Rule::Client, key), denied(SECOND), "{key:?}");
        assert_eq!(limits.check(Rule::StartPerClient, key), Decision::Allowed, "{key:?}");
    }
    // Two of them are IPv6, and are remembered in three tiers.
    assert_eq!(limits.len(), 2 * (keys.len() + 2 * 2));
}

fn v6(prefix: u64) -> LimitKey {
    LimitKey::Client(Client::V6(prefix.to_be_bytes()))
}

fn allowed(limits: &Governor, keys: impl IntoIterator<Item = u64>) -> usize {
    keys.into_iter().filter(|key| limits.check(Rule::Client, v6(*key)) == Decision::Allowed).count()
}

#[test]
fn whoever_has_many_ipv6_networks_has_little_more_than_one() {
    let (clock, limits) = limits(rate(5, 10 * SECOND), 10_000);
    assert_eq!(allowed(&limits, [0; 9]), 5, "a /64 has one client's");
    assert_eq!(allowed(&limits, 1..100), 20 - 5, "a /56 has four clients'");
    assert_eq!(allowed(&limits, 0x100..0x1000), 80 - 20, "a /48 has sixteen clients'");
    assert_eq!(limits.check(Rule::Client, v6(0xffff)), denied(SECOND / 8), "which is what it waits for");
    assert_eq!(allowed(&limits, 0x1_0000..0x1_0001), 1, "the next /48 has its own");
    clock.advance(10 * SECOND);
    assert_eq!(allowed(&limits, 0..0x1000), 80);
}

#[test]
fn what_is_denied_is_charged_in_no_tier_and_not_remembered() {
    let (clock, limits) = limits(rate(5, 10 * SECOND), 10_000);
    // A /64 that goes on after its budget takes nothing of its neighbours'.
    assert_eq!(allowed(&limits, [0; 1000]), 5);
    assert_eq!(allowed(&limits, 1..100), 15);
    let remembered = limits.len();
    // Nor does a /56 that goes on take of the other /56s', or of its own /64s'.
    assert_eq!(allowed(&limits, 1000..1000), 0);
    assert_eq!(allowed(&limits, (100..200).chain([19; 100])), 0);
    assert_eq!(limits.len(), remembered);
    assert_eq!(allowed(&limits, 0x100..0x1000), 60);
    clock.advance(SECOND / 2);
    assert_eq!(limits.check(Rule::Client, v6(19)), Decision::Allowed, "one is back in the /56");
    assert_eq!(limits.check(Rule::Client, v6(19)), denied(SECOND / 2));
    clock.advance(10 * SECOND);
    assert_eq!(allowed(&limits, [19; 9]), 5, "of which the denied ones took none");
}

#[test]
fn parallel_requests_of_one_wide_network_get_exactly_its_budget() {
    let (_, limits) = limits(rate(10, SECOND), 10_000);
    let total = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (limits, total) = (&limits, &total);
            scope
                .spawn(move || total.fetch_add(allowed(limits, (0..0x100).map(|n| n << 8 | thread)), Ordering::SeqCst));
        }
    });
    assert_eq!(total.into_inner(), 160);
}

#[test]
fn a_rule_that_is_observed_counts_and_lets_pass() {
    let config = config::Limits {
        shared: false,
        client: rate(10, 10 * SECOND),
        start_per_client: rate(10, 10 * SECOND),
        start_total: None,
        mail_per_account: None,
        mail_total: None,
        code_per_account: None,
        answer_per_account: None,
        overrides: vec![],
        observe: vec![LimitName::Client],
        capacity: 100,
    };
    let (clock, noted) = (Manual::new(), Arc::new(Noted::default()));
    let limits = Governor::new(&config, &(Arc::clone(&clock) as _), &(Arc::clone(&noted) as _), &[7; 32]);
    let asked = |rule, times: usize| {
        let allowed = (0..times).filter(|_| limits.check(rule, v4(1)) == Decision::Allowed).count();
        (allowed, std::mem::take(&mut *noted.0.lock()))
    };
    assert_eq!(asked(Rule::Client, 7), (7, vec![]));
    let (near, over) = (Event::LimitNear { rule: Rule::Client }, Event::LimitObserved { rule: Rule::Client });
    assert_eq!(asked(Rule::Client, 5), (5, vec![near, near, near, over, over]));
    clock.advance(SECOND);
    assert_eq!(asked(Rule::Client, 2), (2, vec![near, over]), "what was over has cost nothing");
    let near = Event::LimitNear { rule: Rule::StartPerClient };
    assert_eq!(asked(Rule::StartPerClient, 15), (10, vec![near; 3]), "others refuse as ever");
}

#[tokio::test]
async fn what_is_restored_has_its_whole_budget_and_nobody_else_has() {
    let (_, limits) = limits(rate(3, 30 * SECOND), 10);
    for key in [v4(1), v4(2), v6(7 << 16)] {
        assert_eq!((0..9).filter(|_| limits.check(Rule::Client, key) == Decision::Allowed).count(), 3);
    }
    for key in [v4(1), v6(7 << 16), v4(1), v4(3)] {
        limits.restore(Rule::Client, key).await;
    }
    assert_eq!(
        [v4(1), v4(2), v6(7 << 16)].map(|key| limits.check(Rule::Client, key) == Decision::Allowed),
        [true, false, true]
    );
    assert_eq!(limits.len(), 1 + 1 + 3);
}

#[test]
fn some_networks_have_budgets_of_their_own() {
    let of = |clients: &[&str], client| config::Override {
        clients: clients.iter().map(|net| net.parse().unwrap()).collect(),
        client,
        start_per_client: rate(1, SECOND),
    };
    let config = config::Limits {
        shared: false,
        client: rate(1, SECOND),
        start_per_client: None,
        start_total: None,
        mail_per_account: None,
        mail_total: None,
        code_per_account: None,
        answer_per_account: None,
        overrides: vec![
            of(&["10.0.0.0/24", "2001:db8:0:1::/64"], rate(3, SECOND)),
            of(&["10.0.1.7/32", "10.0.0.0/8"], None),
        ],
        observe: vec![],
        capacity: 1000,
    };
    let (_, limits) = made(&config);
    let count = |key| (0..50).filter(|_| limits.check(Rule::Client, key) == Decision::Allowed).count();
    assert_eq!([0x0a00_0001, 0x0a00_0002, 0x0a00_00ff].map(|address| count(v4(address))), [3; 3]);
    assert_eq!([0x0a00_0107, 0x0aff_ffff].map(|address| count(v4(address))), [50; 2], "off");
    assert_eq!([0x0b00_0000, 0x09ff_ffff].map(|address| count(v4(address))), [1; 2]);
    // Its neighbours in the /56 count apart.
    assert_eq!(count(v6(0x2001_0db8_0000_0001)), 3);
    assert_eq!(allowed(&limits, (0x10..0xff).map(|n| 0x2001_0db8_0000_0000 | n)), 4);
    assert_eq!(count(LimitKey::Client(Client::Unknown)), 1);
    assert_eq!(limits.check(Rule::StartPerClient, v4(0x0a00_0107)), Decision::Allowed);
    assert_eq!(limits.check(Rule::StartPerClient, v4(0x0a00_0107)), denied(SECOND));
    assert_eq!(limits.check(Rule::StartPerClient, v4(1)), Decision::Allowed);
    assert_eq!(limits.check(Rule::StartPerClient, v4(1)), Decision::Allowed, "off for the others");
}

#[tokio::test]
async fn a_rule_that_is_off_allows_everything_and_remembers_nothing() {
    let (_, limits) = limits(None, 100);
    for _ in 0..1000 {
        assert_eq!(limits.charge(Rule::Client, v4(1)).await, Decision::Allowed);
        assert_eq!(limits.charge(Rule::MailPerAccount, LimitKey::Account([1; 16])).await, Decision::Allowed);
        assert_eq!(limits.charge(Rule::StartTotal, LimitKey::Everyone).await, Decision::Allowed);
    }
    assert!(limits.is_empty());
    assert_eq!(limits.charge(Rule::MailTotal, LimitKey::Everyone).await, Decision::Allowed);
    assert_eq!(limits.charge(Rule::MailTotal, LimitKey::Everyone).await, denied(SECOND));
}

#[test]
fn parallel_requests_get_exactly_the_burst() {
    let (_, limits) = limits(rate(100, SECOND), 10);
    let allowed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    if limits.check(Rule::Client, v4(1)) == Decision::Allowed {
                        allowed.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(allowed.into_inner(), 100);
}

#[test]
fn when_full_new_keys_share_one_budget_and_old_ones_keep_theirs() {
    let (clock, limits) = limits(rate(3, 30 * SECOND), 10);
    for address in 0..10 {
        assert_eq!(limits.check(Rule::Client, v4(address)), Decision::Allowed);
    }
    // Three for all that come later, not three each.
    assert_eq!((10..1000).filter(|a| limits.check(Rule::Client, v4(*a)) == Decision::Allowed).count(), 3);
    assert_eq!(limits.check(Rule::Client, v4(1000)), denied(10 * SECOND));
    assert_eq!(limits.len(), 10);
    for address in 0..10 {
        assert_eq!(limits.check(Rule::Client, v4(address)), Decision::Allowed);
        assert_eq!(limits.check(Rule::Client, v4(address)), Decision::Allowed);
        assert_eq!(limits.check(Rule::Client, v4(address)), denied(10 * SECOND));
    }
    clock.advance(10 * SECOND);
    assert_eq!((10..1000).filter(|a| limits.check(Rule::Client, v4(*a)) == Decision::Allowed).count(), 1);
}

#[test]
fn when_full_ipv6_newcomers_share_one_budget_and_old_ones_keep_theirs() {
    // Each in a /48 of its own.
    let network = |n: u64| n << 16;
    let (_, limits) = limits(rate(3, 30 * SECOND), 10);
    assert_eq!(allowed(&limits, (0..10).map(network)), 10);
    assert_eq!(allowed(&limits, (10..1000).map(network)), 3);
    assert_eq!(limits.len(), 3 * 10);
    assert_eq!(allowed(&limits, (0..10).cycle().take(50).map(network)), 20);
}

#[test]
fn what_newcomers_share_is_given_back_too_where_a_wider_network_denies() {
    let (_, limits) = limits(rate(1, SECOND), 16);
    // Fills the /64s, and spends the /48.
    assert_eq!(allowed(&limits, (0..4).flat_map(|net| (0..4).map(move |n| net << 8 | n))), 16);
    assert_eq!(allowed(&limits, 0x1000..0x1100), 0);
    // The one that newcomers share is still there.
    assert_eq!(allowed(&limits, [1 << 16, 2 << 16]), 1);
    assert_eq!(limits.len(), 16 + 5 + 2);
}

#[test]
fn a_full_store_makes_room_by_itself_once_budgets_are_whole() {
    let (clock, limits) = limits(rate(3, 30 * SECOND), 10);
    for address in 0..2000 {
        limits.check(Rule::Client, v4(address));
    }
    // As often as it is full.
    for round in 3..6 {
        clock.advance(60 * SECOND);
        for address in (0..10).map(|n| round * 1000 + n) {
            for _ in 0..3 {
                assert_eq!(limits.check(Rule::Client, v4(address)), Decision::Allowed);
            }
        }
        assert_eq!(limits.len(), 10);
    }
}

#[test]
fn parallel_new_keys_never_exceed_the_bound() {
    let (_, limits) = limits(rate(1, SECOND), 50);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let limits = &limits;
            scope.spawn(move || {
                for n in 0..500 {
                    limits.check(Rule::Client, v4(thread * 1000 + n));
                }
            });
        }
    });
    assert_eq!(limits.len(), 50);
}

#[test]
fn tidy_forgets_what_is_whole_again_and_only_that() {
    let (clock, limits) = limits(rate(3, 30 * SECOND), 10_000);
    for address in 0..5000 {
        limits.check(Rule::Client, v4(address));
    }
    for _ in 0..3 {
        limits.check(Rule::Client, v4(1));
    }
    limits.tidy();
    assert_eq!(limits.len(), 5000);
    clock.advance(21 * SECOND);
    limits.tidy();
    assert_eq!(limits.len(), 1);
    assert_eq!(limits.check(Rule::Client, v4(1)), Decision::Allowed);
    clock.advance(60 * SECOND);
    limits.tidy();
    assert!(limits.is_empty());
}

#[test]
fn the_strangest_rates_and_times_break_nothing() {
    for (count, period) in [(u32::MAX, Duration::from_nanos(1)), (1, Duration::MAX), (u32::MAX, Duration::MAX)] {
        let (clock, limits) = limits(rate(count, period), 10);
        assert_eq!(limits.check(Rule::Client, v4(1)), Decision::Allowed);
        clock.0.store(u64::MAX, Ordering::SeqCst);
        limits.tidy();
        limits.check(Rule::Client, v4(1));
        clock.0.store(0, Ordering::SeqCst);
        limits.check(Rule::Client, v4(1));
    }
    let (_, limits) = limits(rate(2, SECOND), 0);
    assert_eq!((0..9).filter(|a| limits.check(Rule::Client, v4(*a)) == Decision::Allowed).count(), 2);
}

/// `start_per_client` is 60 in 60 s, so two of them are first ones; `start_total` is 240 in 2400 s.
fn config_of_starts() -> config::Limits {
    config::Limits {
        shared: false,
        client: None,
        start_per_client: rate(60, 60 * SECOND),
        start_total: rate(240, 2400 * SECOND),
        mail_per_account: None,
        mail_total: None,
        code_per_account: None,
        answer_per_account: None,
        overrides: vec![config::Override {
            clients: vec!["10.0.0.0/24".parse().unwrap()],
            client: None,
            start_per_client: None,
        }],
        observe: vec![],
        capacity: 1000,
    }
}

fn starts() -> (Arc<Manual>, Governor) {
    made(&config_of_starts())
}

fn start(limits: &Governor, address: u32) -> Result<Share, Rule> {
    match limits.check_start(Client::V4(address.to_be_bytes())) {
        Start::Allowed(share) => Ok(share),
        Start::Denied { rule, .. } => Err(rule),
    }
}

#[test]
fn later_starts_leave_three_quarters_of_everyones_to_first_ones() {
    use Share::{First, Later};
    let (clock, limits) = starts();
    assert_eq!([start(&limits, 1), start(&limits, 1)], [Ok(First); 2]);
    // Who is alone is held up by its own budget only.
    assert!((2..60).all(|_| start(&limits, 1) == Ok(Later)));
    assert_eq!(start(&limits, 1), Err(Rule::StartPerClient));
    // A quarter is gone, and the rest is for first ones.
    assert_eq!([2, 2, 2].map(|address| start(&limits, address)), [Ok(First), Ok(First), Err(Rule::StartTotal)]);
    let mut firsts = (3..).flat_map(|address| [address; 2]).map(|address| start(&limits, address));
    assert!(firsts.by_ref().take(178).all(|started| started == Ok(First)));
    assert_eq!(firsts.next(), Some(Err(Rule::StartTotal)), "that was all of it");
    drop(firsts);
    clock.advance(10 * SECOND);
    assert_eq!([start(&limits, 2), start(&limits, 999)], [Err(Rule::StartTotal), Ok(First)]);
}

#[test]
fn of_much_that_is_everyones_a_quarter_is_for_later_starts() {
    let config = config::Limits { start_total: rate(400, 4000 * SECOND), ..config_of_starts() };
    let (_, limits) = made(&config);
    assert!((0..60).all(|_| start(&limits, 1).is_ok()));
    assert_eq!((0..60).filter(|_| start(&limits, 2).is_ok()).count(), 40, "a hundred in all");
}

#[test]
fn a_small_limit_on_everyones_starts_holds_for_one_client_as_it_is_written() {
    let config = config::Limits { start_total: rate(5, 60 * SECOND), ..config_of_starts() };
    let (_, limits) = made(&config);
    assert!((0..5).all(|_| start(&limits, 1).is_ok()));
    assert_eq!([start(&limits, 1), start(&limits, 2)], [Err(Rule::StartTotal); 2]);
}

#[test]
fn a_start_that_everyones_limit_refuses_costs_the_client_nothing() {
    let (clock, limits) = starts();
    for address in (0..120).flat_map(|address| [address; 2]) {
        assert_eq!(start(&limits, address), Ok(Share::First));
    }
    let kept = limits.len();
    for address in 200..1000 {
        assert_eq!(start(&limits, address), Err(Rule::StartTotal));
    }
    assert_eq!(limits.len(), kept, "nor is it remembered");
    assert_eq!(start(&limits, 0), Err(Rule::StartTotal));
    assert_eq!(limits.len(), kept, "but what it had used before is");
    for _ in 0..100 {
        assert_eq!(start(&limits, 200), Err(Rule::StartTotal));
    }
    clock.advance(10 * SECOND);
    assert_eq!(start(&limits, 200), Ok(Share::First));
}

#[test]
fn starts_that_are_not_limited_are_all_first_ones() {
    let (_, limits) = starts();
    assert_eq!((0..300).filter(|_| start(&limits, 0x0a00_0001) == Ok(Share::First)).count(), 240);
    assert_eq!(start(&limits, 0x0a00_0001), Err(Rule::StartTotal));
}

#[test]
fn what_is_used_up_is_used_up_for_the_next_process() {
    let (clock, former) = limits(rate(3, 30 * SECOND), 100);
    for _ in 0..3 {
        assert_eq!(former.check(Rule::Client, v4(1)), Decision::Allowed);
    }
    assert_eq!(former.check(Rule::Client, v4(2)), Decision::Allowed);
    let kept = serde_json::to_vec(&former.keep()).unwrap();
    let next = |passed: Duration, back: Duration| {
        let (after, next) = limits(rate(3, 30 * SECOND), 100);
        let now = clock.now().after(passed).millis() - back.as_millis() as u64;
        after.0.store(now, Ordering::SeqCst);
        next.go_on(&serde_json::from_slice(&kept).unwrap());
        move |key| next.check(Rule::Client, key) == Decision::Allowed
    };
    let allowed = next(Duration::ZERO, Duration::ZERO);
    assert_eq!([v4(1), v4(2), v4(2), v4(2), v4(3)].map(allowed), [false, true, true, false, true]);
    // What has come back meanwhile is there.
    let allowed = next(10 * SECOND, Duration::ZERO);
    assert_eq!([v4(1), v4(1)].map(allowed), [true, false]);
    // A clock that was set back gives nothing, and keeps nobody out for longer.
    let allowed = next(Duration::ZERO, 3600 * SECOND);
    assert_eq!([v4(1), v4(2)].map(allowed), [false, true]);
    assert!(next(30 * SECOND, Duration::ZERO)(v4(1)));
}

#[test]
fn a_full_store_takes_no_more_than_it_has_room_for() {
    let (_, former) = limits(rate(1, 60 * SECOND), 100);
    (0..100).for_each(|client| assert_eq!(former.check(Rule::Client, v4(client)), Decision::Allowed));
    let (_, next) = limits(rate(1, 60 * SECOND), 10);
    next.go_on(&former.keep());
    assert_eq!(next.len(), 10);
}

#[test]
fn pressure_is_more_than_half_of_a_budget_and_charges_nothing() {
    let config = config::Limits {
        shared: false,
        client: rate(8, 80 * SECOND),
        start_per_client: rate(4, 40 * SECOND),
        start_total: rate(10, 100 * SECOND),
        mail_per_account: rate(1, SECOND),
        mail_total: rate(1, SECOND),
        code_per_account: rate(1, SECOND),
        answer_per_account: rate(1, SECOND),
        overrides: vec![],
        observe: vec![],
        capacity: 100,
    };
    let (clock, governor) = made(&config);
    let (one, two) = (Client::V4([192, 0, 2, 1]), Client::V4([192, 0, 2, 2]));
    for _ in 0..4 {
        governor.check(Rule::Client, LimitKey::Client(one));
        assert!(!governor.pressure(one), "half is not more than half");
    }
    governor.check(Rule::Client, LimitKey::Client(one));
    assert!(governor.pressure(one) && !governor.pressure(two), "it is one client's");
    clock.advance(10 * SECOND);
    assert!(!governor.pressure(one), "it comes back");
    for _ in 0..3 {
        assert!(!governor.pressure(two));
        governor.check_start(two);
    }
    assert!(governor.pressure(two) && !governor.pressure(one));
    for account in 0..9 {
        governor.check(Rule::MailPerAccount, LimitKey::Account([account; 16]));
        governor.check(Rule::CodePerAccount, LimitKey::Account([account; 16]));
    }
    governor.check(Rule::MailTotal, LimitKey::Everyone);
    assert!(!governor.pressure(one), "no account has a part in it");
    for client in 10..13 {
        governor.check_start(Client::V4([192, 0, 2, client]));
    }
    assert!(governor.pressure(Client::V4([198, 51, 100, 7])), "six of ten are everyone's");
    clock.advance(40 * SECOND);
    assert!(!governor.pressure(Client::V4([198, 51, 100, 7])) && !governor.pressure(two));
}

#[test]
fn pressure_of_a_network_is_that_of_all_in_it() {
    let (_, governor) = limits(rate(2, 10 * SECOND), 100);
    let of = |subnet: u8, interface: u8| Client::V6([0x20, 1, 0xd, 0xb8, 0, 0, subnet, interface]);
    for interface in 0..5 {
        assert!(!governor.pressure(of(1, 200)), "{interface} of eight");
        governor.check(Rule::Client, LimitKey::Client(of(1, interface)));
    }
    assert!(governor.pressure(of(1, 200)) && !governor.pressure(of(2, 200)));
}
