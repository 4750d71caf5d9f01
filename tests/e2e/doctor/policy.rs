//! The password policy, where the gate tells of it.

use serde_json::json;

use super::{Right, Told, store, whole};
use crate::support::{
    setup::{NOBODY, Plan},
    upstream::{Seen, Upstream},
};

/// What a store that lets the service user ask says of its policy.
fn tells(seen: &Seen) -> Option<Vec<u8>> {
    let rules = json!({"properties": [
        {"name": "password", "policies": [{"policyId": "minimum-length", "policyRequirements": ["MIN_LENGTH"]}]},
    ]});
    match (seen.method().as_str(), seen.target().as_str()) {
        ("GET", "/openidm/policy/managed/user") => Some(store::answer(200, &rules)),
        ("POST", "/openidm/policy/managed/user/-?_action=validateObject") => {
            assert_eq!(seen.body, br#"{"password":""}"#);
            Some(store::answer(200, &json!({"result": true, "failedPolicyRequirements": []})))
        }
        _ => None,
    }
}

async fn told(right: &Right, policy: &str) -> Told {
    Told::of(&whole(&Plan { more: format!("[policy]\n{policy}"), ..right.plan() }), &[]).await
}

#[tokio::test]
async fn a_service_user_that_may_ask_for_the_policy_and_one_that_may_not() {
    const SERVICE: &str = "source = \"service\"";
    let right = Right::with(tells).await;
    let all = told(&right, SERVICE).await;
    assert_eq!((all.wrong(), all.code), (vec!["identity.canary"], 0), "{}", all.text);
    all.has("policy.read", "ok", "policy/managed/user has 1 rules for password", "");
    all.has("policy.validate", "ok", "judges passwords for this user", "");
    all.has("upstream.policy", "ok", "policy.source = \"service\"", "");

    let denied = |seen: &Seen| seen.target().contains("/policy/").then(|| store::error(403, "Access denied"));
    let none = told(&Right::with(denied).await, SERVICE).await;
    none.fails(
        "policy.read",
        "may not ask (403)",
        r#"{"pattern": "policy/managed/user", "roles": "internal/role/resetgate""#,
    );
    none.fails("policy.validate", "may not ask (403)", r#""actions": "validateObject"}"#);

    let empty = |seen: &Seen| match seen.method().as_str() {
        "GET" => seen.target().contains("/policy/").then(|| store::answer(200, &json!({"properties": []}))),
        _ => tells(seen),
    };
    told(&Right::with(empty).await, SERVICE).await.has("policy.read", "warn", "no rule for password", "managed.json");

    let garbage = |seen: &Seen| seen.target().contains("/policy/").then(|| store::answer(200, &json!("so so")));
    let nonsense = told(&Right::with(garbage).await, SERVICE).await;
    nonsense.fails("policy.read", "it answers 200, and no policy", "log");
}

#[tokio::test]
async fn a_breach_service_that_is_one_and_others() {
    let right = Right::start().await;
    let of = async |url: &str, more: &str| {
        told(&right, &format!("source = \"local\"\n[policy.breach]\nurl = \"{url}\"\n{more}")).await
    };
    let range = |lines: &'static str| {
        move |_: &Seen| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{lines}", lines.len()).into_bytes()
    };
    let service =
        Upstream::answering(range("0018A45C4D1DEF81644B54AB7F969B88D65:3\n0018A45C4D1DEF81644B54AB7F969B88D66:0"))
            .await;
    let all = of(&format!("http://{}/range", service.address), "").await;
    assert_eq!((all.wrong(), all.code), (vec!["identity.canary"], 0), "{}", all.text);
    all.has("policy.breach", "ok", "with 1 known passwords", "");
    assert_eq!(service.last().target(), "/range/00000");

    let page = Upstream::answering(range("<html>")).await;
    of(&format!("http://{}", page.address), "").await.fails(
        "policy.breach",
        "not that of such a service",
        "accepted meanwhile",
    );
    let empty = Upstream::answering(range("")).await;
    of(&format!("http://{}", empty.address), "").await.has(
        "policy.breach",
        "warn",
        "no password at all",
        "policy.breach.url",
    );
    of(&format!("http://{NOBODY}"), "on_outage = \"refuse\"").await.fails(
        "policy.breach",
        "connect",
        "no password can be set",
    );
    // None is named, and nothing is to be said.
    let none = told(&right, "source = \"local\"").await;
    assert!(!none.text.contains("policy.breach"), "{}", none.text);
}
