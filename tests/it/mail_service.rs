//! `mail.transport = "idm"`: letters go by IDM's own mail service, as its own reset sends them.

use resetgate::{demo::store::Sent, serve::Ended};
use serde_json::{Value, json};

use crate::support::{
    link::Mode,
    world::{Plan, World},
};

fn plan() -> Plan {
    Plan {
        transport: "transport = \"idm\"",
        limits: "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_total = \"0\"\nmail_per_account = \"0\"",
        reset: "answer_floor = \"20ms\"\nmail_gap = \"0s\"",
        ..Plan::default()
    }
}

/// The letters that the service has taken, when there are so many.
async fn letters(world: &World, many: usize) -> Vec<Sent> {
    world.until(async || world.store.letters().len() >= many).await;
    world.store.letters()
}

fn link(letter: &Sent) -> (String, String) {
    let body: Value = serde_json::from_str(&letter.body).unwrap();
    let (_, rest) = body["body"].as_str().unwrap().split_once("&token=").unwrap();
    let (token, rest) = rest.split_once("&code=").unwrap();
    (token.to_owned(), rest.split('"').next().unwrap().to_owned())
}

#[tokio::test]
async fn a_whole_reset_goes_by_idm_s_own_mail_service() {
    let world = World::with(plan()).await;
    assert_eq!(world.query("bjensen").await.status, 200);
    let letter = letters(&world, 1).await.remove(0);
    assert_eq!(letter.query, "_action=send&waitForCompletion=false");
    let (token, code) = link(&letter);
    let link = format!("https://id.example.com/#/passwordreset/&token={token}&code={code}");
    let minutes = if letter.body.contains("19 minutes") { 19 } else { 20 };
    let body = format!(
        "<p>Somebody, we hope you, asked to reset your password.</p><p><a href=\"{link}\">Choose a new password</a></p>\
         <p>If it was not you, ignore this mail: nothing has changed.</p><p>This link works for {minutes} minutes.</p>\n"
    );
    // Byte for byte what IDM's own stage posts: these keys, in this order.
    let expected = format!(
        r#"{{"to":"bjensen@example.com","from":"Example Help Desk <helpdesk@example.com>","subject":"Choose a new password","type":"text/html","body":{}}}"#,
        Value::from(body)
    );
    assert_eq!(letter.body, expected);
    let shown = world.show(&token, &code).await;
    assert_eq!(world.set(&shown.token(), "Fresh-Pass1").await.json()["status"], json!({"success": true}));
    assert!(world.store.password_is("bjensen", "Fresh-Pass1"));
    assert!(world.mailbox.mails().is_empty());
    // The news of it goes the same way.
    let notice = letters(&world, 2).await.remove(1);
    assert_eq!(notice.query, letter.query);
    let start = r#"{"to":"bjensen@example.com","from":"Example Help Desk <helpdesk@example.com>","subject":"Your password was changed","type":"text/plain","body":"The password of your account was changed on "#;
    assert!(notice.body.starts_with(start), "{}", notice.body);
    assert_eq!(world.metric("identity_call_duration_seconds_count{call=\"mail\"}").await, "2");
}

#[tokio::test]
async fn what_nobody_configured_is_null_and_the_asker_s_language_counts() {
    let process = |process: &mut Value| {
        let email = process["stageConfigs"][3].as_object_mut().unwrap();
        email.remove("from");
        email.remove("mimeType");
        email.insert("emailServiceUrl".to_owned(), json!("/external/email/"));
        email.insert("emailServiceParameters".to_owned(), json!({"a b": "c&d", "n": 1, "none": null}));
        email.insert(
            "messageTranslations".to_owned(),
            json!({"en": "Go: %link% %minutes%", "fr": "Allez: %link% %minutes%"}),
        );
    };
    let world = World::with(Plan { process, ..plan() }).await;
    let token = world.begin().await;
    let query = json!({"token": token, "input": {"queryFilter": "userName eq \"bjensen\""}});
    world.post_as(&[("accept-language", "fr-CA")], query.to_string()).await;
    let letter = letters(&world, 1).await.remove(0);
    assert_eq!(letter.query, "_action=send&a%20b=c%26d&n=1");
    let body: Value = serde_json::from_str(&letter.body).unwrap();
    assert_eq!((&body["from"], &body["type"]), (&Value::Null, &Value::Null));
    assert_eq!(body["subject"], "Choisissez un nouveau mot de passe");
    assert!(body["body"].as_str().unwrap().starts_with("Allez: https://id.example.com/#/passwordreset/&token="));
}

#[tokio::test]
async fn digits_stand_beside_the_link_there_as_well() {
    let world = World::with(Plan { codes: "format = \"digits\"", ..plan() }).await;
    let asker = world.query("bjensen").await.token();
    let letter = letters(&world, 1).await.remove(0);
    let (_, rest) = letter.body.split_once("Or enter this code: ").unwrap();
    assert_eq!(world.show(&asker, &rest[..8]).await.status, 200, "{rest}");
}

#[tokio::test]
async fn who_is_refused_for_good_is_given_up_and_who_is_not_comes_later() {
    let world = World::with(plan()).await;
    world.store.answer_letters(Some((400, "SMTPAddressFailedException: 550 5.1.1 <bjensen@example.com>: unknown")));
    let refused = world.query("bjensen").await;
    world.until(async || world.metric("mail_messages_total{outcome=\"dropped\"}").await == "1").await;
    world.store.answer_letters(Some((400, "Couldn't connect to host, port: localhost, 25")));
    let delayed = world.query("zoë").await;
    world.until(async || world.metric("mail_messages_total{outcome=\"delayed\"}").await != "0").await;
    assert_eq!(refused.shape(), delayed.shape());
    assert_eq!(refused.shape(), world.query("nobody").await.shape());
    world.store.answer_letters(None);
    let sent = letters(&world, 1).await;
    assert!(sent.len() == 1 && sent[0].body.contains("zoe@example.com"), "{sent:?}");
}

#[tokio::test]
async fn a_right_that_is_missing_can_be_given_while_mails_wait() {
    let world = World::with(plan()).await;
    world.store.answer_letters(Some((403, "Access denied")));
    assert_eq!(world.query("bjensen").await.status, 200);
    world
        .until(async || world.metric("identity_call_failures_total{call=\"mail\",kind=\"status\"}").await != "0")
        .await;
    // Neither are look-ups refused for it, nor is the store taken to be down.
    assert_eq!(world.query("zoë").await.status, 200);
    assert_eq!(world.metric("identity_breaker").await, "0");
    world.store.answer_letters(None);
    letters(&world, 2).await;
}

#[tokio::test]
async fn a_drain_waits_for_letters_that_could_not_be_sent_yet() {
    let mut world = World::with(plan()).await;
    world.store.answer_letters(Some((400, "421 4.3.2 shutting down")));
    world.query("bjensen").await;
    world.until(async || world.metric("mail_messages_total{outcome=\"delayed\"}").await != "0").await;
    world.store_link.set(Mode::Down);
    world.store.answer_letters(None);
    world.store_link.set(Mode::Pass);
    assert_eq!(world.drain().await, Ended::Drained);
    assert_eq!(world.store.letters().len(), 1);
}
