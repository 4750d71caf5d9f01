//! The captcha stage: asked as IDM asks it, judged by a service that may lie, hang or say nothing that makes sense, and
//! good for one user query. Work that the gate sets itself is in `captcha::work`, pressure in `captcha::pressure`.

mod pressure;
mod work;

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{
    answer::Answer,
    clock::ManualClock,
    link::Mode,
    upstream::{Seen, Upstream},
    world::{PATH, Plan, World},
};

const SECRET: &str = "6Le-secret&response=good";
const SITE_KEY: &str = "6Le4og4TAAAAACWetDto1152-_JEhn5aG8NhZ3ej";
const REFUSED: &str = "Recaptcha verification is unsuccessful";
const SPENT: &str = "The captcha was used already, start again";
const RESET: &str = "answer_floor = \"20ms\"\nproperties = [\"captcha.properties\"]\nmail_gap = \"0s\"";

fn stage() -> Value {
    json!({
        "name": "captcha", "recaptchaSiteKey": SITE_KEY, "recaptchaSecretKey": "&{captcha.secret}",
        "recaptchaUri": "&{captcha.uri}",
    })
}

/// Behind the parameters, as IDM's own pages make it.
fn second(process: &mut Value) {
    process["stageConfigs"].as_array_mut().unwrap().insert(1, stage());
}

/// Without parameters.
fn first(process: &mut Value) {
    process["stageConfigs"][0] = stage();
}

fn plan(uri: &str, process: fn(&mut Value), captcha: &'static str) -> Plan {
    let properties = format!("captcha.uri={uri}\ncaptcha.secret={SECRET}\n");
    Plan { process, reset: RESET, files: vec![("captcha.properties", properties)], audit: captcha, ..Plan::default() }
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn form(seen: &Seen) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&seen.body).into_owned().collect()
}

/// Says yes to what begins with `good`, no to others, and to what is `=` and a text just that. Who asks must show the secret.
fn judge(seen: &Seen) -> Vec<u8> {
    let form: HashMap<_, _> = form(seen).into_iter().collect();
    let response = form["response"].as_str();
    let body = match response.strip_prefix('=') {
        Some(raw) if raw.starts_with("HTTP/") => return raw.as_bytes().to_vec(),
        Some("huge") => format!("{{\"success\": true, \"x\": \"{}\"}}", "x".repeat(20_000)),
        Some(body) => body.to_owned(),
        None if form["secret"] != SECRET => r#"{"success":false,"error-codes":["invalid-input-secret"]}"#.to_owned(),
        None if response.starts_with("good") => r#"{"success":true,"hostname":"id.example.org"}"#.to_owned(),
        None => r#"{"success":false,"error-codes":["invalid-input-response"]}"#.to_owned(),
    };
    http("200 OK", "Content-Type: application/json\r\n", &body)
}

struct Scene {
    service: Upstream,
    world: World,
}

impl Scene {
    async fn new(process: fn(&mut Value), change: impl FnOnce(Plan) -> Plan) -> Self {
        let service = Upstream::answering(judge).await;
        let uri = format!("http://{}/recaptcha/api/siteverify", service.address);
        let world = World::with(change(plan(&uri, process, "[audit]\nto = \"off\""))).await;
        Self { service, world }
    }

    /// A flow's answer to the captcha.
    async fn answer(&self, response: &str) -> Answer {
        let token = self.world.begin().await;
        self.world
            .post(&json!({"input": {"response": response, "g-recaptcha-response": response}, "token": token}))
            .await
    }
}

#[tokio::test]
async fn a_captcha_is_asked_as_idm_asks_it() {
    let Scene { service, world } = Scene::new(first, |plan| plan).await;
    let mut lines = include_str!("../data/traces/captcha.jsonl").lines();
    let mut asked: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let asked = &mut asked["response"]["json"];
    let _ = (asked.as_object_mut().unwrap().shift_remove("_id"), asked.as_object_mut().unwrap().shift_remove("_rev"));
    let read = world.get(PATH).await;
    assert_eq!((read.status, read.body.as_str()), (200, asked.to_string().as_str()), "also in the order of its keys");
    assert!(read.headers.contains_key("etag") && world.get(PATH).await.whole() == read.whole());
    // What of the recorded requests is refused there with 500, or answered with the service's own words, and what passes
    // there for another parameter.
    let (missing, no_text) = ("/input/response: Expecting a value", "/input/response: Expecting a java.lang.String");
    for (input, status, message) in [
        (json!({}), 400, missing),
        (json!({"response": null}), 400, missing),
        (json!({"g-recaptcha-response": "good"}), 400, missing),
        (json!("text"), 400, missing),
        (json!({"response": 5}), 400, no_text),
        (json!({"response": ["good"]}), 400, no_text),
        (json!({"response": true}), 400, no_text),
        (json!({"response": ""}), 400, REFUSED),
        (json!({"response": "bad"}), 400, REFUSED),
        (json!({"response": "bad&response=good"}), 400, REFUSED),
        (json!({"response": "good".repeat(3000)}), 400, REFUSED),
    ] {
        let answer = world.post(&json!({"input": input})).await;
        assert_eq!((answer.status, answer.message().as_str()), (status, message), "{input}");
    }
    assert_eq!(service.count(), 2, "what cannot be an answer is nobody asked about");
    let answer = world.post(&json!({"input": {"response": "good x", "g-recaptcha-response": "good x"}})).await;
    assert_eq!((answer.status, answer.json()["type"].as_str()), (200, Some("userQuery")));
}

#[tokio::test]
async fn one_form_goes_to_the_service_and_a_whole_reset_follows() {
    let scene = Scene::new(second, |plan| plan).await;
    let asked = scene.world.post(&json!({"input": {"returnParams": "x"}})).await;
    assert_eq!(asked.json()["type"], "captcha");
    let solved =
        scene.world.post(&json!({"token": asked.token(), "input": {"response": "good & more\r\nHost: x"}})).await;
    assert_eq!(solved.json()["type"], "userQuery");
    let seen = scene.service.last();
    assert_eq!(seen.line(), "POST /recaptcha/api/siteverify HTTP/1.1", "nothing in the query");
    assert_eq!(seen.header("content-type"), ["application/x-www-form-urlencoded"]);
    assert_eq!(seen.header("host"), [scene.service.address.to_string()]);
    let pairs = [("secret", SECRET), ("response", "good & more\r\nHost: x")];
    assert_eq!(form(&seen), pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(scene.world.query_with(&solved.token(), "bjensen").await.json()["type"], "emailValidation");
    let (token, code) = scene.world.mailed(1).await;
    let proven = scene.world.show(&token, &code).await.token();
    let done = scene.world.set(&proven, "Fresh-Pass1").await;
    assert_eq!(done.json()["additions"], json!({"returnParams": "x"}));
    assert!(scene.world.store.password_is("bjensen", "Fresh-Pass1"));
}

#[tokio::test]
async fn a_service_that_does_not_say_yes_or_no_lets_nobody_in() {
    let scene =
        Scene::new(second, |plan| Plan { audit: "[audit]\nto = \"off\"\n[captcha]\ntimeout = \"300ms\"", ..plan })
            .await;
    let raw = |text: &str| format!("=HTTP/1.1 {text}");
    let yes = "Content-Length: 17\r\n\r\n{\"success\": true}";
    for odd in [
        "=".to_owned(),
        "={}".to_owned(),
        "=[true]".to_owned(),
        "=true".to_owned(),
        "=null".to_owned(),
        "=<html><body>success: true</body></html>".to_owned(),
        "={\"success\": \"true\"}".to_owned(),
        "={\"success\": 1}".to_owned(),
        "={\"success\": {\"success\": true}}".to_owned(),
        "=[{\"success\": true}]".to_owned(),
        "={\"success\": false, \"success\": true}".to_owned(),
        "={\"success\": true} trailing".to_owned(),
        "={\"success\": true, \"hostname\": 5}".to_owned(),
        "={\"success\": false, \"error-codes\": [\"internal-error\"]}".to_owned(),
        "={\"success\": false, \"error-codes\": [\"invalid-input-secret\"]}".to_owned(),
        "=huge".to_owned(),
        raw(&format!("500 Oops\r\n{yes}")),
        raw(&format!("400 Bad\r\n{yes}")),
        raw(&format!("301 Moved\r\nLocation: http://{}/yes\r\n{yes}", scene.service.address)),
        raw(&format!("307 Again\r\nLocation: /yes\r\n{yes}")),
        raw("204 None\r\n\r\n"),
        raw("200 OK\r\nContent-Length: 100\r\n\r\n{\"success\": true}"),
        raw("200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{\"success\": true}"),
        raw("200"),
        "=HTTP/9.9 nonsense\r\n\r\n".to_owned(),
    ] {
        let answer = scene.answer(&odd).await;
        let shown = odd.get(..60).unwrap_or(&odd);
        assert_eq!(answer.status, 503, "{shown}: {}", answer.body);
        assert!(answer.headers.contains_key("retry-after"), "{shown}");
        assert!(!answer.body.contains("token") && !answer.body.contains("success"), "{shown}");
    }
    assert!(scene.world.store.queries().is_empty());
    assert!(scene.service.seen().iter().all(|seen| seen.target() == "/recaptcha/api/siteverify"), "no redirect");
    // It is over as soon as it says yes again.
    let asked = scene.service.count();
    assert_eq!(scene.answer("good").await.status, 200);
    assert_eq!(scene.world.metric("service_failures_total{service=\"captcha\"}").await, asked.to_string());
}

#[tokio::test]
async fn a_service_that_is_down_or_mute_is_a_503_in_time() {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for address in ["127.0.0.1:1".to_owned(), mute.local_addr().unwrap().to_string()] {
        let captcha = "[audit]\nto = \"off\"\n[captcha]\ntimeout = \"300ms\"";
        let world = World::with(plan(&format!("http://{address}/"), second, captcha)).await;
        let body = json!({"token": world.begin().await, "input": {"response": "good"}});
        let answer = tokio::time::timeout(Duration::from_secs(5), world.post(&body)).await.expect("in time");
        assert_eq!((answer.status, answer.headers["retry-after"].to_str().unwrap()), (503, "5"));
        assert_eq!(answer.message(), "The service is not available, try again later");
    }
}

#[tokio::test]
async fn what_is_required_of_an_answer_is_looked_at() {
    let captcha =
        "[audit]\nto = \"off\"\n[captcha]\nhostnames = [\"id.example.org\"]\naction = \"reset\"\nmin_score = 0.5";
    let scene = Scene::new(second, |plan| Plan { audit: captcha, ..plan }).await;
    let said = |more: &str| format!("={{\"success\": true{more}}}");
    let good = ", \"hostname\": \"id.example.org\", \"action\": \"reset\", \"score\": 0.7";
    assert_eq!(scene.answer(&said(good)).await.status, 200);
    for (from, to) in [("id.example", "evil.example"), ("\"reset\"", "\"login\""), ("0.7", "0.3"), (good, "")] {
        let answer = scene.answer(&said(&good.replace(from, to))).await;
        assert_eq!((answer.status, answer.message().as_str()), (400, REFUSED), "{to}");
    }
}

/// Twenty queries at once, each for another account: one of them is done.
#[tokio::test]
async fn one_solved_captcha_is_one_query() {
    let scene = Arc::new(Scene::new(second, |plan| plan).await);
    let token = scene.answer("good").await.token();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (scene, token) = (Arc::clone(&scene), token.clone());
        tasks.spawn(async move {
            let user = if number % 2 == 0 { "bjensen".to_owned() } else { format!("nobody{number}") };
            scene.world.query_with(&token, &format!("{user}{}", " ".repeat(number))).await
        });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    let others: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(others.iter().all(|answer| (answer.status, answer.message().as_str()) == (400, SPENT)), "{others:?}");
    assert_eq!(scene.world.store.queries().len(), 1);

    // A double click is one query, however often, and the next name is another.
    let token = scene.answer("good too").await.token();
    let once = scene.world.query_with(&token, "bjensen").await;
    assert_eq!(once.status, 200);
    assert_eq!(scene.world.query_with(&token, "bjensen").await.whole(), once.whole());
    assert_eq!(scene.world.query_with(&token, "scarter").await.message(), SPENT);
    assert_eq!(scene.world.store.queries().len(), 2);
    let metric = async |outcome| scene.world.metric(&format!("captchas_total{{outcome=\"{outcome}\"}}")).await;
    assert_eq!((metric("solved").await.as_str(), metric("spent").await.as_str()), ("2", "20"));
}

#[tokio::test]
async fn what_comes_to_nothing_spends_nothing() {
    let clock = Arc::new(ManualClock::new());
    let by = Arc::clone(&clock);
    let limits = "client = \"0\"\nstart_per_client = \"1/10m\"\nstart_total = \"0\"\nmail_total = \"0\"";
    let reset = "answer_floor = \"1ms\"\nproperties = [\"captcha.properties\"]";
    let scene = Scene::new(second, |plan| Plan { limits, reset, clock: Some(by), ..plan }).await;
    let _ticking = clock.ticking();
    let query = async |token: &str, user: &str| scene.world.query_with(token, user).await;
    assert_eq!(query(&scene.answer("good 1").await.token(), "bjensen").await.status, 200);
    let token = scene.answer("good 2").await.token();
    assert_eq!(scene.world.filter_with(&token, "userName co \"b\"").await.message(), "Invalid query filter");
    assert_eq!(query(&token, "scarter").await.status, 429);
    assert_eq!(query(&token, "scarter").await.status, 429);
    clock.forward(Duration::from_secs(600));
    scene.world.store_link.set(Mode::Down);
    assert_eq!(query(&token, "scarter").await.status, 503);
    clock.forward(Duration::from_secs(600));
    scene.world.store_link.set(Mode::Pass);
    scene.world.until(async || query(&token, "scarter").await.status == 200).await;
    clock.forward(Duration::from_secs(1200));
    assert_eq!(query(&token, "kvaughan").await.message(), SPENT);
}

#[tokio::test]
async fn an_answer_is_taken_once_and_a_double_click_is_no_second_time() {
    let scene = Scene::new(second, |plan| plan).await;
    let token = scene.world.begin().await;
    let body = json!({"token": token, "input": {"response": "good"}});
    let once = scene.world.post(&body).await;
    assert_eq!(once.status, 200);
    assert_eq!(scene.world.post(&body).await.whole(), once.whole());
    let again = scene.answer("good").await;
    assert_eq!((again.status, again.message().as_str()), (400, REFUSED), "whatever the service says of it");

    // As the first stage it comes without a token, and the answer to it tells one click from another.
    let scene = Scene::new(first, |plan| plan).await;
    let body = json!({"input": {"response": "good"}});
    let once = scene.world.post(&body).await;
    assert_eq!((once.status, scene.world.post(&body).await.whole()), (200, once.whole()));
    assert_eq!(scene.service.count(), 1);
    let other = scene.world.post(&json!({"input": {"response": "good too"}})).await;
    assert_ne!(other.token(), once.token());
}

#[tokio::test]
async fn a_full_memory_of_what_is_spent_is_a_503_for_all() {
    let scene = Scene::new(second, |plan| Plan { codes: "capacity = 2", ..plan }).await;
    let one = scene.answer("good 1").await;
    let two = scene.answer("good 2").await;
    assert_eq!((one.status, two.status), (200, 200));
    for user in ["bjensen", "nobody"] {
        let answer = scene.world.query_with(&one.token(), user).await;
        assert_eq!((answer.status, answer.headers["retry-after"].to_str().unwrap()), (503, "5"));
    }
    assert_eq!(scene.answer("good 3").await.status, 503);
    assert_eq!(scene.answer("bad").await.status, 400);
    assert_eq!(scene.world.metric("full_refusals_total{what=\"marks\"}").await, "3");
}

#[tokio::test]
async fn the_secret_is_nowhere_and_that_of_the_configuration_goes_first() {
    let scene = Scene::new(second, |plan| plan).await;
    let config = scene.world.http.get(format!("http://{}/config", scene.world.admin)).send().await.unwrap();
    let config = config.text().await.unwrap();
    assert!(config.contains(SITE_KEY) && config.contains("[captcha]") && !config.contains("6Le-secret"), "{config}");

    let service = Upstream::answering(judge).await;
    let uri = format!("http://{}/", service.address);
    let other = "[audit]\nto = \"off\"\n[captcha]\nsecret = \"file:captcha.secret\"";
    let mut plan = plan(
        &uri,
        |process| {
            second(process);
            // As IDM writes it down.
            process["stageConfigs"][1]["recaptchaSecretKey"] = json!({"$crypto": {"value": {"data": "x"}}});
        },
        other,
    );
    plan.files.push(("captcha.secret", format!("{SECRET}\n")));
    let world = World::with(plan).await;
    let body = json!({"token": world.begin().await, "input": {"response": "good"}});
    assert_eq!(world.post(&body).await.status, 200);
    // It is taken up while it runs, and tokens go on.
    let token = world.begin().await;
    assert!(world.change(&[("captcha.secret", "another")]).await);
    let answer = world.post(&json!({"token": token, "input": {"response": "good too"}})).await;
    assert_eq!(answer.status, 503, "the service does not know it: {}", answer.body);
    assert_eq!(form(&service.last())[0].1, "another");
}
