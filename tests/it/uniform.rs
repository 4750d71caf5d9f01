//! Whether six kinds of names can be told apart from outside: by status, headers, body, size, and by how long an answer
//! takes, at each step, in five worlds. A name that is found takes the store 20 ms longer than one that is not.
//!
//! Bytes must be equal but for `Date`, the request's own id and the token's own text. Times, and how many are refused
//! where there is little room, are compared with those of unknown names: by Kolmogorov and Smirnov's statistic for two
//! samples, and where there are hundreds by medians no more than 5 ms apart. Of two equal kinds one comparison in 10 000 comes out as
//! different (of some 150), and of the one large world's one in 100 (of two). What tells on purpose tells every time, so
//! a world must differ in three rounds: by chance that happens in less than one run in 50 000. A round in which a look-up
//! outlasts the floor says nothing, for then times do tell, and an alarm says so; it is taken again with a higher floor.

mod flows;
mod judge;

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use parking_lot::Mutex;
use resetgate::{clock::SystemClock, demo::store::User};

use self::{
    flows::{Flow, KINDS, answer_all, ask_all, walk_all},
    judge::{Sample, assert_alike, tell_apart},
};
use crate::support::{
    clock::ManualClock,
    engine::{Machine, client, configured, query, start},
    link::Mode,
    world::{Plan, World},
};

/// How long the store takes, and how much longer for somebody whom it finds.
const LAG: Mode = Mode::Lag { every: Duration::from_millis(3), found: Duration::from_millis(20) };
/// Of the six kinds each, in each round.
const EACH: usize = 16;
const ROUNDS: usize = 3;
/// At one time.
const CLIENTS: usize = 12;
/// From usual to what the busiest machine keeps.
const FLOORS: [&str; 4] = [
    "answer_floor = \"100ms\"\nmail_gap = \"0s\"",
    "answer_floor = \"250ms\"\nmail_gap = \"0s\"",
    "answer_floor = \"600ms\"\nmail_gap = \"0s\"",
    "answer_floor = \"2s\"\nmail_gap = \"0s\"",
];
/// Those who measure do not disturb each other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
/// False alarms in one comparison of a few.
const RARE: f64 = 1e-4;
/// And in that of two thousand.
const SELDOM: f64 = 0.01;

const LIMITS: &str = "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_total = \"0\"\n\
                      mail_per_account = \"1/20m\"";

fn plan() -> Plan {
    Plan { reset: FLOORS[0], limits: LIMITS, ..Plan::default() }
}

/// With that many of each kind, whose mail budget is spent where that is their kind.
async fn peopled(plan: Plan, each: usize) -> World {
    let world = World::with(plan).await;
    for n in 0..each {
        let user = |kind: &str| User::new(&format!("{kind}-{n}"), &format!("{kind}{n}"), "Secret12");
        world.store.insert(user("known").with("mail", format!("known{n}@example.com")));
        world.store.insert(user("dormant").with("mail", format!("d{n}@example.com")).with("accountStatus", "inactive"));
        world.store.insert(user("nomail"));
        world.store.insert(user("one").with("mail", format!("two{n}@example.com")));
        world.store.insert(user("other").with("mail", format!("two{n}@example.com")));
    }
    world.query("zoë").await;
    world.mailed(1).await;
    world.store_link.set(LAG);
    world
}

/// Has each world's samples judged, until one says that its kinds are alike, which is returned.
async fn assert_uniform(
    chance: f64,
    world: impl AsyncFn(&'static str) -> World,
    samples: impl AsyncFn(&World, usize) -> Vec<Sample>,
) -> World {
    let _alone = ALONE.lock().await;
    let (mut differences, mut floors) = (Vec::new(), FLOORS.into_iter());
    let mut floor = floors.next().unwrap();
    while differences.len() < ROUNDS {
        let world = world(floor).await;
        let samples = samples(&world, differences.len()).await;
        assert_alike(&samples);
        if world.metric("floor_misses_total").await != "0" {
            floor = floors.next().expect("a machine that answers within the highest floor");
            continue;
        }
        match tell_apart(&samples, chance) {
            None => return world,
            Some(difference) => differences.push(difference),
        }
    }
    panic!("{differences:#?}");
}

/// All steps of all kinds.
async fn whole_flows(world: &World, round: usize) -> Vec<Sample> {
    walk_all(world, Flow::all(EACH, round), CLIENTS).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kind_can_be_told_while_mail_is_well() {
    let world = async |reset| peopled(Plan { reset, ..plan() }, EACH).await;
    assert_uniform(RARE, world, whole_flows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kind_can_be_told_while_mail_is_slow() {
    let world = async |reset| {
        let world = peopled(Plan { reset, ..plan() }, EACH).await;
        world.smtp_link.set(Mode::Lag { every: Duration::from_millis(60), found: Duration::ZERO });
        world
    };
    assert_uniform(RARE, world, whole_flows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kind_can_be_told_while_mail_is_down() {
    let world = async |reset| {
        let world = peopled(Plan { reset, ..plan() }, EACH).await;
        world.smtp_link.set(Mode::Down);
        world
    };
    assert_uniform(RARE, world, whole_flows).await;
}

/// Where questions stand alone, all of which have one text here: which is asked follows from the name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kind_can_be_told_by_questions_that_stand_alone() {
    const KBA: &str =
        r#"{"minimumAnswersToVerify": 1, "questions": {"1": {"en": "?"}, "2": {"en": "?"}, "3": {"en": "?"}}}"#;
    let world = async |floor: &'static str| {
        let reset: &str = Box::leak(format!("{floor}\nkba_alone = true").into_boxed_str());
        let files = vec![("selfservice.kba.json", KBA.to_owned())];
        let world = World::with(Plan { reset, process: crate::kba_alone::alone, files, ..plan() }).await;
        for n in 0..EACH {
            let user = |kind: &str| User::new(&format!("{kind}-{n}"), &format!("{kind}{n}"), "Secret12");
            let info = serde_json::json!([crate::kba::own("Pet?", "Rex"), crate::kba::system("2", "Blue")]);
            world.store.insert(user("known").with("kbaInfo", info.clone()));
            world.store.insert(user("dormant").with("kbaInfo", info).with("accountStatus", "inactive"));
            world.store.insert(user("nomail"));
        }
        world.store_link.set(LAG);
        world
    };
    let kinds = ["unknown", "known", "inactive", "without mail"];
    let samples = async |world: &World, round| answer_all(world, Flow::of(&kinds, EACH, EACH, round), CLIENTS).await;
    assert_uniform(RARE, world, samples).await;
}

/// Some find no place: nobody more often than others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kind_can_be_told_while_the_outbox_is_nearly_full() {
    let world = async |reset| {
        let world = peopled(Plan { reset, mail: "capacity = 60", ..plan() }, EACH).await;
        world.smtp_link.set(Mode::Down);
        // That it is down is known from here on.
        world.query("o'brien").await;
        world.until(async || world.metric("mail_messages_total{outcome=\"delayed\"}").await != "0").await;
        world
    };
    let world = assert_uniform(RARE, world, whole_flows).await;
    assert_ne!(world.metric("full_refusals_total{what=\"outbox\"}").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kind_can_be_told_while_the_codes_are_nearly_full() {
    let world = async |reset| peopled(Plan { reset, codes: "capacity = 60", ..plan() }, EACH).await;
    let world = assert_uniform(RARE, world, whole_flows).await;
    assert_ne!(world.metric("full_refusals_total{what=\"codes\"}").await, "0");
}

/// Known and unknown names, so many of both together, or as many as `RESETGATE_SAMPLES` says.
const MANY: usize = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_names_half_of_them_known_cannot_be_told_while_mail_is_down() {
    let each = std::env::var("RESETGATE_SAMPLES").map_or(MANY, |text| text.parse().unwrap()) / 2;
    // Few enough for the store, and none so often that its codes are too many.
    let people = each.div_ceil(12);
    let limits = "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_total = \"0\"\n\
                  mail_per_account = \"0\"";
    let world = async |reset| {
        let world = peopled(Plan { reset, limits, ..Plan::default() }, people).await;
        world.smtp_link.set(Mode::Down);
        world
    };
    let samples = async |world: &World, round| {
        ask_all(world, Flow::of(&["unknown", "known"], each, people, round), CLIENTS).await
    };
    assert_uniform(SELDOM, world, samples).await;
}

/// That the comparison can fail at all: without a floor, a store that is 20 ms slower for who is there shows, if not on a
/// machine that has just stood still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_floor_they_can_be_told() {
    let _alone = ALONE.lock().await;
    for round in 0..5 {
        let world = peopled(Plan { reset: "answer_floor = \"1ms\"\nmail_gap = \"0s\"", ..plan() }, 60).await;
        let samples = ask_all(&world, Flow::of(&["unknown", "known"], 60, 60, round), 2).await;
        assert_alike(&samples);
        if tell_apart(&samples, RARE).is_some_and(|difference| difference.starts_with("query: known")) {
            return;
        }
    }
    panic!("it cannot tell them apart");
}

/// Whoever asks for the last place learns from the next answer whether the place was taken.
#[tokio::test]
async fn the_last_room_for_a_code_is_taken_by_every_kind() {
    let mut next = Vec::new();
    for kind in KINDS {
        let world = peopled(Plan { codes: "capacity = 2", ..plan() }, 1).await;
        let flow = Flow { kind, number: 0 };
        assert_eq!(flow.start(&world).await.status, 200, "{kind}");
        next.push((kind, world.query("nobody").await.status));
    }
    assert_eq!(next, KINDS.map(|kind| (kind, 503)));
}

/// Those who come at the same moment for too little room: who is let in gets his mail, and the others are told.
#[tokio::test]
async fn nobody_who_is_let_in_at_the_last_moment_goes_without_his_mail() {
    let world = peopled(Plan { codes: "capacity = 4", ..plan() }, 12).await;
    let names: Vec<_> = (0..12).map(|n| format!("known{n}")).collect();
    let answers = join_all(names.iter().map(|name| world.query(name))).await;
    let let_in = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((let_in, answers.iter().filter(|answer| answer.status == 503).count()), (3, 9));
    world.mailed(1 + let_in).await;
    assert_eq!(world.metric("decoyed_starts_total{why=\"crowded\"}").await, "0");
}

/// Two at the same moment: were the later one answered first, that would tell whose look-up took longer, however well
/// both are delayed.
#[tokio::test]
async fn of_two_at_the_same_moment_the_first_is_answered_first() {
    let _alone = ALONE.lock().await;
    for floor in [250, 1000, 4000].map(Duration::from_millis) {
        // One whose look-up outlasts the floor is late, and an alarm says so: nothing is seen then.
        if let Some(order) = order_of_answers(floor).await {
            assert!(order.is_sorted(), "{order:?}");
            return;
        }
    }
    panic!("a machine that answers within the highest floor");
}

/// In which order twenty pairs were answered who were asked for one after the other; nothing if the floor was missed.
async fn order_of_answers(floor: Duration) -> Option<Vec<usize>> {
    let config = configured("[limits]\nclient = \"0\"\nstart_per_client = \"0\"");
    let machine = Machine::on(&config, Arc::new(ManualClock::new()), Arc::new(SystemClock::new()), floor).await;
    *machine.people.found_lag.lock() = Duration::from_millis(20);
    let mut bodies = Vec::new();
    for pair in 0..20 {
        let known = format!("known{pair}");
        machine.insert(&known);
        let token = machine.post(client(1), &start()).await.token().unwrap();
        let [known, unknown] = [known, format!("nobody{pair}")].map(|name| query(&token, &name));
        bodies.extend(if pair % 2 == 0 { [known, unknown] } else { [unknown, known] });
    }
    let order = Mutex::new(Vec::new());
    join_all(bodies.iter().enumerate().map(async |(nth, body)| {
        assert!(machine.post(client(1), body).await.asks_for("emailValidation"));
        order.lock().push(nth);
    }))
    .await;
    (machine.events.of("FloorMissed") == 0).then(|| order.into_inner())
}

#[tokio::test]
async fn an_expired_token_is_the_same_for_every_kind() {
    let soon: fn(&mut serde_json::Value) = |process| process["snapshotToken"]["tokenExpiry"] = 1.into();
    let world = peopled(Plan { process: soon, ..plan() }, 1).await;
    let mut samples: Vec<Sample> = Vec::new();
    for kind in KINDS {
        let token = Flow { kind, number: 0 }.start(&world).await.token();
        world.until(async || world.show(&token, "too late").await.message() == "Snapshot token is invalid").await;
        samples.push(flows::timed(&world, kind, "expired", &flows::show(&token, "too late")).await);
    }
    assert_alike(&samples);
}
