//! What a reset leaves in the audit trail, and that nobody notices from outside that it does.

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::world::{KEPT_KEY, Plan, World};

/// A world that writes a trail, and the folder where.
struct Trail {
    world: World,
    folder: TempDir,
}

impl Trail {
    async fn with(plan: Plan) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let audit =
            format!("[audit]\nto = \"file:{}\"\n[log]\nhash_key = \"file:key\"", folder.path().join("trail").display());
        let world = World::with(Plan { audit: Box::leak(audit.into_boxed_str()), token: KEPT_KEY, ..plan }).await;
        Self { world, folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("trail")
    }

    /// All lines, when it has ended, but for those of a busy machine's look-ups.
    async fn end(mut self) -> Vec<Value> {
        self.world.drain().await;
        let text = std::fs::read_to_string(self.path()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"] != "floor_missed").collect()
    }
}

/// `event reason`, of the lines between the first and the last of all.
fn told(lines: &[Value]) -> Vec<String> {
    let word = |line: &Value| match line["reason"].as_str() {
        Some(reason) => format!("{} {reason}", line["event"].as_str().unwrap()),
        None => line["event"].as_str().unwrap().to_owned(),
    };
    lines[1..lines.len() - 1].iter().map(word).collect()
}

const BJENSEN: &str = "5b2d9a4e-3f60-4c1a-9d0e-1f6a7c8b9d01";

#[tokio::test]
async fn each_step_is_told_with_the_id_of_its_request() {
    let trail = Trail::with(Plan::default()).await;
    let world = &trail.world;
    let post = async |id: &str, body: Value| world.post_as(&[("x-request-id", id)], body.to_string()).await;
    let begun = post("r1", serde_json::json!({"input": {}})).await.token();
    let query = serde_json::json!({"token": begun, "input": {"queryFilter": "userName eq \"bjensen\""}});
    assert_eq!(post("r2", query).await.status, 200);
    let (token, code) = world.mailed(1).await;
    let shown = post("r3", serde_json::json!({"token": token, "input": {"code": code}})).await.token();
    let set = post("r4", serde_json::json!({"token": shown, "input": {"password": "Passw0rd-new"}})).await;
    assert_eq!(set.status, 200);
    // It is told as over before it is.
    world.until(async || world.metric("mail_messages_total{outcome=\"sent\"}").await == "1").await;
    let lines = trail.end().await;
    let mut steps: Vec<_> = lines[1..lines.len() - 1]
        .iter()
        .map(|line| (line["request"].as_str().unwrap(), line["event"].as_str().unwrap()))
        .collect();
    steps.sort_unstable();
    let expected = [
        ("r2", "mail_queued"),
        ("r2", "mail_sent"),
        ("r2", "reset_started"),
        ("r3", "code_right"),
        ("r4", "password_set"),
    ];
    assert_eq!(steps, expected);
    // One flow and one account, and one client.
    for line in &lines[1..lines.len() - 1] {
        assert_eq!(line["client"], "127.0.0.1");
        assert_eq!(line["flow"], lines[1]["flow"], "{line}");
        let started = line["event"] == "reset_started";
        assert_eq!(line["account"].is_null(), started, "{line}");
        assert_eq!(line["asked"].is_array(), started, "{line}");
        assert!(started || line["account"] == lines[2]["account"]);
    }
    assert_eq!(lines[2]["mail"].as_str().unwrap().len(), 32);
}

#[tokio::test]
async fn why_no_mail_came_is_told_of_each_start() {
    let limits = "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_total = \"0\"\nmail_per_account = \"1/1h\"";
    let reset = "answer_floor = \"20ms\"\nmail_gap = \"0s\"\nlink_lifetime = \"1h\"";
    let trail = Trail::with(Plan { limits, reset, ..Plan::default() }).await;
    let world = &trail.world;
    assert_eq!(world.query("bjensen").await.status, 200);
    world.until(async || world.metric("mail_messages_total{outcome=\"sent\"}").await == "1").await;
    world.query("bjensen").await;
    world.query("stranger").await;
    assert!(world.store.set(BJENSEN, "mail", ""));
    world.query("bjensen").await;
    assert!(world.store.set(BJENSEN, "accountStatus", "inactive"));
    world.query("bjensen").await;
    let lines = trail.end().await;
    let told: Vec<_> =
        told(&lines).into_iter().filter(|event| event != "reset_started" && !event.starts_with("limit")).collect();
    assert_eq!(
        told,
        ["mail_queued", "mail_sent", "decoyed budget", "decoyed nobody", "decoyed no-mail", "decoyed inactive"]
    );
}

#[tokio::test]
async fn a_start_within_the_gap_and_a_flow_that_has_ended_are_told() {
    let trail = Trail::with(Plan { codes: "tries = 1", ..Plan::default() }).await;
    let world = &trail.world;
    let first = world.query("bjensen").await.token();
    let (token, code) = world.mailed(1).await;
    world.until(async || world.metric("mail_messages_total{outcome=\"sent\"}").await == "1").await;
    world.query("bjensen").await;
    let decoy = world.query("stranger").await.token();
    for token in [&first, &first, &decoy] {
        // Each a request of its own, and none the repeat of another.
        assert_eq!(world.show(token, &format!("wrong-{}", token.len())).await.status, 400);
        assert_eq!(world.show(token, "wrong").await.status, 400);
    }
    let proven = world.show(&token, &code).await.token();
    assert_eq!(world.set(&proven, "Passw0rd-new").await.status, 200);
    assert_eq!(world.set(&proven, "Passw0rd-other").await.status, 400);
    assert_eq!(world.show(&token, "another").await.status, 400);
    assert_eq!(world.show("no-token", "x").await.status, 400);
    assert_eq!(world.get("//openidm/selfservice/reset").await.status, 404);
    let lines = trail.end().await;
    let told = told(&lines);
    let count = |event: &str| told.iter().filter(|told| *told == event).count();
    assert_eq!(count("mail_joined gap"), 1, "{told:#?}");
    assert_eq!((count("code_wrong wrong"), count("code_wrong tried-out")), (1, 1), "{told:#?}");
    assert_eq!(count("code_wrong decoy"), 2, "{told:#?}");
    assert_eq!((count("code_wrong spent"), count("flow_dead gone")), (1, 1), "{told:#?}");
    assert_eq!((count("token_refused invalid"), count("disguised_target")), (1, 1), "{told:#?}");
    let disguised = lines.iter().find(|line| line["event"] == "disguised_target").unwrap();
    assert!(disguised["client"] == "127.0.0.1" && disguised["request"].is_string());
}
