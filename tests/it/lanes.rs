//! Whoever asks and whoever reads the mail are two people until the code is shown: nothing that the one does locks the
//! other out, and nothing that the other does helps the one.

use serde_json::json;
use tokio::sync::watch;

use crate::support::world::{Answer, PATH, Plan, World};

const PASSWORD: &str = "Fresh-Pass1";

/// Every start mails, as long as the account's budget lasts.
fn without_gap() -> Plan {
    Plan { reset: "answer_floor = \"20ms\"\nmail_gap = \"0s\"", ..Plan::default() }
}

/// Asks for the victim and burns every try of the token that it brings.
async fn harass(world: &World, victim: &str) {
    let token = world.query(victim).await.token();
    for n in 0..6 {
        assert_eq!(world.show(&token, &format!("wrong {n}")).await.message(), "Invalid code");
    }
}

fn assert_success(answer: &Answer) {
    assert_eq!(answer.json()["status"], json!({"success": true}), "{}", answer.body);
}

/// The owner opens the newest mail and does as it says.
async fn get_in(world: &World, password: &str) {
    let mails = world.mailbox.mails().len();
    let (token, code) = world.mailed(mails.max(1)).await;
    let shown = world.show(&token, &code).await;
    assert_eq!(shown.status, 200, "the mailed link works: {}", shown.body);
    assert_success(&world.set(&shown.token(), password).await);
    assert!(world.store.password_is("bjensen", password));
}

#[tokio::test]
async fn the_mailed_link_works_after_a_stranger_burnt_the_token_that_he_got() {
    let world = World::usual().await;
    harass(&world, "bjensen").await;
    get_in(&world, PASSWORD).await;
}

#[tokio::test]
async fn the_mailed_link_works_in_the_middle_of_a_strangers_starts() {
    let world = World::usual().await;
    for _ in 0..4 {
        harass(&world, "bjensen").await;
    }
    get_in(&world, PASSWORD).await;
}

#[tokio::test]
async fn the_mailed_link_works_when_a_stranger_has_used_up_the_mails_the_joins_and_the_tries() {
    let world = World::with(without_gap()).await;
    for _ in 0..12 {
        harass(&world, "bjensen").await;
    }
    assert_eq!(world.metric("mail_messages_total{outcome=\"queued\"}").await, "3", "the account's budget");
    get_in(&world, PASSWORD).await;
}

#[tokio::test]
async fn every_mail_that_a_stranger_caused_holds_a_link_that_works() {
    let world = World::with(without_gap()).await;
    for _ in 0..5 {
        harass(&world, "bjensen").await;
    }
    let mut tokens = Vec::new();
    for mail in 1..=3 {
        let (token, code) = world.mailed(mail).await;
        tokens.push(world.show(&token, &code).await.token());
    }
    assert_success(&world.set(&tokens[1], PASSWORD).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_gets_in_while_a_stranger_asks_as_fast_as_he_can() {
    let world = World::usual().await;
    let done = watch::Sender::new(false);
    let stranger = async {
        let mut rounds = 0;
        while !*done.borrow() {
            harass(&world, "bjensen").await;
            rounds += 1;
        }
        rounds
    };
    let owner = async {
        world.until(async || world.metric("decoyed_starts_total{why=\"crowded\"}").await != "0").await;
        let asked = world.query("bjensen").await;
        assert_eq!(asked.status, 200, "his own start is answered as any other");
        get_in(&world, PASSWORD).await;
        done.send_replace(true);
    };
    let (rounds, ()) = tokio::join!(stranger, owner);
    assert!(rounds > 4, "{rounds} rounds");
}

#[tokio::test]
async fn the_right_code_may_be_shown_again_until_the_password_is_set() {
    let world = World::usual().await;
    world.query("bjensen").await;
    let (token, code) = world.mailed(1).await;
    // A blank more makes it another request and not another code: the repeat cache has no part in this.
    let again = |n: usize| format!("{code}{}", " ".repeat(n));
    let mut shown = Vec::new();
    for n in 0..12 {
        let answer = world.show(&token, &again(n)).await;
        assert_eq!(answer.status, 200, "time {n}: {}", answer.body);
        shown.push(answer.token());
    }
    assert_success(&world.set(&shown[3], PASSWORD).await);
    assert_eq!(world.show(&token, &again(12)).await.message(), "Invalid code");
    assert_eq!(world.set(&shown[7], "Other-Pass2").await.message(), "Invalid code");
    assert!(world.store.password_is("bjensen", PASSWORD));
}

#[tokio::test]
async fn visiting_changes_nothing() {
    let world = World::usual().await;
    let opening = world.get(PATH).await;
    let asker = world.query("bjensen").await.token();
    let (token, code) = world.mailed(1).await;
    for target in [PATH.to_owned(), format!("{PATH}?token={token}&code={code}"), format!("{PATH}?token={asker}")] {
        for _ in 0..5 {
            assert_eq!(world.get(&target).await.whole(), opening.whole());
        }
    }
    let shown = world.show(&token, &code).await;
    assert_success(&world.set(&shown.token(), PASSWORD).await);
}

#[tokio::test]
async fn a_token_takes_no_code_of_another_flow_of_the_same_account() {
    let world = World::with(without_gap()).await;
    let (first, second) = (world.query("bjensen").await.token(), world.query("bjensen").await.token());
    world.mailed(2).await;
    // Two mails at once may arrive in any order; each code is good for one of the askers and no good for the other.
    let (one, other) = (world.mailed(1).await.1, world.mailed(2).await.1);
    assert_ne!(one, other);
    let mut good = Vec::new();
    for (asker, code) in [(&first, &one), (&first, &other), (&second, &one), (&second, &other)] {
        good.push(world.show(asker, code).await.status == 200);
    }
    assert!(good == [true, false, false, true] || good == [false, true, true, false], "{good:?}");
    for (mine, others) in [(1, 2), (2, 1)] {
        let ((token, mine), (_, others)) = (world.mailed(mine).await, world.mailed(others).await);
        assert_eq!(world.show(&token, &others).await.message(), "Invalid code");
        assert_eq!(world.show(&token, &mine).await.status, 200);
    }
}

#[tokio::test]
async fn a_first_token_used_again_starts_a_flow_of_its_own_whose_link_works() {
    let world = World::with(without_gap()).await;
    let start = world.begin().await;
    // A page gone back to and sent again, when the answer to the first time is no longer kept: a blank more is enough.
    let mut askers = Vec::new();
    for n in 1..=3 {
        let filter = format!("userName eq \"bjensen\"{}", " ".repeat(n));
        askers.push(world.filter_with(&start, &filter).await.token());
        world.mailed(n).await;
    }
    for n in [3, 1, 2] {
        let (token, code) = world.mailed(n).await;
        assert_eq!(world.show(&token, &code).await.status, 200, "the link of mail {n}");
        assert_eq!(world.show(&askers[n - 1], &code).await.status, 200, "the code of mail {n}");
    }
    for n in 0..6 {
        world.show(&askers[0], &format!("wrong {n}")).await;
    }
    let (_, code) = world.mailed(2).await;
    assert_eq!(world.show(&askers[1], &format!("{code} ")).await.status, 200, "tries of its own");
}

#[tokio::test]
async fn a_token_takes_no_code_of_another_account() {
    let world = World::usual().await;
    let mine = world.query("zoë").await.token();
    let (my_link, my_code) = world.mailed(1).await;
    let theirs = world.query("bjensen").await.token();
    let (their_link, their_code) = world.mailed(2).await;
    for (token, code) in [(&theirs, &my_code), (&their_link, &my_code), (&mine, &their_code), (&my_link, &their_code)] {
        assert_eq!(world.show(token, code).await.message(), "Invalid code");
    }
    let shown = world.show(&my_link, &my_code).await;
    assert_success(&world.set(&shown.token(), PASSWORD).await);
    assert!(world.store.password_is("zoë", PASSWORD) && world.store.password_is("bjensen", "Secret12"));
}

#[tokio::test]
async fn a_strangers_token_gains_nothing_when_the_owner_shows_the_code() {
    let world = World::usual().await;
    let start = world.begin().await;
    let stranger = world.query_with(&start, "bjensen").await.token();
    let (link, code) = world.mailed(1).await;
    let owner = world.show(&link, &code).await.token();

    let gains_nothing = async |when: &str| {
        for token in [&start, &stranger] {
            let taken = world.set(token, "Stolen-Pass1").await;
            assert_eq!(taken.status, 400, "{when}: {}", taken.body);
        }
        let guess = world.show(&stranger, &format!("a guess {when}")).await;
        assert_eq!(guess.message(), "Invalid code");
        assert_eq!(world.show(&stranger, "").await.message(), "Input code is missing");
    };
    gains_nothing("after the code").await;
    assert_success(&world.set(&owner, PASSWORD).await);
    gains_nothing("after the password").await;
    assert!(world.store.password_is("bjensen", PASSWORD));
}

#[tokio::test]
async fn a_start_soon_after_a_mail_sends_none_and_its_token_takes_the_code_of_that_mail() {
    let world = World::usual().await;
    let stranger = world.query("bjensen").await.token();
    let (_, code) = world.mailed(1).await;
    for n in 0..6 {
        world.show(&stranger, &format!("wrong {n}")).await;
    }
    let joined = world.query("bjensen").await;
    let shown = world.show(&joined.token(), &code).await;
    assert_eq!(shown.status, 200, "tries of its own: {}", shown.body);
    assert_success(&world.set(&shown.token(), PASSWORD).await);
    assert_eq!(world.mailbox.mails().len(), 1);
    assert_eq!(world.metric("mail_messages_total{outcome=\"joined\"}").await, "1");
}

#[tokio::test]
async fn after_five_wrong_codes_even_the_right_one_is_wrong_on_that_lane_alone() {
    for burnt_is_link in [false, true] {
        let world = World::usual().await;
        let asker = world.query("bjensen").await.token();
        let (link, code) = world.mailed(1).await;
        let (burnt, other) = if burnt_is_link { (&link, &asker) } else { (&asker, &link) };
        for n in 0..6 {
            assert_eq!(world.show(burnt, &format!("wrong {n}")).await.message(), "Invalid code");
        }
        assert_eq!(world.show(burnt, &code).await.message(), "Invalid code");
        assert_eq!(world.show(other, &code).await.status, 200);
    }
}

#[tokio::test]
async fn a_set_password_ends_every_other_flow_of_the_account() {
    let world = World::with(without_gap()).await;
    let asker = world.query("bjensen").await.token();
    let (first_link, first_code) = world.mailed(1).await;
    world.query("bjensen").await;
    let (second_link, second_code) = world.mailed(2).await;
    let second = world.show(&second_link, &second_code).await.token();
    let first = world.show(&first_link, &first_code).await.token();

    assert_success(&world.set(&first, PASSWORD).await);
    assert_eq!(world.set(&second, "Other-Pass2").await.message(), "Invalid code");
    assert_eq!(
        world.set(&second, PASSWORD).await.message(),
        "Invalid code",
        "another flow's success is not this one's"
    );
    for (token, code) in [(&asker, &first_code), (&second_link, &second_code)] {
        assert_eq!(world.show(token, &format!("{code} ")).await.message(), "Invalid code");
    }
    assert!(world.store.password_is("bjensen", PASSWORD));
}
