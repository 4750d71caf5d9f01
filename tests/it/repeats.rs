//! One gesture is not one POST: a browser sends a click two to seven times.

use futures_util::future::join_all;
use resetgate::serve::Ended;
use serde_json::{Value, json};

use crate::support::{
    link::Mode,
    world::{Answer, PATH, Plan, World},
};

const PASSWORD: &str = "Fresh-Pass1";

/// The same body on sixteen connections at once; the first caller hangs up before anything is answered. What the others
/// got, who all got the same.
async fn sixteen(world: &World, body: &Value) -> Answer {
    drop(world.post_and_leave(body).await);
    all_equal(join_all((1..16).map(|_| world.post(body))).await)
}

/// The same, and the caller who hangs up does so while the store works for him, the others while it still does.
async fn sixteen_at_a_slow_store(world: &World, body: &Value) -> Answer {
    world.store_link.set(Mode::Hold);
    let first = world.post_and_leave(body).await;
    world.store_link.held(1).await;
    drop(first);
    let mut others = Vec::new();
    for _ in 1..8 {
        others.push(world.post_and_leave(body).await);
    }
    world.store_link.set(Mode::Pass);
    let answer = all_equal(join_all((8..16).map(|_| world.post(body))).await);
    drop(others);
    answer
}

fn all_equal(answers: Vec<Answer>) -> Answer {
    for answer in &answers {
        assert_eq!(answer.whole(), answers[0].whole());
    }
    answers.into_iter().next().unwrap()
}

fn query(token: &str, user: &str) -> Value {
    json!({"token": token, "input": {"queryFilter": format!("userName eq \"{user}\"")}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_equal_queries_are_one_look_up_one_mail_and_one_answer() {
    let world = World::usual().await;
    let body = query(&world.begin().await, "bjensen");

    let answer = sixteen_at_a_slow_store(&world, &body).await;
    assert_eq!(answer.status, 200);
    world.mailed(1).await;
    assert_eq!(world.post(&body).await.whole(), answer.whole(), "after the fact");
    assert_eq!(world.store.queries().len(), 1);
    assert_eq!(world.metric("mail_messages_total{outcome=\"queued\"}").await, "1");
    assert_eq!(world.metric("mail_messages_total{outcome=\"joined\"}").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_equal_codes_are_one_answer() {
    let world = World::usual().await;
    world.query("bjensen").await;
    let (token, code) = world.mailed(1).await;
    let body = json!({"token": token, "input": {"code": code}});

    let answer = sixteen(&world, &body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(world.post(&body).await.whole(), answer.whole(), "after the fact");
    assert_eq!(world.metric("code_attempts_total{lane=\"link\",outcome=\"right\"}").await, "1");
    assert_eq!(world.set(&answer.token(), PASSWORD).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_equal_passwords_are_one_patch_and_one_success() {
    let world = World::usual().await;
    let token = world.proven("bjensen", 1).await;
    let body = json!({"token": token, "input": {"password": PASSWORD}});

    let answer = sixteen_at_a_slow_store(&world, &body).await;
    assert_eq!(answer.json()["status"], json!({"success": true}));
    assert_eq!(world.post(&body).await.whole(), answer.whole(), "after the fact");
    assert_eq!(world.store.patches(), 1);
    assert!(world.store.password_is("bjensen", PASSWORD));
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_waiting_and_not_the_work() {
    let world = World::usual().await;
    let token = world.proven("bjensen", 1).await;
    world.store_link.set(Mode::Hold);
    let caller = world.post_and_leave(&json!({"token": token, "input": {"password": PASSWORD}})).await;
    world.store_link.held(1).await;
    drop(caller);
    world.store_link.set(Mode::Pass);
    world.until(async || world.store.password_is("bjensen", PASSWORD)).await;
}

#[tokio::test]
async fn the_drain_waits_for_work_whose_caller_has_left() {
    let mut world = World::usual().await;
    let token = world.proven("bjensen", 1).await;
    world.store_link.set(Mode::HoldPatches);
    let caller = world.post_and_leave(&json!({"token": token, "input": {"password": PASSWORD}})).await;
    world.store_link.held(1).await;
    drop(caller);
    let (draining, link) = (world.stopping(), world.store_link.clone());
    let (ended, ()) = tokio::join!(world.drain(), async {
        draining.await;
        link.set(Mode::Pass);
    });
    assert_eq!(ended, Ended::Drained);
    assert!(world.store.password_is("bjensen", PASSWORD));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_first_token_to_know_them_by_sixteen_queries_are_still_one_mail() {
    let no_parameters: fn(&mut Value) = |process| drop(process["stageConfigs"].as_array_mut().unwrap().remove(0));
    let world = World::with(Plan { process: no_parameters, ..Plan::default() }).await;
    assert_eq!(world.get(PATH).await.json()["type"], "userQuery");
    let body = json!({"input": {"queryFilter": "userName eq \"bjensen\""}});
    let answers = join_all((0..16).map(|_| world.post(&body))).await;
    for answer in &answers {
        assert_eq!(answer.shape(), answers[0].shape());
    }
    let (token, code) = world.mailed(1).await;
    let token = world.show(&token, &code).await.token();
    assert_eq!(world.set(&token, PASSWORD).await.json()["status"], json!({"success": true}));
    assert_eq!(world.metric("mail_messages_total{outcome=\"queued\"}").await, "1");
}

#[tokio::test]
async fn a_double_click_on_the_last_button_never_turns_success_into_an_error() {
    let world = World::usual().await;
    world.query("bjensen").await;
    let (link, code) = world.mailed(1).await;
    let (token, second_tab) =
        (world.show(&link, &code).await.token(), world.show(&link, &format!("{code} ")).await.token());
    assert_ne!(token, second_tab);

    let clicks = join_all([world.set(&token, PASSWORD), world.set(&token, PASSWORD)]).await;
    assert_eq!(clicks[0].json()["status"], json!({"success": true}), "{}", clicks[0].body);
    assert_eq!(clicks[1].whole(), clicks[0].whole());
    assert_eq!(world.set(&second_tab, PASSWORD).await.body, clicks[0].body, "not out of the repeat cache");
    assert_eq!(world.store.patches(), 1);
}

#[tokio::test]
async fn an_answer_is_kept_for_the_window_and_no_longer() {
    let world = World::with(Plan { reset: "answer_floor = \"20ms\"\nrepeat_window = \"1s\"", ..Plan::default() }).await;
    world.query("bjensen").await;
    let (token, code) = world.mailed(1).await;
    let first = world.show(&token, &code).await;
    assert_eq!(world.show(&token, &code).await.body, first.body);
    world.until(async || world.show(&token, &code).await.body != first.body).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_start_together_get_tokens_of_their_own() {
    let world = World::usual().await;
    let mut tokens: Vec<_> = join_all((0..16).map(|_| world.begin())).await;
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 16);
}

#[tokio::test]
async fn an_answer_of_a_store_that_was_down_is_not_kept() {
    let world = World::usual().await;
    let token = world.begin().await;
    world.store_link.set(Mode::Down);
    assert_eq!(world.query_with(&token, "bjensen").await.status, 503);
    world.store_link.set(Mode::Pass);
    assert_eq!(world.query_with(&token, "bjensen").await.status, 200);
    world.mailed(1).await;
}

#[tokio::test]
async fn an_answer_over_a_limit_is_not_kept() {
    let limits = "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"1/300ms\"\nmail_total = \"0\"";
    let world = World::with(Plan { limits, ..Plan::default() }).await;
    let mut token = String::new();
    world
        .until(async || {
            token = world.begin().await;
            world.query_with(&token, "bjensen").await.status == 429
        })
        .await;
    world.until(async || world.query_with(&token, "bjensen").await.status == 200).await;
}

#[tokio::test]
async fn what_its_stage_does_not_read_makes_no_other_request() {
    let world = World::usual().await;
    world.query("bjensen").await;
    let (token, code) = world.mailed(1).await;
    let answer = world.post(&json!({"token": token, "input": {"code": code}})).await;
    assert_eq!(answer.status, 200);
    for same in [
        json!({"input": {"token": token, "code": code}, "token": token}),
        json!({"input": {"code": code, "goto": ["x"], "password": "y"}, "token": token, "more": 1}),
    ] {
        assert_eq!(world.post(&same).await.whole(), answer.whole(), "{same}");
    }
    let other = json!({"token": token, "input": {"code": format!("{code}x")}});
    assert_eq!(world.post(&other).await.message(), "Invalid code");
}

#[tokio::test]
async fn what_its_stage_reads_makes_another_request() {
    let world = World::usual().await;
    let token = world.begin().await;
    let (one, other) = tokio::join!(world.query_with(&token, "bjensen"), world.query_with(&token, "zoë"));
    assert_ne!(one.token(), other.token());
    world.mailed(2).await;
    assert_eq!(world.store.queries().len(), 2);
}

#[tokio::test]
async fn a_wrong_code_sent_again_costs_one_try() {
    let world = World::usual().await;
    let token = world.query("bjensen").await.token();
    let (_, code) = world.mailed(1).await;
    for _ in 0..20 {
        assert_eq!(world.show(&token, "wrong").await.message(), "Invalid code");
    }
    assert_eq!(world.show(&token, &code).await.status, 200);
}
