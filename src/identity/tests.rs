mod auth;
mod breaker;
mod clock;
mod errands;
mod logs;
mod oauth2;
mod server;
mod ways;

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use self::server::{Answer, Server};
use super::{Crest, calls::Calls};
use crate::{
    clock::SystemClock,
    config::{self, Auth, Breaker, Health, Identity, Place},
    reset::{
        filter::{Filter, Literal},
        ports::{
            Account, AccountId, Accounts, Caller, Change, Clock, Down, Field, NewValue, Patched, PolicyFailure,
            Resource, Revision, Secret, Time,
        },
    },
    telemetry::metrics::Metrics,
};

const SHORT: Duration = Duration::from_millis(100);
const UNSENT: Down = Down { sent: false, full: false, retry_after: Duration::from_secs(5) };
const SENT: Down = Down { sent: true, ..UNSENT };
const FULL: Down = Down { full: true, ..UNSENT };

fn identity(url: &str) -> Identity {
    let auth = Auth::OpenIdm { username: "resetgate".to_owned(), password: Secret::new("s3cret") };
    identity_as(url, auth)
}

/// With bounds that no busy machine meets by accident, and no breaker.
fn identity_as(url: &str, auth: Auth) -> Identity {
    let url: url::Url = url.parse().unwrap();
    let place = match (url.host().unwrap(), url.port_or_known_default().unwrap()) {
        (url::Host::Domain(name), port) => Place::Name(name.to_owned(), port),
        (url::Host::Ipv4(ip), port) => Place::Ip((ip, port).into()),
        (url::Host::Ipv6(ip), port) => Place::Ip((ip, port).into()),
    };
    let second = Duration::from_secs(1);
    let health = Health { path: None, interval: Duration::ZERO, timeout: second, healthy: 2, unhealthy: 3 };
    Identity {
        endpoints: config::Endpoints {
            tls: (url.scheme() == "https").then(Default::default),
            url,
            addresses: vec![place],
            connect_timeout: 20 * second,
            health,
        },
        auth,
        max_concurrent: 256,
        timeout: 60 * second,
        idle_timeout: 20 * second,
        pool_size: 32,
        breaker: Breaker { failures: None, open: 5 * second },
    }
}

/// What a test bounds otherwise.
#[derive(Clone, Copy)]
struct Bounds {
    connect: Duration,
    total: Duration,
    answer: usize,
    calls: usize,
}

fn wide() -> Bounds {
    let (connect, total) = (Duration::from_secs(20), Duration::from_secs(60));
    Bounds { connect, total, answer: 256 * 1024, calls: 256 }
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(Time::from_millis(0)).unwrap())
}

fn store(mut identity: Identity, bounds: Bounds) -> Crest {
    identity.max_concurrent = bounds.calls;
    identity.endpoints.connect_timeout = bounds.connect;
    identity.timeout = bounds.total;
    store_by(&identity, bounds.answer, Arc::new(SystemClock::new()))
}

/// By a clock of the caller's.
fn store_by(identity: &Identity, answer: usize, clock: Arc<dyn Clock>) -> Crest {
    Crest::of(identity, Calls::bounded(identity, answer, clock, metrics()).unwrap()).unwrap()
}

/// A store that gives every call that answer, and a client of it.
async fn serving(answer: Answer) -> (Server, Crest) {
    let server = Server::start(answer).await;
    let crest = store(identity(&server.url("/openidm")), wide());
    (server, crest)
}

fn users() -> Resource {
    Resource { path: "managed/user".to_owned(), id_field: Field::new("_id") }
}

fn id(text: &str) -> AccountId {
    AccountId(text.to_owned())
}

fn eq(literal: &str) -> Filter {
    Filter::Eq(Field::new("userName"), literal.into())
}

fn want(names: &[&str]) -> Vec<Field> {
    names.iter().map(|name| Field::new(name)).collect()
}

async fn find(crest: &Crest) -> Result<Vec<Account>, Down> {
    crest.find(&Caller::nobody(), &users(), &eq("x"), &want(&["mail"]), 2).await
}

async fn patch(crest: &Crest) -> Result<Patched, Down> {
    let (field, value) = (Field::new("/password"), Secret::new("pässw\"ord"));
    crest
        .patch(&Caller::nobody(), &users(), &id("u1"), None, &[Change { field: &field, value: NewValue::Text(&value) }])
        .await
}

#[tokio::test]
async fn a_query_is_exactly_this() {
    let (server, crest) = serving(Answer::json(200, &json!({ "result": [] }))).await;
    let filter =
        Filter::And(vec![eq(r#"a"b\c&d=é +%"#), Filter::Eq(Field::new("name/sn"), Literal::Number("12".into()))]);
    assert_eq!(
        crest.find(&Caller::nobody(), &users(), &filter, &want(&["mail", "name/sn", "_id"]), 2).await,
        Ok(vec![])
    );

    let seen = server.only();
    assert_eq!(
        seen.line,
        "GET /openidm/managed/user?_queryFilter=userName%20eq%20%22a%5C%22b%5C%5Cc%26d%3D%C3%A9%20%2B%25%22%20and%20\
         name%2Fsn%20eq%2012&_fields=_id,_rev,mail,name%2Fsn&_pageSize=2"
    );
    let query = url::Url::parse(&format!("http://h{}", &seen.line[4..])).unwrap();
    let asked = query.query_pairs().find(|(name, _)| name == "_queryFilter").unwrap().1.into_owned();
    assert_eq!(Filter::parse(&asked, &want(&["userName", "name/sn"])), Ok(filter));

    let mut headers = seen.headers;
    let transaction = headers.remove("x-forgerock-transactionid").unwrap();
    assert_eq!(transaction, format!("{}/0", Caller::nobody().request));
    let expected = [
        ("accept", "application/json"),
        ("host", &server.host()),
        ("x-openidm-nosession", "true"),
        ("x-openidm-password", "s3cret"),
        ("x-openidm-username", "resetgate"),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!(seen.body, "");
}

#[tokio::test]
async fn a_patch_is_exactly_this() {
    let (server, crest) = serving(Answer::json(200, &json!({ "_id": "u1" }))).await;
    let (field, value) = (Field::new("/password"), Secret::new("pässw\"or\\d\n"));
    let change = Change { field: &field, value: NewValue::Text(&value) };
    let revision = Revision("00a-1".to_owned());
    assert_eq!(
        crest.patch(&Caller::nobody(), &users(), &id("u1"), Some(&revision), &[change]).await,
        Ok(Patched::Done)
    );

    let mut seen = server.only();
    assert_eq!(seen.line, "PATCH /openidm/managed/user/u1");
    assert_eq!(seen.body, r#"[{"operation":"replace","field":"/password","value":"pässw\"or\\d\n"}]"#);
    assert!(seen.headers.remove("x-forgerock-transactionid").is_some());
    let expected = [
        ("accept", "application/json"),
        ("content-length", &seen.body.len().to_string()),
        ("content-type", "application/json"),
        ("host", &server.host()),
        ("if-match", "\"00a-1\""),
        ("x-openidm-nosession", "true"),
        ("x-openidm-password", "s3cret"),
        ("x-openidm-username", "resetgate"),
    ];
    assert_eq!(seen.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());

    assert_eq!(patch(&crest).await, Ok(Patched::Done));
    let [first, second] = &server.seen()[..] else { panic!("two calls") };
    assert_eq!(second.headers.get("if-match"), None);
    let transaction = |seen: &server::Seen| seen.headers["x-forgerock-transactionid"].clone();
    assert_ne!(transaction(first), transaction(second));
}

#[tokio::test]
async fn an_id_is_one_segment() {
    let (server, crest) = serving(Answer::json(200, &json!({ "_id": "u1" }))).await;
    for (text, segment) in [
        ("a/../../x?y#z", "a%2F..%2F..%2Fx%3Fy%23z"),
        ("a;b@c:d\\é %2f", "a%3Bb%40c%3Ad%5C%C3%A9%20%252f"),
        ("%2e%2e", "%252e%252e"),
        ("...", "..."),
    ] {
        crest.read(&Caller::nobody(), &users(), &id(text), &want(&["mail"])).await.unwrap();
        let line = server.seen().last().unwrap().line.clone();
        assert_eq!(line, format!("GET /openidm/managed/user/{segment}?_fields=_id,_rev,mail"));
    }
}

#[tokio::test]
async fn an_id_that_is_no_segment_is_nobody() {
    let (server, crest) = serving(Answer::json(200, &json!({ "_id": "u1" }))).await;
    for text in ["", ".", ".."] {
        assert_eq!(crest.read(&Caller::nobody(), &users(), &id(text), &[]).await, Ok(None));
        assert_eq!(crest.patch(&Caller::nobody(), &users(), &id(text), None, &[]).await, Ok(Patched::Gone));
    }
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn a_base_without_a_path_works() {
    let server = Server::start(Answer::json(200, &json!({ "result": [] }))).await;
    let crest = store(identity(&server.url("")), wide());
    find(&crest).await.unwrap();
    assert!(server.only().line.starts_with("GET /managed/user?_queryFilter="));
}

#[tokio::test]
async fn credentials_that_are_not_plain_are_spelled_as_idm_reads_them() {
    let server = Server::start(Answer::json(200, &json!({ "result": [] }))).await;
    let password = Secret::new("pä ss\n");
    let crest =
        store(identity_as(&server.url(""), Auth::OpenIdm { username: "resetgate".to_owned(), password }), wide());
    find(&crest).await.unwrap();
    assert_eq!(server.only().headers["x-openidm-password"], "UTF-8''p%C3%A4%20ss%0A");
}

#[tokio::test]
async fn a_number_is_written_as_one() {
    let (server, crest) = serving(Answer::json(200, &json!({ "_id": "u1" }))).await;
    let field = Field::new("kbaLockout");
    let change = Change { field: &field, value: NewValue::Number(3) };
    assert_eq!(crest.patch(&Caller::nobody(), &users(), &id("u1"), None, &[change]).await, Ok(Patched::Done));
    assert_eq!(server.only().body, r#"[{"operation":"replace","field":"/kbaLockout","value":3}]"#);
}

#[tokio::test]
async fn an_account_is_what_was_asked() {
    let user = json!({
        "_id": "u1", "_rev": "7", "mail": "a@b", "age": 42, "active": true, "none": null, "list": ["a"],
        "object": {}, "name": { "givenName": "Barbara" }, "password": "hash"
    });
    let fields = want(&["mail", "age", "active", "none", "list", "object", "name/givenName", "gone"]);
    let attributes = [("mail", "a@b"), ("age", "42"), ("active", "true"), ("name/givenName", "Barbara")];
    let account = || Account {
        id: id("u1"),
        revision: Some(Revision("7".to_owned())),
        attributes: attributes.map(|(name, value)| (Field::new(name), Secret::new(value))).into(),
        structures: [("list", r#"["a"]"#), ("object", "{}")]
            .map(|(name, json)| (Field::new(name), Secret::new(json)))
            .into(),
    };
    let (_server, crest) = serving(Answer::json(200, &user)).await;
    assert_eq!(crest.read(&Caller::nobody(), &users(), &id("u1"), &fields).await, Ok(Some(account())));

    let (_server, crest) = serving(Answer::json(200, &json!({ "result": [user], "resultCount": 1 }))).await;
    assert_eq!(crest.find(&Caller::nobody(), &users(), &eq("x"), &fields, 2).await, Ok(vec![account()]));
}

#[tokio::test]
async fn the_id_is_the_id_fields() {
    let (_server, crest) = serving(Answer::json(200, &json!({ "result": [{ "_id": "u1", "uid": 7 }] }))).await;
    let people = Resource { path: "people".to_owned(), id_field: Field::new("uid") };
    assert_eq!(crest.find(&Caller::nobody(), &people, &eq("x"), &[], 2).await.unwrap()[0].id, id("7"));
}

#[tokio::test]
async fn a_revision_that_no_header_can_say_is_none() {
    for rev in [json!("a\"b"), json!("a b"), json!("a\r\nb"), json!("é"), json!(""), json!(null), json!({})] {
        let (_server, crest) = serving(Answer::json(200, &json!({ "_id": "u1", "_rev": rev }))).await;
        assert_eq!(crest.read(&Caller::nobody(), &users(), &id("u1"), &[]).await.unwrap().unwrap().revision, None);
    }
    let (server, crest) = serving(Answer::json(200, &json!({}))).await;
    let revision = Revision("a\nb".to_owned());
    assert_eq!(crest.patch(&Caller::nobody(), &users(), &id("u1"), Some(&revision), &[]).await, Err(UNSENT));
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn two_accounts_are_enough() {
    let result: Vec<_> = (0..5).map(|n| json!({ "_id": format!("u{n}") })).collect();
    let (_server, crest) = serving(Answer::json(200, &json!({ "result": result }))).await;
    assert_eq!(find(&crest).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_answer_that_is_not_crest_is_a_failure() {
    let bodies = [
        "",
        "[]",
        "{}",
        "<html>",
        r#"{"result":{}}"#,
        r#"{"result":[{}]}"#,
        r#"{"result":["u1"]}"#,
        r#"{"result":[{"_id":null}]}"#,
        r#"{"result":[{"_id":"u1"},{"mail":"a@b"}]}"#,
        r#"{"result":[]"#,
    ];
    for body in bodies {
        let (_server, crest) = serving(Answer::text(200, body)).await;
        assert_eq!(find(&crest).await, Err(SENT), "{body}");
        assert_eq!(crest.read(&Caller::nobody(), &users(), &id("u1"), &[]).await, Err(SENT), "{body}");
    }
}

#[tokio::test]
async fn every_status_means_something() {
    let error = |status| Answer::json(status, &json!({ "code": status, "reason": "r", "message": "m" }));
    for status in [400, 401, 403, 405, 409, 429, 500, 502, 503, 504] {
        let (_server, crest) = serving(error(status)).await;
        let down = if status < 500 { UNSENT } else { SENT };
        assert_eq!(find(&crest).await, Err(SENT), "it was reached, and may answer another question: {status}");
        assert_eq!(crest.read(&Caller::nobody(), &users(), &id("u1"), &[]).await, Err(down), "{status}");
        assert_eq!(patch(&crest).await, Err(down), "{status}");
    }
    let (_server, crest) = serving(error(404)).await;
    assert_eq!(find(&crest).await, Err(SENT));
    assert_eq!(crest.read(&Caller::nobody(), &users(), &id("u1"), &[]).await, Ok(None));
    assert_eq!(patch(&crest).await, Ok(Patched::Gone));

    let (_server, crest) = serving(error(412)).await;
    assert_eq!(patch(&crest).await, Ok(Patched::Stale));
    assert_eq!(crest.read(&Caller::nobody(), &users(), &id("u1"), &[]).await, Err(UNSENT));

    for (status, body) in [(200, "<not json>"), (204, "")] {
        let (_server, crest) = serving(Answer::text(status, body)).await;
        assert_eq!(patch(&crest).await, Ok(Patched::Done), "{status}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in [301, 303, 307, 308] {
        let (server, crest) = serving(Answer::text(status, "").with("location", "/openidm/managed/user/u2")).await;
        assert_eq!(patch(&crest).await, Err(SENT));
        assert_eq!(find(&crest).await, Err(SENT));
        assert_eq!(server.seen().len(), 2);
    }
}

#[tokio::test]
async fn an_answer_has_a_largest_size() {
    let server = Server::start(Answer::json(200, &json!({ "result": [], "filler": "x".repeat(2000) }))).await;
    let short = store(identity(&server.url("")), Bounds { answer: 1000, ..wide() });
    assert_eq!(find(&short).await, Err(SENT));
    assert_eq!(patch(&short).await, Ok(Patched::Done));
    let exact = store(identity(&server.url("")), Bounds { answer: server.size(), ..wide() });
    assert_eq!(find(&exact).await, Ok(vec![]));

    let refused = json!({ "detail": { "failedPolicyRequirements": [] }, "filler": "x".repeat(2000) });
    let server = Server::start(Answer::json(403, &refused)).await;
    let short = store(identity(&server.url("")), Bounds { answer: 1000, ..wide() });
    assert_eq!(patch(&short).await, Err(UNSENT));
}

#[tokio::test]
async fn a_call_has_a_deadline() {
    let server = Server::start(Answer::Never).await;
    let crest = store(identity(&server.url("")), Bounds { connect: SHORT, total: 3 * SHORT, ..wide() });
    assert_eq!(patch(&crest).await, Err(SENT));
    assert_eq!(find(&crest).await, Err(SENT));
}

#[tokio::test]
async fn the_deadline_counts_for_the_body_too() {
    let server = Server::start(Answer::Endless).await;
    let crest = store(identity(&server.url("")), Bounds { connect: SHORT, total: 3 * SHORT, ..wide() });
    assert_eq!(find(&crest).await, Err(SENT));
    assert_eq!(patch(&crest).await, Ok(Patched::Done));
}

#[tokio::test]
async fn calls_wait_for_a_turn_and_no_longer_than_is_wise() {
    let server = Server::start(Answer::Never).await;
    let bounds = Bounds { connect: Duration::ZERO, total: Duration::from_millis(20), calls: 0, ..wide() };
    let crest = store(identity(&server.url("")), bounds);
    assert_eq!(patch(&crest).await, Err(FULL));
    assert_eq!(server.seen().len(), 0);

    let (server, _) = serving(Answer::json(200, &json!({ "result": [] }))).await;
    let crest = store(identity(&server.url("")), Bounds { calls: 1, ..wide() });
    let (a, b, c) = tokio::join!(find(&crest), find(&crest), find(&crest));
    assert_eq!([a, b, c], [Ok(vec![]), Ok(vec![]), Ok(vec![])]);
    assert_eq!(server.most_at_once(), 1);
    let waiting = futures_util::future::join_all((0..9).map(|_| find(&crest))).await;
    assert_eq!(waiting.iter().filter(|found| **found == Err(FULL)).count(), 9 - 5, "four wait for one");
    assert_eq!(crest.under_way(), 0);
}

#[tokio::test]
async fn a_connection_lost_after_the_request_may_have_done_it() {
    let (server, crest) = serving(Answer::Drop).await;
    assert_eq!(patch(&crest).await, Err(SENT));
    assert_eq!(server.only().line, "PATCH /openidm/managed/user/u1"); // nor is it sent again by itself
    assert_eq!(find(&crest).await, Err(SENT));
}

#[tokio::test]
async fn what_never_connected_did_nothing() {
    let gone = Server::start(Answer::Never).await.stop().await;
    let crest = store(identity(&gone), wide());
    assert_eq!(patch(&crest).await, Err(UNSENT));
    assert_eq!(find(&crest).await, Err(UNSENT));
    let crest = store(identity("http://nowhere.invalid"), wide());
    assert_eq!(patch(&crest).await, Err(UNSENT));
    // A server that speaks no TLS.
    let plain = Server::start(Answer::Never).await;
    let crest = store(identity(&plain.url("").replace("http:", "https:")), wide());
    assert_eq!(patch(&crest).await, Err(UNSENT));
}

fn policy(requirement: &str, params: Option<Value>) -> PolicyFailure {
    let params = params.map(|params| params.as_object().unwrap().clone());
    PolicyFailure { requirement: requirement.to_owned(), params }
}

async fn refused(status: u16, failed: Value) -> Result<Patched, Down> {
    let detail = json!({ "result": false, "failedPolicyRequirements": failed });
    let body =
        json!({ "code": status, "reason": "Forbidden", "message": "Failed policy validation", "detail": detail });
    let (_server, crest) = serving(Answer::json(status, &body)).await;
    patch(&crest).await
}

#[tokio::test]
async fn a_refusal_names_each_broken_rule() {
    let failed = json!([
        { "policyRequirements": [{ "policyRequirement": "MIN_LENGTH", "params": { "minLength": 8 } }], "property": "password" },
        { "policyRequirements": [{ "policyRequirement": "REQUIRED" }, { "policyRequirement": "IS_NEW", "params": {} }] },
        { "policyRequirements": [{
            "policyRequirement": "CANNOT_CONTAIN_OTHERS", "params": { "disallowedFields": ["userName", "mail"], "min-x": true }
        }] },
    ]);
    let broken = vec![
        policy("MIN_LENGTH", Some(json!({ "minLength": 8 }))),
        policy("REQUIRED", None),
        policy("IS_NEW", Some(json!({}))),
        policy("CANNOT_CONTAIN_OTHERS", Some(json!({ "disallowedFields": ["userName", "mail"], "min-x": true }))),
    ];
    for status in [400, 403, 422] {
        assert_eq!(refused(status, failed.clone()).await, Ok(Patched::Refused(broken.clone())), "{status}");
    }
    assert_eq!(refused(500, failed).await, Err(SENT));
}

#[tokio::test]
async fn nothing_else_of_a_refusal_passes() {
    let garbage = json!([
        null, 1, "x", [], {}, { "policyRequirements": {} }, { "policyRequirements": [null, 1, {}, { "policyRequirement": 1 }] },
        { "policyRequirements": [
            { "policyRequirement": "" },
            { "policyRequirement": "<b>" },
            { "policyRequirement": "A B" },
            { "policyRequirement": "A".repeat(65) },
            { "policyRequirement": "NO_OBJECT", "params": ["x"] },
            { "policyRequirement": "A".repeat(64), "params": {
                "<b>": 1, "": 1, "ok": "text é", "number": 1.5, "null": null, "object": { "a": 1 },
                "lt": "<", "gt": ">", "amp": "&", "quote": "\"", "apostrophe": "'", "control": "\u{7}", "long": "é".repeat(65),
                "list": ["/", "<", null, ["x"], { "a": 1 }, 3, false],
            } },
        ] },
    ]);
    let kept = policy(&"A".repeat(64), Some(json!({ "ok": "text é", "number": 1.5, "list": ["/", 3, false] })));
    assert_eq!(refused(403, garbage).await, Ok(Patched::Refused(vec![policy("NO_OBJECT", None), kept])));

    let many: Vec<_> =
        (0..40).map(|n| json!({ "policyRequirements": [{ "policyRequirement": format!("P{n}") }] })).collect();
    let Ok(Patched::Refused(kept)) = refused(403, json!(many)).await else { panic!("refused") };
    assert_eq!(kept.len(), 32);

    let unknown = Ok(Patched::Refused(vec![policy("UNKNOWN", None)]));
    assert_eq!(refused(403, json!([])).await, unknown);
    assert_eq!(refused(403, json!([{ "policyRequirements": [{ "policyRequirement": "<b>" }] }])).await, unknown);
    for not_a_list in [json!(null), json!({}), json!("MIN_LENGTH")] {
        assert_eq!(refused(403, not_a_list).await, Err(UNSENT));
    }
}

#[tokio::test]
async fn the_log_tells_kinds_only() {
    let (server, crest) = serving(Answer::json(403, &json!({ "message": "not bjensen" }))).await;
    let (log, _guard) = logs::capture();
    crest.find(&Caller::nobody(), &users(), &eq("bjensen"), &want(&["mail"]), 2).await.unwrap_err();
    crest.read(&Caller::nobody(), &users(), &id("bjensen"), &[]).await.unwrap_err();
    patch(&crest).await.unwrap_err();

    let lines = log.lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, seen) in lines.iter().zip(server.seen()) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["level"], "WARN");
        let fields = line["fields"].as_object().unwrap();
        assert_eq!(fields["kind"], "Status");
        assert_eq!(fields["status"], 403);
        assert_eq!(fields["sent"], fields["call"] == "find");
        assert_eq!(fields["transaction"], seen.headers["x-forgerock-transactionid"]);
        assert!(
            fields.keys().all(|key| ["call", "kind", "status", "sent", "transaction", "message"].contains(&&**key))
        );
    }
    for _ in 0..20 {
        crest.find(&Caller::nobody(), &users(), &eq("bjensen"), &want(&["mail"]), 2).await.unwrap_err();
    }
    assert_eq!(log.lines().len(), 3, "the same again is not said again for a while");
    let all = lines.concat();
    assert!(!["bjensen", "ord", "s3cret", "managed", "_fields"].iter().any(|word| all.contains(word)), "{all}");
}
