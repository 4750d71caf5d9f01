//! Everything that grows has a bound. Each is filled here over HTTP: what is told then, to all alike, and that all is well
//! again once there is room.

mod flood;

use std::{sync::Arc, time::Duration};

use serde_json::json;

use crate::support::{
    clock::ManualClock,
    link::Mode,
    world::{Answer, PATH, Plan, World},
};

/// Of these, `metric` gives what is in use and what there is.
async fn in_use(world: &World, name: &str) -> (String, String) {
    (world.metric(name).await, world.metric(&format!("{name}_capacity")).await)
}

async fn is_in_use(world: &World, name: &str, what: &str) {
    world.until(async || world.metric(name).await == what).await;
}

async fn refused(world: &World, what: &str) -> String {
    world.metric(&format!("full_refusals_total{{what=\"{what}\"}}")).await
}

/// 503, and when to come back; known and unknown told in the same bytes.
#[track_caller]
fn assert_full(known: &Answer, unknown: &Answer) {
    assert_eq!(known.status, 503, "{}", known.body);
    assert!(known.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(known.whole(), unknown.whole());
}

/// Passed requests, and the first page of the flow, never wait for any of it.
async fn others_pass(world: &World) {
    assert_eq!(world.get("/openidm/info/ping").await.status, 200);
    assert_eq!(world.get(PATH).await.status, 200);
}

/// A query by a client that the trusted proxy names.
async fn query_from(world: &World, client: &str, token: &str, user: &str) -> Answer {
    let body = json!({"token": token, "input": {"queryFilter": format!("userName eq \"{user}\"")}});
    world.post_as(&[("x-forwarded-for", client)], body.to_string()).await
}

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1/32\"]";

#[tokio::test]
async fn submits_at_work_are_bounded_though_their_clients_have_gone() {
    let plan = Plan { reset: "answer_floor = \"20ms\"\nmax_in_flight = 2", listen: TRUSTED, ..Plan::default() };
    let world = World::with(plan).await;
    let token = world.begin().await;
    is_in_use(&world, "submits_in_flight", "0").await;
    world.store_link.set(Mode::Hold);
    let body = |user: &str| json!({"token": token, "input": {"queryFilter": format!("userName eq \"{user}\"")}});
    let gone = world.post_and_leave(&body("zoë")).await;
    is_in_use(&world, "submits_in_flight", "1").await;
    drop(gone);
    let waits = query_from(&world, "192.0.2.1", &token, "o'brien");
    let full = async {
        world.store_link.held(2).await;
        assert_eq!(in_use(&world, "submits_in_flight").await, ("2".to_owned(), "2".to_owned()));
        let known = query_from(&world, "192.0.2.2", &token, "bjensen").await;
        assert_full(&known, &query_from(&world, "192.0.2.3", &token, "nobody").await);
        assert_eq!(refused(&world, "submits").await, "2");
        world.store_link.set(Mode::Pass);
    };
    let (waited, ()) = tokio::join!(waits, full);
    assert_eq!(waited.status, 200);
    is_in_use(&world, "submits_in_flight", "0").await;
    assert_eq!(world.query("bjensen").await.status, 200);
    world.mail(3).await;
}

#[tokio::test]
async fn passed_requests_and_the_first_page_need_no_seat() {
    let world = World::with(Plan { reset: "answer_floor = \"20ms\"\nmax_in_flight = 1", ..Plan::default() }).await;
    let token = world.begin().await;
    is_in_use(&world, "submits_in_flight", "0").await;
    world.store_link.set(Mode::Hold);
    let mut gone =
        world.post_and_leave(&json!({"token": token, "input": {"queryFilter": "userName eq \"zoë\""}})).await;
    world.store_link.held(1).await;
    assert_eq!(world.query_with(&token, "bjensen").await.status, 503);
    others_pass(&world).await;
    world.store_link.set(Mode::Pass);
    // It was answered, late.
    let mut first = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut gone, &mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
}

#[tokio::test]
async fn calls_to_the_store_are_bounded_and_so_are_those_that_wait() {
    let world = World::with(Plan { store: "max_concurrent = 1", ..Plan::default() }).await;
    let token = world.begin().await;
    world.store_link.set(Mode::Hold);
    let under_way = world.query_with(&token, "zoë");
    let full = async {
        world.store_link.held(1).await;
        assert_eq!(in_use(&world, "look_ups_in_flight").await, ("1".to_owned(), "1".to_owned()));
        // These wait for a turn, for as long as is wise; those after them are refused at once.
        let (a, b, c, d, e, f) = tokio::join!(
            world.query_with(&token, "bjensen"),
            world.query_with(&token, "nobody"),
            world.query_with(&token, "dormant"),
            world.query_with(&token, "nobody at all"),
            world.query_with(&token, "o'brien"),
            world.query_with(&token, "not anybody"),
        );
        for other in [&b, &c, &d, &e, &f] {
            assert_full(&a, other);
        }
        assert_eq!(refused(&world, "look_ups").await, "6");
        assert_eq!(world.metric("service_failures_total{service=\"identity\"}").await, "0");
        others_pass(&world).await;
        world.store_link.set(Mode::Pass);
    };
    let (answer, ()) = tokio::join!(under_way, full);
    assert_eq!(answer.status, 200);
    is_in_use(&world, "look_ups_in_flight", "0").await;
    assert_eq!(world.query("bjensen").await.status, 200);
    world.mail(2).await;
    assert_eq!(world.store.queries().len(), 2, "nothing was asked for those who were refused");
}

#[tokio::test]
async fn starts_with_live_links_are_bounded_and_no_live_code_makes_room() {
    let world = World::with(Plan { codes: "capacity = 2", ..Plan::default() }).await;
    world.query("bjensen").await;
    let (link, code) = world.mailed(1).await;
    world.query("zoë").await;
    world.mailed(2).await;
    assert_eq!(in_use(&world, "live_starts").await, ("2".to_owned(), "2".to_owned()));
    let looked_up = world.store.queries().len();
    for _ in 0..20 {
        assert_full(&world.query("o'brien").await, &world.query("nobody").await);
    }
    // Those who have codes are told the same: else a full cache would tell who asked lately.
    assert_full(&world.query("bjensen").await, &world.query("nobody").await);
    assert_eq!(world.store.queries().len(), looked_up, "refused before any look-up");
    assert_eq!(refused(&world, "codes").await, "42");
    others_pass(&world).await;

    let proven = world.show(&link, &code).await;
    assert_eq!(proven.status, 200, "its code is as good as ever");
    assert_eq!(world.set(&proven.token(), "N3wPassword!").await.status, 200);
    assert!(world.store.password_is("bjensen", "N3wPassword!"));
}

#[tokio::test]
async fn room_for_codes_comes_back_when_they_end() {
    let reset = "answer_floor = \"20ms\"\nlink_lifetime = \"1s\"\nmail_gap = \"0s\"";
    let limits = "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_total = \"0\"\n\
                  mail_per_account = \"9/1s\"";
    let world = World::with(Plan { codes: "capacity = 1", reset, limits, ..Plan::default() }).await;
    assert_eq!(world.query("bjensen").await.status, 200);
    world.mail(1).await;
    is_in_use(&world, "live_starts", "0").await;
    assert_eq!(world.query("zoë").await.status, 200);
    world.mail(2).await;
}

#[tokio::test]
async fn the_outbox_is_bounded_and_a_start_without_mail_fills_it_alike() {
    let world = World::with(Plan { mail: "capacity = 2", ..Plan::default() }).await;
    world.smtp_link.set(Mode::Hang);
    assert_eq!(world.query("bjensen").await.status, 200);
    assert_eq!(world.query("zoë").await.status, 200);
    world.smtp_link.held(0).await;
    assert_eq!(in_use(&world, "outbox_places").await, ("2".to_owned(), "2".to_owned()));
    let looked_up = world.store.queries().len();
    assert_full(&world.query("o'brien").await, &world.query("nobody").await);
    assert_eq!(world.store.queries().len(), looked_up, "refused before any look-up");
    assert_eq!(refused(&world, "outbox").await, "2");
    others_pass(&world).await;
    world.smtp_link.set(Mode::Down);
    world.smtp_link.set(Mode::Pass);
    is_in_use(&world, "outbox_places", "0").await;
    assert_eq!(world.query("o'brien").await.status, 200);
    world.mail(3).await;
}

#[tokio::test]
async fn answers_kept_for_repeats_are_bounded_and_forgotten() {
    let world = World::with(Plan { reset: "answer_floor = \"20ms\"\nrepeat_window = \"1s\"", ..Plan::default() }).await;
    let token = world.begin().await;
    assert_eq!(world.metric("repeat_bytes_capacity").await, (32 << 20).to_string());
    let first = world.query_with(&token, "bjensen").await;
    assert_eq!(world.query_with(&token, "bjensen").await.whole(), first.whole());
    world.until(async || world.metric("repeat_bytes").await != "0").await;
    is_in_use(&world, "repeat_bytes", "0").await;
}

#[tokio::test]
async fn clients_that_limits_remember_are_counted_and_forgotten_when_their_budget_is_whole() {
    let limits = "client = \"2/1h\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_total = \"0\"\ncapacity = 8";
    let clock = Arc::new(ManualClock::new());
    let world = World::with(Plan { listen: TRUSTED, limits, clock: Some(clock.clone()), ..Plan::default() }).await;
    let ask = async |n: u32| {
        let headers = [("x-forwarded-for", &*format!("192.0.2.{n}"))];
        world.post_as(&headers, "{\"input\":{}}").await.status
    };
    for n in 0..8 {
        assert_eq!(ask(n).await, 200);
    }
    // Three rules in three tiers of IPv6 count clients, one of them a quarter as many; three count accounts; two
    // have one key.
    assert_eq!(in_use(&world, "limiter_keys").await, ("8".to_owned(), (3 * (8 + 8 + 2) + 8 + 8 + 8 + 2).to_string()));
    let newcomers = [ask(8).await, ask(9).await, ask(10).await, ask(11).await];
    assert_eq!(newcomers, [200, 200, 429, 429], "those who come later share what one of them would have");
    assert_eq!(refused(&world, "limiter_keys").await, "2");
    assert_eq!([ask(0).await, ask(0).await], [200, 429], "who is remembered has a budget of its own");
    assert_eq!(world.get("/openidm/info/ping").await.status, 200);
    assert_eq!(world.metric("limiter_keys").await, "8");

    clock.forward(Duration::from_secs(2 * 3600));
    for n in 20..28 {
        assert_eq!([ask(n).await, ask(n).await, ask(n).await], [200, 200, 429], "all places are free again");
    }
}
