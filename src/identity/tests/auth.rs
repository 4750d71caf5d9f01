//! What each kind of credentials is on the wire, and what is said of a store that does not take them.

use super::*;

fn basic(username: &str, password: &str) -> Auth {
    Auth::Basic { username: username.to_owned(), password: Secret::new(password) }
}

#[tokio::test]
async fn basic_and_bearer_are_one_header() {
    let authorization = async |auth| {
        let server = Server::start(Answer::json(200, &json!({ "result": [] }))).await;
        let crest = store(identity_as(&server.url(""), auth), wide());
        find(&crest).await.unwrap();
        let mut headers = server.only().headers;
        assert!(!headers.keys().any(|name| matches!(name.as_str(), "x-openidm-username" | "x-openidm-password")));
        headers.remove("authorization").unwrap()
    };
    assert_eq!(authorization(basic("Aladdin", "open sesame")).await, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert_eq!(authorization(basic("test", "123£")).await, "Basic dGVzdDoxMjPCow==", "UTF-8, as RFC 7617 has it");
    assert_eq!(authorization(Auth::Bearer { token: Secret::new("mF_9.B5f-4.1JqM") }).await, "Bearer mF_9.B5f-4.1JqM");
}

#[tokio::test]
async fn what_the_store_does_not_take_is_told_by_its_setting() {
    let openidm = Auth::OpenIdm { username: "resetgate".to_owned(), password: Secret::new("s3cret") };
    for (auth, setting) in [
        (openidm, "identity.auth.password"),
        (basic("resetgate", "s3cret"), "identity.auth.password"),
        (Auth::Bearer { token: Secret::new("s3cret") }, "identity.auth.token"),
    ] {
        let server = Server::start(Answer::json(401, &json!({ "code": 401, "reason": "s3cret" }))).await;
        let crest = store(identity_as(&server.url(""), auth), wide());
        let (log, _guard) = logs::capture();
        for _ in 0..20 {
            assert_eq!(patch(&crest).await, Err(UNSENT), "who is not known has done nothing");
        }
        let lines = log.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert!(line["fields"]["hint"].as_str().unwrap().contains(setting), "{line}");
        assert!(!lines[0].contains("s3cret"), "{line}");
        assert_eq!(server.seen().len(), 20, "the same credentials are not tried twice");
    }
}
