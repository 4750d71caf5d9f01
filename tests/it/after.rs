//! What follows when a password is set: a notice, a webhook, the end of sessions. Nobody who asks waits for any of it.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use resetgate::serve::Ended;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::support::{
    link::{Link, Mode},
    upstream::{Seen, Upstream},
    world::{Answer, Plan, World},
};

const BJENSEN: &str = "5b2d9a4e-3f60-4c1a-9d0e-1f6a7c8b9d01";
const PASSWORD: &str = "Fresh-Pass1";
const QUIET: &str = "[after.notice]\nmail = \"off\"\n";

fn is_success(answer: &Answer) -> bool {
    answer.status == 200 && answer.json()["status"] == json!({"success": true})
}

fn status(status: u16) -> Vec<u8> {
    format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

/// A receiver that answers each call with the next of these, the last of them for ever, and the wire to it.
async fn receiver(answers: &'static [u16]) -> (Upstream, Link) {
    let calls = AtomicUsize::new(0);
    let receiver =
        Upstream::answering(move |_| status(*answers.get(calls.fetch_add(1, SeqCst)).or(answers.last()).unwrap()))
            .await;
    let link = Link::to(receiver.address).await;
    (receiver, link)
}

/// With a webhook there, and keys that are known.
fn hooked(link: &Link, more: &str) -> Plan {
    let keys = [1, 2].map(|byte| STANDARD.encode([byte; 32]));
    let [new, old] = keys;
    Plan {
        files: vec![("new", format!("whsec_{new}\n")), ("old", old)],
        after: format!(
            "{QUIET}[after.webhook]\nurl = \"http://{}/hook?of=reset\"\nsecrets = [\"file:new\", \"file:old\"]\n{more}",
            link.address
        ),
        ..Plan::default()
    }
}

/// HMAC-SHA256 by its definition (RFC 2104), and nothing of the product.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let padded = |pad: u8| block.iter().map(|byte| byte ^ pad).collect::<Vec<_>>();
    let inner = digest(&SHA256, &[padded(0x36).as_slice(), message].concat());
    digest(&SHA256, &[padded(0x5c).as_slice(), inner.as_ref()].concat()).as_ref().to_vec()
}

fn one(seen: &Seen, header: &str) -> String {
    let values = seen.header(header);
    assert_eq!(values.len(), 1, "{header}");
    values[0].clone()
}

async fn calls(receiver: &Upstream, world: &World, many: usize) -> Vec<Seen> {
    world.until(async || receiver.count() >= many).await;
    receiver.seen()
}

#[tokio::test]
async fn its_owner_is_told_once_in_the_askers_language_and_with_no_link() {
    let world = World::usual().await;
    world.store.set(BJENSEN, "recoveryMail", json!(["second@example.com", "not an address", "BJENSEN@example.com"]));
    let token = world.proven("bjensen", 1).await;
    let refused = world.set(&token, "bjensen").await.token();
    let body = json!({"token": refused, "input": {"password": PASSWORD}}).to_string();
    let headers = [("accept-language", "de")];
    let (one, twin) = tokio::join!(world.post_as(&headers, body.clone()), world.post_as(&headers, body));
    assert!(is_success(&one) && is_success(&twin));
    assert!(is_success(&world.set(&refused, PASSWORD).await));
    let notice = world.mail(2).await;
    assert_eq!(
        (notice.subject.as_str(), notice.to),
        ("Ihr Passwort wurde geändert", vec!["bjensen@example.com".to_owned()])
    );
    assert!(notice.links.is_empty(), "{:?}", notice.links);
    for text in [&notice.text, &notice.html.unwrap()] {
        assert!(text.contains(" UTC geändert.") && !text.contains("127.0.0.1") && !text.contains(BJENSEN), "{text}");
    }
    world.until(async || world.metric("after_password_total{outcome=\"done\",what=\"notice\"}").await == "1").await;
    // Nobody else: neither who is not there, nor whose code was wrong.
    let decoy = world.query("nobody").await.token();
    world.show(&decoy, "wrong").await;
    world.set(&decoy, PASSWORD).await;
    assert_eq!(world.mailbox.mails().len(), 2);
    assert_eq!(world.metric("mail_messages_total{outcome=\"sent\"}").await, "1", "a notice is no mail with a link");
}

#[tokio::test]
async fn more_of_its_addresses_are_told_if_the_operator_names_them_and_where_it_was_done() {
    let after = "[after.notice]\nattributes = [\"recoveryMail\", \"other\"]\nclient = true\n".to_owned();
    let world = World::with(Plan { after, ..Plan::default() }).await;
    world.store.set(BJENSEN, "recoveryMail", json!(["second@example.com", "not an address", "BJENSEN@example.com"]));
    world.store.set(BJENSEN, "other", "third@example.com");
    let token = world.proven("bjensen", 1).await;
    assert!(is_success(&world.set(&token, PASSWORD).await));
    world.mail(4).await;
    let mut told: Vec<_> = world.mailbox.mails()[1..].iter().flat_map(|mail| mail.to.clone()).collect();
    told.sort();
    assert_eq!(told, ["bjensen@example.com", "second@example.com", "third@example.com"]);
    let text = &world.mailbox.mails()[1].text;
    assert!(text.contains("It was done from 127.0.0.1."), "{text}");
}

/// Whoever takes an account over must not be able to keep its owner from hearing of it.
#[tokio::test]
async fn a_full_outbox_keeps_no_notice_away_and_a_relay_that_is_down_holds_up_nobody() {
    let world = World::with(Plan { mail: "capacity = 2", ..Plan::default() }).await;
    let token = world.proven("bjensen", 1).await;
    world.smtp_link.set(Mode::Hang);
    for user in ["zoë", "nobody"] {
        assert_eq!(world.query(user).await.status, 200);
    }
    assert_eq!(world.query("pat").await.status, 503);
    assert!(is_success(&world.set(&token, PASSWORD).await));
    assert_eq!(world.mailbox.mails().len(), 1);
    world.smtp_link.set(Mode::Pass);
    world.until(async || world.mailbox.mails().iter().any(|mail| mail.subject == "Your password was changed")).await;
}

#[tokio::test]
async fn a_webhook_is_signed_and_tried_again_under_the_same_name() {
    let (receiver, link) = receiver(&[500, 302, 200]).await;
    let world = World::with(hooked(&link, "")).await;
    let token = world.proven("bjensen", 1).await;
    let refused = world.set(&token, "bjensen").await.token();
    assert_eq!(receiver.count(), 0, "nothing was set");
    let set = json!({"token": refused, "input": {"password": PASSWORD}}).to_string();
    assert!(is_success(&world.post_as(&[("x-request-id", "the-one")], set).await));
    let seen = calls(&receiver, &world, 3).await;
    let id = one(&seen[0], "webhook-id");
    for call in &seen {
        assert_eq!(call.line(), "POST /hook?of=reset HTTP/1.1");
        assert_eq!(one(call, "webhook-id"), id);
        assert_eq!(one(call, "content-type"), "application/json");
        let stamp = one(call, "webhook-timestamp");
        assert!(stamp.parse::<u64>().unwrap() > 1_700_000_000);
        let signed = [format!("{id}.{stamp}.").as_bytes(), call.body.as_slice()].concat();
        let expected = [1, 2].map(|byte| format!("v1,{}", STANDARD.encode(hmac(&[byte; 32], &signed)))).join(" ");
        assert_eq!(one(call, "webhook-signature"), expected);
        assert_eq!(call.body, seen[0].body);
    }
    let body: Value = serde_json::from_slice(&seen[0].body).unwrap();
    let time = body["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    let expected = format!(
        r#"{{"event":"password_reset","time":"{time}","id":"{id}","account":"{BJENSEN}","request":"the-one","outcome":"set"}}"#
    );
    assert_eq!(String::from_utf8(seen[0].body.clone()).unwrap(), expected);
    world.until(async || world.metric("after_password_total{outcome=\"done\",what=\"webhook\"}").await == "1").await;
    assert_eq!(world.metric("after_password_total{outcome=\"delayed\",what=\"webhook\"}").await, "2");
    assert_eq!(receiver.count(), 3);
    assert!(world.mailbox.mails().len() == 1, "no notice is wanted");
}

#[tokio::test]
async fn a_webhook_that_is_gone_is_left_alone_and_may_know_accounts_by_hash_only() {
    let (receiver, link) = receiver(&[410]).await;
    let mut plan = hooked(&link, "account = \"hash\"\n");
    plan.audit = "[audit]\nto = \"file:trail\"\n[log]\nhash_key = \"file:key\"";
    let world = World::with(plan).await;
    let token = world.proven("bjensen", 1).await;
    assert!(is_success(&world.set(&token, PASSWORD).await));
    world.until(async || world.metric("after_password_total{outcome=\"dropped\",what=\"webhook\"}").await == "1").await;
    let seen = receiver.seen();
    assert_eq!(seen.len(), 1);
    let body: Value = serde_json::from_slice(&seen[0].body).unwrap();
    let hash = body["account"].as_str().unwrap().to_owned();
    assert!(hash.len() == 32 && hash != BJENSEN, "{hash}");
    // The audit trail knows it by the same, and says why nobody was told.
    world.until(async || world.file("trail").contains("\"webhook_dropped\"")).await;
    let trail = world.file("trail");
    let line = trail.lines().find(|line| line.contains("\"webhook_dropped\"")).unwrap();
    assert!(line.contains(&hash) && line.contains("\"reason\":\"gone\""), "{line}");
}

#[tokio::test]
async fn nobody_waits_for_a_receiver_that_says_nothing() {
    let (receiver, link) = receiver(&[200]).await;
    let world = World::with(hooked(&link, "timeout = \"30s\"\n")).await;
    link.set(Mode::Hang);
    let token = world.proven("bjensen", 1).await;
    // That it is answered at all while the call hangs says that it waited for none.
    assert!(is_success(&world.set(&token, PASSWORD).await));
    world.until(async || world.metric("after_password_waiting").await == "1").await;
    assert_eq!(receiver.count(), 0);
    assert!(world.store.password_is("bjensen", PASSWORD));
}

#[tokio::test]
async fn a_drain_waits_for_what_was_not_taken_yet() {
    let (receiver, link) = receiver(&[503, 200]).await;
    let mut world = World::with(hooked(&link, "")).await;
    let token = world.proven("bjensen", 1).await;
    assert!(is_success(&world.set(&token, PASSWORD).await));
    calls(&receiver, &world, 1).await;
    assert_eq!(world.drain().await, Ended::Drained);
    assert_eq!(receiver.count(), 2);
}

#[tokio::test]
async fn of_a_password_that_was_set_at_the_second_try_all_is_done_once() {
    let (receiver, link) = receiver(&[200]).await;
    let mut plan = hooked(&link, "");
    plan.after = plan.after.replace("\"off\"", "\"on\"");
    let mut world = World::with(plan).await;
    let token = world.proven("bjensen", 1).await;
    world.store_link.set(Mode::LosePatchAnswers);
    assert_eq!(world.set(&token, PASSWORD).await.status, 503);
    assert_eq!(receiver.count(), 0, "nobody knows yet");
    world.store_link.set(Mode::Pass);
    assert!(is_success(&world.set(&token, PASSWORD).await));
    let seen = calls(&receiver, &world, 1).await;
    assert!(String::from_utf8_lossy(&seen[0].body).ends_with(r#""outcome":"set"}"#));
    world.mail(2).await;
    assert_eq!(world.drain().await, Ended::Drained);
    assert_eq!((receiver.count(), world.mailbox.mails().len()), (1, 2));
}

#[tokio::test]
async fn of_a_password_that_may_have_been_set_its_owner_is_told_as_well() {
    let (receiver, link) = receiver(&[200]).await;
    let mut plan = hooked(&link, "");
    plan.after = plan.after.replace("\"off\"", "\"on\"");
    let mut world = World::with(plan).await;
    let token = world.proven("bjensen", 1).await;
    world.store_link.set(Mode::LosePatchAnswers);
    assert_eq!(world.set(&token, PASSWORD).await.status, 503);
    // Nobody tries again. It does not wait for that where it ends.
    assert_eq!(world.drain().await, Ended::Drained);
    assert!(String::from_utf8_lossy(&receiver.last().body).ends_with(r#""outcome":"unknown"}"#));
    assert_eq!((receiver.count(), world.mailbox.mails().len()), (1, 2));
}

#[tokio::test]
async fn sessions_are_ended_by_the_call_that_the_operator_wrote_down() {
    let (am, link) = receiver(&[401, 204]).await;
    let after = format!(
        r#"{QUIET}
[[after.revoke]]
url = "http://{}/am/json/sessions/{{userName}}?_action=logoutByUser&of={{id}}"
headers = ["iPlanetDirectoryPro: file:am", "Accept-API-Version: resource=5.1, protocol=1.0"]
body = '{{"username": "{{userName}}", "by": "{{mail}} {{request}}"}}'
[[after.revoke]]
url = "identity:sessions/{{id}}?_action=end"
method = "DELETE"
headers = ["If-Match: *"]
[[after.revoke]]
url = "http://{}/{{noSuchAttribute}}"
"#,
        link.address, link.address
    );
    let plan = Plan { after, files: vec![("am", "am-session-token".to_owned())], ..Plan::default() };
    let world = World::with(plan).await;
    world.store.set("zoë", "userName", "zo\"ë/..");
    world.store.set("zoë", "mail", "zoe@example.com");
    assert_eq!(world.filter("mail eq \"zoe@example.com\"").await.status, 200);
    let (link_token, code) = world.mailed(1).await;
    let proven = world.show(&link_token, &code).await.token();
    let set = json!({"token": proven, "input": {"password": PASSWORD}}).to_string();
    assert!(is_success(&world.post_as(&[("x-request-id", "r1")], set).await));
    let seen = calls(&am, &world, 2).await;
    for call in &seen {
        assert_eq!(call.line(), "POST /am/json/sessions/zo%22%C3%AB%2F..?_action=logoutByUser&of=zo%C3%AB HTTP/1.1");
        assert_eq!(
            String::from_utf8(call.body.clone()).unwrap(),
            r#"{"username": "zo\"ë/..", "by": "zoe@example.com r1"}"#
        );
        assert_eq!(one(call, "iplanetdirectorypro"), "am-session-token");
        assert_eq!(one(call, "accept-api-version"), "resource=5.1, protocol=1.0");
        assert_eq!(one(call, "content-type"), "application/json");
        assert!(call.header("x-openidm-username").is_empty(), "what is the store's stays there");
    }
    let metric = async |outcome| {
        world.metric(&format!("after_password_total{{outcome=\"{outcome}\",what=\"revocation\"}}")).await
    };
    world.until(async || metric("done").await == "2").await;
    // Where the account has nothing to fill in, nobody is called.
    assert_eq!(metric("dropped").await, "1");
    assert_eq!(world.metric("identity_call_duration_seconds_count{call=\"revoke\"}").await, "1");
    assert_eq!(am.count(), 2);
}
