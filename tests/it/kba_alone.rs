//! `reset.kba_alone`: security questions are all that proves an account's owner. Strangers are asked then, so nothing may
//! tell them who has an account, and nothing that they send may lock anybody out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    kba::{LOCKING, own, system},
    support::{
        answer::Answer,
        clock::ManualClock,
        link::Mode,
        world::{Plan, World},
    },
};

const PASSWORD: &str = "Fresh-Pass1";
const BARBARA: &str = "5b2d9a4e-3f60-4c1a-9d0e-1f6a7c8b9d01";
const NOT_MATCHED: &str = "Answers are not matched";

pub(crate) fn alone(process: &mut Value) {
    for stage in process["stageConfigs"].as_array_mut().unwrap() {
        if stage["name"] == "emailValidation" {
            *stage = json!({
                "name": "kbaSecurityAnswerVerificationStage", "identityServiceUrl": "managed/user", "kbaConfig": null,
            });
        }
        if stage["name"] == "userQuery" {
            stage["validQueryFields"] = json!(["userName"]);
        }
    }
}

fn plan() -> Plan {
    Plan {
        process: alone,
        files: vec![("selfservice.kba.json", LOCKING.to_owned())],
        reset: "answer_floor = \"20ms\"\nkba_alone = true",
        limits: "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"",
        ..Plan::default()
    }
}

async fn world(plan: Plan) -> World {
    let world = World::with(plan).await;
    assert!(world.store.set(BARBARA, "kbaInfo", json!([own("Pet?", "Rex"), system("1", "Blue"), system("3", "Rome")])));
    world
}

fn question(asked: &Answer) -> String {
    assert_eq!(asked.json()["type"], "kbaSecurityAnswerVerificationStage", "{}", asked.body);
    asked.json()["requirements"]["properties"]["answer1"]["systemQuestion"]["en"].as_str().unwrap().to_owned()
}

fn right(asked: &Answer) -> &'static str {
    if question(asked).contains("color") { "blue" } else { "ROME" }
}

async fn give(world: &World, asked: &Answer, answer: &str) -> Answer {
    world.post(&json!({"token": asked.token(), "input": {"answer1": answer}})).await
}

/// Status, headers and body but for the token's own text and for what is asked.
fn shape(answer: &Answer) -> (u16, Vec<(String, String)>, Value) {
    let mut body = answer.json();
    body["requirements"]["properties"]["answer1"]["systemQuestion"] = Value::Null;
    if let Some(token) = body["token"].as_str() {
        body["token"] = token.len().into();
    }
    let mut headers = answer.whole().1;
    headers.retain(|(name, _)| name != "content-length");
    (answer.status, headers, body)
}

#[tokio::test]
async fn the_right_answer_sets_a_password_and_no_mail_is_sent() {
    let world = world(plan()).await;
    let asked = world.query("bjensen").await;
    let shown = give(&world, &asked, right(&asked)).await;
    let set = world.set(&shown.token(), "short").await;
    let set = world.set(&set.token(), PASSWORD).await;
    assert_eq!(set.json()["status"], json!({"success": true}), "{}", set.body);
    assert!(world.store.password_is("bjensen", PASSWORD));
    assert_eq!(world.mailbox.mails().len(), 0);
    // What is over is over, and the answer is right as before.
    assert_eq!(world.set(&shown.token(), "Another-Pass1").await.message(), "Invalid code");
    let asked = world.query("bjensen").await;
    assert_eq!(give(&world, &asked, right(&asked)).await.status, 200);
}

fn before_the_code(process: &mut Value) {
    let email = process["stageConfigs"][3].clone();
    assert_eq!(email["name"], "emailValidation");
    alone(process);
    process["stageConfigs"].as_array_mut().unwrap().insert(4, email);
}

#[tokio::test]
async fn before_the_mailed_code_they_are_asked_alike() {
    let reset = "answer_floor = \"20ms\"\nkba_alone = true\nmail_gap = \"0s\"";
    let world = world(Plan { process: before_the_code, reset, ..plan() }).await;
    let (somebody, nobody) = (world.query("bjensen").await, world.query("nobody").await);
    assert_eq!(shape(&somebody), shape(&nobody));
    assert_eq!(give(&world, &somebody, "wrong").await.whole(), give(&world, &nobody, "wrong").await.whole());
    assert_eq!(world.mailbox.mails().len(), 0);
    // Each time that it is answered right a code is mailed, and each is good.
    for (nth, spelling) in [(1, right(&somebody).to_lowercase()), (2, right(&somebody).to_uppercase())] {
        let asked = give(&world, &somebody, &spelling).await;
        assert_eq!(asked.json()["tag"], "validateCode", "{}", asked.body);
        let (token, code) = world.mailed(nth).await;
        let shown = world.show(&token, &code).await;
        assert_eq!(shown.json()["type"], "resetStage", "{}", shown.body);
        let typed = world.show(&asked.token(), &code).await;
        assert_eq!(typed.status, 200, "{}", typed.body);
        if nth == 2 {
            let set = world.set(&shown.token(), PASSWORD).await;
            assert_eq!(set.json()["status"], json!({"success": true}), "{}", set.body);
        }
    }
    assert!(world.store.password_is("bjensen", PASSWORD));
}

#[tokio::test]
async fn nobody_is_asked_as_somebody_is_and_the_same_each_time() {
    let world = world(plan()).await;
    world.store.set("7c1f0d52-8e34-4b7d-8a55-2b9e6d4f0a02", "kbaInfo", json!([own("Pet?", "x"), own("Street?", "x")]));
    let somebody = world.query("bjensen").await;
    // Of nobody, of who has no questions, of who has only some of their own, and of who may not.
    for name in ["nobody-by-that-name", "zoë", "pat", "dormant", "x", "o'brien"] {
        let asked = world.query(name).await;
        assert_eq!(shape(&asked), shape(&somebody), "{name}");
        for spelt in [name, &name.to_ascii_uppercase(), &format!("  {name} ")] {
            assert_eq!(question(&world.query(spelt).await), question(&asked), "{spelt}");
        }
        let wrong = give(&world, &asked, "wrong").await;
        assert_eq!(wrong.whole(), give(&world, &somebody, "wrong").await.whole(), "{name}");
        assert_eq!(wrong.message(), NOT_MATCHED);
    }
    assert_eq!(question(&world.query("bjensen").await), question(&somebody));
    let mut questions: Vec<_> = Vec::new();
    for n in 0..12 {
        questions.push(question(&world.query(&format!("nobody-{n}")).await));
    }
    questions.sort();
    questions.dedup();
    assert!(questions.len() > 1, "not all are asked the same");
}

#[tokio::test]
async fn the_store_is_asked_as_often_for_nobody_and_answers_wait_for_the_floor() {
    let reset = "answer_floor = \"150ms\"\nkba_alone = true";
    let world = world(Plan { reset, ..plan() }).await;
    let reads =
        async || world.metric("identity_call_duration_seconds_count{call=\"read\"}").await.parse::<u32>().unwrap();
    for name in ["bjensen", "nobody"] {
        let before = reads().await;
        let token = world.begin().await;
        let began = Instant::now();
        let asked = world.query_with(&token, name).await;
        assert!(began.elapsed() >= Duration::from_millis(150), "{name}");
        let began = Instant::now();
        assert_eq!(give(&world, &asked, "wrong").await.status, 400);
        assert!(began.elapsed() >= Duration::from_millis(150), "{name}");
        assert_eq!(reads().await - before, 2, "{name}");
    }
}

#[tokio::test]
async fn guesses_run_out_for_a_while_and_nothing_is_written() {
    let clock = Arc::new(ManualClock::new());
    let goes = clock.clone();
    // As time does, for answers wait for the floor.
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        loop {
            ticks.tick().await;
            goes.forward(Duration::from_millis(5));
        }
    });
    let world = world(Plan { clock: Some(clock.clone()), ..plan() }).await;
    let asked = world.query("bjensen").await;
    for n in 0..5 {
        assert_eq!(give(&world, &asked, &format!("wrong {n}")).await.message(), NOT_MATCHED);
    }
    let again = world.query("bjensen").await;
    assert_eq!(give(&world, &again, right(&again)).await.message(), NOT_MATCHED, "in whatever flow");
    assert_eq!(world.store.field(BARBARA, "kbaLockout"), None);
    assert_eq!(world.store.patches(), 0);
    clock.forward(Duration::from_secs(12 * 60 + 1));
    let again = world.query("bjensen").await;
    assert_eq!(give(&world, &again, right(&again)).await.status, 200);
}

#[tokio::test]
async fn of_twenty_guesses_at_once_as_many_are_looked_at_as_the_budget_has() {
    let world = Arc::new(world(plan()).await);
    let asked = world.query("bjensen").await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20 {
        let (world, asked) = (world.clone(), asked.clone());
        tasks.spawn(async move { give(&world, &asked, &format!("wrong {n}")).await.message() });
    }
    assert_eq!(tasks.join_all().await, vec![NOT_MATCHED; 20]);
    assert_eq!(world.metric("limited_requests_total{rule=\"answer_per_account\"}").await, "15");
}

#[tokio::test]
async fn who_is_locked_elsewhere_is_nobody() {
    let world = world(plan()).await;
    world.store.set(BARBARA, "kbaLockout", 4);
    let asked = world.query("bjensen").await;
    assert_eq!(give(&world, &asked, "Blue").await.message(), NOT_MATCHED);
    assert_eq!(give(&world, &asked, "Rome").await.message(), NOT_MATCHED);
}

#[tokio::test]
async fn a_store_that_is_down_is_down_for_all() {
    let world = world(plan()).await;
    let (somebody, nobody) = (world.query("bjensen").await, world.query("nobody").await);
    world.store_link.set(Mode::Down);
    for asked in [&somebody, &nobody] {
        assert_eq!(give(&world, asked, "Blue").await.status, 503);
    }
}
