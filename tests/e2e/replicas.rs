//! Several gates that keep their codes on one server: whoever is asked, it is as if there were one.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    answer::Answer,
    load::{Crowd, Dial, Load},
    program::Program,
    redis::RedisServer,
    replicas::{LIMITS, Replicas, Set, query},
    setup::{Around, Files, Gate},
    soon,
};

const UP: &str = "resetgate_codes_store_up";

fn replica(answer: &Answer) -> &str {
    answer.headers["x-replica"].to_str().unwrap()
}

/// What they got, who all got the same.
fn all_equal(answers: Vec<Answer>) -> Answer {
    for answer in &answers {
        assert_eq!(answer.whole(), answers[0].whole());
    }
    answers.into_iter().next().unwrap()
}

#[tokio::test]
async fn r3_each_step_at_another_replica_and_one_of_them_dies() {
    let Some(mut all) = Replicas::start(&Set::default()).await else { return };
    let begun = all.post(&json!({"input": {}})).await;
    let asked = all.post(&query(&begun.token(), "bjensen")).await;
    let mailed = all.mailed(1).await;
    // A stranger's tries are counted once, wherever they are made.
    let mut seen = vec![replica(&begun).to_owned(), replica(&asked).to_owned()];
    for wrong in ["a", "b", "c", "d", "e"] {
        let told = all.show(&(asked.token(), wrong.into())).await;
        assert_eq!((told.status, told.message()), (400, "Invalid code".into()));
        seen.push(replica(&told).to_owned());
    }
    assert!(seen.windows(2).all(|two| two[0] != two[1]), "{seen:?}");
    assert_eq!(all.show(&(asked.token(), mailed.1.clone())).await.message(), "Invalid code");

    let dead = all.gates.remove(0).killed();
    let shown = all.show(&mailed).await;
    assert_eq!(shown.status, 200, "{}", shown.body);
    all.gates.push(Gate::run(dead, &[]).await);
    let set = all.set(&shown.token(), "Fresh-Pass1").await;
    assert_eq!(set.json()["status"], json!({"success": true}));
    for _ in 0..3 {
        assert_eq!(all.set(&shown.token(), "Fresh-Pass1").await.body, set.body, "wherever it is asked again");
        assert_eq!(all.set(&shown.token(), "Other-Pass1").await.message(), "Invalid code");
    }
    assert_eq!(all.around.store.patches(), 1);
}

#[tokio::test]
async fn sixteen_copies_over_three_replicas_are_one_effect_and_one_answer() {
    let Some(all) = Replicas::start(&Set::default()).await else { return };
    let copies = |body: serde_json::Value| all.at_once(std::iter::repeat_n(body, 16));

    let asked = all_equal(copies(query(&all.begin().await, "bjensen")).await);
    assert_eq!(asked.status, 200);
    let (token, code) = all.mailed(1).await;
    let body = json!({"token": token, "input": {"code": code}});
    let shown = all_equal(copies(body.clone()).await);
    assert_eq!(all.post(&body).await.body, shown.body, "after the fact");
    let set = all_equal(copies(json!({"token": shown.token(), "input": {"password": "Fresh-Pass1"}})).await);
    assert_eq!(set.json()["status"], json!({"success": true}));
    assert_eq!(all.around.store.patches(), 1);
    assert_eq!(all.around.store.queries().len(), 1);
    assert_eq!(all.around.linked().len(), 1);
}

#[tokio::test]
async fn twenty_right_codes_and_twenty_passwords_at_once_are_one_patch() {
    let Some(all) = Replicas::start(&Set::default()).await else { return };
    all.query("bjensen").await;
    let (token, code) = all.mailed(1).await;
    // None is a copy of another: what is not read by a stage is not compared, what is, is.
    let spaced = |n: usize| json!({"token": token, "input": {"code": format!("{code}{}", " ".repeat(n))}});
    let shown = all.at_once((0..20).map(spaced)).await;
    assert!(shown.iter().all(|answer| answer.status == 200), "{shown:?}");
    let set = |(n, answer): (usize, &Answer)| json!({"token": answer.token(), "input": {"password": format!("Fresh-Pass{n}")}});
    let set = all.at_once(shown.iter().enumerate().map(set)).await;
    let done = set.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((done, all.around.store.patches()), (1, 1));
    assert!(set.iter().all(|answer| answer.status == 200 || answer.message() == "Invalid code"), "{set:?}");
}

#[tokio::test]
async fn r3_an_owner_killed_between_the_patch_and_its_answer_frees_the_others_and_leaves_them_no_second_effect() {
    let Some(mut all) = Replicas::start(&Set::default()).await else { return };
    let token = all.proven("bjensen", 1).await;
    let body = |password: &str| json!({"token": token, "input": {"password": password}});
    all.around.identity.hold_at_patch();
    let owner = all.gates.remove(0);
    let (around, first) = (all.around.clone(), body("First-Pass1"));
    let killed = async {
        around.identity.holds().await;
        soon("the PATCH", async {
            while around.store.patches() == 0 {
                tokio::task::yield_now().await
            }
        })
        .await;
    };
    tokio::select! {
        answer = owner.post(&first) => panic!("{answer:?}"),
        () = killed => drop(owner.killed()),
    }
    all.around.identity.release();
    let (since, second) = (Instant::now(), body("Other-Pass1"));
    let (same, other) = tokio::join!(all.gates[0].post(&first), all.gates[1].post(&second));
    // The first waited for its twin, who is dead; then both for the lease that the record has, and no longer.
    assert!(since.elapsed() < Duration::from_secs(25), "{:?}", since.elapsed());
    assert_eq!((same.status, other.status), (503, 503), "{same:?} {other:?}");
    assert!(same.headers.contains_key("retry-after") && other.headers.contains_key("retry-after"));
    assert_eq!(all.around.store.patches(), 1);
    assert!(all.around.store.password_is("bjensen", "First-Pass1"));
}

#[tokio::test]
async fn r9_a_server_that_hangs_is_full_or_is_gone_is_503_for_all_alike_and_comes_back_by_itself() {
    let set = Set { codes: "timeout = \"300ms\"\nconnect_timeout = \"300ms\"", ..Set::default() };
    let Some(mut all) = Replicas::start(&set).await else { return };
    let link = {
        all.query("bjensen").await;
        all.mailed(1).await
    };
    // Whoever is asked for, and whatever step it is, it is the same 503; and nothing else is held up.
    let turn = std::cell::Cell::new(0);
    let refused = async |all: &Replicas, [real, decoy]: [String; 2]| {
        // Each is another request than those that were answered.
        turn.set(turn.get() + 1);
        let code = format!("{}{}", link.1, " ".repeat(turn.get()));
        let since = Instant::now();
        let answers = all
            .at_once([
                query(&real, "bjensen"),
                query(&decoy, "nobody"),
                json!({"token": link.0, "input": {"code": code}}),
            ])
            .await;
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
        let answer = all_equal(answers);
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.headers.contains_key("retry-after"));
        assert_eq!(all.get("/elsewhere").await.status, 200);
    };
    let tokens = async |all: &Replicas| [all.begin().await, all.begin().await];
    let up = async |all: &Replicas| {
        for gate in &all.gates {
            gate.counts(UP, 1).await;
        }
    };
    let again = tokens(&all).await;

    all.server.signal("STOP");
    for _ in 0..4 {
        refused(&all, tokens(&all).await).await;
    }
    for gate in &all.gates {
        soon("noticed", async { while gate.metric(UP).await == 1 {} }).await;
    }
    let since = Instant::now();
    refused(&all, tokens(&all).await).await;
    assert!(since.elapsed() < Duration::from_secs(1), "nobody waits any more: {:?}", since.elapsed());
    all.server.signal("CONT");
    up(&all).await;
    assert_eq!(all.show(&link).await.status, 200, "nothing is lost");

    let _: () = all.server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    refused(&all, tokens(&all).await).await;
    let full = "resetgate_codes_store_failures_total{why=\"full\"}";
    assert!(all.gates[0].metric(full).await > 0);
    let _: () = all.server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(all.show(&link).await.status, 200);

    all.server.kill();
    refused(&all, tokens(&all).await).await;
    all.server.again().await;
    up(&all).await;
    // What it knew is gone, and everything begins anew; nobody goes on by memories of its own.
    assert_eq!(all.show(&(link.0.clone(), format!("  {}", link.1))).await.message(), "Invalid code");
    assert_eq!(all.post(&query(&again[0], "bjensen")).await.status, 200, "a refusal was kept for nobody");
    let mailed = all.mailed(2).await;
    let shown = all.show(&mailed).await.token();
    assert_eq!(all.set(&shown, "Fresh-Pass1").await.json()["status"], json!({"success": true}));
}

#[tokio::test]
async fn r9_a_server_that_evicts_is_refused_at_start_and_left_alone_later() {
    let Some(server) = RedisServer::start().await else { return };
    let (around, folder) = (Around::start().await, tempfile::tempdir().unwrap());
    let files = Set::default().files(&around, &server, &folder.path().join("a.sock"));
    let policy = async |policy: &str| {
        let _: () = server.ask(&["CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", policy]).await;
    };
    policy("allkeys-lru").await;
    let mut refused = Program::resetgate(&["run", "--config", &files.config()]);
    assert_eq!(refused.ended().await, 1);
    let told = refused.stderr.seen.join("\n");
    assert!(told.contains("allkeys-lru") && told.contains("set maxmemory-policy noeviction"), "{told}");

    policy("noeviction").await;
    let mut gate = Gate::run(files, &[]).await;
    assert_eq!(gate.query("bjensen").await.status, 200);
    policy("volatile-lru").await;
    soon("noticed", async { while gate.metric(UP).await == 1 {} }).await;
    gate.program.stderr.find("volatile-lru").await;
    assert_eq!(gate.query("bjensen").await.status, 503);
    policy("noeviction").await;
    gate.counts(UP, 1).await;
    assert_eq!(gate.query("bjensen").await.status, 200);
}

/// It starts although the server is not there yet, and lets everything else pass meanwhile.
#[tokio::test]
async fn r9_a_start_needs_no_server() {
    let Some(mut server) = RedisServer::start().await else { return };
    let (around, folder) = (Around::start().await, tempfile::tempdir().unwrap());
    let files = Set::default().files(&around, &server, &folder.path().join("a.sock"));
    server.kill();
    let gate = Gate::run(files, &[]).await;
    assert_eq!(gate.query("bjensen").await.status, 503);
    assert_eq!(gate.get("/elsewhere").await.status, 200);
    assert_eq!(gate.ask_admin("/readyz").await.status, 200);
    server.again().await;
    gate.counts(UP, 1).await;
    assert_eq!(gate.query("bjensen").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_loses_no_request_and_no_link() {
    let set = Set { linger: "1s", ..Set::default() };
    let Some(mut all) = Replicas::start(&set).await else { return };
    assert_eq!(all.query("bjensen").await.status, 200);
    let link = all.mailed(1).await;
    let crowd = Crowd { http1: vec![(Dial::plain(all.front), 41)], http2: Vec::new(), walk: true };
    let load = Load::start(&crowd, &all.around);
    load.more_walks(2).await;
    for _ in 0..3 {
        load.more(200).await;
        let mut old = all.gates.remove(0);
        old.program.signal("TERM");
        assert_eq!(old.program.ended().await, 0);
        all.gates.push(Gate::run(old.files.clone(), &[]).await);
        load.more(200).await;
        load.more_walks(2).await;
    }
    let report = load.finish().await;
    eprintln!("{report:?}");
    report.has_no_failure();
    let shown = all.show(&link).await;
    assert_eq!(shown.status, 200, "a link of before: {}", shown.body);
    assert_eq!(all.set(&shown.token(), "Fresh-Pass1").await.json()["status"], json!({"success": true}));
}

/// Two processes, whose keys are changed one after the other, as an operator does it.
#[tokio::test]
async fn r15_keys_rotate_over_two_processes_and_no_flow_is_lost() {
    let Some(server) = RedisServer::start().await else { return };
    let (around, folder) = (Around::start().await, tempfile::tempdir().unwrap());
    let files = |name: &str| Set::default().files(&around, &server, &folder.path().join(name));
    let (mut one, mut two) = (Gate::run(files("a.sock"), &[]).await, Gate::run(files("b.sock"), &[]).await);
    let mut mails = 0;
    // New as the second, then as the first, then alone.
    for keys in ["ab", "ba", "b"] {
        let asked = one.query("bjensen").await.token();
        mails += 1;
        let link = crate::support::setup::link(&around.mail(mails).await.links[0]);
        one = Gate::run(one.killed().with_keys(keys), &[]).await;
        // Of before the change, and of each side of it.
        assert_eq!(one.show(&(asked.clone(), link.1.clone())).await.status, 200, "{keys}");
        assert_eq!(two.show(&(asked, format!("{} ", link.1))).await.status, 200, "{keys}");
        let shown = one.show(&link).await.token();
        let set = two.set(&shown, &format!("Fresh-Pass1-{keys}")).await;
        assert_eq!(set.json()["status"], json!({"success": true}), "{keys}: {}", set.body);
        two = Gate::run(two.killed().with_keys(keys), &[]).await;
    }
    // Whoever has none of their keys has no business there.
    let strange = files("c.sock").with_keys("c");
    let mut refused = Program::resetgate(&["run", "--config", &strange.config()]);
    assert_eq!(refused.ended().await, 1);
    assert!(refused.stderr.seen.join("\n").contains("other token.keys"), "{:?}", refused.stderr.seen);
}

/// While one has the new process file and the other not yet.
#[tokio::test]
async fn a_token_of_another_process_definition_starts_anew() {
    let Some(server) = RedisServer::start().await else { return };
    let (around, folder) = (Around::start().await, tempfile::tempdir().unwrap());
    let files = |name: &str| Set::default().files(&around, &server, &folder.path().join(name));
    let changed: Files = files("b.sock");
    let process = std::fs::read_to_string(changed.path().join("selfservice-reset.json")).unwrap();
    let mut process: serde_json::Value = serde_json::from_str(&process).unwrap();
    let stages = process["stageConfigs"].as_array_mut().unwrap();
    stages.retain(|stage| stage["name"] != "validateActiveAccount");
    changed.write("selfservice-reset.json", &process.to_string());
    let (old, new) = (Gate::run(files("a.sock"), &[]).await, Gate::run(changed, &[]).await);
    let asked = old.query("bjensen").await.token();
    let (link, code) = crate::support::setup::link(&around.mail(1).await.links[0]);
    for token in [&asked, &link] {
        let told = new.show(&(token.clone(), code.clone())).await;
        assert_eq!((told.status, told.message()), (400, "Invalid token".into()));
    }
    let shown = old.show(&(link, code)).await;
    assert_eq!(shown.status, 200, "where it began it goes on");
    let own = new.query("bjensen").await;
    assert_eq!(own.status, 200, "{}", own.body);
    let second = crate::support::setup::link(&around.mail(2).await.links[0]);
    let proven = new.show(&second).await.token();
    assert_eq!(new.set(&proven, "Fresh-Pass1").await.json()["status"], json!({"success": true}));
    assert_eq!(around.store.patches(), 1);
}

/// What one client may start is counted once, however many gates it asks; while the server is gone, by each for itself.
#[tokio::test]
async fn shared_limits_are_counted_once() {
    let limits = "[limits]\nstore = \"redis\"\nstart_per_client = \"6/10m\"\nmail_per_account = \"2/30m\"\n\
                  client = \"0\"\nstart_total = \"0\"\nmail_total = \"0\"\n";
    let set = Set { more: limits.into(), codes: "timeout = \"300ms\"", ..Set::default() };
    let Some(all) = Replicas::start(&set).await else { return };
    let ask = async |gate: &Gate| gate.query("bjensen").await;
    let mut told = Vec::new();
    for n in 0..9 {
        told.push(ask(&all.gates[n % 3]).await);
    }
    assert!(told[..6].iter().all(|answer| answer.status == 200), "{told:?}");
    assert!(told[6..].iter().all(|answer| answer.status == 429), "{told:?}");
    let wait: u64 = told[8].headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=101).contains(&wait), "{wait}");
    all.mailed(2).await;
    assert_eq!(all.around.mailbox.mails().len(), 2, "of one account, whoever mails them");
    assert!(!LIMITS.is_empty());
}
