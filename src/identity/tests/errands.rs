//! What a store is asked beside finding accounts and setting passwords.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::*;
use crate::identity::Action;

fn letter() -> Bytes {
    Bytes::from_static(br#"{"to":"x"}"#)
}

async fn send(crest: &Crest) -> Option<StatusCode> {
    let parameters = [("wait ForCompletion".to_owned(), "a&b".to_owned())];
    let users = users();
    let action = Action { path: "external/email", action: "send", parameters: &parameters, accounts: &users };
    crest.send_letter(&action, letter()).await.ok().map(|(status, _)| status)
}

#[tokio::test]
async fn a_letter_is_exactly_this() {
    let (server, crest) = serving(Answer::json(200, &json!({"status": "OK"}))).await;
    assert_eq!(send(&crest).await, Some(StatusCode::OK));
    let mut seen = server.only();
    assert_eq!(seen.line, "POST /openidm/external/email?_action=send&wait%20ForCompletion=a%26b");
    assert_eq!(seen.body, r#"{"to":"x"}"#);
    assert!(seen.headers.remove("x-forgerock-transactionid").is_some());
    let expected = [
        ("accept", "application/json"),
        ("content-length", "10"),
        ("content-type", "application/json"),
        ("host", &server.host()),
        ("x-openidm-nosession", "true"),
        ("x-openidm-password", "s3cret"),
        ("x-openidm-username", "resetgate"),
    ];
    assert_eq!(seen.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[tokio::test]
async fn any_call_below_it_is_as_it_was_written_down() {
    let (server, crest) = serving(Answer::text(404, "no")).await;
    let headers = vec![(HeaderName::from_static("if-match"), HeaderValue::from_static("*"))];
    let call = (Method::DELETE, "sessions/zo%C3%AB?_action=end&a=b");
    assert_eq!(crest.call_below(call, headers, Bytes::new(), &users()).await.ok(), Some(StatusCode::NOT_FOUND));
    let seen = server.only();
    assert_eq!(seen.line, "DELETE /openidm/sessions/zo%C3%AB?_action=end&a=b");
    assert_eq!((seen.headers["if-match"].as_str(), seen.headers["x-openidm-username"].as_str()), ("*", "resetgate"));
}

/// A relay that fails behind IDM is no reason to refuse a look-up.
#[tokio::test]
async fn errands_that_fail_leave_the_breaker_and_the_health_alone() {
    let server = Server::by(|seen| match seen.line.starts_with("POST") {
        true => Answer::text(500, "the relay is down"),
        false => Answer::json(200, &json!({ "result": [] })),
    })
    .await;
    let mut identity = identity(&server.url("/openidm"));
    identity.breaker.failures = Some(2);
    let crest = store(identity, wide());
    for _ in 0..5 {
        assert_eq!(send(&crest).await, Some(StatusCode::INTERNAL_SERVER_ERROR));
    }
    assert_eq!(find(&crest).await, Ok(vec![]));
    assert_eq!(server.seen().len(), 6, "nobody was asked whether it answers");
    assert_eq!(crest.health().calls.failures, 0);
}

#[tokio::test]
async fn letters_take_no_more_than_a_quarter_of_the_calls() {
    let server = Server::by(|seen| match seen.line.starts_with("POST") {
        true => Answer::Never,
        false => Answer::json(200, &json!({ "result": [] })),
    })
    .await;
    let bounds = Bounds { calls: 4, ..wide() };
    let crest = Arc::new(store(identity(&server.url("/openidm")), bounds));
    let letters: Vec<_> = (0..8)
        .map(|_| {
            let crest = Arc::clone(&crest);
            tokio::spawn(async move { send(&crest).await })
        })
        .collect();
    while server.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    for _ in 0..5 {
        assert_eq!(find(&crest).await, Ok(vec![]));
    }
    assert_eq!(server.seen().iter().filter(|seen| seen.line.starts_with("POST")).count(), 1);
    letters.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn whether_it_answers_is_asked_of_nobody() {
    let (server, crest) = serving(Answer::json(200, &json!({ "result": [] }))).await;
    assert!(crest.answers(&users()).await);
    assert!(server.only().line.starts_with("GET /openidm/managed/user?_queryFilter=_id%20eq%20"));
    let (_server, crest) = serving(Answer::text(503, "")).await;
    assert!(!crest.answers(&users()).await);
}
