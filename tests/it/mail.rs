//! Mail leaves when it can, and nothing that the asker sees depends on it.

use std::time::{Duration, Instant};

use resetgate::{demo::mailbox::Mail, serve::Ended};
use serde_json::json;

use crate::support::{
    link::Mode,
    world::{PATH, Plan, World, link},
};

#[tokio::test]
async fn r6_while_the_relay_is_down_answers_are_the_same_and_the_mail_comes_later() {
    let world = World::usual().await;
    let before = world.query("zoë").await;
    // Not cut before the relay's answer is there: that mail would rightly go out twice.
    world.until(async || world.metric("mail_messages_total{outcome=\"sent\"}").await == "1").await;
    world.smtp_link.set(Mode::Down);
    let during = [world.query("bjensen").await, world.query("nobody").await];
    world.until(async || world.metric("mail_messages_total{outcome=\"delayed\"}").await != "0").await;
    let after = [world.query("o'brien").await, world.query("nobody").await];
    for answer in during.iter().chain(&after) {
        assert_eq!(answer.shape(), before.shape());
    }
    world.smtp_link.set(Mode::Pass);
    let (token, code) = world.mailed(2).await;
    assert_eq!(world.show(&token, &code).await.status, 200);
    world.mailed(3).await;
    let mut reached: Vec<_> = world.mailbox.mails().into_iter().flat_map(|mail| mail.to).collect();
    reached.sort();
    assert_eq!(reached, ["bjensen@example.com", "o'brien@example.com", "zoe@example.com"], "each once");
}

#[tokio::test]
async fn the_drain_waits_for_a_mail_that_could_not_be_sent_yet() {
    let mut world = World::usual().await;
    world.smtp_link.set(Mode::Down);
    world.query("bjensen").await;
    world.until(async || world.metric("mail_messages_total{outcome=\"delayed\"}").await != "0").await;
    world.smtp_link.set(Mode::Pass);
    assert_eq!(world.drain().await, Ended::Drained);
    assert_eq!(world.mailbox.mails().len(), 1);
}

#[tokio::test]
async fn a_full_outbox_is_told_to_all_alike_before_anyone_is_looked_up() {
    let world = World::with(Plan { mail: "capacity = 2", ..Plan::default() }).await;
    world.smtp_link.set(Mode::Hang);
    for user in ["bjensen", "zoë"] {
        assert_eq!(world.query(user).await.status, 200);
    }
    let looked_up = world.store.queries().len();
    let (known, unknown) = (world.query("o'brien").await, world.query("nobody").await);
    assert_eq!(known.shape(), unknown.shape());
    assert_eq!(known.status, 503);
    assert!(known.headers.contains_key("retry-after"));
    assert_eq!(world.store.queries().len(), looked_up);
    assert_eq!(world.metric("full_refusals_total{what=\"outbox\"}").await, "2");
    assert_eq!(world.get(PATH).await.status, 200);
}

/// The mail that somebody gets who asks with that `Accept-Language`.
async fn mail_in(language: Option<&str>) -> Mail {
    let world = World::usual().await;
    let headers: Vec<_> = language.map(|language| ("accept-language", language)).into_iter().collect();
    let token = world.begin().await;
    let body = json!({"token": token, "input": {"queryFilter": "userName eq \"bjensen\""}});
    assert_eq!(world.post_as(&headers, body.to_string()).await.status, 200);
    world.mail(1).await
}

#[tokio::test]
async fn the_mail_is_in_the_askers_language_or_else_in_the_first() {
    for language in ["fr", "fr-CA,en;q=0.5", "de, fr;q=0.3"] {
        let mail = mail_in(Some(language)).await;
        assert_eq!(mail.subject, "Choisissez un nouveau mot de passe", "{language}");
        let lives = |minutes: u32| mail.text.contains(&format!("Ce lien est valable pendant {minutes} minutes."));
        assert!(lives(20) || lives(19), "{language}: {}", mail.text);
    }
    let too_long = "fr,".repeat(200);
    for language in [None, Some("en-GB"), Some("ja"), Some("*"), Some("fr;;q"), Some(too_long.as_str())] {
        let mail = mail_in(language).await;
        assert_eq!(mail.subject, "Choose a new password", "{language:?}");
        let lives = |minutes: u32| mail.text.contains(&format!("This link works for {minutes} minutes."));
        assert!(lives(20) || lives(19), "{language:?}: {}", mail.text);
    }
}

#[tokio::test]
async fn the_link_stands_whole_and_once_in_text_and_html() {
    let world = World::usual().await;
    world.query("bjensen").await;
    let mail = world.mail(1).await;
    let (token, code) = link(&mail);
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    assert!(plain(&token) && plain(&code), "what survives every client: {token} {code}");
    let whole = format!("https://id.example.com/#/passwordreset/&token={token}&code={code}");
    let html = mail.html.clone().expect("an HTML part");
    for (part, text) in [("text", &mail.text), ("html", &html)] {
        assert_eq!(text.matches(&whole).count(), 1, "{part}: {text}");
        assert_eq!(text.matches(&token).count(), 1, "{part}: {text}");
        assert_eq!(text.matches(&code).count(), 1, "{part}: {text}");
    }
    assert!(html.contains(&format!("href=\"{whole}\"")), "{html}");
    assert_eq!(mail.links, [whole]);
}

#[tokio::test]
async fn the_mail_says_that_a_machine_wrote_it_and_from_whom_to_whom() {
    let world = World::usual().await;
    world.query("bjensen").await;
    let mail = world.mail(1).await;
    let raw = String::from_utf8(mail.raw.clone()).unwrap();
    let (head, _) = raw.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    let headers: Vec<_> = head.split("\r\n").collect();
    for expected in [
        "auto-submitted: auto-generated",
        "from: info@example.com",
        "to: bjensen@example.com",
        "subject: choose a new password",
    ] {
        assert_eq!(headers.iter().filter(|header| **header == expected).count(), 1, "{expected} in {head}");
    }
    assert!(headers.iter().any(|header| header.starts_with("message-id: <")), "{head}");
    assert!(!raw.replace("\r\n", "").contains(['\r', '\n']), "every line ends with CRLF");
}

#[tokio::test]
async fn nothing_that_the_asker_wrote_is_in_the_mail() {
    let hostile = [
        "https://evil.example/",
        "\r\nBcc: evil@example.com\r\n\r\nhello",
        "%link%&code=evil",
        "</a><a href=\"https://evil.example\">",
        "{{7*7}}${evil}",
    ];
    let world = World::with(Plan { reset: "answer_floor = \"20ms\"\nmail_gap = \"0s\"", ..Plan::default() }).await;
    let users = ["bjensen", "zoë", "o'brien", "bjensen", "zoë"];
    for (nth, (params, user)) in hostile.iter().zip(users).enumerate() {
        let input = json!({"returnParams": params, "verificationLink": params, "mail": "evil@example.com"});
        let token = world.post(&json!({"input": input})).await.token();
        let query = json!({"queryFilter": format!("userName eq \"{user}\""), "mail": "evil@example.com"});
        let headers =
            [("x-forwarded-host", "evil.example"), ("x-host", "evil.example"), ("accept-language", "en, evil")];
        let body = json!({"token": token, "input": query}).to_string();
        assert_eq!(world.post_as(&headers, body).await.status, 200);
        let mail = world.mail(nth + 1).await;
        let raw = String::from_utf8_lossy(&mail.raw).to_ascii_lowercase();
        for text in [&raw, &mail.text, &mail.html.clone().unwrap()] {
            assert!(!text.contains("evil") && !text.contains("7*7"), "{params}: {text}");
        }
        assert_eq!(mail.links.len(), 1);
        assert!(mail.links[0].starts_with("https://id.example.com/#/passwordreset/&token="), "{}", mail.links[0]);
        assert_eq!(mail.to.len(), 1);
    }
}

#[tokio::test]
async fn an_answer_does_not_wait_for_its_mail() {
    let world = World::usual().await;
    world.smtp_link.set(Mode::Hang);
    let asked = Instant::now();
    assert_eq!(world.query("bjensen").await.status, 200);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_letter_is_a_file_of_its_own_and_another_one_when_that_changes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reset.en.txt");
    std::fs::write(&file, "Your way in: %link%\n").unwrap();
    let mail = format!("templates = {:?}", folder.path()).leak();
    let world =
        World::with(Plan { mail, reset: "answer_floor = \"20ms\"\nmail_gap = \"0s\"", ..Plan::default() }).await;
    world.query("bjensen").await;
    let text = |raw: &[u8]| String::from_utf8_lossy(raw).into_owned();
    assert!(text(&world.mail(1).await.raw).contains("Your way in:"));
    std::fs::write(&file, "Another way in: %link%\n").unwrap();
    assert!(world.change(&[]).await);
    world.query("bjensen").await;
    let mail = world.mail(2).await;
    assert!(text(&mail.raw).contains("Another way in:"));
    let (token, code) = link(&mail);
    assert_eq!(world.show(&token, &code).await.status, 200);
}
