//! Limits: said aloud where it is the client's own budget, silent where it would tell of an account.

use serde_json::json;

use crate::support::world::{Answer, PATH, Plan, World};

fn assert_too_many(answer: &Answer) {
    assert_eq!(
        answer.json(),
        json!({"code": 429, "reason": "Resource Exception", "message": "Too many requests, try again later"})
    );
    let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=600).contains(&wait), "{wait}");
    assert_eq!(answer.headers["cache-control"], "no-cache, no-store");
}

#[tokio::test]
async fn a_client_over_its_own_limit_is_told_its_budget_and_nobody_anything_of_others() {
    let world =
        limited("client = \"5/10m\"\nstart_per_client = \"1/1h\"\nstart_total = \"0\"\nmail_total = \"0\"").await;
    assert_eq!(world.query("bjensen").await.status, 200);
    let starts = world.query("bjensen").await;
    assert_eq!(starts.headers["ratelimit-policy"], "\"start_per_client\";q=1;w=3600");
    assert!(world.get(PATH).await.headers.get("ratelimit").is_none());
    let requests = world.get(PATH).await;
    assert_too_many(&requests);
    let told = |name: &str| requests.headers[name].to_str().unwrap().to_owned();
    assert_eq!(told("ratelimit-policy"), "\"client\";q=5;w=600");
    assert_eq!(told("ratelimit"), format!("\"client\";r=0;t={}", told("retry-after")));

    let world = limited("client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"1/10m\"\nmail_total = \"0\"").await;
    assert_eq!(world.query("bjensen").await.status, 200);
    let total = world.query("bjensen").await;
    assert_too_many(&total);
    assert!(!total.headers.contains_key("ratelimit") && !total.headers.contains_key("ratelimit-policy"));
}

async fn limited(limits: &'static str) -> World {
    World::with(Plan { limits, ..Plan::default() }).await
}

#[tokio::test]
async fn a_client_over_its_limit_is_told_so_whatever_it_asks() {
    let world = limited("client = \"3/10m\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_total = \"0\"").await;
    assert_eq!(world.get(PATH).await.status, 200);
    let token = world.begin().await;
    assert_eq!(world.post(&json!({})).await.status, 400);
    assert_too_many(&world.get(PATH).await);
    assert_too_many(&world.query_with(&token, "bjensen").await);
    assert_eq!(world.get("/openidm/info/ping").await.status, 200, "other paths are not ours to limit");
    assert_eq!(world.metric("limited_requests_total{rule=\"client\"}").await, "2");
    assert!(world.store.queries().is_empty());
}

#[tokio::test]
async fn a_clients_starts_are_counted_known_or_unknown() {
    let world = limited("client = \"0\"\nstart_per_client = \"2/10m\"\nstart_total = \"0\"\nmail_total = \"0\"").await;
    assert_eq!(world.query("bjensen").await.status, 200);
    assert_eq!(world.query("nobody").await.status, 200);
    let (known, unknown) = (world.query("bjensen").await, world.query("nobody").await);
    assert_too_many(&known);
    assert_eq!(known.body, unknown.body);
    let (link, code) = world.mailed(1).await;
    assert_eq!(world.show(&link, &code).await.status, 200, "only starts are limited");
    assert_eq!(world.store.queries().len(), 2);
}

#[tokio::test]
async fn everyones_starts_are_counted_together() {
    let listen = "trusted_proxies = [\"127.0.0.1/32\"]";
    let limits = "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"2/10m\"\nmail_total = \"0\"";
    let world = World::with(Plan { listen, limits, ..Plan::default() }).await;
    assert_eq!(query_from(&world, "192.0.2.1").await.status, 200);
    assert_eq!(query_from(&world, "192.0.2.2").await.status, 200);
    assert_too_many(&query_from(&world, "192.0.2.3").await);
    assert_eq!(world.metric("limited_requests_total{rule=\"start_total\"}").await, "1");
}

/// A start by way of a proxy that says it is for that client.
async fn query_from(world: &World, client: &str) -> Answer {
    let token = world.begin().await;
    let body = json!({"token": token, "input": {"queryFilter": "userName eq \"nobody\""}});
    world.post_as(&[("x-forwarded-for", client)], body.to_string()).await
}

const ONE_START: &str = "client = \"0\"\nstart_per_client = \"1/10m\"\nstart_total = \"0\"\nmail_total = \"0\"";

#[tokio::test]
async fn nobody_gets_a_new_budget_by_a_header() {
    let world = limited(ONE_START).await;
    assert_eq!(query_from(&world, "192.0.2.1").await.status, 200);
    for n in 2..8 {
        assert_too_many(&query_from(&world, &format!("192.0.2.{n}")).await);
    }
    assert_eq!(world.metric("untrusted_forwarding_headers_total").await, "7");
}

#[tokio::test]
async fn behind_a_trusted_proxy_everyone_has_a_budget_of_their_own() {
    let listen = "trusted_proxies = [\"127.0.0.1/32\"]";
    let world = World::with(Plan { listen, limits: ONE_START, ..Plan::default() }).await;
    for client in ["192.0.2.1", "192.0.2.2", "2001:db8:1::1"] {
        assert_eq!(query_from(&world, client).await.status, 200, "{client}");
    }
    for same in ["192.0.2.1", "2001:db8:1::ffff", "::ffff:192.0.2.2", "198.51.100.7, 192.0.2.1", "192.0.2.1, 127.0.0.1"]
    {
        assert_too_many(&query_from(&world, same).await);
    }
    assert_eq!(query_from(&world, "2001:db8:1:1::1").await.status, 200, "another /64");
    assert_eq!(query_from(&world, "no address").await.status, 200, "all who cannot be read share one budget");
    assert_too_many(&query_from(&world, "nor this").await);
}

#[tokio::test]
async fn many_ipv6_networks_of_one_owner_have_little_more_than_one() {
    let listen = "trusted_proxies = [\"127.0.0.1/32\"]";
    let world = World::with(Plan { listen, limits: ONE_START, ..Plan::default() }).await;
    for subnet in 0..4 {
        assert_eq!(query_from(&world, &format!("2001:db8:1:{subnet:x}::1")).await.status, 200);
    }
    assert_too_many(&query_from(&world, "2001:db8:1:ff::1").await);
    assert_eq!(query_from(&world, "2001:db8:1:100::1").await.status, 200, "another /56");
    assert_eq!(query_from(&world, "2001:db8:2::1").await.status, 200, "another /48");
}

#[tokio::test]
async fn a_network_behind_one_address_may_have_a_budget_of_its_own() {
    let listen = "trusted_proxies = [\"127.0.0.1/32\"]";
    let limits = "client = \"0\"\nstart_per_client = \"1/10m\"\nstart_total = \"0\"\nmail_total = \"0\"\n\
                  [[limits.override]]\nclients = [\"203.0.113.0/24\"]\nstart_per_client = \"3/10m\"";
    let world = World::with(Plan { listen, limits, ..Plan::default() }).await;
    for _ in 0..3 {
        assert_eq!(query_from(&world, "203.0.113.7").await.status, 200);
    }
    assert_too_many(&query_from(&world, "203.0.113.7").await);
    assert_eq!(query_from(&world, "203.0.114.7").await.status, 200);
    assert_too_many(&query_from(&world, "203.0.114.7").await);
}

#[tokio::test]
async fn a_limit_that_is_observed_refuses_nobody_and_is_counted() {
    let limits = "client = \"10/10m\"\nstart_per_client = \"1/10m\"\nstart_total = \"0\"\nmail_total = \"0\"\n\
                  observe = [\"client\"]";
    let world = limited(limits).await;
    for _ in 0..12 {
        assert_eq!(world.get(PATH).await.status, 200);
    }
    assert_eq!(world.metric("limit_near_total{rule=\"client\"}").await, "3");
    assert_eq!(world.metric("limit_observed_total{rule=\"client\"}").await, "2");
    assert_eq!(world.metric("limited_requests_total{rule=\"client\"}").await, "0");
    assert_eq!(world.query("bjensen").await.status, 200);
    assert_too_many(&world.query("bjensen").await);
}

#[tokio::test]
async fn an_accounts_mails_are_limited_silently() {
    let limits = "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_total = \"0\"\n\
                  mail_per_account = \"2/40m\"";
    let reset = "answer_floor = \"20ms\"\nmail_gap = \"0s\"";
    let world = World::with(Plan { limits, reset, ..Plan::default() }).await;
    let first = world.query("bjensen").await;
    for _ in 0..4 {
        assert_eq!(world.query("bjensen").await.shape(), first.shape());
    }
    world.query("zoë").await;
    world.mailed(3).await;
    assert_eq!(world.metric("mail_messages_total{outcome=\"queued\"}").await, "3", "two, and one for another");
    assert_eq!(world.metric("decoyed_starts_total{why=\"over_budget\"}").await, "3");
    let mut reached: Vec<_> = world.mailbox.mails().into_iter().flat_map(|mail| mail.to).collect();
    reached.sort();
    assert_eq!(reached, ["bjensen@example.com", "bjensen@example.com", "zoe@example.com"]);
}

#[tokio::test]
async fn a_code_that_was_not_mailed_for_want_of_budget_is_joined_by_nobody() {
    let limits = "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_total = \"0\"\n\
                  mail_per_account = \"1/20m\"";
    let world =
        World::with(Plan { limits, reset: "answer_floor = \"20ms\"\nmail_gap = \"1s\"", ..Plan::default() }).await;
    let over_budget = async || world.metric("decoyed_starts_total{why=\"over_budget\"}").await;
    world.query("bjensen").await;
    // Starts join the mailed code until the gap is over.
    world.until(async || world.query("bjensen").await.status == 200 && over_budget().await == "1").await;
    world.query("bjensen").await;
    assert_eq!(over_budget().await, "2");
}

#[tokio::test]
async fn a_repeat_is_charged_once() {
    let world = limited("client = \"0\"\nstart_per_client = \"2/10m\"\nstart_total = \"0\"\nmail_total = \"0\"").await;
    let token = world.begin().await;
    let first = world.query_with(&token, "bjensen").await;
    for _ in 0..8 {
        assert_eq!(world.query_with(&token, "bjensen").await.whole(), first.whole());
    }
    assert_eq!(world.query("nobody").await.status, 200, "one is left");
    assert_too_many(&world.query("nobody").await);
}

#[tokio::test]
async fn a_filter_that_is_refused_costs_no_start() {
    let world = limited(ONE_START).await;
    for _ in 0..3 {
        assert_eq!(world.filter("userName co \"b\"").await.message(), "Invalid query filter");
    }
    assert_eq!(world.query("bjensen").await.status, 200);
}

#[tokio::test]
async fn the_pace_of_all_mail_delays_and_drops_nothing() {
    let limits = "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_total = \"1/200ms\"";
    let world = limited(limits).await;
    for user in ["bjensen", "zoë", "o'brien"] {
        assert_eq!(world.query(user).await.status, 200);
    }
    world.mailed(3).await;
}
