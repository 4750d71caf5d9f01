//! Security questions after the mailed code: asked as IDM asks them, the same until they are answered, and wrong answers
//! counted in the account, however many come at once.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest;
use serde_json::{Value, json};

use crate::support::{
    answer::Answer,
    clock::ManualClock,
    link::Mode,
    redis::RedisServer,
    world::{KEPT_KEY, Plan, World},
};

const PASSWORD: &str = "Fresh-Pass1";
const KATE: &str = "5b2d9a4e-3f60-4c1a-9d0e-1f6a7c8b9d01";
const NOT_MATCHED: &str = "Answers are not matched";
/// As in the recorded exchanges, with a lock-out.
pub(crate) const LOCKING: &str = r#"{
    "kbaPropertyName": "kbaInfo", "minimumAnswersToDefine": 2, "minimumAnswersToVerify": 1,
    "questions": {
        "1": {
            "en": "What's your favorite color?", "en_GB": "What's your favorite colour?",
            "fr": "Quelle est ta couleur préférée?"
        },
        "2": { "en": "Who was your first employer?" },
        "3": { "en": "Where were you born?" }
    },
    "numberOfAttemptsAllowed": 3, "kbaAttemptsPropertyName": "kbaLockout"
}"#;

/// Without the lock-out.
fn open(verify: u32) -> String {
    let mut kba: Value = serde_json::from_str(LOCKING).unwrap();
    kba["minimumAnswersToVerify"] = verify.into();
    kba.as_object_mut().unwrap().shift_remove("numberOfAttemptsAllowed");
    kba.to_string()
}

/// The usual process, with the questions before the password.
fn with_questions(process: &mut Value) {
    let stages = process["stageConfigs"].as_array_mut().unwrap();
    let stage = json!({
        "name": "kbaSecurityAnswerVerificationStage", "kbaPropertyName": "kbaInfo",
        "identityServiceUrl": "managed/user", "numberOfQuestionsUserMustAnswer": 1, "kbaConfig": null,
    });
    stages.insert(stages.len() - 1, stage);
}

fn plan(kba: impl Into<String>) -> Plan {
    Plan {
        process: with_questions,
        files: vec![("selfservice.kba.json", kba.into())],
        reset: "answer_floor = \"20ms\"\nmail_gap = \"0s\"",
        limits: "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_per_account = \"0\"\n\
                 mail_total = \"0\"",
        ..Plan::default()
    }
}

/// An answer as IDM stores it.
pub(crate) fn hashed(answer: &str) -> Value {
    let salt = *b"0123456789abcdef";
    let salted = [answer.to_lowercase().as_bytes(), &salt].concat();
    let data = [digest::digest(&digest::SHA256, &salted).as_ref(), &salt].concat();
    json!({"$crypto": {"value": {"algorithm": "SHA-256", "data": STANDARD.encode(data)}, "type": "salted-hash"}})
}

pub(crate) fn system(id: &str, answer: &str) -> Value {
    json!({"questionId": id, "answer": hashed(answer)})
}

pub(crate) fn own(question: &str, answer: &str) -> Value {
    json!({"customQuestion": question, "answer": hashed(answer)})
}

/// A world in which Barbara Jensen has those questions.
async fn world(plan: Plan, info: Value) -> World {
    let world = World::with(plan).await;
    assert!(world.store.set(KATE, "kbaInfo", info));
    world
}

/// The answer to the code of her `nth` mail.
async fn proven(world: &World, nth: usize) -> Answer {
    assert_eq!(world.query("bjensen").await.status, 200);
    let (token, code) = world.mailed(nth).await;
    world.show(&token, &code).await
}

async fn give(world: &World, token: &str, answer: &str) -> Answer {
    world.post(&json!({"token": token, "input": {"answer1": answer}})).await
}

fn count(world: &World) -> Value {
    world.store.field(KATE, "kbaLockout").unwrap_or_default()
}

/// What came of an answer: its status, and its text or else the stage that asks on.
fn outcome(answer: &Answer) -> (u16, String) {
    match answer.status {
        200 => (200, answer.json()["type"].as_str().unwrap().to_owned()),
        status => (status, answer.message()),
    }
}

fn refused() -> (u16, String) {
    (400, NOT_MATCHED.to_owned())
}

fn passed() -> (u16, String) {
    (200, "resetStage".to_owned())
}

/// As recorded: who is asked what, and the answer to her code, of which there is one each.
struct Recorded {
    series: &'static str,
    world: World,
    asked: Answer,
    /// Whether what is `answer1` there is `answer2` here: theirs are shuffled.
    swapped: bool,
}

impl Recorded {
    async fn of(series: &'static str, asked: u32, info: Value) -> Self {
        let limits = "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nanswer_per_account = \"0\"";
        let world = world(Plan { limits, ..plan(open(asked)) }, info).await;
        let asked = proven(&world, 1).await;
        let first = &asked.json()["requirements"]["properties"]["answer1"];
        let swapped = asked.json()["requirements"]["required"][1] == "answer2" && first["userQuestion"].is_null();
        Self { series, world, asked, swapped }
    }

    fn named(&self, mut members: Value) -> Value {
        if self.swapped && members.is_object() {
            let [first, second] =
                ["answer1", "answer2"].map(|name| members.as_object_mut().unwrap().shift_remove(name));
            for (name, member) in [("answer2", first), ("answer1", second)] {
                if let Some(member) = member {
                    members[name] = member;
                }
            }
        }
        members
    }
}

#[tokio::test]
async fn exchanges_recorded_from_the_java_engine_are_answered_alike() {
    let (pet, colour) = (own("Pet?", "Rex"), system("1", "Blue"));
    let all = [
        Recorded::of("user: ", 1, json!([pet])).await,
        Recorded::of("sys: ", 1, json!([colour])).await,
        Recorded::of("two questions: ", 2, json!([pet, colour])).await,
    ];
    let recorded = include_str!("../data/traces/kba.jsonl").lines();
    let recorded: Vec<Value> = recorded.map(|line| serde_json::from_str(line).unwrap()).collect();
    let without_token = |answer: &Answer| {
        let mut answer = answer.json();
        answer.as_object_mut().unwrap().shift_remove("token");
        answer
    };
    let asked = recorded.iter().filter(|exchange| exchange["name"] == "code → kba requirements (kate)");
    for (exchange, own) in asked.zip(&all) {
        let mut given = without_token(&own.asked);
        given["requirements"]["properties"] = own.named(given["requirements"]["properties"].take());
        assert_eq!(given, exchange["answer"], "{}", own.series);
    }
    let mut seen = 0;
    for exchange in recorded {
        let name = exchange["name"].as_str().unwrap();
        let Some((own, what)) = all.iter().find_map(|own| Some((own, name.strip_prefix(own.series)?))) else {
            continue;
        };
        let input = own.named(exchange["input"].clone());
        let answer = own.world.post(&json!({"token": own.asked.token(), "input": input})).await;
        match what {
            // What that engine answers with 500 are a client's mistakes, and 400 in IDM 7.
            "missing (empty input)" | "null" | "input list" | "input string" => {
                assert_eq!((exchange["status"].as_u64(), outcome(&answer)), (Some(500), refused()), "{name}");
            }
            "number" => {
                let number = (400, "/input/answer1: Expecting a java.lang.String".to_owned());
                assert_eq!((exchange["status"].as_u64(), outcome(&answer)), (Some(500), number), "{name}");
            }
            _ => {
                let given = (u64::from(answer.status), without_token(&answer));
                assert_eq!(given, (exchange["status"].as_u64().unwrap(), exchange["answer"].clone()), "{name}");
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 35);
}

#[tokio::test]
async fn questions_are_the_same_until_they_are_answered() {
    let info = json!([system("1", "a"), system("2", "b"), system("3", "c"), own("Pet?", "d"), own("Street?", "e")]);
    let world = world(plan(LOCKING), info).await;
    let first = proven(&world, 1).await;
    let asked = |answer: &Answer| answer.json()["requirements"].clone();
    assert_eq!(asked(&first)["required"], json!(["answer1"]));
    // The same token again and again, with another name for it each time so that it is no repeat; and started anew.
    let (token, code) = world.mailed(1).await;
    for spaces in 1..5 {
        let again = world.show(&token, &format!("{code}{}", " ".repeat(spaces))).await;
        assert_eq!(asked(&again), asked(&first));
    }
    for nth in 2..5 {
        assert_eq!(asked(&proven(&world, nth).await), asked(&first));
    }
    give(&world, &first.token(), "none").await;
    assert_eq!(asked(&proven(&world, 5).await), asked(&first), "a wrong answer draws no other");
}

#[tokio::test]
async fn wrong_answers_are_counted_in_the_account_until_somebody_sets_the_count_back() {
    let world = world(plan(LOCKING), json!([system("1", "Blue"), own("Pet?", "Blue")])).await;
    let token = proven(&world, 1).await.token();
    for wrong in 1..=2 {
        assert_eq!(outcome(&give(&world, &token, &format!("wrong {wrong}")).await), refused());
        assert_eq!(count(&world), json!(wrong));
    }
    assert_eq!(outcome(&give(&world, &token, "BLUE").await), passed());
    assert_eq!(count(&world), json!(0), "the right answer sets it back");
    for wrong in 1..=4 {
        assert_eq!(outcome(&give(&world, &token, &format!("wrong again {wrong}")).await), refused());
    }
    assert_eq!(count(&world), json!(4), "as long as it is not above what is allowed, answers are looked at");
    assert_eq!(outcome(&give(&world, &token, "blue").await), refused(), "and then no more");
    assert_eq!(count(&world), json!(4));
    let locked = proven(&world, 2).await;
    assert_eq!((locked.status, locked.message()), (400, "Maximum attempts exceeded".to_owned()));
    // Somebody at the help desk.
    world.store.set(KATE, "kbaLockout", "0");
    let token = proven(&world, 3).await.token();
    let set = world.set(&give(&world, &token, "blue").await.token(), PASSWORD).await;
    assert_eq!(set.json()["status"], json!({"success": true}), "{}", set.body);
    assert!(world.store.password_is("bjensen", PASSWORD));
    assert_eq!(world.metric("kba_attempts_total{outcome=\"right\"}").await, "2");
    assert_eq!(world.metric("kba_attempts_total{outcome=\"wrong\"}").await, "6");
    assert_eq!(world.metric("kba_attempts_total{outcome=\"locked\"}").await, "2");
}

#[tokio::test]
async fn of_twenty_wrong_answers_at_once_no_more_are_looked_at_than_are_allowed() {
    let world = Arc::new(world(plan(LOCKING), json!([system("1", "Blue"), own("Pet?", "Blue")])).await);
    let token = proven(&world, 1).await.token();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20 {
        let (world, token) = (world.clone(), token.clone());
        tasks.spawn(async move { outcome(&give(&world, &token, &format!("wrong {n}")).await) });
    }
    assert_eq!(tasks.join_all().await, vec![refused(); 20]);
    assert_eq!(count(&world), json!(4));
    assert_eq!(world.metric("kba_attempts_total{outcome=\"wrong\"}").await, "4");
    assert_eq!(world.metric("kba_attempts_total{outcome=\"locked\"}").await, "16");
    assert_eq!(outcome(&give(&world, &token, "Blue").await), refused());
}

/// Two gates, which share codes on a server, before one store.
#[tokio::test]
async fn of_twenty_at_once_over_two_gates_no_more_are_looked_at_than_are_allowed() {
    let Some(server) = RedisServer::start().await else { return };
    let codes: &str = Box::leak(format!("store = \"{}\"", server.url()).into_boxed_str());
    let shared = |identity| Plan { codes, token: KEPT_KEY, identity, ..plan(LOCKING) };
    let one = Arc::new(world(shared(None), json!([system("1", "Blue"), own("Pet?", "Blue")])).await);
    let two = Arc::new(World::with(shared(Some(one.store.address()))).await);
    let token = proven(&one, 1).await.token();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20 {
        let (world, token) = (if n % 2 == 0 { &one } else { &two }.clone(), token.clone());
        tasks.spawn(async move { outcome(&give(&world, &token, &format!("wrong {n}")).await) });
    }
    assert_eq!(tasks.join_all().await, vec![refused(); 20]);
    assert_eq!(count(&one), json!(4));
    let mut wrong = 0;
    for world in [&one, &two] {
        wrong += world.metric("kba_attempts_total{outcome=\"wrong\"}").await.parse::<u32>().unwrap();
    }
    assert_eq!(wrong, 4);
}

#[tokio::test]
async fn a_store_whose_count_is_a_text_gets_a_text() {
    let kba = LOCKING.replace("kbaLockout", "description");
    let world = world(plan(kba), json!([system("1", "Blue"), own("Pet?", "Blue")])).await;
    let token = proven(&world, 1).await.token();
    assert_eq!(outcome(&give(&world, &token, "wrong").await), refused());
    assert_eq!(world.store.field(KATE, "description"), Some(json!("1")));
    assert_eq!(outcome(&give(&world, &token, "blue").await), passed());
    assert_eq!(world.store.field(KATE, "description"), Some(json!("0")));
}

#[tokio::test]
async fn what_cannot_be_counted_is_not_compared() {
    let world = world(plan(LOCKING.replace("kbaLockout", "unknownToTheStore")), json!([system("1", "Blue")])).await;
    let token = proven(&world, 1).await.token();
    for answer in ["Blue", "Red"] {
        assert_eq!(give(&world, &token, answer).await.status, 503);
    }
    assert_eq!(world.metric("kba_attempts_total{outcome=\"right\"}").await, "0");
}

#[tokio::test]
async fn without_a_count_in_the_account_answers_have_a_budget() {
    let world = world(plan(open(1)), json!([system("1", "Blue")])).await;
    let token = proven(&world, 1).await.token();
    for wrong in 1..=4 {
        assert_eq!(outcome(&give(&world, &token, &format!("wrong {wrong}")).await), refused());
    }
    assert_eq!(outcome(&give(&world, &token, "blue").await), passed(), "which is whole again then");
    for wrong in 1..=5 {
        assert_eq!(outcome(&give(&world, &token, &format!("wrong again {wrong}")).await), refused());
    }
    assert_eq!(outcome(&give(&world, &token, "Blue").await), refused());
    assert_eq!(world.metric("limited_requests_total{rule=\"answer_per_account\"}").await, "1");
    assert_eq!(count(&world), Value::Null);
}

#[tokio::test]
async fn nobody_counts_who_has_not_shown_the_code() {
    let world = world(plan(LOCKING), json!([system("1", "Blue")])).await;
    let asker = world.query("bjensen").await.token();
    for n in 0..10 {
        let answer = give(&world, &asker, &format!("wrong {n}")).await;
        assert_eq!(outcome(&answer), (400, "Input code is missing".to_owned()));
    }
    assert_eq!(count(&world), Value::Null);
}

#[tokio::test]
async fn no_answers_are_no_attempt() {
    let world = world(plan(LOCKING), json!([system("1", "Blue")])).await;
    let token = proven(&world, 1).await.token();
    for input in [json!({}), json!({"answer1": null}), json!({"answer2": "Blue"}), json!([]), json!("x")] {
        assert_eq!(outcome(&world.post(&json!({"token": token, "input": input})).await), refused());
    }
    let number = world.post(&json!({"token": token, "input": {"answer1": 5}})).await;
    assert_eq!(outcome(&number), (400, "/input/answer1: Expecting a java.lang.String".to_owned()));
    assert_eq!(count(&world), Value::Null);
}

#[tokio::test]
async fn who_has_too_few_questions_is_asked_all_the_same_and_never_right() {
    let mut unreadable = system("1", "Blue");
    unreadable["answer"]["$crypto"]["value"]["algorithm"] = "BCRYPT".into();
    let world = world(plan(LOCKING), json!([unreadable, system("99", "Blue")])).await;
    let asked = proven(&world, 1).await;
    let question = &asked.json()["requirements"]["properties"]["answer1"];
    assert!(question["systemQuestion"]["en"].is_string(), "{}", asked.body);
    assert_eq!(outcome(&give(&world, &asked.token(), "Blue").await), refused());
    assert_eq!(world.metric("decoyed_starts_total{why=\"no_questions\"}").await, "1");
    assert_eq!(world.metric("kba_unusable_questions_total").await, "2");
    assert_eq!(count(&world), Value::Null);
}

#[tokio::test]
async fn where_accounts_are_revealed_it_is_said_as_idm_says_it() {
    let reset = "answer_floor = \"20ms\"\nmail_gap = \"0s\"\nreveal_unknown_accounts = true";
    let world = world(Plan { reset, ..plan(LOCKING) }, Value::Null).await;
    let text =
        "Insufficient number of questions. Minimum number of questions user must answer: 1, Questions available: 0";
    assert_eq!(outcome(&proven(&world, 1).await), (400, text.to_owned()));
}

#[tokio::test]
async fn another_address_ends_it() {
    let world = world(plan(LOCKING), json!([system("1", "Blue")])).await;
    let token = proven(&world, 1).await.token();
    world.store.set(KATE, "mail", "other@example.com");
    let invalid = (400, "Password reset link is invalid".to_owned());
    assert_eq!(outcome(&give(&world, &token, "Blue").await), invalid);
    assert_eq!(count(&world), Value::Null);
}

#[tokio::test]
async fn a_store_that_is_down_costs_nobody_an_attempt() {
    let world = world(plan(LOCKING), json!([system("1", "Blue")])).await;
    let token = proven(&world, 1).await.token();
    world.store_link.set(Mode::Down);
    assert_eq!(give(&world, &token, "Blue").await.status, 503);
    world.store_link.set(Mode::Pass);
    world.until(async || give(&world, &token, "Blue").await.status == 200).await;
    assert_eq!(count(&world), json!(0));
}

#[tokio::test]
async fn whoever_answers_late_has_time_for_the_password() {
    let clock = Arc::new(ManualClock::new());
    let world = world(Plan { clock: Some(clock.clone()), ..plan(LOCKING) }, json!([system("1", "Blue")])).await;
    // The answer waits for a floor that does not come; its mail does not.
    let token = world.begin().await;
    let query = json!({"token": token, "input": {"queryFilter": "userName eq \"bjensen\""}});
    let _waits = world.post_and_leave(&query).await;
    let (token, code) = world.mailed(1).await;
    let minutes = |count: u64| std::time::Duration::from_secs(60 * count);
    clock.forward(minutes(19));
    let token = world.show(&token, &code).await.token();
    clock.forward(minutes(4));
    let token = give(&world, &token, "blue").await.token();
    clock.forward(minutes(4));
    assert_eq!(world.set(&token, PASSWORD).await.json()["status"], json!({"success": true}));
}

#[tokio::test]
async fn another_file_of_questions_is_taken_up() {
    let world = world(plan(LOCKING), json!([system("1", "Blue")])).await;
    let token = proven(&world, 1).await.token();
    assert!(!world.change(&[("selfservice.kba.json", "{\"minimumAnswersToVerify\": 0}")]).await);
    let kinder = LOCKING.replace("What's your favorite color?", "Which colour do you like best?");
    assert!(world.change(&[("selfservice.kba.json", &kinder)]).await);
    assert_eq!(outcome(&give(&world, &token, "blue").await), passed(), "texts end no flow");
    let asked = proven(&world, 2).await.json();
    assert_eq!(
        asked["requirements"]["properties"]["answer1"]["systemQuestion"]["en"],
        "Which colour do you like best?"
    );
}
