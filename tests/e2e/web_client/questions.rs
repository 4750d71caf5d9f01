//! Security questions on the way.

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::digest;
use serde_json::{Value, json};

use super::{BUTTON, CHOOSE, DONE, FAILED, Policy, SENT, World};
use crate::support::driver::{Browser, ENTER};

const KATE: &str = "5b2d9a4e-3f60-4c1a-9d0e-1f6a7c8b9d01";
const ASKED: &str = "document.querySelector('input[name=answer1]') && document.querySelector('input[name=answer2]')";

/// As IDM stores it.
fn hashed(answer: &str) -> Value {
    let salt = *b"0123456789abcdef";
    let digest = digest::digest(&digest::SHA256, &[answer.to_lowercase().as_bytes(), &salt].concat());
    let data = BASE64_STANDARD.encode([digest.as_ref(), &salt].concat());
    json!({"$crypto": {"value": {"algorithm": "SHA-256", "data": data}, "type": "salted-hash"}})
}

fn with_questions(text: &str) -> String {
    let mut process: Value = serde_json::from_str(text).unwrap();
    let stages = process["stageConfigs"].as_array_mut().unwrap();
    let stage = json!({
        "name": "kbaSecurityAnswerVerificationStage",
        "kbaPropertyName": "kbaInfo",
        "identityServiceUrl": "managed/user",
        "kbaConfig": {
            "kbaPropertyName": "kbaInfo",
            "minimumAnswersToDefine": 2,
            "minimumAnswersToVerify": 2,
            "numberOfAttemptsAllowed": 3,
            "kbaAttemptsPropertyName": "kbaLockout",
            "questions": {"1": {"en": "Who was your first employer?", "fr": "Qui fut votre premier employeur ?"}},
        },
    });
    stages.insert(stages.len() - 1, stage);
    process.to_string()
}

/// Answers whatever is asked, in the order in which it is.
async fn answer(browser: &Browser, employer: &str, pet: &str) {
    browser.until(ASKED).await;
    for name in ["answer1", "answer2"] {
        let question =
            format!("return document.querySelector('input[name={name}]').closest('label, .form-group').innerText");
        let question = browser.run(&question).await;
        let given = match question.as_str().unwrap().trim() {
            "Who was your first employer?" => employer,
            "My first pet?" => pet,
            other => panic!("{other:?}"),
        };
        browser.fill(&format!("input[name={name}]"), given).await;
    }
    browser.press(BUTTON, ENTER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_answers_security_questions_on_idms_own_page() {
    let Some(browser) = Browser::start().await else { return };
    let world =
        World::start(Policy::Open, |plan| plan.reset += "\nmail_gap = \"0s\"", |text| with_questions(&text)).await;
    let info = json!([
        {"questionId": "1", "answer": hashed("Acme")},
        {"customQuestion": "My first pet?", "answer": hashed("Rex")},
    ]);
    assert!(world.around.store.set(KATE, "kbaInfo", info));
    let begin = async |nth| {
        world.ask(&browser, "bjensen@example.com").await;
        browser.click(BUTTON).await;
        browser.until(SENT).await;
        world.follow(&browser, &world.link(nth).await).await;
    };
    // Who answers wrongly begins again.
    begin(1).await;
    browser.until(ASKED).await;
    browser.shoot("web-questions").await;
    answer(&browser, "Acme", "Tom").await;
    browser.until(FAILED).await;
    browser.shoot("web-wrong-answer").await;
    assert_eq!(browser.text("#app .alert-danger p").await, "Answers are not matched");
    assert_eq!(world.posts().len(), 5, "two for one Enter");
    assert_eq!(world.around.store.field(KATE, "kbaLockout"), Some(json!(1)), "one gesture is one try");

    begin(2).await;
    answer(&browser, "acme", " Rex ").await;
    browser.until(CHOOSE).await;
    let posts = world.posts();
    let [.., first, second] = &posts[..] else { panic!("{posts:?}") };
    assert_eq!(first.text(), second.text(), "two for one Enter");
    let mut given: Vec<_> =
        ["answer1", "answer2"].map(|name| first.json()["input"][name].as_str().unwrap().to_owned()).into();
    given.sort();
    assert_eq!(given, ["Rex", "acme"]);
    browser.fill("input[name=password]", "Fresh-Pass1").await;
    browser.press(BUTTON, ENTER).await;
    browser.until(DONE).await;
    assert!(world.around.store.password_is("bjensen", "Fresh-Pass1"));
}
