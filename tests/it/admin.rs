//! What the admin listener says of the inside, over a whole deployment.

use serde_json::{Value, json};

use crate::support::{
    answer::Answer,
    link::Mode,
    world::{Plan, World},
};

async fn ask(world: &World, path: &str) -> Answer {
    Answer::of(world.http.get(format!("http://{}{path}", world.admin)).send().await.unwrap()).await
}

async fn checks(world: &World) -> (u16, Value) {
    let answer = ask(world, "/readyz/reset").await;
    (answer.status, answer.json()["checks"].clone())
}

fn is(status: &str, reason: &str) -> Value {
    json!({"status": status, "reason": reason})
}

#[tokio::test]
async fn a_store_that_is_down_shows_and_so_does_its_return() {
    let store = "breaker = { failures = 1, open = \"100ms\" }\nhealth = { interval = \"0s\" }".into();
    let store: &'static str = String::leak(store);
    let world = World::with(Plan { store, ..Plan::default() }).await;
    let (status, all) = checks(&world).await;
    assert_eq!(status, 200);
    let well = is("ok", "no_failure_known");
    assert_eq!(
        all,
        json!({
            "identity": well, "outbox": is("ok", "has_room"), "mail": well, "codes": is("ok", "has_room"),
        })
    );
    assert_eq!(world.metric("reset_health{part=\"identity\"}").await, "2");

    world.store_link.set(Mode::Down);
    for _ in 0..2 {
        assert_eq!(world.query("bjensen").await.status, 503);
    }
    let (status, all) = checks(&world).await;
    assert_eq!((status, &all["identity"]["status"]), (503, &json!("failing")), "{all}");
    assert_eq!(world.metric("reset_health{part=\"identity\"}").await, "0");
    assert_eq!(ask(&world, "/readyz").await.status, 200, "a restart would heal nothing");

    world.store_link.set(Mode::Pass);
    world.until(async || world.query("bjensen").await.status == 200 && checks(&world).await.0 == 200).await;
}

#[tokio::test]
async fn a_store_that_does_not_know_us_shows_until_it_does() {
    // Wrong from the start, as after a change in the store.
    let auth = r#"kind = "openidm", username = "resetgate", password = "file:password""#.to_owned();
    let files = vec![("password", "not-the-password".to_owned())];
    let world = World::with(Plan { auth, files, store: "breaker = { failures = 0 }", ..Plan::default() }).await;
    assert_eq!(checks(&world).await.1["identity"], is("ok", "no_failure_known"));
    assert_eq!(world.query("bjensen").await.status, 503);
    let (status, all) = checks(&world).await;
    assert_eq!((status, all["identity"].clone()), (503, is("failing", "credentials_refused")));
    assert_eq!(world.metric("reset_health{part=\"identity\"}").await, "0");

    assert!(world.change(&[("password", "service-password")]).await);
    assert_eq!(world.query("bjensen").await.status, 200);
    assert_eq!(checks(&world).await.1["identity"], is("ok", "no_failure_known"));
}

#[tokio::test]
async fn a_store_that_fails_calls_shows_without_a_breaker_until_one_goes_well() {
    let store = "breaker = { failures = 0 }\nhealth = { interval = \"0s\" }";
    let world = World::with(Plan { store, ..Plan::default() }).await;
    let proven = world.proven("bjensen", 1).await;
    world.store_link.set(Mode::Down);
    assert_eq!(world.set(&proven, "Passw0rd-new").await.status, 503);
    assert_ne!(checks(&world).await.1["identity"]["status"], "ok");
    for _ in 0..3 {
        assert_eq!(world.query("bjensen").await.status, 503);
    }
    assert_eq!(checks(&world).await.1["identity"]["status"], "failing");
    world.store_link.set(Mode::Pass);
    world.until(async || world.query("scarter").await.status == 200).await;
    assert_eq!(checks(&world).await.1["identity"], is("ok", "no_failure_known"));
}

#[tokio::test]
async fn a_relay_that_is_down_shows_when_it_is_more_than_one_mail() {
    let world = World::usual().await;
    world.smtp_link.set(Mode::Down);
    assert_eq!(world.query("bjensen").await.status, 200);
    world.until(async || checks(&world).await.1["mail"] == is("degraded", "last_attempt_failed")).await;
    world.until(async || checks(&world).await == (503, checks(&world).await.1)).await;
    assert_eq!(checks(&world).await.1["mail"], is("failing", "attempts_fail"));
    world.smtp_link.set(Mode::Pass);
    world.until(async || checks(&world).await.0 == 200).await;
}

#[tokio::test]
async fn what_is_full_shows() {
    let world = World::with(Plan { codes: "capacity = 5", ..Plan::default() }).await;
    for user in ["bjensen", "nobody", "scarter", "noone"] {
        assert_eq!(world.query(user).await.status, 200);
    }
    assert_eq!(checks(&world).await.1["codes"], is("degraded", "nearly_full"));
    assert_eq!(world.query("bjensen").await.status, 200);
    let (status, all) = checks(&world).await;
    assert_eq!((status, all["codes"].clone()), (503, is("failing", "full")));
}

#[tokio::test]
async fn the_configuration_is_shown_as_it_runs() {
    let world = World::with(Plan { token: crate::support::world::KEPT_KEY, ..Plan::default() }).await;
    let shown = ask(&world, "/config").await;
    assert_eq!(shown.status, 200);
    let table: toml::Table = shown.body.parse().unwrap();
    assert_eq!(table["codes"]["tries"].as_integer(), Some(5));
    assert_eq!(table["reset"]["answer_floor"].as_str(), Some("20ms"));
    assert_eq!(table["identity"]["auth"]["password"].as_str(), Some("env:IDENTITY_PASSWORD"));
    assert_eq!(table["token"]["keys"].as_array().unwrap()[0].as_str(), Some("file:key"));
    let key = world.file("key");
    for secret in ["service-password", key.trim()] {
        assert!(!shown.body.contains(secret), "{secret}");
        assert!(!ask(&world, "/metrics").await.body.contains(secret), "{secret}");
    }

    // What a reload takes up is shown, and what waits for a restart as it still is.
    let toml = world.file("resetgate.toml").replace("\"20ms\"", "\"30ms\"").replace("[codes]", "[codes]\ntries = 9");
    for times in 1..=2 {
        assert!(world.change(&[("resetgate.toml", &toml)]).await);
        let shown = ask(&world, "/config").await.body;
        assert!(shown.contains("\nanswer_floor = \"30ms\"\n"), "{shown}");
        assert!(shown.contains("\ntries = 5 # after a restart: 9\n"), "{shown}");
        let most = world.metric("open_connections_capacity").await;
        assert!(shown.contains(&format!("\n# max_connections: not set, which comes to {most}\n")), "{shown}");
        assert!(shown.contains(&format!("generation {}.", times + 1)), "{shown}");
    }
    // One that does not hold changes nothing.
    assert!(!world.change(&[("resetgate.toml", &toml.replace("\"30ms\"", "\"0ms\""))]).await);
    assert!(ask(&world, "/config").await.body.contains("\nanswer_floor = \"30ms\"\n"));

    let hidden = toml.replace("[admin]", "[admin]\nconfig = \"off\"");
    assert!(world.change(&[("resetgate.toml", &hidden)]).await);
    assert_eq!(ask(&world, "/config").await.status, 404);
}

#[tokio::test]
async fn what_takes_a_restart_is_named_for_as_long_as_something_else_runs() {
    let world = World::with(Plan { token: crate::support::world::KEPT_KEY, ..Plan::default() }).await;
    let toml = world.file("resetgate.toml");
    let other = toml.replace("[codes]", "[codes]\ntries = 9\n").replace("[drain]", "[drain]\nwithin = \"9s\"");
    for times in 0..3 {
        let named = world.reload(&[("resetgate.toml", &other)]).await;
        assert_eq!(named, Some(vec!["codes.tries", "drain.linger and drain.within"]), "{times}");
    }
    assert_eq!(world.reload(&[("resetgate.toml", &toml)]).await, Some(Vec::new()), "as it runs");
    assert!(ask(&world, "/config").await.body.contains("\ntries = 5\n"));
}

#[tokio::test]
async fn a_bound_that_a_reload_changes_is_shown_as_it_is() {
    let world = World::with(Plan { token: crate::support::world::KEPT_KEY, ..Plan::default() }).await;
    let toml = world.file("resetgate.toml").replace("[mail]", "[mail]\ncapacity = 7");
    let toml = toml.replace("kind = \"crest\"", "kind = \"crest\"\nmax_concurrent = 3");
    let toml = toml.replace("[limits]", "[limits]\ncapacity = 4321");
    let shown = async || {
        let mut all = Vec::new();
        for name in ["outbox_places", "look_ups_in_flight", "limiter_keys"] {
            all.push(world.metric(&format!("{name}_capacity")).await);
        }
        all
    };
    let before = shown().await;
    assert!(world.change(&[("resetgate.toml", &toml)]).await);
    let after = shown().await;
    assert_eq!(after[..2], ["7", "3"]);
    assert_ne!(before[2], after[2]);
}
