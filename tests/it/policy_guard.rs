//! `policy.source = "local"`: a password that breaks a rule of the gate's is never sent to the store.

use resetgate::demo::store::User;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{
    reserved::Reserved,
    upstream::{Seen, Upstream},
    world::{Answer, Plan, World},
};

const OLD: &str = "Secret12";
const GOOD: &str = "Fresh-Pass1";
/// In the digits of its SHA-1, and what the service is told of them.
const KNOWN: &str = "Password-12345";
const KNOWN_HASH: &str = "0750C5FC73B6C2B175503CEC765AE11E01E76188";

fn local(rules: &str) -> Plan {
    Plan { policy: format!("source = \"local\"\n{rules}"), ..Plan::default() }
}

fn is_success(answer: &Answer) -> bool {
    answer.status == 200 && answer.json()["status"] == json!({"success": true})
}

/// The rules that a refusal names.
fn named(answer: &Answer) -> Vec<(String, Value)> {
    let json = answer.json();
    let failures = json["requirements"]["error"]["detail"]["failedPolicyRequirements"].as_array();
    let failures = failures.unwrap_or_else(|| panic!("a refusal, not {}", answer.body));
    let one = |failure: &Value| {
        assert_eq!(failure["property"], "password");
        let requirement = &failure["policyRequirements"][0];
        (requirement["policyRequirement"].as_str().unwrap().to_owned(), requirement["params"].clone())
    };
    failures.iter().map(one).collect()
}

#[tokio::test]
async fn a_password_that_breaks_a_rule_of_ours_is_refused_in_the_store_s_own_shape_and_never_sent() {
    let world = World::with(local("min_length = 10\nmin_upper = 2")).await;
    let token = world.proven("bjensen", 1).await;
    let refused = world.set(&token, "bjensen-1").await;
    let fresh = refused.token();
    let failure = |requirement: &str, params: Value| json!({"policyRequirements": [{"policyRequirement": requirement, "params": params}], "property": "password"});
    assert_eq!(
        refused.json(),
        json!({
            "type": "resetStage",
            "tag": "initial",
            "requirements": {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "description": "Reset password",
                "type": "object",
                "required": ["password"],
                "properties": {"password": {"description": "Password", "type": "string"}},
                "error": {
                    "code": 403,
                    "reason": "Forbidden",
                    "message": "Failed policy validation",
                    "detail": {
                        "result": false,
                        "failedPolicyRequirements": [
                            failure("MIN_LENGTH", json!({"minLength": 10})),
                            failure("AT_LEAST_X_CAPITAL_LETTERS", json!({"numCaps": 2})),
                            failure("CANNOT_CONTAIN_OTHERS", json!({"disallowedFields": "userName"})),
                        ],
                    },
                },
            },
            "token": fresh,
        })
    );
    assert_ne!(fresh, token);
    assert_eq!(world.store.patches(), 0);
    // The store's own policy holds besides: here, for digits.
    let refused = world.set(&fresh, "Long-Enough").await;
    assert_eq!(named(&refused), [("AT_LEAST_X_NUMBERS".to_owned(), json!({"numNums": 1}))]);
    assert!(is_success(&world.set(&refused.token(), GOOD).await));
    assert!(world.store.password_is("bjensen", GOOD));
}

#[tokio::test]
async fn what_the_gate_refuses_counts_as_what_the_store_refuses() {
    let world = World::with(Plan { codes: "refused = 2", ..local("min_length = 10") }).await;
    let token = world.proven("bjensen", 1).await;
    let token = world.set(&token, "by-us").await.token();
    let token = world.set(&token, "by-the-store").await.token();
    assert_eq!(world.set(&token, GOOD).await.message(), "Invalid code");
    assert!(world.store.password_is("bjensen", OLD));
    assert_eq!(world.metric("password_changes_total{outcome=\"refused\"}").await, "2");
}

#[tokio::test]
async fn what_the_store_knows_of_somebody_is_in_no_password_of_theirs() {
    let world = World::with(local("forbid_user_data = [\"userName\", \"employeeNumber\", \"aliases\"]")).await;
    let user = User::new("p-1", "pelle", OLD)
        .with("mail", "pelle@example.com")
        .with("employeeNumber", 4711)
        .with("aliases", json!(["kalle"]));
    world.store.insert(user);
    let mut token = world.proven("pelle", 1).await;
    for (password, field) in [("My-PELLE-1", "userName"), ("Nr-4711-Xy", "employeeNumber"), ("KALLE-Anka1", "aliases")]
    {
        let refused = world.set(&token, password).await;
        assert_eq!(named(&refused), [("CANNOT_CONTAIN_OTHERS".to_owned(), json!({"disallowedFields": field}))]);
        token = refused.token();
    }
    // What another is called is nobody's business.
    assert!(is_success(&world.set(&token, "Bjensen-1").await));
}

#[tokio::test]
async fn a_list_of_bad_passwords_is_looked_into_and_taken_up_anew_when_it_changes() {
    let files = vec![("bad.txt", "fresh-pass1\n".to_owned())];
    let world = World::with(Plan { files, ..local("bad_passwords = \"bad.txt\"") }).await;
    let token = world.proven("bjensen", 1).await;
    let refused = world.set(&token, GOOD).await;
    assert_eq!(named(&refused), [("DICTIONARY".to_owned(), Value::Null)]);
    assert!(world.change(&[("bad.txt", "another\n")]).await);
    assert!(!world.change(&[("bad.txt", "")]).await, "a list that is empty is none");
    let other = world.set(&refused.token(), "Another").await;
    assert_eq!(named(&other).first().map(|(name, _)| name.as_str()), Some("MIN_LENGTH"));
    assert!(is_success(&world.set(&other.token(), GOOD).await));
}

/// What the service says of the hashes that begin so.
fn range(lines: &str) -> impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static {
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{lines}", lines.len());
    move |_| answer.clone().into_bytes()
}

fn breach(url: &str, lines: &str) -> Plan {
    local(&format!("[policy.breach]\nurl = \"{url}\"\n{lines}"))
}

fn rest() -> &'static str {
    &KNOWN_HASH[5..]
}

#[tokio::test]
async fn a_password_of_a_breach_is_refused_and_the_service_learns_next_to_nothing() {
    let other = "0018A45C4D1DEF81644B54AB7F969B88D65";
    let service = Upstream::answering(range(&format!("{other}:9\r\n{}:3\r\n{other}:0", rest()))).await;
    let world = World::with(breach(&format!("http://{}/range/", service.address), "")).await;
    let typed = json!({"password": KNOWN}).to_string();
    let validate = world.url("/openidm/policy/selfservice/reset/?_action=validateObject");
    let request = world.http.post(validate).header("content-type", "application/json").body(typed);
    let judged = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(judged.json(), json!({"result": true, "failedPolicyRequirements": []}));
    assert_eq!(service.count(), 0, "it is not asked while somebody types");

    let token = world.proven("bjensen", 1).await;
    let refused = world.set(&token, "short").await;
    assert_eq!(service.count(), 0, "nor of what is no good anyway");
    let refused = world.set(&refused.token(), KNOWN).await;
    assert_eq!(named(&refused), [("DICTIONARY".to_owned(), Value::Null)]);
    assert_eq!(world.store.patches(), 0);
    let seen = service.last();
    assert_eq!(seen.line(), format!("GET /range/{} HTTP/1.1", &KNOWN_HASH[..5]));
    assert_eq!(seen.header("add-padding"), ["true"]);
    assert!(seen.body.is_empty());
    assert_eq!(seen.names(), ["add-padding", "host", "user-agent"]);
    assert!(is_success(&world.set(&refused.token(), GOOD).await), "no line has it");
    assert_eq!(service.count(), 2);
}

#[tokio::test]
async fn a_password_that_was_seen_seldom_or_only_stands_for_its_length_is_good_enough() {
    for (count, lines, good) in [(0, "", true), (2, "min_count = 3", true), (3, "min_count = 3", false), (1, "", false)]
    {
        let service = Upstream::answering(range(&format!("{}:{count}", rest().to_lowercase()))).await;
        let world = World::with(breach(&format!("http://{}", service.address), lines)).await;
        let token = world.proven("bjensen", 1).await;
        assert_eq!(is_success(&world.set(&token, KNOWN).await), good, "{count} {lines}");
    }
}

#[tokio::test]
async fn where_nobody_can_say_the_operator_has_said_what_counts() {
    let garbage = Upstream::answering(range("<html>sign in to the network</html>")).await;
    let failing = Upstream::answering(|_| b"HTTP/1.1 500 So\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let limited = Upstream::answering(|_| b"HTTP/1.1 429 So\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let long = Upstream::answering(range(&"0018A45C4D1DEF81644B54AB7F969B88D65:1\n".repeat(20_000))).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_at = silent.local_addr().unwrap();
    let gone = Reserved::new();
    for (address, kind) in [
        (garbage.address, "malformed"),
        (failing.address, "status"),
        (limited.address, "status"),
        (long.address, "too_long"),
        (silent_at, "timeout"),
        (gone.address, "connect"),
    ] {
        for (outage, accepted) in [("", true), ("\non_outage = \"refuse\"", false)] {
            let world =
                World::with(breach(&format!("http://{address}"), &format!("timeout = \"200ms\"{outage}"))).await;
            let token = world.proven("bjensen", 1).await;
            let answer = world.set(&token, GOOD).await;
            assert_eq!(is_success(&answer), accepted, "{kind}: {}", answer.body);
            let failures = format!("outbound_call_failures_total{{kind=\"{kind}\",service=\"breach\"}}");
            assert_ne!(world.metric(&failures).await, "0", "{kind}");
            if !accepted {
                assert_eq!((answer.status, world.store.patches()), (503, 0));
                assert!(answer.headers.contains_key("retry-after"));
                assert_eq!(answer.message(), "The service is not available, try again later");
                assert_eq!(world.metric("service_failures_total{service=\"policy\"}").await, "1");
                // The link is as good as it was, for any password.
                assert!(!is_success(&world.set(&token, "Other-Pass2").await));
            }
        }
    }
}
