//! `policy/selfservice/reset`: what IDM's own pages ask while somebody types a new password, answered by whom the
//! configuration says.

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::support::{
    link::Mode,
    upstream::Upstream,
    world::{Answer, Plan, World},
};

const PAGE: &str = "/openidm/policy/selfservice/reset";
/// As IDM's page spells it.
const VALIDATE: &str = "/openidm/policy/selfservice/reset/?_action=validateObject";
/// What it sends along; `X-Requested-With` is none of it.
const HEADERS: [(&str, &str); 5] = [
    ("content-type", "application/json"),
    ("x-openidm-nosession", "true"),
    ("x-openidm-username", "anonymous"),
    ("x-openidm-password", "anonymous"),
    ("cache-control", "no-cache"),
];
const PASSWORD: &str = "Fresh-Pass1";

fn service() -> Plan {
    Plan { policy: "source = \"service\"".to_owned(), ..Plan::default() }
}

fn local(rules: &str) -> Plan {
    Plan { policy: format!("source = \"local\"\n{rules}"), ..Plan::default() }
}

async fn ask(world: &World, method: Method, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = world.http.request(method, world.url(target)).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.send().await.unwrap()).await
}

async fn typed(world: &World, password: &str) -> Answer {
    ask(world, Method::POST, VALIDATE, &HEADERS, &json!({"password": password}).to_string()).await
}

/// The names of the rules that an answer says are broken, each of the password.
fn broken(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    let failures = json["failedPolicyRequirements"].as_array().unwrap_or_else(|| panic!("{}", answer.body));
    assert_eq!(json["result"], failures.is_empty(), "{}", answer.body);
    let name = |failure: &Value| {
        assert_eq!(failure["property"], "password");
        failure["policyRequirements"][0]["policyRequirement"].as_str().unwrap().to_owned()
    };
    failures.iter().map(name).collect()
}

/// What the page reads of the rules, as it reads it: their names, of the first property whose name has the word.
fn shown(answer: &Answer) -> Vec<(String, Value)> {
    let json = answer.json();
    let properties = json["properties"].as_array().unwrap().iter();
    let own = properties.clone().find(|property| property["name"].as_str().unwrap().contains("password")).unwrap();
    let policies = own["policies"].as_array().unwrap().iter();
    policies
        .map(|policy| (policy["policyRequirements"][0].as_str().unwrap().to_owned(), policy["params"].clone()))
        .collect()
}

/// Errors as the pages can show them, and nothing that signs anybody out.
fn assert_told(answer: &Answer, status: u16) {
    let json = answer.json();
    assert_eq!((answer.status, &json["code"]), (status, &json!(status)), "{}", answer.body);
    assert!(json["message"].is_string() && json["reason"].is_string(), "{}", answer.body);
    assert_eq!(answer.headers["cache-control"], "no-cache, no-store");
    assert_eq!(answer.headers["content-type"], "application/json; charset=UTF-8");
}

/// Steps 6 to 9 of `ForgeRock`'s page: the link, the rules, what is typed, a password that is refused, one that is not.
async fn walk(world: &World, weak: &str, rule: &str) {
    world.query("bjensen").await;
    let (token, code) = world.mailed(1).await;
    let asked = world.show(&token, &code).await;
    assert_eq!((&asked.json()["type"], &asked.json()["tag"]), (&json!("resetStage"), &json!("initial")));
    let rules = ask(world, Method::GET, PAGE, &HEADERS, "").await;
    assert_eq!(rules.status, 200, "{}", rules.body);
    assert!(shown(&rules).iter().any(|(name, _)| name == rule), "{}", rules.body);
    for typing in ["", "F", weak] {
        let judged = typed(world, typing).await;
        assert_eq!((judged.status, &judged.json()["result"]), (200, &json!(false)), "{typing}: {}", judged.body);
    }
    let refused = world.set(&asked.token(), weak).await;
    let failures = &refused.json()["requirements"]["error"]["detail"]["failedPolicyRequirements"];
    let of_password = failures.as_array().unwrap().iter().find(|failure| failure["property"] == "password").unwrap();
    assert!(of_password["policyRequirements"][0]["policyRequirement"].is_string());
    assert_eq!(broken(&typed(world, PASSWORD).await), [""; 0]);
    let done = world.set(&refused.token(), PASSWORD).await;
    assert_eq!((&done.json()["type"], &done.json()["tag"]), (&json!("resetStage"), &json!("end")));
    assert!(world.store.password_is("bjensen", PASSWORD));
}

#[tokio::test]
async fn idm_s_own_page_works_though_its_own_reset_is_off_by_the_service_user() {
    let world = World::with(service()).await;
    world.store.turn_own_reset_off();
    walk(&world, "short", "MIN_LENGTH").await;
}

#[tokio::test]
async fn idm_s_own_page_works_though_its_own_reset_is_off_by_rules_of_the_gate() {
    let world = World::with(local("min_length = 10\nmin_digits = 1")).await;
    world.store.turn_own_reset_off();
    world.store.tell_policy(false);
    walk(&world, "Fresh-Pass", "AT_LEAST_X_NUMBERS").await;
    assert_eq!(world.store.patches(), 1, "what breaks a rule is not sent");
}

#[tokio::test]
async fn unless_it_is_said_otherwise_the_upstream_answers() {
    let world = World::usual().await;
    walk(&world, "short", "MIN_LENGTH").await;
    world.store.turn_own_reset_off();
    assert_eq!(ask(&world, Method::GET, PAGE, &HEADERS, "").await.status, 403);
    assert_eq!(typed(&world, PASSWORD).await.status, 403);
}

#[tokio::test]
async fn the_service_s_rules_are_those_of_the_password_and_of_nothing_else() {
    let world = World::with(service()).await;
    let rules = ask(&world, Method::GET, PAGE, &HEADERS, "").await;
    let of =
        |id: &str, name: &str, params: Value| json!({"policyId": id, "params": params, "policyRequirements": [name]});
    let expected = json!({
        "_id": "selfservice/reset",
        "resource": "selfservice/reset",
        "properties": [{
            "name": "password",
            "policies": [
                of("minimum-length", "MIN_LENGTH", json!({"minLength": 8})),
                of("at-least-X-capitals", "AT_LEAST_X_CAPITAL_LETTERS", json!({"numCaps": 1})),
                of("at-least-X-numbers", "AT_LEAST_X_NUMBERS", json!({"numNums": 1})),
                of("cannot-contain-others", "CANNOT_CONTAIN_OTHERS", json!({"disallowedFields": "userName"})),
            ],
            "policyRequirements": ["MIN_LENGTH", "AT_LEAST_X_CAPITAL_LETTERS", "AT_LEAST_X_NUMBERS", "CANNOT_CONTAIN_OTHERS"],
            "fallbackPolicies": null,
            "conditionalPolicies": null,
        }],
    });
    assert_eq!(rules.json(), expected);
    assert_eq!(rules.headers["cache-control"], "no-cache, no-store");
    // Byte for byte what the pages know: of what the store says of an account's other attributes, nothing.
    let judged = typed(&world, "Sh0rt").await;
    assert_eq!(
        judged.body,
        r#"{"result":false,"failedPolicyRequirements":[{"policyRequirements":[{"policyRequirement":"MIN_LENGTH","params":{"minLength":8}}],"property":"password"}]}"#
    );
    assert_eq!(typed(&world, PASSWORD).await.body, r#"{"result":true,"failedPolicyRequirements":[]}"#);
}

/// The store is sent the password alone, whatever else comes with it, as the service user.
#[tokio::test]
async fn the_store_is_asked_as_the_service_user_about_the_password_alone() {
    let store = Upstream::answering(|_| reply(200, r#"{"result":true,"failedPolicyRequirements":[]}"#)).await;
    let process = |process: &mut Value| {
        process["stageConfigs"][4]["identityServiceUrl"] = json!("managed/alpha_user");
        process["stageConfigs"][4]["identityPasswordField"] = json!("userPassword");
    };
    let world = World::with(Plan { identity: Some(store.address), process, ..service() }).await;
    let body = json!({"password": "a \"quoted\" päss", "userName": "bjensen"}).to_string();
    let judged = ask(&world, Method::POST, VALIDATE, &HEADERS, &body).await;
    assert_eq!(judged.status, 200, "{}", judged.body);
    let seen = store.last();
    assert_eq!(seen.line(), "POST /openidm/policy/managed/alpha_user/-?_action=validateObject HTTP/1.1");
    assert_eq!(seen.header("x-openidm-username"), ["resetgate"]);
    assert_eq!(seen.header("content-type"), ["application/json"]);
    assert_eq!(String::from_utf8(seen.body).unwrap(), r#"{"userPassword":"a \"quoted\" päss"}"#);
}

fn reply(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} So\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

#[tokio::test]
async fn a_store_that_does_not_tell_is_one_soft_answer() {
    let huge = format!(r#"{{"properties":"{}"}}"#, "x".repeat(300 << 10));
    for (status, body) in [
        (403, r#"{"code":403,"reason":"Forbidden","message":"Access denied"}"#.to_owned()),
        (401, r#"{"code":401,"reason":"Unauthorized","message":"Access Denied"}"#.to_owned()),
        (404, "{}".to_owned()),
        (500, "<html>a stack</html>".to_owned()),
        (200, "<html>sign in</html>".to_owned()),
        (200, "{}".to_owned()),
        (200, r#"{"properties":{},"failedPolicyRequirements":"none"}"#.to_owned()),
        (200, huge),
        (302, String::new()),
    ] {
        let answer = reply(status, &body);
        let store = Upstream::answering(move |_| answer.clone()).await;
        let world = World::with(Plan { identity: Some(store.address), ..service() }).await;
        let shown = &body[..body.len().min(60)];
        for told in [ask(&world, Method::GET, PAGE, &HEADERS, "").await, typed(&world, PASSWORD).await] {
            assert_told(&told, 503);
            assert!(told.headers.contains_key("retry-after"), "{status} {shown}");
            assert_eq!(told.message(), "The service is not available, try again later", "{status} {shown}");
        }
        assert!(store.seen().iter().any(|seen| seen.target().contains("/policy/")));
    }
}

#[tokio::test]
async fn what_the_store_said_of_its_rules_counts_for_a_while() {
    let world = World::with(service()).await;
    world.store_link.set(Mode::Down);
    assert_told(&ask(&world, Method::GET, PAGE, &HEADERS, "").await, 503);
    world.store_link.set(Mode::Pass);
    let first = ask(&world, Method::GET, PAGE, &HEADERS, "").await;
    world.store_link.set(Mode::Down);
    assert_eq!(ask(&world, Method::GET, PAGE, &HEADERS, "").await.whole(), first.whole());
    assert_told(&typed(&world, PASSWORD).await, 503);
}

/// Nobody who types, nor a thousand who do, keeps anybody from their reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_type_resets_go_on() {
    let world = World::with(Plan { store: "max_concurrent = 16", ..service() }).await;
    world.store_link.set(Mode::HoldPolicy);
    let typing = join_all((0..40).map(|n| {
        let world = &world;
        async move { typed(world, &format!("Secret-Pass{n}")).await }
    }));
    let reset = async {
        world.store_link.held(2).await;
        let token = world.proven("bjensen", 1).await;
        let done = world.set(&token, PASSWORD).await;
        assert_eq!(done.json()["status"], json!({"success": true}), "{}", done.body);
        world.until(async || world.metric("policy_requests_total{status=\"5xx\"}").await == "38").await;
        world.store_link.set(Mode::Pass);
    };
    let (answers, ()) = tokio::join!(typing, reset);
    let (judged, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(judged.len(), 2, "an eighth of sixteen");
    for answer in refused {
        assert_told(&answer, 503);
        assert!(answer.headers.contains_key("retry-after"));
    }
}

#[tokio::test]
async fn what_anonymous_may_not_do_there_is_denied_in_idm_s_words() {
    for plan in [service(), local("")] {
        let world = World::with(plan).await;
        let body = json!({"password": PASSWORD}).to_string();
        for (method, target) in [
            (Method::POST, PAGE.to_owned()),
            (Method::POST, format!("{PAGE}?_action=")),
            (Method::POST, format!("{PAGE}?_action=create")),
            (Method::POST, format!("{PAGE}?_action=validateProperty")),
            (Method::POST, format!("{PAGE}?_action=submitRequirements")),
            (Method::PUT, VALIDATE.to_owned()),
            (Method::PATCH, VALIDATE.to_owned()),
            (Method::DELETE, PAGE.to_owned()),
            (Method::OPTIONS, PAGE.to_owned()),
            (Method::GET, format!("{PAGE}?_queryFilter=true")),
        ] {
            let answer = ask(&world, method.clone(), &target, &HEADERS, &body).await;
            assert_told(&answer, 403);
            assert_eq!(answer.message(), "Access denied", "{method} {target}");
        }
        let large = json!({"password": "x".repeat(9 << 10)}).to_string();
        let form = [("content-type", "application/x-www-form-urlencoded")];
        for (headers, body, status) in [
            (&HEADERS[..], large.as_str(), 413),
            (&form[..], body.as_str(), 415),
            (&HEADERS[..], "", 400),
            (&HEADERS[..], "{\"password\":", 400),
            (&HEADERS[..], "[\"Fresh-Pass1\"]", 400),
            (&HEADERS[..], "{\"password\":12345678}", 400),
        ] {
            assert_told(&ask(&world, Method::POST, VALIDATE, headers, body).await, status);
        }
        let twice = format!("{VALIDATE}&_action=validateObject");
        assert_told(&ask(&world, Method::POST, &twice, &HEADERS, &body).await, 400);
        // A rule is of a password that is there.
        let none = ask(&world, Method::POST, VALIDATE, &HEADERS, "{}").await;
        assert_eq!(none.json(), json!({"result": true, "failedPolicyRequirements": []}));
        let head = ask(&world, Method::HEAD, PAGE, &HEADERS, "").await;
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert!(ask(&world, Method::GET, &format!("{PAGE}/?_prettyPrint=true"), &[], "").await.body.contains("\n  "));
    }
}

#[tokio::test]
async fn a_listed_page_may_ask_and_another_may_not() {
    let reset = "answer_floor = \"20ms\"\n[reset.cors]\norigins = [\"https://login.example.com\"]";
    let world = World::with(Plan { reset, ..local("") }).await;
    let body = json!({"password": PASSWORD}).to_string();
    let with = |origin: &'static str| [&HEADERS[..], &[("origin", origin)]].concat();
    let preflight = [("origin", "https://login.example.com"), ("access-control-request-method", "POST")];
    let allowed = ask(&world, Method::OPTIONS, VALIDATE, &preflight, "").await;
    assert_eq!(
        (allowed.status, &allowed.headers["access-control-allow-methods"]),
        (204, &"GET, POST".parse().unwrap())
    );
    let listed = ask(&world, Method::POST, VALIDATE, &with("https://login.example.com"), &body).await;
    assert_eq!(listed.headers["access-control-allow-origin"], "https://login.example.com");
    assert_eq!(listed.status, 200);
    assert_told(&ask(&world, Method::POST, VALIDATE, &with("https://evil.example"), &body).await, 403);
}

#[tokio::test]
async fn no_limit_of_the_reset_counts_what_is_typed() {
    let limits = "client = \"3/1h\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_total = \"0\"";
    let world = World::with(Plan { limits, ..local("") }).await;
    for n in 0..20 {
        assert_eq!(typed(&world, &"x".repeat(n)).await.status, 200);
    }
    assert_eq!(ask(&world, Method::GET, PAGE, &HEADERS, "").await.status, 200);
    assert_eq!(ask(&world, Method::GET, "/openidm/selfservice/reset", &[], "").await.status, 200);
    world.until(async || world.metric("policy_requests_total{status=\"2xx\"}").await == "21").await;
    assert_eq!(world.metric("reset_requests_total{status=\"2xx\"}").await, "1");
    assert_eq!(world.metric("passed_requests_total{status=\"2xx\"}").await, "0");
}

#[tokio::test]
async fn who_answers_changes_with_the_configuration_and_without_a_restart() {
    let world = World::usual().await;
    world.store.turn_own_reset_off();
    assert_eq!(typed(&world, PASSWORD).await.status, 403);
    let before = world.file("resetgate.toml");
    let with = |policy: &str| before.replace("[policy]\n", &format!("[policy]\n{policy}\n"));
    for policy in ["source = \"service\"", "source = \"local\"\nmin_length = 8"] {
        assert_eq!(world.reload(&[("resetgate.toml", &with(policy))]).await, Some(vec![]));
        assert_eq!(broken(&typed(&world, "Sh0rt").await), ["MIN_LENGTH"], "{policy}");
    }
    assert_eq!(world.reload(&[("resetgate.toml", &with("source = \"local\"\nmin_length = 0"))]).await, None);
    assert_eq!(broken(&typed(&world, "Sh0rt").await), ["MIN_LENGTH"], "the last that held");
}

/// A spelling that is not the page's passes, as ever; there is nothing to be had by it.
#[tokio::test]
async fn other_paths_and_spellings_pass() {
    let upstream = Upstream::start().await;
    let there = Some(format!("url = \"http://{}\"", upstream.address));
    let world = World::with(Plan { upstream: there.clone(), ..local("") }).await;
    for target in [
        "/openidm/policy/selfservice/reset/x",
        "/openidm/policy/selfservice/registration",
        "/openidm/policy/managed/user/-?_action=validateObject",
        "/openidm/policy/selfservice/%72eset",
        "//openidm/policy/selfservice/reset",
    ] {
        assert_eq!(ask(&world, Method::GET, target, &[], "").await.body, "upstream", "{target}");
        assert_eq!(upstream.last().target(), target);
    }
    // Unless nobody is to reach any of them; the page is still there.
    let edge = "deny = [\"/openidm/policy/**\"]";
    let world = World::with(Plan { upstream: there, edge, ..local("") }).await;
    assert_eq!(ask(&world, Method::GET, "/openidm/policy/selfservice/%72eset", &[], "").await.status, 403);
    assert_eq!(ask(&world, Method::GET, PAGE, &[], "").await.status, 200);
}
