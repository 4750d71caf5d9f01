//! HTTP on the reset path: what is asked of a request before the engine is, and how every answer looks.

use http::HeaderMap;
use serde_json::{Value, json};

use crate::support::{
    raw::{Raw, request},
    world::{Answer, PATH, Plan, World},
};

const SUBMIT: &str = "/openidm/selfservice/reset?_action=submitRequirements";
const START: &str = r#"{"input":{}}"#;
const JSON: (&str, &str) = ("Content-Type", "application/json");

async fn ask(world: &World, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
    let request = request(method, target, headers, body);
    let answer = Raw::exchange(world.gate, request).await;
    answer.unwrap_or_else(|| panic!("an answer to {method} {target} {headers:?}"))
}

async fn submit(world: &World, headers: &[(&str, &str)]) -> Answer {
    ask(world, "POST", SUBMIT, headers, Some(START)).await
}

/// What every answer on the reset path has in common.
fn assert_ours(answer: &Answer) {
    let text = |name: &str| {
        answer.headers.get(name).unwrap_or_else(|| panic!("{name} in {answer:?}")).to_str().unwrap().to_owned()
    };
    assert!(text("cache-control").contains("no-store") && text("cache-control").contains("no-cache"));
    assert_eq!(text("x-content-type-options"), "nosniff");
    assert_eq!(text("referrer-policy"), "no-referrer");
    assert!(text("content-security-policy").contains("default-src 'none'"));
    assert!(!answer.headers.contains_key("set-cookie") && !answer.headers.contains_key("server"));
    assert_ne!(answer.status, 401);
    if answer.status == 204 {
        return;
    }
    assert_eq!(text("content-type"), "application/json; charset=UTF-8");
    text("content-length");
    if answer.status >= 400 && !answer.body.is_empty() {
        let json = answer.json();
        assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), ["code", "reason", "message"]);
        assert_eq!(json["code"], answer.status);
    }
    assert_eq!(matches!(answer.status, 429 | 503), answer.headers.contains_key("retry-after"));
}

#[track_caller]
fn assert_status(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_ours(answer);
}

#[tokio::test]
async fn a_read_is_the_same_however_it_is_asked_for() {
    let world = World::usual().await;
    let first = ask(&world, "GET", PATH, &[], None).await;
    assert_status(&first, 200);
    let etag = first.headers["etag"].to_str().unwrap().to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 2, "{etag}");
    assert_eq!(first.json().as_object().unwrap().keys().collect::<Vec<_>>(), ["type", "tag", "requirements"]);

    let same = |headers: &HeaderMap| {
        let mut headers = headers.clone();
        headers.remove("date");
        headers.remove("x-request-id").expect("each has an id of its own");
        headers
    };
    for headers in [
        &[("If-None-Match", etag.as_str())][..],
        &[("If-None-Match", "*")],
        &[("If-Modified-Since", "Sat, 01 Jan 2050 00:00:00 GMT")],
        &[("Accept", "text/html"), ("Accept-Encoding", "gzip, br")],
        &[("Range", "bytes=0-1")],
    ] {
        let answer = ask(&world, "GET", PATH, headers, None).await;
        assert_eq!((answer.status, &answer.body), (200, &first.body), "{headers:?}");
        assert_eq!(same(&answer.headers), same(&first.headers), "{headers:?}");
    }
    let slash = ask(&world, "GET", &format!("{PATH}/"), &[], None).await;
    assert_eq!((slash.status, &slash.body, same(&slash.headers)), (200, &first.body, same(&first.headers)));

    let head = ask(&world, "HEAD", PATH, &[], None).await;
    assert_eq!((head.status, head.body.as_str(), same(&head.headers)), (200, "", same(&first.headers)));

    let pretty = ask(&world, "GET", &format!("{PATH}?_prettyPrint=true"), &[], None).await;
    assert_status(&pretty, 200);
    assert!(pretty.body.lines().count() > 5 && pretty.json() == first.json(), "{}", pretty.body);
    let plain = ask(&world, "GET", &format!("{PATH}?_prettyPrint=false&_fields=type&x=y"), &[], None).await;
    assert_eq!(plain.body, first.body);

    assert_status(&ask(&world, "GET", &format!("{PATH}/x"), &[], None).await, 404);
    assert_status(
        &ask(&world, "POST", &format!("{PATH}/x?_action=submitRequirements"), &[JSON], Some(START)).await,
        404,
    );
}

#[tokio::test]
async fn other_methods_are_denied() {
    let world = World::usual().await;
    for method in ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "QUERY", "post", "get", "Post"] {
        for body in [None, Some(START)] {
            let answer = ask(&world, method, SUBMIT, &[JSON], body).await;
            assert_status(&answer, 403);
            assert_eq!(answer.message(), "Access denied", "{method}");
        }
    }
}

#[tokio::test]
async fn the_action_is_named_once() {
    let world = World::usual().await;
    let post = async |query: &str| ask(&world, "POST", &format!("{PATH}{query}"), &[JSON], Some(START)).await;
    for query in [
        "?_action=submitRequirements",
        "?_ACTION=submitRequirements",
        "?%5faction=submitRequirements&x=y",
        "/?_Action=submitRequirements",
    ] {
        assert_status(&post(query).await, 200);
    }
    for query in [
        "?_action=submitRequirements&_action=submitRequirements",
        "?_action=submitRequirements&_ACTION=patch",
        "?_action=x&%5Faction=submitRequirements",
    ] {
        let answer = post(query).await;
        assert_status(&answer, 400);
        assert_eq!(answer.message(), "Multiple values provided for the single-valued request parameter '_action'");
    }
    assert_status(&post("?_action=submitRequirements&x=1&x=2").await, 400);
    for query in [
        "",
        "?",
        "?_action",
        "?_action=",
        "?_action=submitrequirements",
        "?_action=patch",
        "?x=1;_action=submitRequirements",
    ] {
        assert_status(&post(query).await, 501);
    }
    assert_status(&ask(&world, "GET", SUBMIT, &[], None).await, 200);
    assert_status(&ask(&world, "GET", &format!("{SUBMIT}&_action=x"), &[], None).await, 400);
}

#[tokio::test]
async fn no_header_makes_another_method_of_it() {
    let world = World::usual().await;
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        for method in ["GET", "PATCH", "DELETE"] {
            assert_status(&submit(&world, &[JSON, (name, method)]).await, 200);
        }
        let answer = ask(&world, "GET", PATH, &[(name, "POST")], None).await;
        assert_eq!(answer.json()["type"], "parameters");
    }
}

#[tokio::test]
async fn only_json_is_read() {
    let world = World::usual().await;
    for content_type in [
        "application/json",
        "application/json;charset=utf-8",
        "Application/JSON; Charset=\"UTF-8\"",
        "application/json ; charset=utf-8",
        "application/json;",
    ] {
        assert_status(&submit(&world, &[("Content-Type", content_type)]).await, 200);
    }
    for content_type in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/vnd.x+json",
        "application/json; charset=utf-7",
        "application/json; charset=iso-8859-1",
        "application/json, text/plain",
        "application/jsonx",
        "text/plain; application/json",
        "application/json; x=y",
    ] {
        assert_status(&submit(&world, &[("Content-Type", content_type)]).await, 415);
    }
    assert_status(&submit(&world, &[JSON, ("Content-Type", "text/plain")]).await, 415);
    for encoding in ["gzip", "br", "deflate", "gzip, gzip", "identity, gzip", "x"] {
        assert_status(&submit(&world, &[JSON, ("Content-Encoding", encoding)]).await, 415);
    }
    assert_status(&submit(&world, &[JSON, ("Content-Encoding", "identity")]).await, 200);

    // A form cannot leave the type out and send one of these.
    assert_status(&submit(&world, &[]).await, 403);
    for name in ["X-Requested-With", "X-OpenIDM-Username", "Authorization"] {
        assert_status(&submit(&world, &[(name, "x")]).await, 200);
        assert_status(&submit(&world, &[(name, "x"), ("Content-Type", "text/plain")]).await, 415);
    }
}

#[tokio::test]
async fn other_sites_pages_start_nothing() {
    let world = World::usual().await;
    for (headers, status) in [
        (&[][..], 200),
        (&[("Origin", "https://id.example.com")], 200),
        (&[("Origin", "http://id.example.com")], 200),
        (&[("Origin", "https://ID.example.com")], 200),
        (&[("Origin", "https://id.example.com:8443")], 403),
        (&[("Origin", "https://evil.example")], 403),
        (&[("Origin", "https://id.example.com.evil.example")], 403),
        (&[("Origin", "https://evil.example/id.example.com")], 403),
        (&[("Origin", "null")], 403),
        (&[("Origin", "")], 403),
        (&[("Origin", "https://evil.example"), ("X-Forwarded-Host", "evil.example")], 403),
        (&[("Sec-Fetch-Site", "cross-site")], 403),
        (&[("Sec-Fetch-Site", "cross-site"), ("Origin", "https://id.example.com")], 403),
        (&[("Sec-Fetch-Site", "same-origin"), ("Origin", "https://id.example.com")], 200),
        (&[("Sec-Fetch-Site", "none")], 200),
        (&[("Sec-Fetch-Site", "same-site"), ("Origin", "https://other.example.com")], 403),
    ] {
        let answer = submit(&world, &[&[JSON], headers].concat()).await;
        assert_eq!(answer.status, status, "{headers:?}");
        assert_ours(&answer);
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{headers:?}");
        // To look is not to do; without the header the page of another site sees nothing of it.
        let read = ask(&world, "GET", PATH, headers, None).await;
        assert_status(&read, 200);
        assert!(!read.headers.contains_key("access-control-allow-origin"), "{headers:?}");
        let preflight = [headers, &[("Access-Control-Request-Method", "POST")]].concat();
        assert_status(&ask(&world, "OPTIONS", PATH, &preflight, None).await, 403);
    }
}

#[tokio::test]
async fn listed_origins_may_post_and_are_told_so() {
    let reset = "answer_floor = \"20ms\"\n[reset.cors]\norigins = [\"https://login.example.com\"]";
    let world = World::with(Plan { reset, ..Plan::default() }).await;
    let listed = [("Origin", "https://login.example.com"), ("Sec-Fetch-Site", "cross-site")];
    let text = |answer: &Answer, name: &str| answer.headers[name].to_str().unwrap().to_ascii_lowercase();
    for body in [START, "nonsense"] {
        let answer = ask(&world, "POST", SUBMIT, &[&[JSON], &listed[..]].concat(), Some(body)).await;
        assert_status(&answer, if body == START { 200 } else { 400 });
        assert_eq!(text(&answer, "access-control-allow-origin"), "https://login.example.com");
        assert_eq!(text(&answer, "vary"), "origin");
        assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    }
    let preflight = [
        &listed[..],
        &[
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "content-type,x-openidm-username"),
        ],
    ];
    let answer = ask(&world, "OPTIONS", SUBMIT, &preflight.concat(), None).await;
    assert_status(&answer, 204);
    assert_eq!(text(&answer, "access-control-allow-origin"), "https://login.example.com");
    assert!(text(&answer, "access-control-allow-methods").contains("post"));
    for name in [
        "accept",
        "cache-control",
        "content-type",
        "x-requested-with",
        "x-openidm-username",
        "x-openidm-password",
        "x-openidm-nosession",
    ] {
        assert!(text(&answer, "access-control-allow-headers").split(", ").any(|allowed| allowed == name), "{name}");
    }
    for origin in
        ["https://login.example.com.evil.example", "http://login.example.com", "https://login.example.com:8443", "null"]
    {
        let answer = submit(&world, &[JSON, ("Origin", origin)]).await;
        assert_status(&answer, 403);
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
        assert_status(&ask(&world, "OPTIONS", PATH, &[("Origin", origin)], None).await, 403);
    }
}

/// A body that is too large is read to its end where that is not far, so that its sender sees why.
#[tokio::test]
async fn a_body_that_is_too_large_is_told_so() {
    let world = World::usual().await;
    for length in [16 * 1024 + 1, 64 << 10, 1 << 20] {
        let mut raw = Raw::to(world.gate).await;
        raw.send(request("POST", SUBMIT, &[JSON], Some(&"x".repeat(length)))).await;
        assert_status(&raw.answer().await.expect("an answer"), 413);
        raw.send(request("GET", PATH, &[], None)).await;
        assert_status(&raw.answer().await.expect("the connection is kept"), 200);

        let mut raw = Raw::to(world.gate).await;
        raw.send(request("POST", SUBMIT, &[JSON, ("Transfer-Encoding", "chunked")], None)).await;
        for _ in 0..length.div_ceil(8192) {
            raw.send(format!("2000\r\n{}\r\n", "x".repeat(8192))).await;
        }
        raw.send("0\r\n\r\n").await;
        assert_status(&raw.answer().await.expect("an answer"), 413);
        raw.send(request("GET", PATH, &[], None)).await;
        assert_status(&raw.answer().await.expect("the connection is kept"), 200);
    }
    // An HTTP library's way of it.
    for length in [1 << 20, 4 << 20] {
        assert_status(&world.post_as(&[], "x".repeat(length)).await, 413);
    }
    // The very last that fits.
    let body = format!("{{\"input\":{{\"x\":\"{}\"}}}}", "x".repeat(16 * 1024 - 18));
    assert_eq!(body.len(), 16 * 1024);
    assert_status(&ask(&world, "POST", SUBMIT, &[JSON], Some(&body)).await, 200);
}

#[tokio::test]
async fn who_asks_before_sending_is_answered_at_once() {
    let world = World::usual().await;
    let mut raw = Raw::to(world.gate).await;
    let head = request("POST", SUBMIT, &[JSON, ("Expect", "100-continue"), ("Content-Length", "12")], None);
    raw.send(&head).await;
    assert_eq!(raw.head().await.expect("go on").0, 100);
    raw.send(START).await;
    assert_status(&raw.answer().await.unwrap(), 200);

    let large = [JSON, ("Expect", "100-continue"), ("Content-Length", "1000000")];
    let mut raw = Raw::to(world.gate).await;
    raw.send(request("POST", SUBMIT, &large, None)).await;
    let answer = raw.answer().await.unwrap();
    assert_status(&answer, 413);
    assert_eq!(answer.headers["connection"], "close", "the next request would be taken for the body");
    assert!(raw.ends().await);
}

/// A path that is refused is refused with its body, which nobody reads.
#[tokio::test]
async fn who_sends_a_body_to_a_refused_path_is_told() {
    let world = World::usual().await;
    for target in ["/openidm/selfservice/%72eset", "/openidm/selfservice/reset/x", "*"] {
        for length in [10, 64 << 10, 1 << 20] {
            let answer = ask(&world, "POST", target, &[JSON], Some(&"x".repeat(length))).await;
            assert_status(&answer, if target == "*" { 400 } else { 404 });
        }
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let world = World::usual().await;
    let mut raw = Raw::to(world.gate).await;
    raw.send(request("POST", SUBMIT, &[JSON, ("Expect", "100-continue"), ("Content-Length", "12")], None)).await;
    assert_eq!(raw.head().await.unwrap().0, 100, "it waits for the body now");
    raw.send("{").await;
    // From here on time runs by itself whenever nothing else is to be done.
    tokio::time::pause();
    let answer = raw.answer().await.expect("an answer");
    assert_status(&answer, 408);
    assert_eq!(answer.headers["connection"], "close");
    assert!(raw.ends().await);
}

#[tokio::test]
async fn broken_framing_is_told() {
    let world = World::usual().await;
    for framing in [
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: x\r\n\r\n{}",
        "Content-Length: -1\r\n\r\n{}",
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        "Content-Length: 0x2\r\n\r\n{}",
        "Content-Length: +2\r\n\r\n{}",
        "Content-Length: 2, 2\r\n\r\n{}",
        "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "X-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}",
        "X-A : b\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        let head = format!("POST {SUBMIT} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{framing}");
        let mut raw = Raw::to(world.gate).await;
        raw.send(head).await;
        let answer = raw.answer().await.unwrap_or_else(|| panic!("an answer to {framing:?}"));
        assert_eq!(answer.status, 400, "{framing:?} {}", answer.body);
        assert!(raw.ends().await, "nobody knows where the next request begins: {framing:?}");
    }
}

#[tokio::test]
async fn the_connection_outlives_a_refusal() {
    let limits = "client = \"9/1h\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_total = \"0\"";
    let world = World::with(Plan { limits, ..Plan::default() }).await;
    let mut raw = Raw::to(world.gate).await;
    for (method, target, headers, body, status) in [
        ("POST", SUBMIT, &[JSON][..], START, 200),
        ("POST", SUBMIT, &[JSON], "nonsense", 400),
        ("POST", SUBMIT, &[], START, 403),
        ("PUT", SUBMIT, &[JSON], START, 403),
        ("POST", SUBMIT, &[JSON], &"x".repeat(20_000), 413),
        ("POST", SUBMIT, &[("Content-Type", "text/plain")], START, 415),
        ("POST", PATH, &[JSON], START, 501),
        ("GET", PATH, &[JSON], START, 200),
        ("POST", SUBMIT, &[JSON], r#"{"token":"x","input":{}}"#, 400),
        // That was the ninth.
        ("POST", SUBMIT, &[JSON], START, 429),
        ("POST", SUBMIT, &[JSON], &"x".repeat(20_000), 429),
        ("GET", PATH, &[], START, 429),
    ] {
        raw.send(request(method, target, headers, Some(body))).await;
        let answer = raw.answer().await.unwrap_or_else(|| panic!("the connection is there for {method} {status}"));
        assert_status(&answer, status);
        assert_eq!(answer.headers["connection"], "keep-alive", "{status}");
    }
}

/// Whatever a stranger writes, nothing of it stands in an answer: clients show answers as HTML.
#[tokio::test]
async fn nothing_of_a_request_is_in_its_answer() {
    const MARK: &str = "mArKeR";
    let world = World::usual().await;
    let headers = [
        JSON,
        ("X-Requested-With", MARK),
        ("Authorization", MARK),
        ("User-Agent", MARK),
        ("Referer", "http://mArKeR/"),
        ("Accept-Language", MARK),
        ("Cookie", "session=mArKeR"),
        ("X-Request-Id", "mArKeR of nobody"),
        ("X-ForgeRock-TransactionId", MARK),
        ("X-mArKeR", MARK),
    ];
    let token = world.begin().await;
    let proven = world.proven("bjensen", 1).await;
    let (mailed, _) = world.mailed(1).await;
    let bodies = [
        MARK.to_owned(),
        format!("{{\"{MARK}\":\"{MARK}\"}}"),
        format!("{{\"{MARK}\":1,\"{MARK}\":2}}"),
        json!({"input": MARK}).to_string(),
        json!({"input": {MARK: MARK}, MARK: MARK}).to_string(),
        json!({"input": {}, "token": MARK}).to_string(),
        json!({"input": {}, "token": [MARK]}).to_string(),
        json!({"input": {"returnParams": [MARK]}}).to_string(),
        json!({"input": {"returnParams": MARK.repeat(500)}}).to_string(),
        json!({"input": {"queryFilter": MARK}, "token": token}).to_string(),
        json!({"input": {"queryFilter": [MARK]}, "token": token}).to_string(),
        json!({"input": {"queryFilter": format!("{MARK} eq \"{MARK}\"")}, "token": token}).to_string(),
        json!({"input": {"queryFilter": format!("userName eq \"{MARK}\"")}, "token": token}).to_string(),
        json!({"input": {"code": MARK}, "token": mailed}).to_string(),
        json!({"input": {"code": {MARK: MARK}}, "token": mailed}).to_string(),
        json!({"input": {"password": MARK}, "token": proven}).to_string(),
        json!({"input": {"password": [MARK]}, "token": proven}).to_string(),
    ];
    let targets = [
        SUBMIT.to_owned(),
        format!("{PATH}?_action={MARK}"),
        format!("{SUBMIT}&{MARK}={MARK}&{MARK}=x"),
        format!("{PATH}/{MARK}"),
        format!("{PATH};{MARK}"),
        format!("{PATH}/{MARK} {MARK}"),
    ];
    for target in &targets {
        for body in &bodies {
            for method in ["POST", "GET", "PUT", MARK] {
                let Some(answer) = Raw::exchange(world.gate, request(method, target, &headers, Some(body))).await
                else {
                    panic!("an answer to {method} {target} {body}");
                };
                let all = format!("{:?} {}", answer.headers, answer.body).to_lowercase();
                assert!(!all.contains(&MARK.to_lowercase()), "{method} {target} {body}: {all}");
            }
        }
    }
}

/// They are IDM's affair on other paths; here nobody asks for them, so that nobody looks.
#[tokio::test]
async fn credentials_change_nothing() {
    let world = World::usual().await;
    let strip = |answer: Answer| {
        let mut json = answer.json();
        json["token"] = Value::Null;
        (answer.status, json)
    };
    let plain = strip(submit(&world, &[JSON]).await);
    for headers in [
        &[("X-OpenIDM-Username", "anonymous"), ("X-OpenIDM-Password", "anonymous")][..],
        &[("X-OpenIDM-Username", "bjensen"), ("X-OpenIDM-Password", "wrong")],
        &[("Authorization", "Basic bm9ib2R5Om5vdGhpbmc=")],
        &[("Authorization", "Bearer x"), ("Cookie", "session-jwt=x")],
        &[("X-OpenIDM-RunAs", "openidm-admin"), ("X-OpenIDM-Reauth-Password", "x")],
    ] {
        assert_eq!(strip(submit(&world, &[&[JSON], headers].concat()).await), plain, "{headers:?}");
    }
    assert!(world.store.queries().is_empty());
}
