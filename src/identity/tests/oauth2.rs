//! Access tokens: when they are asked for, how often, and what becomes of calls without one.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::{clock::Manual, *};
use crate::config::{ClientAuth, OAuth2};

const MINUTE: Duration = Duration::from_secs(60);

/// A client of the token endpoint at that URL.
fn oauth2(token_url: &str) -> OAuth2 {
    OAuth2 {
        token_url: token_url.parse().unwrap(),
        client_id: "reset gate".to_owned(),
        client_secret: Secret::new("s3cr:et+/%"),
        scope: None,
        audience: None,
        resource: None,
        client_auth: ClientAuth::Basic,
        tls: config::ClientTls::default(),
    }
}

/// The n-th token is `t<n>`, and lives for an hour.
async fn issuer() -> Server {
    let count = AtomicUsize::new(0);
    Server::by(move |_| {
        let n = 1 + count.fetch_add(1, Ordering::SeqCst);
        Answer::json(200, &json!({ "access_token": format!("t{n}"), "token_type": "Bearer", "expires_in": 3600 }))
    })
    .await
}

/// A store that takes what `takes` says of the token's number.
async fn resource(takes: impl Fn(usize) -> bool + Send + Sync + 'static) -> Server {
    Server::by(move |seen| {
        let token = seen.headers.get("authorization").and_then(|header| header.strip_prefix("Bearer t"));
        match token.and_then(|number| number.parse().ok()).is_some_and(&takes) {
            true => Answer::json(200, &json!({ "result": [], "_id": "u1" })),
            false => Answer::json(401, &json!({})),
        }
    })
    .await
}

fn asked(server: &Server, issuer: OAuth2) -> (Crest, Arc<Manual>) {
    let clock = Manual::new();
    let identity = identity_as(&server.url(""), Auth::OAuth2(Box::new(issuer)));
    (store_by(&identity, wide().answer, clock.clone()), clock)
}

fn tokens(server: &Server) -> Vec<String> {
    server.seen().iter().map(|seen| seen.headers["authorization"].clone()).collect()
}

#[tokio::test]
async fn the_request_is_the_standards() {
    let (issuer, server) = (issuer().await, resource(|_| true).await);
    let basic = OAuth2 { scope: Some("a b".to_owned()), ..oauth2(&issuer.url("/token")) };
    let (crest, _) = asked(&server, basic);
    find(&crest).await.unwrap();
    let seen = issuer.only();
    assert_eq!(seen.line, "POST /token");
    assert_eq!(seen.body, "grant_type=client_credentials&scope=a+b");
    // base64 of `reset+gate:s3cr%3Aet%2B%2F%25`: the two are encoded first (RFC 6749 §2.3.1).
    assert_eq!(seen.headers["authorization"], "Basic cmVzZXQrZ2F0ZTpzM2NyJTNBZXQlMkIlMkYlMjU=");
    assert_eq!(seen.headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(seen.headers["accept"], "application/json");
    assert_eq!(tokens(&server), ["Bearer t1"]);

    let post = OAuth2 {
        client_auth: ClientAuth::Post,
        audience: Some("https://idm/".to_owned()),
        resource: Some("urn:idm".to_owned()),
        ..oauth2(&issuer.url("/token"))
    };
    let (crest, _) = asked(&server, post);
    find(&crest).await.unwrap();
    let seen = issuer.seen().pop().unwrap();
    assert_eq!(
        seen.body,
        "grant_type=client_credentials&audience=https%3A%2F%2Fidm%2F&resource=urn%3Aidm&client_id=reset+gate&\
         client_secret=s3cr%3Aet%2B%2F%25"
    );
    assert_eq!(seen.headers.get("authorization"), None);
}

#[tokio::test]
async fn fifty_calls_at_once_ask_for_one_token() {
    let (issuer, server) = (issuer().await, resource(|_| true).await);
    let (crest, _) = asked(&server, oauth2(&issuer.url("/token")));
    let found = join_all((0..50).map(|_| find(&crest))).await;
    assert!(found.iter().all(Result::is_ok));
    assert_eq!((issuer.seen().len(), server.seen().len()), (1, 50));
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_nobody_waits_for_that() {
    let (issuer, server) = (issuer().await, resource(|_| true).await);
    let (crest, clock) = asked(&server, oauth2(&issuer.url("/token")));
    find(&crest).await.unwrap();
    clock.forward(58 * MINUTE);
    find(&crest).await.unwrap();
    assert_eq!((issuer.seen().len(), tokens(&server).last().unwrap().as_str()), (1, "Bearer t1"));
    clock.forward(MINUTE);
    find(&crest).await.unwrap();
    assert_eq!(tokens(&server).last().unwrap(), "Bearer t1", "still good: the call did not wait");
    while tokens(&server).last().unwrap() != "Bearer t2" {
        find(&crest).await.unwrap();
    }
    assert_eq!(issuer.seen().len(), 2);
    // Nobody came for longer than it lived.
    clock.forward(61 * MINUTE);
    find(&crest).await.unwrap();
    assert_eq!((issuer.seen().len(), tokens(&server).last().unwrap().as_str()), (3, "Bearer t3"));
}

#[tokio::test]
async fn a_token_that_the_store_refuses_is_renewed_once_and_the_call_made_once_more() {
    let (issuer, server) = (issuer().await, resource(|number| number >= 2).await);
    let (crest, _) = asked(&server, oauth2(&issuer.url("/token")));
    assert_eq!(patch(&crest).await, Ok(Patched::Done));
    assert_eq!(tokens(&server), ["Bearer t1", "Bearer t2"]);
    let [first, second] = &server.seen()[..] else { panic!("twice") };
    assert_eq!((&first.body, &first.line), (&second.body, &second.line));
    let found = join_all((0..20).map(|_| find(&crest))).await;
    assert!(found.iter().all(Result::is_ok));
    assert_eq!(issuer.seen().len(), 2);
}

#[tokio::test]
async fn a_store_that_takes_no_token_does_not_wear_the_issuer_out() {
    let (issuer, server) = (issuer().await, resource(|_| false).await);
    let (crest, clock) = asked(&server, oauth2(&issuer.url("/token")));
    let (log, _guard) = logs::capture();
    for _ in 0..10 {
        assert_eq!(patch(&crest).await, Err(UNSENT));
    }
    assert_eq!((issuer.seen().len(), server.seen().len()), (2, 11), "one more token, and one more call");
    assert!(log.lines()[0].contains("see scope, audience and resource"), "{:?}", log.lines());
    clock.forward(Duration::from_secs(5));
    assert_eq!(patch(&crest).await, Err(UNSENT));
    assert_eq!(issuer.seen().len(), 3);
}

/// What the issuer does, what is logged of it, and whether the calls meet the store.
#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let server = resource(|_| true).await;
    let error = |code: &str| json!({ "error": code, "error_description": "s3cret" });
    let long = json!({ "access_token": "x".repeat(100_000), "token_type": "Bearer" });
    for (answer, kind, part) in [
        (Answer::json(401, &error("invalid_client")), "Status", "\"code\":\"invalid_client\""),
        (Answer::json(400, &error("invalid_scope")), "Status", "identity.auth.scope"),
        (Answer::json(400, &error("s3cret")), "Status", "\"status\":400"),
        (Answer::text(503, "s3cret"), "Status", "\"status\":503"),
        (Answer::text(200, "<s3cret>"), "Malformed", "token_url failed"),
        (Answer::json(200, &json!({ "access_token": "s3cret", "token_type": "mac" })), "Malformed", "token_url failed"),
        (Answer::json(200, &long), "TooLong", "token_url failed"),
        (Answer::Drop, "Lost", "token_url failed"),
    ] {
        let issuer = Server::start(answer).await;
        let (crest, clock) = asked(&server, oauth2(&issuer.url("/token")));
        let (log, _guard) = logs::capture();
        for _ in 0..5 {
            assert_eq!(patch(&crest).await, Err(UNSENT), "{kind} {part}");
            assert_eq!(find(&crest).await, Err(UNSENT), "it is not one account's fault: {kind} {part}");
        }
        assert_eq!(issuer.seen().len(), 1, "it is left alone for a moment: {kind} {part}");
        clock.forward(Duration::from_secs(1));
        assert_eq!(patch(&crest).await, Err(UNSENT));
        assert_eq!(issuer.seen().len(), 2);
        clock.forward(Duration::from_secs(1));
        assert_eq!(patch(&crest).await, Err(UNSENT));
        assert_eq!(issuer.seen().len(), 2, "two seconds by now");

        let lines = log.lines().concat();
        assert!(lines.contains(&format!("\"kind\":\"{kind}\"")) && lines.contains(part), "{lines}");
        assert!(!lines.contains("s3cr"), "{lines}");
    }
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn an_issuer_that_is_down_or_slow_costs_no_more_than_the_patience_of_a_call() {
    let server = resource(|_| true).await;
    let gone = Server::start(Answer::Never).await.stop().await;
    let (crest, _) = asked(&server, oauth2(&gone));
    assert_eq!(find(&crest).await, Err(UNSENT));

    let slow = Server::start(Answer::Never).await;
    let identity = identity_as(&server.url(""), Auth::OAuth2(Box::new(oauth2(&slow.url("/token")))));
    let crest = store(identity, Bounds { connect: SHORT, total: 3 * SHORT, ..wide() });
    let found = join_all((0..20).map(|_| find(&crest))).await;
    assert!(found.iter().all(|found| *found == Err(UNSENT)), "{found:?}");
    assert_eq!((slow.most_at_once(), server.seen().len()), (1, 0));
}

/// Whoever waited first for a token may give up without ending that for the others.
#[tokio::test]
async fn a_renewal_outlives_whoever_began_it() {
    let (issuer, server) = (issuer().await, resource(|_| true).await);
    let (crest, _) = asked(&server, oauth2(&issuer.url("/token")));
    let mut first = Box::pin(find(&crest));
    assert!(futures_util::poll!(&mut first).is_pending());
    let second = find(&crest);
    drop(first);
    second.await.unwrap();
    assert_eq!(issuer.seen().len(), 1);
}

/// A token that still holds is used when the issuer is down.
#[tokio::test]
async fn an_early_renewal_that_fails_costs_nothing() {
    let count = AtomicUsize::new(0);
    let issuer = Server::by(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::json(200, &json!({ "access_token": "t1", "token_type": "bearer", "expires_in": 3600 })),
        _ => Answer::json(500, &json!({})),
    })
    .await;
    let server = resource(|_| true).await;
    let (crest, clock) = asked(&server, oauth2(&issuer.url("/token")));
    find(&crest).await.unwrap();
    clock.forward(59 * MINUTE + Duration::from_secs(30));
    while issuer.seen().len() < 2 {
        find(&crest).await.unwrap();
    }
    find(&crest).await.unwrap();
    clock.forward(MINUTE);
    assert_eq!(find(&crest).await, Err(UNSENT));
}
