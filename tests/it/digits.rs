//! `codes.format = "digits"`: beside its link a mail has digits, which whoever asked may type. Digits can be guessed, so
//! they have a budget of their own, across all flows of an account; the link has none.

use serde_json::json;

use crate::support::world::{Plan, World};

const PASSWORD: &str = "Fresh-Pass1";

fn plan() -> Plan {
    Plan {
        reset: "answer_floor = \"20ms\"\nmail_gap = \"0s\"",
        codes: "format = \"digits\"",
        limits: "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_per_account = \"0\"\n\
                 mail_total = \"0\"\ncode_per_account = \"7/24h\"",
        ..Plan::default()
    }
}

/// The digits of the `nth` mail that has a link: a notice may come before it.
async fn digits(world: &World, nth: usize) -> String {
    let text = world.letter(nth).await.text;
    let (_, rest) = text.split_once("Or enter this code: ").unwrap_or_else(|| panic!("a code in {text}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    assert_eq!(digits.len(), 8, "{text}");
    digits
}

/// Not those.
fn other(digits: &str) -> String {
    digits.chars().map(|digit| if digit == '7' { '3' } else { '7' }).collect()
}

#[tokio::test]
async fn the_asker_types_digits_and_gets_in() {
    let world = World::with(plan()).await;
    let asker = world.query("bjensen").await.token();
    let digits = digits(&world, 1).await;
    let grouped = format!(" {} {}-{} ", &digits[..3], &digits[3..5], &digits[5..]);
    assert_eq!(world.show(&asker, &other(&digits)).await.message(), "Invalid code");
    let shown = world.show(&asker, &grouped).await;
    assert_eq!(shown.status, 200, "{}", shown.body);
    let set = world.set(&shown.token(), PASSWORD).await;
    assert_eq!(set.json()["status"], json!({"success": true}), "{}", set.body);
    assert!(world.store.password_is("bjensen", PASSWORD));
    // The other account's digits are worth nothing here, nor are these there.
    let theirs = world.query("pat").await.token();
    assert_eq!(world.show(&theirs, &digits).await.message(), "Invalid code");
}

#[tokio::test]
async fn guesses_count_across_all_flows_and_close_digits_only() {
    let world = World::with(plan()).await;
    let mut guesses = 0;
    while guesses < 7 {
        let asker = world.query("bjensen").await.token();
        for _ in 0..5 {
            assert_eq!(world.show(&asker, &format!("{guesses:08}")).await.message(), "Invalid code");
            guesses += 1;
        }
    }
    let asker = world.query("bjensen").await.token();
    let (newest, before) = (digits(&world, 3).await, digits(&world, 2).await);
    assert_eq!(world.show(&asker, &newest).await.message(), "Invalid code", "spent, even for the right digits");
    assert_ne!(newest, before);
    assert_eq!(world.metric("limited_requests_total{rule=\"code_per_account\"}").await, "4");
    // Each mailed link is as good as ever, and so is its code in the asker's hands.
    let (link, code) = world.mailed(1).await;
    assert_eq!(world.show(&link, &code).await.status, 200);
    let (_, code) = world.mailed(3).await;
    let shown = world.show(&asker, &code).await;
    assert_eq!(world.set(&shown.token(), PASSWORD).await.status, 200);
    assert!(world.store.password_is("bjensen", PASSWORD));
    // Nobody else pays for it.
    let theirs = world.query("pat").await.token();
    let digits = digits(&world, 4).await;
    assert_eq!(world.show(&theirs, &digits).await.status, 200);
}

#[tokio::test]
async fn digits_are_for_who_asked_and_never_open_the_mailed_token() {
    let world = World::with(plan()).await;
    world.query("bjensen").await;
    let (link, _) = world.mailed(1).await;
    let digits = digits(&world, 1).await;
    assert_eq!(world.show(&link, &digits).await.message(), "Invalid code");
}

#[tokio::test]
async fn without_them_digits_are_a_wrong_code_like_any_other() {
    let world = World::usual().await;
    let asker = world.query("bjensen").await.token();
    for guess in 0..5 {
        assert_eq!(world.show(&asker, &format!("{guess:08}")).await.message(), "Invalid code");
    }
    assert!(!world.mail(1).await.text.contains("enter this code"));
}
