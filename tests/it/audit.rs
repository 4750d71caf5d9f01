//! What a reset leaves in the audit trail, and that nobody notices from outside that it does.

use std::{fs::File, io::BufReader, net::SocketAddr, path::PathBuf};

use resetgate::{
    config,
    telemetry::audit::{Find, Keys, explain},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufStream},
    net::TcpListener,
};

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

    /// What `resetgate audit find` says of somebody, when it has ended.
    async fn find(&mut self, names: &[&str]) -> Vec<Vec<String>> {
        self.world.drain().await;
        let key = self.folder.path().join("key");
        std::fs::write(&key, self.world.file("key")).unwrap();
        let key = config::named_key(&format!("file:{}", key.display()), &|_| None).unwrap();
        let keys = Keys::lasting(&key.0).unwrap();
        let open = || BufReader::new(File::open(self.path()).unwrap());
        let of = |name: &&str| {
            let mut find = Find::new(&keys, name);
            find.learn(&mut open()).unwrap();
            find.learn(&mut open()).unwrap();
            find.collect(&mut open()).unwrap();
            let (found, _) = find.finish();
            assert!(found.iter().all(|found| found.intact));
            let told = found.iter().filter(|found| found.line.event != "floor_missed");
            told.map(|found| explain(&found.line)).collect()
        };
        names.iter().map(of).collect()
    }
}

/// A relay that knows none of the recipients.
async fn refusing_relay() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let mut stream = BufStream::new(listener.accept().await.unwrap().0);
            tokio::spawn(async move {
                let (mut answer, mut line) = ("220 relay", String::new());
                while stream.write_all(format!("{answer}\r\n").as_bytes()).await.is_ok() {
                    let _ = stream.flush().await;
                    line.clear();
                    if stream.read_line(&mut line).await.is_ok_and(|read| read == 0) {
                        break;
                    }
                    answer = if line.starts_with("RCPT") { "550 5.1.1 canary unknown" } else { "250 ok" };
                }
            });
        }
    });
    address
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
    let told = "after_password_total{outcome=\"done\",what=\"notice\"}";
    world.until(async || world.metric(told).await == "1").await;
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
        ("r4", "notice_sent"),
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

#[tokio::test]
async fn a_relay_that_does_not_know_the_address_answers_why_no_mail_came() {
    let mut trail = Trail::with(Plan { relay: Some(refusing_relay().await), ..Plan::default() }).await;
    let world = &trail.world;
    assert_eq!(world.query("bjensen").await.status, 200);
    world.until(async || world.metric("mail_messages_total{outcome=\"dropped\"}").await == "1").await;
    for told in trail.find(&["bjensen", "bjensen@example.com", BJENSEN]).await {
        assert_eq!(
            told,
            ["a reset was asked for", "a mail waits to be sent", "the mail is given up: the relay answered 550"]
        );
    }
    let text = std::fs::read_to_string(trail.path()).unwrap();
    assert!(text.contains("\"reason\":\"550\"") && !text.contains("canary"), "{text}");
}

#[tokio::test]
async fn a_name_of_several_accounts_answers_why_no_mail_came() {
    let mut trail = Trail::with(Plan::default()).await;
    let world = &trail.world;
    assert_eq!(world.filter("mail eq \"shared@example.com\"").await.status, 200);
    // As people type it, and as it comes by a ticket; and whom it may have been.
    let names = ["Shared@example.com", " shared@EXAMPLE.com\t", "pat", "", "*"];
    let why = "no mail is sent: several accounts are called that, or the store gave another than was asked for";
    let told = trail.find(&names).await;
    assert_eq!(told[..2], [["a reset was asked for", why], ["a reset was asked for", why]]);
    assert!(told[2..].iter().all(Vec::is_empty), "{told:?}");
}

#[tokio::test]
async fn a_name_of_any_letters_is_found() {
    let mut trail = Trail::with(Plan::default()).await;
    for name in ["J\u{f6}rg \u{c4}rger", "\u{5f20}\u{4f1f}", "o'neill (old)"] {
        assert_eq!(trail.world.query(name).await.status, 200);
    }
    let names = ["j\u{d6}RG \u{e4}rger ", "\u{5f20}\u{4f1f}", "O'Neill (old)"];
    for told in trail.find(&names).await {
        assert_eq!(told, ["a reset was asked for", "no mail is sent: nobody is called that"]);
    }
}
