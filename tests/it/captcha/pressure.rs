//! A captcha that is asked for only where the limits are more than half used up.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::{
    first, plan,
    work::{question, solve},
};
use crate::support::{
    clock::ManualClock,
    world::{PATH, Plan, World},
};

const CAPTCHA: &str = "[audit]\nto = \"off\"\n[captcha]\nwhen = \"pressure\"\ndifficulty = 2_000";
const MINUTE: Duration = Duration::from_secs(60);

/// With limits, on a clock that can be moved.
async fn world(process: fn(&mut Value), limits: &'static str) -> (World, Arc<ManualClock>, AbortOnDropHandle<()>) {
    let clock = Arc::new(ManualClock::new());
    let reset = "answer_floor = \"1ms\"\nproperties = [\"captcha.properties\"]";
    let plan = Plan { clock: Some(Arc::clone(&clock)), limits, reset, ..plan("altcha:", process, CAPTCHA) };
    (World::with(plan).await, Arc::clone(&clock), clock.ticking())
}

fn filter(user: &str) -> Value {
    json!({"queryFilter": format!("userName eq \"{user}\"")})
}

const STARTS: &str = "client = \"0\"\nstart_per_client = \"4/40m\"\nstart_total = \"0\"\nmail_total = \"0\"";

#[tokio::test]
async fn who_has_started_more_than_half_of_what_he_may_is_asked() {
    let (world, clock, _ticking) = world(first, STARTS).await;
    let calm = world.get(PATH).await;
    assert_eq!(calm.json()["type"], "userQuery", "there is no captcha while there is no pressure");
    for n in 0..3 {
        let answer = world.post(&json!({"input": filter(&format!("nobody{n}"))})).await;
        assert_eq!(answer.json()["type"], "emailValidation", "{}", answer.body);
    }
    let pressed = world.get(PATH).await;
    assert_eq!(pressed.json()["type"], "captcha");
    assert_ne!(pressed.headers["etag"], calm.headers["etag"]);
    // Whoever goes on as if he had not been asked is asked.
    let asked = world.post(&json!({"input": filter("bjensen")})).await;
    assert_eq!((asked.status, asked.json()["type"].as_str()), (200, Some("captcha")), "{}", asked.body);
    let solved = world.post(&json!({"token": asked.token(), "input": {"response": solve(&question(&asked))}})).await;
    assert_eq!(solved.json()["type"], "userQuery");
    let done = world.post(&json!({"token": solved.token(), "input": filter("bjensen")})).await;
    assert_eq!(done.json()["type"], "emailValidation");
    let again = world.post(&json!({"token": solved.token(), "input": filter("scarter")})).await;
    assert_eq!(again.status, 400, "{}", again.body);
    clock.forward(40 * MINUTE);
    assert_eq!(world.get(PATH).await.json()["type"], "userQuery", "it is over");
    // And what was asked for before then is still taken.
    let late = world.post(&json!({"input": {"response": solve(&question(&pressed))}})).await;
    assert!(late.status == 400, "it has expired: {}", late.body);
}

#[tokio::test]
async fn tokens_laid_up_before_the_pressure_do_not_get_around_it() {
    let (world, _, _ticking) = world(super::second, STARTS).await;
    let mut hoarded = Vec::new();
    for _ in 0..6 {
        let begun = world.post(&json!({"input": {}})).await;
        assert_eq!(begun.json()["type"], "userQuery", "no captcha in between");
        hoarded.push(begun.token());
    }
    let mut asked = None;
    for (n, token) in hoarded.iter().enumerate() {
        let body = json!({"token": token, "input": filter(&format!("nobody{n}"))});
        let answer = world.post(&body).await;
        assert_eq!(answer.status, 200);
        let kind = answer.json()["type"].clone();
        assert_eq!(kind, if n < 3 { "emailValidation" } else { "captcha" }, "{n}");
        asked = Some(answer);
    }
    assert_eq!(world.store.queries().len(), 3);
    let asked = asked.unwrap();
    let body = json!({"token": asked.token(), "input": {"response": solve(&question(&asked))}});
    let solved = world.post(&body).await;
    assert_eq!(solved.json()["type"], "userQuery");
    let body = json!({"token": solved.token(), "input": filter("bjensen")});
    assert_eq!(world.post(&body).await.json()["type"], "emailValidation");
}

/// No mail budget, and nobody else's, has a part in it.
#[tokio::test]
async fn requests_and_all_starts_press_and_accounts_do_not() {
    let limits = "client = \"10/10m\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_per_account = \"1/20m\"\n\
                  mail_total = \"0\"";
    let (calm, _, _ticking) = world(first, limits).await;
    for _ in 0..3 {
        assert_eq!(calm.post(&json!({"input": filter("bjensen")})).await.json()["type"], "emailValidation");
    }
    for expected in ["userQuery", "userQuery", "captcha"] {
        assert_eq!(calm.get(PATH).await.json()["type"], expected);
    }
    let limits = "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"4/40m\"\nmail_total = \"0\"";
    let (world, _, _ticking) = world(first, limits).await;
    for n in 0..3 {
        assert_eq!(world.get(PATH).await.json()["type"], "userQuery", "{n}");
        world.post(&json!({"input": filter("bjensen")})).await;
    }
    assert_eq!(world.get(PATH).await.json()["type"], "captcha");
}
