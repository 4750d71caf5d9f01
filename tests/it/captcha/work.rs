//! Work that the gate sets by itself, as ALTCHA's widget does it.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::{REFUSED, SPENT, first, plan};
use crate::support::{
    answer::Answer,
    clock::ManualClock,
    world::{PATH, World},
};

const CAPTCHA: &str = "[audit]\nto = \"off\"\n[captcha]\ndifficulty = 2_000";

/// The question of an answer.
pub(super) fn question(answer: &Answer) -> Value {
    answer.json()["requirements"]["properties"]["response"]["challenge"].clone()
}

/// What the widget posts.
pub(super) fn solve(question: &Value) -> String {
    let text = |name: &str| question[name].as_str().unwrap_or_else(|| panic!("{name} in {question}")).to_owned();
    assert_eq!(text("algorithm"), "SHA-256");
    let hash = |number: u64| {
        let hash = digest(&SHA256, format!("{}{number}", text("salt")).as_bytes());
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let most = question["maxnumber"].as_u64().unwrap();
    let number = (0..=most).find(|number| hash(*number) == text("challenge")).expect("there is a number");
    let answer = json!({
        "algorithm": "SHA-256", "challenge": text("challenge"), "number": number, "salt": text("salt"),
        "signature": text("signature"), "took": 12,
    });
    STANDARD.encode(answer.to_string())
}

async fn post(world: &World, response: &str) -> Answer {
    world.post(&json!({"input": {"response": response}})).await
}

#[tokio::test]
async fn work_is_set_and_done_without_anybody_else() {
    let world = World::with(plan("altcha:", first, CAPTCHA)).await;
    let (one, two) = (world.get(PATH).await, world.get(PATH).await);
    assert_ne!(question(&one)["challenge"], question(&two)["challenge"]);
    assert_ne!(one.headers["etag"], two.headers["etag"], "it is another each time");
    assert_eq!(question(&one)["maxnumber"], 2000);
    let solved = post(&world, &solve(&question(&one))).await;
    assert_eq!((solved.status, solved.json()["type"].as_str()), (200, Some("userQuery")));
    assert_eq!(world.query_with(&solved.token(), "bjensen").await.status, 200);
    assert_eq!(world.query_with(&solved.token(), "scarter").await.message(), SPENT);
    assert_eq!(world.store.queries().len(), 1);
}

/// As a stage behind another the question is in the answer to a POST, with a token; the work is done once.
#[tokio::test]
async fn work_is_done_once() {
    let world = World::with(plan("altcha:", super::second, CAPTCHA)).await;
    let asked = world.post(&json!({"input": {}})).await;
    let response = solve(&question(&asked));
    let body = |token: &str| json!({"token": token, "input": {"response": response}});
    let once = world.post(&body(&asked.token())).await;
    assert_eq!(once.status, 200);
    assert_eq!(world.post(&body(&asked.token())).await.whole(), once.whole(), "a double click");
    let again = world.post(&body(&world.begin().await)).await;
    assert_eq!((again.status, again.message().as_str()), (400, REFUSED));
    let other = World::with(plan("altcha:", super::second, CAPTCHA)).await;
    let elsewhere = other.post(&body(&other.begin().await)).await;
    assert_eq!((elsewhere.status, elsewhere.message().as_str()), (400, REFUSED), "another gate's");
}

#[tokio::test]
async fn what_was_not_done_is_refused() {
    let world = World::with(plan("altcha:", first, CAPTCHA)).await;
    let good = solve(&question(&world.get(PATH).await));
    let decoded: Value = serde_json::from_slice(&STANDARD.decode(&good).unwrap()).unwrap();
    for (key, value) in [
        ("number", json!(decoded["number"].as_u64().unwrap() + 1)),
        ("number", json!(decoded["number"].to_string())),
        ("number", json!(-1)),
        ("algorithm", json!("SHA-512")),
        ("algorithm", json!("none")),
        ("salt", json!("00?expires=99999999999&")),
        ("challenge", json!("00")),
        ("signature", json!("")),
        ("signature", json!(null)),
    ] {
        let mut forged = decoded.clone();
        forged[key] = value.clone();
        let answer = post(&world, &STANDARD.encode(forged.to_string())).await;
        assert_eq!((answer.status, answer.message().as_str()), (400, REFUSED), "{key}: {value}");
    }
    for garbage in ["x", "e30=", &decoded.to_string(), &good[1..], &"A".repeat(9000)] {
        assert_eq!(post(&world, garbage).await.status, 400);
    }
    assert_eq!(post(&world, &good).await.status, 200);
}

#[tokio::test]
async fn work_that_took_too_long_is_worth_nothing() {
    let clock = Arc::new(ManualClock::new());
    let world =
        World::with(crate::support::world::Plan { clock: Some(Arc::clone(&clock)), ..plan("altcha:", first, CAPTCHA) })
            .await;
    let (one, two) = (solve(&question(&world.get(PATH).await)), solve(&question(&world.get(PATH).await)));
    clock.forward(Duration::from_secs(20 * 60 - 1));
    assert_eq!(post(&world, &one).await.status, 200);
    clock.forward(Duration::from_secs(1));
    let late = post(&world, &two).await;
    assert_eq!((late.status, late.message().as_str()), (400, REFUSED));
}
