//! Flows of every kind, in an order that is random and always the same, and what each step was answered, byte for byte.

use std::time::Instant;

use futures_util::{StreamExt, future::join_all, stream};
use serde_json::{Value, json};

use super::judge::Sample;
use crate::support::{
    raw::{Raw, request},
    world::{Answer, PATH, World},
};

pub(super) const KINDS: [&str; 6] = ["unknown", "known", "inactive", "without mail", "two", "over budget"];

/// One asker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) kind: &'static str,
    /// Which name of that kind.
    pub(super) number: usize,
}

impl Flow {
    /// So many of every kind, in another order in each round.
    pub(super) fn all(each: usize, round: usize) -> Vec<Self> {
        let of = |kind| (0..each).map(move |n| Self { kind, number: n });
        shuffled(KINDS.into_iter().flat_map(of).collect(), round)
    }

    /// So many of these kinds, each of so many names time and again.
    pub(super) fn of(kinds: &[&'static str], each: usize, names: usize, round: usize) -> Vec<Self> {
        let of = |kind: &'static str| (0..each).map(move |n| Self { kind, number: n % names });
        shuffled(kinds.iter().copied().flat_map(of).collect(), round)
    }

    fn filter(self) -> String {
        let n = self.number;
        match self.kind {
            "known" => format!("userName eq \"known{n}\""),
            "inactive" => format!("userName eq \"dormant{n}\""),
            "without mail" => format!("userName eq \"nomail{n}\""),
            "two" => format!("mail eq \"two{n}@example.com\""),
            "over budget" => "userName eq \"zoë\"".to_owned(),
            _ => format!("userName eq \"nobody{n}\""),
        }
    }

    pub(super) async fn start(self, world: &World) -> Answer {
        world.filter(&self.filter()).await
    }

    async fn ask(self, world: &World) -> (Sample, Value) {
        let token = world.begin().await;
        let body = json!({"token": token, "input": {"queryFilter": self.filter()}});
        (timed(world, self.kind, "query", &body).await, body)
    }

    /// Every step of one flow but those that need the mail.
    async fn walk(self, world: &World) -> Vec<Sample> {
        let (asked, body) = self.ask(world).await;
        let Some(token) = asked.token() else { return vec![asked] };
        let again = timed(world, self.kind, "query again", &body).await;
        assert_eq!(again.whole(), asked.whole(), "{}: an equal request gets the equal answer", self.kind);
        let step = async |step, body| timed(world, self.kind, step, &body).await;
        let wrong = step("wrong code", show(&token, "wrong")).await;
        join_all((0..4).map(|n| step("wrong codes", show(&token, &format!("wrong {n}"))))).await;
        let spent = step("no tries left", show(&token, "wrong again")).await;
        let shaped = step("a code's shape", show(&token, "AbCdEfGhIjKlMnOpQrStUv")).await;
        let password = step("password", json!({"token": token, "input": {"password": "Stolen-Pass1"}})).await;
        let read = read(world, self.kind).await;
        vec![asked, again, wrong, spent, shaped, password, read]
    }
}

pub(super) fn show(token: &str, code: &str) -> Value {
    json!({"token": token, "input": {"code": code}})
}

/// All of them, so many at a time.
pub(super) async fn walk_all(world: &World, flows: Vec<Flow>, clients: usize) -> Vec<Sample> {
    let walks = stream::iter(flows).map(|flow| flow.walk(world)).buffer_unordered(clients);
    walks.collect::<Vec<_>>().await.into_iter().flatten().collect()
}

/// The same, as far as the query and one wrong code.
pub(super) async fn ask_all(world: &World, flows: Vec<Flow>, clients: usize) -> Vec<Sample> {
    let asks = stream::iter(flows).map(async |flow| {
        let (asked, _) = flow.ask(world).await;
        let token = asked.token().expect("a token");
        [asked, timed(world, flow.kind, "wrong code", &show(&token, "wrong")).await]
    });
    asks.buffer_unordered(clients).collect::<Vec<_>>().await.into_iter().flatten().collect()
}

/// The same of a process whose questions stand alone: as far as the questions, and a few wrong answers.
pub(super) async fn answer_all(world: &World, flows: Vec<Flow>, clients: usize) -> Vec<Sample> {
    let asks = stream::iter(flows).map(async |flow| {
        let (asked, _) = flow.ask(world).await;
        let token = asked.token().expect("a token");
        let answer = |answer: &str| json!({"token": token, "input": {"answer1": answer}});
        let step = async |step, body| timed(world, flow.kind, step, &body).await;
        let wrong = step("wrong answer", answer("wrong")).await;
        let missing = step("no answer", json!({"token": token, "input": {}})).await;
        let others = join_all((0..5).map(|n| step("wrong answers", answer(&format!("wrong {n}"))))).await;
        let spent = step("no answers left", answer("wrong again")).await;
        [asked, wrong, missing, spent].into_iter().chain(others)
    });
    asks.buffer_unordered(clients).collect::<Vec<_>>().await.into_iter().flatten().collect()
}

pub(super) async fn timed(world: &World, kind: &'static str, step: &'static str, body: &Value) -> Sample {
    let target = format!("{PATH}?_action=submitRequirements");
    let headers = [("Content-Type", "application/json")];
    exchange(world, kind, step, &request("POST", &target, &headers, Some(&body.to_string()))).await
}

async fn read(world: &World, kind: &'static str) -> Sample {
    exchange(world, kind, "read", &request("GET", PATH, &[], None)).await
}

/// On a connection of its own, which is there before the time is taken.
async fn exchange(world: &World, kind: &'static str, step: &'static str, request: &[u8]) -> Sample {
    let mut raw = Raw::to(world.gate).await;
    let began = Instant::now();
    raw.send(request).await;
    let verbatim = raw.verbatim().await.expect("an answer");
    Sample { kind, step, took: began.elapsed(), verbatim }
}

/// Fisher and Yates, by a generator that is good enough for an order (Knuth's MMIX).
fn shuffled(mut flows: Vec<Flow>, seed: usize) -> Vec<Flow> {
    let mut state = seed as u64 + 1;
    for at in (1..flows.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        flows.swap(at, (state >> 33) as usize % (at + 1));
    }
    flows
}
