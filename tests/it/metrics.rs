//! What `/metrics` says of what happens.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::{
    link::Mode,
    world::{Plan, World},
};

/// Every series with its value.
async fn all(world: &World) -> BTreeMap<String, f64> {
    let text = world.http.get(format!("http://{}/metrics", world.admin)).send().await.unwrap().text().await.unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// Waits until a series has that value: some are counted after the answer has left.
async fn comes_to(world: &World, series: &str, value: f64) {
    world.until(async || all(world).await.get(series) == Some(&value)).await;
}

#[tokio::test]
async fn a_whole_reset_is_counted_step_by_step() {
    let world = World::usual().await;
    let before = all(&world).await;
    assert_eq!(world.get("/openidm/info/ping").await.status, 200);
    assert_eq!(world.get(crate::support::world::PATH).await.status, 200);
    let asked = world.query("bjensen").await;
    let (token, code) = world.mailed(1).await;
    assert_eq!(world.show(&asked.token(), "wrong").await.status, 400);
    let shown = world.show(&token, &code).await.token();
    let weak = world.set(&shown, "short").await.token();
    let strong = json!({"input": {"password": "Passw0rd1"}, "token": weak});
    assert_eq!(world.post(&strong).await.status, 200);
    // The same once more is the same answer, and no other step.
    assert_eq!(world.post(&strong).await.status, 200);
    assert_eq!(world.post(&json!({"token": "none of ours", "input": {}})).await.status, 400);
    comes_to(&world, "resetgate_mail_messages_total{outcome=\"sent\"}", 1.0).await;
    comes_to(&world, "resetgate_reset_request_duration_seconds_count{kind=\"submit\"}", 8.0).await;

    let after = all(&world).await;
    let moved: BTreeMap<_, _> =
        after.iter().map(|(name, value)| (name.trim_start_matches("resetgate_"), value - before[name])).collect();
    for (series, by) in [
        ("reset_steps_total{outcome=\"passed\",stage=\"parameters\"}", 1.0),
        ("reset_steps_total{outcome=\"passed\",stage=\"userQuery\"}", 1.0),
        ("reset_steps_total{outcome=\"refused\",stage=\"emailValidation\"}", 1.0),
        ("reset_steps_total{outcome=\"passed\",stage=\"emailValidation\"}", 1.0),
        ("reset_steps_total{outcome=\"asked\",stage=\"resetStage\"}", 1.0),
        ("reset_steps_total{outcome=\"passed\",stage=\"resetStage\"}", 1.0),
        ("reset_steps_total{outcome=\"repeated\",stage=\"resetStage\"}", 1.0),
        ("reset_steps_total{outcome=\"refused\",stage=\"none\"}", 1.0),
        ("reset_step_duration_seconds_count{stage=\"userQuery\"}", 1.0),
        // The answer floor of these worlds is 20 ms.
        ("reset_step_duration_seconds_bucket{stage=\"userQuery\",le=\"0.01\"}", 0.0),
        ("reset_request_duration_seconds_count{kind=\"read\"}", 1.0),
        ("reset_requests_total{status=\"2xx\"}", 7.0),
        ("reset_requests_total{status=\"4xx\"}", 2.0),
        ("passed_requests_total{status=\"2xx\"}", 1.0),
        ("passed_request_duration_seconds_count", 1.0),
        ("upstream_first_byte_seconds_count", 1.0),
        ("identity_call_duration_seconds_count{call=\"find\"}", 1.0),
        ("identity_call_duration_seconds_count{call=\"patch\"}", 2.0),
        ("identity_call_failures_total{call=\"patch\",kind=\"status\"}", 0.0),
        ("mail_messages_total{outcome=\"queued\"}", 1.0),
        ("mail_delivery_duration_seconds_count", 1.0),
        ("code_attempts_total{lane=\"asker\",outcome=\"wrong\"}", 1.0),
        ("code_attempts_total{lane=\"link\",outcome=\"right\"}", 1.0),
        ("password_changes_total{outcome=\"refused\"}", 1.0),
        ("password_changes_total{outcome=\"set\"}", 1.0),
        ("accepted_connections_total", 1.0),
        ("requests_in_flight{route=\"reset\"}", 0.0),
        ("requests_in_flight{route=\"passed\"}", 0.0),
    ] {
        assert_eq!(moved.get(series), Some(&by), "{series}");
    }
}

#[tokio::test]
async fn what_is_down_or_refused_is_counted_by_its_kind() {
    let world = World::with(Plan { upstream: Some("url = \"http://127.0.0.1:1\"".into()), ..Plan::default() }).await;
    world.store_link.set(Mode::Down);
    assert_eq!(world.get("/").await.status, 502);
    assert_eq!(world.get("/openidm/selfservice;x/reset").await.status, 404);
    assert_eq!(world.query("bjensen").await.status, 503);
    for (series, value) in [
        ("resetgate_passed_requests_total{status=\"5xx\"}", 1.0),
        ("resetgate_refused_requests_total{status=\"4xx\"}", 1.0),
        ("resetgate_upstream_first_byte_seconds_count", 0.0),
        ("resetgate_endpoint_failures_total{kind=\"connect\",service=\"upstream\"}", 1.0),
        ("resetgate_reset_steps_total{outcome=\"unavailable\",stage=\"userQuery\"}", 1.0),
    ] {
        comes_to(&world, series, value).await;
    }
    let failures = all(&world).await;
    let of_find =
        |(name, _): &(&String, &f64)| name.starts_with("resetgate_identity_call_failures_total{call=\"find\"");
    assert!(failures.iter().filter(of_find).map(|(_, value)| value).sum::<f64>() >= 1.0);
}

#[test]
fn every_stage_has_its_series() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/reset/stages");
    let mut stages: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        // One that has no name goes by another's.
        .filter_map(|text| text.split("pub const NAME: &str = \"").nth(1)?.split('"').next().map(str::to_owned))
        .chain(["none".to_owned()])
        .collect();
    let mut counted = resetgate::telemetry::metrics::STAGES.to_vec();
    stages.sort_unstable();
    counted.sort_unstable();
    assert_eq!(counted, stages, "metrics::STAGES");
}
