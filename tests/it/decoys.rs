//! An answer says the same, in the same time and size, whether or not an account exists.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use futures_util::future::join_all;
use resetgate::demo::store::User;
use serde_json::json;

use crate::support::{
    clock::ManualClock,
    engine::{Machine, client, configured, query, show, start},
    link::Mode,
    world::{Answer, PATH, Plan, World},
};

const OVER_BUDGET: &str = "userName eq \"zoë\"";

/// Filters for an account that gets a mail, and for everyone who does not.
const FILTERS: [(&str, &str); 8] = [
    ("known", "userName eq \"bjensen\""),
    ("unknown", "userName eq \"nobody\""),
    ("inactive", "userName eq \"dormant\""),
    ("without mail", "userName eq \"nomail\""),
    ("two on one mailbox", "mail eq \"shared@example.com\""),
    ("with an id that no token holds", "userName eq \"lengthy\""),
    ("with a list of addresses", "userName eq \"listed\""),
    ("over its mail budget", OVER_BUDGET),
];

/// Where every kind of account is, and the one over its budget has had its mail.
async fn world_of_all_kinds() -> World {
    let limits = "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_total = \"0\"\n\
                  mail_per_account = \"1/20m\"";
    let reset = "answer_floor = \"20ms\"\nmail_gap = \"0s\"";
    let world = World::with(Plan { limits, reset, ..Plan::default() }).await;
    world.store.insert(User::new(&"x".repeat(256), "lengthy", "Secret99").with("mail", "lengthy@example.com"));
    world.store.insert(User::new("listed", "listed", "Secret98").with("mail", "a@example.com, b@example.com"));
    world.filter(OVER_BUDGET).await;
    world.mailed(1).await;
    world
}

fn assert_same_shape(answers: &[(&str, Answer)]) {
    let (known, expected) = &answers[0];
    for (who, answer) in answers {
        assert_eq!(answer.shape(), expected.shape(), "{who} and {known}");
    }
}

#[tokio::test]
async fn who_asks_for_whom_is_answered_alike_at_the_query() {
    let world = world_of_all_kinds().await;
    let mut answers = Vec::new();
    for (who, filter) in FILTERS {
        answers.push((who, world.filter(filter).await));
    }
    assert_eq!(answers[0].1.status, 200);
    assert_same_shape(&answers);
}

#[tokio::test]
async fn wrong_codes_are_answered_alike_until_the_tries_are_spent_and_after() {
    let world = world_of_all_kinds().await;
    let mut tokens = Vec::new();
    for (who, filter) in FILTERS {
        tokens.push((who, world.filter(filter).await.token()));
    }
    for n in 0..8 {
        let mut answers = Vec::new();
        for (who, token) in &tokens {
            answers.push((*who, world.show(token, &format!("wrong {n}")).await));
        }
        assert_eq!((answers[0].1.status, answers[0].1.message().as_str()), (400, "Invalid code"));
        assert_same_shape(&answers);
    }
    for body in [json!({}), json!({"code": ""}), json!({"code": 1}), json!({"password": "Stolen-Pass1"})] {
        let mut answers = Vec::new();
        for (who, token) in &tokens {
            answers.push((*who, world.post(&json!({"token": token, "input": body})).await));
        }
        assert_same_shape(&answers);
    }
}

#[tokio::test]
async fn only_an_active_account_with_an_address_of_its_own_gets_mail() {
    let world = world_of_all_kinds().await;
    for (_, filter) in FILTERS {
        world.filter(filter).await;
    }
    world.until(async || world.metric("mail_messages_total{outcome=\"sent\"}").await == "2").await;
    assert_eq!(world.metric("mail_messages_total{outcome=\"queued\"}").await, "2");
    let reached: Vec<_> = world.mailbox.mails().into_iter().flat_map(|mail| mail.to).collect();
    assert_eq!(reached, ["zoe@example.com", "bjensen@example.com"]);
}

#[tokio::test]
async fn four_hundred_names_half_of_them_known_are_answered_alike() {
    let world = World::usual().await;
    for n in 0..200 {
        let (name, mail) = (format!("known{n:03}"), format!("known{n:03}@example.com"));
        world.store.insert(User::new(&format!("id-{n}"), &name, "Secret12").with("mail", mail));
    }
    let names: Vec<String> = (0..200).flat_map(|n| [format!("known{n:03}"), format!("other{n:03}")]).collect();
    let mut expected = None;
    for names in names.chunks(16) {
        let answers = join_all(names.iter().map(|name| world.query(name))).await;
        for (name, answer) in names.iter().zip(answers) {
            let shape = answer.shape();
            assert_eq!(shape, *expected.get_or_insert_with(|| shape.clone()), "{name}");
        }
    }
    assert_eq!(world.metric("mail_messages_total{outcome=\"queued\"}").await, "200");
    assert_eq!(world.metric("decoyed_starts_total{why=\"unknown\"}").await, "200");
}

const FLOOR: Duration = Duration::from_millis(100);
/// The product counts whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(1);

async fn floored() -> World {
    World::with(Plan { reset: "answer_floor = \"100ms\"\nmail_gap = \"0s\"", ..Plan::default() }).await
}

/// How long a query took that is answered with that status.
async fn timed(world: &World, token: &str, user: &str, status: u16) -> Duration {
    let began = Instant::now();
    assert_eq!(world.query_with(token, user).await.status, status);
    began.elapsed()
}

/// How much longer a known name takes than an unknown one, in milliseconds: the median of pairs that are asked for side
/// by side, so that noise reaches both.
async fn lag(world: &World) -> f64 {
    let mut lags = Vec::new();
    for round in 0..9 {
        let (a, b) = tokio::join!(world.begin(), world.begin());
        let (known, unknown) = (timed(world, &a, "bjensen", 200), timed(world, &b, "nobody", 200));
        let (known, unknown) = if round % 2 == 0 {
            tokio::join!(known, unknown)
        } else {
            let (unknown, known) = tokio::join!(unknown, known);
            (known, unknown)
        };
        assert!(known.min(unknown) + ROUNDING >= FLOOR, "not before the floor: {known:?}, {unknown:?}");
        lags.push((known.as_secs_f64() - unknown.as_secs_f64()) * 1000.0);
    }
    lags.sort_by(f64::total_cmp);
    lags[lags.len() / 2]
}

#[tokio::test]
async fn known_and_unknown_names_take_the_same_time() {
    let world = floored().await;
    let mut seen = Vec::new();
    // What tells on purpose tells every time; a busy machine only sometimes.
    for _ in 0..5 {
        let lag = lag(&world).await;
        if lag.abs() < 10.0 {
            return;
        }
        seen.push(lag);
    }
    panic!("a known name takes longer by so many milliseconds: {seen:?}");
}

#[tokio::test]
async fn r8_a_look_up_that_takes_longer_is_answered_at_the_next_multiple_of_the_floor() {
    let world = floored().await;
    for (nth, user) in ["bjensen", "nobody"].into_iter().enumerate() {
        let token = world.begin().await;
        world.store_link.set(Mode::Hold);
        let late = async {
            world.store_link.held(nth + 1).await;
            let asked = Instant::now();
            world.until(async || asked.elapsed() > FLOOR).await;
            world.store_link.set(Mode::Pass);
        };
        let (took, ()) = tokio::join!(timed(&world, &token, user, 200), late);
        assert!(took + ROUNDING >= 2 * FLOOR, "{user}: {took:?}");
        assert_eq!(world.metric("floor_misses_total").await, (nth + 1).to_string());
    }
}

#[tokio::test]
async fn a_query_that_cannot_be_served_takes_its_time_too() {
    let world = floored().await;
    let starts = [world.begin().await, world.begin().await];
    world.store_link.set(Mode::Down);
    for (token, user) in starts.iter().zip(["bjensen", "nobody"]) {
        let took = timed(&world, token, user, 503).await;
        assert!(took + ROUNDING >= FLOOR, "{user}: {took:?}");
    }
    let reset = "answer_floor = \"100ms\"";
    let full = World::with(Plan { reset, codes: "capacity = 1", ..Plan::default() }).await;
    full.query("zoë").await;
    for user in ["bjensen", "nobody"] {
        let token = full.begin().await;
        let took = timed(&full, &token, user, 503).await;
        assert!(took + ROUNDING >= FLOOR, "{user}: {took:?}");
    }
}

#[tokio::test]
async fn an_or_that_could_tell_through_ones_own_mailbox_is_refused_before_anyone_is_looked_up() {
    let world = World::usual().await;
    let mut answers = Vec::new();
    for victim in ["bjensen", "nobody", "dormant"] {
        answers.push((victim, world.filter(&format!("userName eq \"{victim}\" or userName eq \"zoë\"")).await));
        answers
            .push((victim, world.filter(&format!("mail eq \"zoe@example.com\" or (userName eq \"{victim}\")")).await));
    }
    assert_eq!((answers[0].1.status, answers[0].1.message().as_str()), (400, "Invalid query filter"));
    assert_same_shape(&answers);
    assert_eq!(world.store.queries(), [""; 0]);

    let box_for_name_or_mail = world.filter("userName eq \"bjensen\" or mail eq \"bjensen\"").await;
    assert_eq!(box_for_name_or_mail.status, 200);
    assert_eq!(world.mail(1).await.to, ["bjensen@example.com"]);
}

#[tokio::test]
async fn a_store_that_fails_on_one_name_only_is_an_alarm_and_not_an_answer() {
    let world = World::usual().await;
    world.store_link.set(Mode::FailOnBjensen);
    assert_same_shape(&[("nobody", world.query("nobody").await), ("bjensen", world.query("bjensen").await)]);
    assert_eq!(world.metric("decoyed_starts_total{why=\"look_up_failed\"}").await, "1");
    assert_eq!(world.metric("service_failures_total{service=\"identity\"}").await, "1");
    assert_eq!(world.metric("mail_messages_total{outcome=\"queued\"}").await, "0");
}

#[tokio::test]
async fn r7_a_store_that_is_down_is_told_to_all_alike_and_other_paths_pass() {
    let world = World::usual().await;
    world.store_link.set(Mode::Down);
    let answers = [("known", world.query("bjensen").await), ("unknown", world.query("nobody").await)];
    assert_same_shape(&answers);
    let (_, answer) = &answers[0];
    assert_eq!(answer.status, 503);
    assert_eq!(answer.headers["retry-after"], "5");
    assert_eq!(answer.json()["code"], 503);
    assert_eq!(world.get(PATH).await.status, 200);
    assert_eq!(world.get("/openidm/info/ping").await.json()["state"], "ACTIVE_READY");
}

#[tokio::test]
async fn a_full_code_cache_is_told_to_all_alike_before_anyone_is_looked_up() {
    let world = World::with(Plan { codes: "capacity = 1", ..Plan::default() }).await;
    assert_eq!(world.query("bjensen").await.status, 200);
    let looked_up = world.store.queries().len();
    let answers = [
        ("another account", world.query("zoë").await),
        ("unknown", world.query("nobody").await),
        ("the account that has the room", world.query("bjensen").await),
    ];
    assert_same_shape(&answers);
    assert_eq!(answers[0].1.status, 503);
    assert_eq!(answers[0].1.headers["retry-after"], "30");
    assert_eq!(world.store.queries().len(), looked_up);
    assert_eq!(world.mailed(1).await.1.len(), 22, "128 bits");
}

#[tokio::test]
async fn who_must_may_tell_strangers_in_the_words_of_idm() {
    let reset = "answer_floor = \"20ms\"\nreveal_unknown_accounts = true";
    let world = World::with(Plan { reset, ..Plan::default() }).await;
    for (filter, status, message) in [
        ("userName eq \"bjensen\"", 200, ""),
        ("userName eq \"nobody\"", 400, "Unable to find account"),
        ("mail eq \"shared@example.com\"", 400, "Unable to find account"),
        ("userName eq \"dormant\"", 400, "You do not have permissions to reset password. Please contact administrator"),
        ("userName eq \"nomail\"", 400, "Unable to verify email"),
    ] {
        let answer = world.filter(filter).await;
        assert_eq!((answer.status, answer.message().as_str()), (status, message), "{filter}");
    }
}

/// Whoever holds a token can read when it ends. Were that counted from when it was sealed, it would tell how long the
/// look-up took, whatever the answer waits for.
#[tokio::test]
async fn a_tokens_end_says_nothing_of_how_long_the_look_up_took() {
    let world = World::usual().await;
    let token = world.begin().await;
    #[expect(clippy::disallowed_methods, reason = "the wall clock is what a stranger has")]
    let asked = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    world.store_link.set(Mode::Hold);
    let late = async {
        world.store_link.held(1).await;
        let held = Instant::now();
        world.until(async || held.elapsed() > Duration::from_millis(3500)).await;
        world.store_link.set(Mode::Pass);
    };
    let (answer, ()) = tokio::join!(world.query_with(&token, "bjensen"), late);
    let token = answer.token();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    // The process file's tokenExpiry, and what rounding and a busy machine may add.
    let ends = claims["exp"].as_u64().unwrap() - 300;
    assert!((asked..=asked + 2).contains(&ends), "{} s after it was asked for", ends - asked);
}

/// Codes in memory take as long to be compared for nobody, so whoever mistypes one need not wait.
#[tokio::test]
async fn a_wrong_code_waits_for_no_floor() {
    let clock = Arc::new(ManualClock::new());
    let machine = Machine::on(&configured(""), clock.clone(), clock.clone(), FLOOR).await;
    machine.insert("bjensen");
    for (nth, user) in (1..).zip(["bjensen", "nobody"]) {
        let token = machine.post(client(1), &start()).await.token().unwrap();
        let ticking = clock.ticking();
        let token = machine.post(client(1), &query(&token, user)).await.token().unwrap();
        // From here on it stands still, and no floor comes.
        drop(ticking);
        let body = show(&token, "wrong");
        let answered = tokio::time::timeout(Duration::from_secs(20), machine.post(client(1), &body)).await;
        assert_eq!(answered.expect("an answer without a wait").json()["message"], "Invalid code");
        assert_eq!(machine.events.of("CodeWrong"), nth);
    }
}
