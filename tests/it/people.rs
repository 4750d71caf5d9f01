//! Those whom a process file alone does not serve well: who shares a mailbox, who types a name in other letters, who reads
//! what IDM says.

use std::collections::BTreeSet;

use resetgate::demo::store::User;
use serde_json::{Value, json};

use crate::support::world::{Plan, World, link};

const EACH: &str = "answer_floor = \"20ms\"\nmail_gap = \"0s\"\nshared_mailbox = \"each\"";

fn each() -> Plan {
    let process =
        |process: &mut Value| process["stageConfigs"][1]["validQueryFields"] = json!(["userName", "mail", "sn"]);
    Plan { reset: EACH, process, ..Plan::default() }
}

fn member(id: &str, mail: &str) -> User {
    User::new(id, id, "Secret99").with("mail", mail)
}

#[tokio::test]
async fn each_of_two_accounts_on_one_mailbox_gets_a_link_of_its_own() {
    let world = World::with(each()).await;
    world.store.insert(member("ann", "family@example.com"));
    world.store.insert(member("Ben", "Family@example.com"));
    world.store.insert(member("zed", "elsewhere@example.com"));
    let asked = world.filter("mail eq \"family@example.com\"").await;
    assert_eq!(asked.shape(), world.filter("mail eq \"nobody@example.com\"").await.shape());
    // The store tells letters apart, so one of them was not asked for.
    let _ = world.mail(1).await;
    world.store.set("Ben", "mail", "family@example.com");
    world.filter("mail eq \"family@example.com\"").await;
    let (mut set, mut tokens) = (BTreeSet::new(), BTreeSet::new());
    for nth in [2, 3] {
        let mail = world.mail(nth).await;
        assert_eq!(mail.to, ["family@example.com"]);
        let raw = String::from_utf8_lossy(&mail.raw).into_owned();
        let named = ["ann", "Ben"].into_iter().find(|id| raw.contains(&format!("This link is for the account {id}.")));
        let named = named.unwrap_or_else(|| panic!("{raw}"));
        let (token, code) = link(&mail);
        let proven = world.show(&token, &code).await.token();
        let password = format!("Fresh-Pass{nth}");
        assert_eq!(world.set(&proven, &password).await.status, 200);
        assert!(world.store.password_is(named, &password), "the link is of the account that the letter names");
        set.insert(named);
        tokens.insert(token);
    }
    assert_eq!((set.len(), tokens.len()), (2, 2), "each link leads to its own account");
    assert_eq!(world.mailbox.mails().len(), 3);
}

#[tokio::test]
async fn who_asked_for_a_shared_mailbox_holds_no_account() {
    let world = World::with(each()).await;
    world.store.insert(member("ann", "family@example.com"));
    world.store.insert(member("ben", "family@example.com"));
    let asker = world.filter("mail eq \"family@example.com\"").await.token();
    for nth in [1, 2] {
        let (_, code) = world.mailed(nth).await;
        assert_eq!(world.show(&asker, &code).await.message(), "Invalid code");
    }
}

#[tokio::test]
async fn of_a_shared_mailbox_only_the_active_get_a_link() {
    let world = World::with(each()).await;
    world.store.insert(member("ann", "family@example.com"));
    world.store.insert(member("ben", "family@example.com").with("accountStatus", "inactive"));
    let asker = world.filter("mail eq \"family@example.com\"").await.token();
    let (token, code) = world.mailed(1).await;
    // The one that is left is as good as found alone: whoever asked may type the code.
    assert_eq!(world.show(&asker, &code).await.status, 200);
    let proven = world.show(&token, &code).await.token();
    assert_eq!(world.set(&proven, "Fresh-Pass1").await.status, 200);
    assert!(world.store.password_is("ann", "Fresh-Pass1"));
    world.store.set("ann", "accountStatus", "inactive");
    world.filter("mail eq \"family@example.com\"").await;
    assert_eq!(world.metric("decoyed_starts_total{why=\"inactive\"}").await, "1");
}

#[tokio::test]
async fn several_accounts_that_share_no_mailbox_or_are_too_many_get_none() {
    let world = World::with(each()).await;
    for id in ["a1", "a2", "a3", "a4", "a5", "a6"] {
        world.store.insert(member(id, "crowd@example.com").with("sn", "Crowd"));
    }
    world.store.insert(member("b1", "one@example.com").with("sn", "Pair"));
    world.store.insert(member("b2", "two@example.com").with("sn", "Pair"));
    let filters = ["mail eq \"crowd@example.com\"", "sn eq \"Pair\"", "sn eq \"Crowd\""];
    for filter in filters {
        assert_eq!(world.filter(filter).await.shape(), world.filter("sn eq \"Nobody\"").await.shape());
    }
    assert_eq!(world.metric("decoyed_starts_total{why=\"ambiguous\"}").await, "3");
    assert_eq!(world.metric("mail_messages_total{outcome=\"queued\"}").await, "0");
}

#[tokio::test]
async fn unless_it_is_asked_for_a_shared_mailbox_gets_nothing() {
    let world = World::usual().await;
    world.store.insert(member("ann", "family@example.com"));
    world.store.insert(member("ben", "family@example.com"));
    world.filter("mail eq \"family@example.com\"").await;
    assert_eq!(world.metric("decoyed_starts_total{why=\"ambiguous\"}").await, "1");
}

#[tokio::test]
async fn a_store_that_tells_letters_apart_is_asked_for_both() {
    let reset = "answer_floor = \"20ms\"\nmail_gap = \"0s\"\ncase_sensitive = true";
    let world = World::with(Plan { reset, ..Plan::default() }).await;
    world.query("BJensen").await;
    assert_eq!(world.mail(1).await.to, ["bjensen@example.com"]);
    // Who is called in capitals gets in beside who is not.
    world.store.insert(member("Ann", "capital@example.com"));
    world.store.insert(member("ann", "small@example.com"));
    world.query("Ann").await;
    assert_eq!(world.mail(2).await.to, ["capital@example.com"]);
    world.query("ann").await;
    assert_eq!(world.mail(3).await.to, ["small@example.com"]);
    // Neither is it.
    world.query("ANN").await;
    assert_eq!(world.mail(4).await.to, ["small@example.com"]);
}

#[tokio::test]
async fn people_read_what_an_operator_wrote() {
    let reset = "answer_floor = \"20ms\"\n[reset.messages]\ninvalid_code = \"This link does not work any more. Ask for a \
                 new one.\"\ntoo_many = \"Zu viele Anfragen\"\nfilter_invalid = \"Bitte eine Adresse eingeben\"";
    let limits = "client = \"0\"\nstart_per_client = \"1/10m\"\nstart_total = \"0\"\nmail_total = \"0\"";
    let world = World::with(Plan { reset, limits, ..Plan::default() }).await;
    let asker = world.query("bjensen").await.token();
    let refused = world.show(&asker, "wrong").await;
    let kinder = "This link does not work any more. Ask for a new one.";
    assert_eq!(refused.json(), json!({"code": 400, "reason": "Bad Request", "message": kinder}));
    assert_eq!(world.filter("mail co \"x\"").await.message(), "Bitte eine Adresse eingeben");
    let limited = world.query("bjensen").await;
    assert_eq!((limited.status, limited.message().as_str()), (429, "Zu viele Anfragen"));
    assert!(limited.headers.contains_key("retry-after") && limited.headers.contains_key("ratelimit-policy"));
    // All others are IDM's own.
    let spoilt = world.post(&json!({"token": "x", "input": {}})).await;
    assert_eq!(spoilt.message(), "Snapshot token is invalid");
}
