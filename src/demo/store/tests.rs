use std::time::Duration;

use serde_json::json;

use super::*;

const PASSWORD: &str = "service-password";
const BJENSEN: &str = "5b2d9a4e-3f60-4c1a-9d0e-1f6a7c8b9d01";

struct World {
    store: Store,
    client: reqwest::Client,
}

async fn world() -> World {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = Store::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), PASSWORD);
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
    World { store, client }
}

impl World {
    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.store.address());
        self.client.request(method.parse().unwrap(), url).header("X-Requested-With", "XMLHttpRequest")
    }

    fn service(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.request(method, path).header("X-OpenIDM-Username", SERVICE_USER).header("X-OpenIDM-Password", PASSWORD)
    }

    async fn query(&self, filter: &str, more: &[(&str, &str)]) -> (u16, Value) {
        let pairs = [("_queryFilter", filter)];
        let query = form(pairs.iter().chain(more));
        send(self.service("GET", &format!("/openidm/managed/user?{query}"))).await
    }

    async fn patch(&self, id: &str, if_match: Option<&str>, operations: Value) -> (u16, Value) {
        let mut request = self.service("PATCH", &format!("/openidm/managed/user/{id}"));
        if let Some(rev) = if_match {
            request = request.header("If-Match", rev);
        }
        send(request.header("Content-Type", "application/json").body(operations.to_string())).await
    }

    async fn login(&self, user: &str, password: &str) -> u16 {
        let request = self.request("POST", "/openidm/authentication?_action=login");
        send(request.header("X-OpenIDM-Username", user).header("X-OpenIDM-Password", password)).await.0
    }
}

fn form<'a>(pairs: impl Iterator<Item = &'a (&'a str, &'a str)>) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

async fn send(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

fn replace(value: &str) -> Value {
    json!([{"operation": "replace", "field": "/password", "value": value}])
}

fn crest(code: u16, reason: &str, message: &str) -> Value {
    json!({"code": code, "reason": reason, "message": message})
}

#[tokio::test]
async fn a_query_finds_by_name_or_mail() {
    let w = world().await;
    let (status, body) =
        w.query(r#"(userName eq "bjensen" or mail eq "bjensen")"#, &[("_fields", "mail, userName")]).await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        json!({
            "resultCount": 1,
            "result": [{"_id": BJENSEN, "_rev": "0000000000000001", "userName": "bjensen", "mail": "bjensen@example.com"}],
            "pagedResultsCookie": null,
            "totalPagedResultsPolicy": "NONE",
            "totalPagedResults": -1,
            "remainingPagedResults": -1,
        })
    );
    assert_eq!(w.query(r#"mail eq "shared@example.com""#, &[]).await.1["resultCount"], 2);
    let (_, page) = w.query(r#"mail eq "shared@example.com""#, &[("_pageSize", "1")]).await;
    assert_eq!((&page["resultCount"], &page["pagedResultsCookie"]), (&json!(1), &json!("1")));
    assert_eq!(w.query(r#"userName eq "zoë""#, &[]).await.1["result"][0]["_id"], "zoë");
    assert_eq!(w.query("userName eq \"o'brien\"", &[]).await.1["resultCount"], 1);
    assert_eq!(w.query(r"userName eq 'o\'brien'", &[]).await.1["resultCount"], 1);
    assert_eq!(w.store.queries()[0], r#"(userName eq "bjensen" or mail eq "bjensen")"#);
    assert_eq!(w.store.queries().len(), 6);
}

#[tokio::test]
async fn a_filter_that_is_not_plain_equality_is_400() {
    let w = world().await;
    for filter in [r#"userName sw "b""#, "true", r#"userName eq "a"b""#, ""] {
        assert_eq!(w.query(filter, &[]).await.0, 400, "{filter}");
    }
    assert_eq!(w.query("mail eq 'x'", &[("_pageSize", "x")]).await.0, 400);
    let (status, body) = w.query("mail eq 'x'", &[("_queryFilter", "mail eq 'y'")]).await;
    assert_eq!(status, 400);
    assert_eq!(body["message"], "Multiple values provided for the single-valued request parameter '_queryFilter'");
    assert_eq!(send(w.service("GET", "/openidm/managed/user")).await.0, 400);
}

#[tokio::test]
async fn strangers_may_not_touch_accounts() {
    let w = world().await;
    let denied = (403, crest(403, "Forbidden", "Access denied"));
    for (method, path) in [
        ("GET", "/openidm/managed/user?_queryFilter=mail+eq+%22x%22"),
        ("GET", "/openidm/managed/user/zo%C3%AB"),
        ("PATCH", "/openidm/managed/user/zo%C3%AB"),
        ("GET", "/openidm/managed/user/nobody"),
    ] {
        assert_eq!(send(w.request(method, path)).await, denied);
        let anonymous = |user, password| {
            w.request(method, path).header("X-OpenIDM-Username", user).header("X-OpenIDM-Password", password)
        };
        assert_eq!(send(anonymous("anonymous", "anonymous")).await, denied);
        assert_eq!(send(anonymous("bjensen", "Secret12")).await, denied);
        let wrong = (401, crest(401, "Unauthorized", "Access Denied"));
        assert_eq!(send(anonymous(SERVICE_USER, "wrong")).await, wrong);
        assert_eq!(send(anonymous("anonymous", "wrong")).await, wrong);
    }
    assert!(w.store.queries().is_empty());
}

#[tokio::test]
async fn a_patch_sets_the_password() {
    let w = world().await;
    assert_eq!((w.login("bjensen", "Secret12").await, w.login("bjensen", "Fresh-Pass1").await), (200, 401));
    let (status, body) = w.patch(BJENSEN, None, replace("Fresh-Pass1")).await;
    assert_eq!((status, &body["_id"], &body["userName"]), (200, &json!(BJENSEN), &json!("bjensen")));
    assert_eq!(body.get("password"), None);
    assert_eq!((w.login("bjensen", "Secret12").await, w.login("bjensen", "Fresh-Pass1").await), (401, 200));
    assert!(w.store.password_is("bjensen", "Fresh-Pass1") && w.store.password_is(BJENSEN, "Fresh-Pass1"));
    assert_eq!(w.store.patches(), 1);
    let (status, _) = w
        .patch("zo%C3%AB", Some("*"), json!([{"operation": "REPLACE", "field": "password", "value": "Fresh-Pass1"}]))
        .await;
    assert_eq!((status, w.store.patches()), (200, 2));
    assert_eq!(w.patch("nobody", None, replace("Fresh-Pass1")).await.0, 404);
}

#[tokio::test]
async fn a_patch_that_breaks_the_policy_is_403_with_every_failure() {
    let w = world().await;
    let (status, body) = w.patch("o'brien", None, replace("o'brien")).await;
    assert_eq!(status, 403);
    let failure = |name: &str, params: Value| json!({"policyRequirements": [{"policyRequirement": name, "params": params}], "property": "password"});
    assert_eq!(
        body,
        json!({
            "code": 403,
            "reason": "Forbidden",
            "message": "Failed policy validation",
            "detail": {
                "result": false,
                "failedPolicyRequirements": [
                    failure("MIN_LENGTH", json!({"minLength": 8})),
                    failure("AT_LEAST_X_CAPITAL_LETTERS", json!({"numCaps": 1})),
                    failure("AT_LEAST_X_NUMBERS", json!({"numNums": 1})),
                    failure("CANNOT_CONTAIN_OTHERS", json!({"disallowedFields": "userName"})),
                ],
            },
        })
    );
    assert_eq!((w.store.patches(), w.login("o'brien", "Secret56").await), (0, 200));
}

#[tokio::test]
async fn a_stale_revision_is_412() {
    let w = world().await;
    let path = format!("/openidm/managed/user/{BJENSEN}");
    let answer = w.service("GET", &path).send().await.unwrap();
    let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
    assert!(w.store.set(BJENSEN, "sn", "Doe"));
    let (status, body) = w.patch(BJENSEN, Some(&etag), replace("Fresh-Pass1")).await;
    assert_eq!((status, &body["reason"]), (412, &json!("Precondition Failed")));
    let (_, object) = send(w.service("GET", &path)).await;
    assert_eq!(object["sn"], "Doe");
    assert_eq!(w.patch(BJENSEN, object["_rev"].as_str(), replace("Fresh-Pass1")).await.0, 200);
}

#[tokio::test]
async fn only_replace_on_known_fields() {
    let w = world().await;
    for operations in [
        json!({"operation": "replace", "field": "/password", "value": "Fresh-Pass1"}),
        json!([{"operation": "add", "field": "/password", "value": "Fresh-Pass1"}]),
        json!([{"operation": "replace", "field": "/authzRoles", "value": "admin"}]),
        json!([{"operation": "replace", "field": "/_id", "value": "x"}]),
        json!([{"operation": "replace", "field": "/password", "value": null}]),
        json!([{"operation": "replace", "field": "/password", "value": 12}]),
        json!([{"operation": "replace", "value": "Fresh-Pass1"}]),
        json!([1]),
    ] {
        assert_eq!(w.patch(BJENSEN, None, operations.clone()).await.0, 400, "{operations}");
    }
    let plain = w.service("PATCH", &format!("/openidm/managed/user/{BJENSEN}"));
    assert_eq!(send(plain.header("Content-Type", "text/plain").body(replace("Fresh-Pass1").to_string())).await.0, 400);
    assert_eq!(w.store.patches(), 0);
}

#[tokio::test]
async fn a_body_has_a_bound() {
    let w = world().await;
    assert_eq!(w.patch(BJENSEN, None, replace(&"x".repeat(20_000))).await.0, 413);
}

#[tokio::test]
async fn sign_in_takes_names_that_are_not_ascii() {
    let w = world().await;
    assert_eq!(w.login("UTF-8''zo%C3%AB", "Secret34").await, 200);
    assert_eq!(w.login("zoë", "Secret34").await, 200);
    assert_eq!(w.login("dormant", "Secret11").await, 401);
    assert_eq!(w.login("anonymous", "anonymous").await, 401);
    let bare = w.client.post(format!("http://{}/openidm/authentication?_action=login", w.store.address()));
    assert_eq!(send(bare).await, (403, crest(403, "Forbidden", "Access denied")));
}

#[tokio::test]
async fn the_policy_is_told_and_tried() {
    let w = world().await;
    let (status, body) = send(w.request("GET", "/openidm/policy/selfservice/reset")).await;
    let password = &body["properties"][0];
    assert_eq!((status, &password["name"]), (200, &json!("password")));
    assert_eq!(password["policies"][0]["policyRequirements"], json!(["MIN_LENGTH"]));
    assert_eq!(password["policies"][0]["params"], json!({"minLength": 8}));
    let validate = |body: &str| {
        let request = w.request("POST", "/openidm/policy/selfservice/reset/?_action=validateObject");
        send(request.header("Content-Type", "application/json").body(body.to_owned()))
    };
    let (status, body) = validate(r#"{"password":""}"#).await;
    assert_eq!((status, &body["result"]), (200, &json!(false)));
    assert_eq!(body["failedPolicyRequirements"][0]["policyRequirements"][0]["policyRequirement"], "MIN_LENGTH");
    assert_eq!(
        validate(r#"{"password":"Fresh-Pass1"}"#).await.1,
        json!({"result": true, "failedPolicyRequirements": []})
    );
    assert_eq!(validate("{").await.0, 400);
}

#[tokio::test]
async fn a_reset_that_reaches_it_is_counted() {
    let w = world().await;
    for path in ["/openidm/selfservice/reset", "//openidm/selfservice/%72eset/?_action=submitRequirements"] {
        assert_eq!(
            send(w.request("POST", path)).await,
            (500, crest(500, "Internal Server Error", "the stock reset must never be reached"))
        );
    }
    assert_eq!(w.store.stock_reset_hits(), 2);
}

#[tokio::test]
async fn any_other_path_is_echoed() {
    let w = world().await;
    let path = "/openidm/managed/role/a%2Fb//c?x=%20y&z";
    let (status, body) = send(w.request("PUT", path).header("X-Probe", "1").body("é".repeat(3_000))).await;
    assert_eq!(status, 200);
    assert_eq!((&body["method"], &body["target"], &body["bodyLength"]), (&json!("PUT"), &json!(path), &json!(6_000)));
    assert_eq!(body["body"].as_str().unwrap().chars().count(), 2_048);
    assert!(body["headers"].as_array().unwrap().contains(&json!(["x-probe", "1"])));
}

#[tokio::test]
async fn it_tells_what_the_web_client_asks() {
    let w = world().await;
    assert_eq!(send(w.request("GET", "/openidm/info/uiconfig")).await.1["configuration"]["passwordReset"], true);
    let (_, features) = send(w.request("GET", "/openidm/info/features?_queryFilter=true")).await;
    assert_eq!(features["result"][0]["endpoints"], json!(["selfservice/reset"]));
    assert_eq!(send(w.request("GET", "/openidm/info/ping")).await.1["state"], "ACTIVE_READY");
    assert_eq!(send(w.request("GET", "/openidm/authentication")).await.1["providers"], json!([]));
}

#[tokio::test]
async fn dropping_it_takes_it_away() {
    let World { store, client } = world().await;
    let url = format!("http://{}/openidm/info/ping", store.address());
    assert!(client.get(&url).send().await.is_ok());
    drop(store);
    tokio::task::yield_now().await;
    assert!(client.get(&url).send().await.is_err());
}
