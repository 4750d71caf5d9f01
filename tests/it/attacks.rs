//! What attackers send, as a table: every line of `tests/data/attacks/cases.jsonl` is sent to a whole deployment, and
//! what came of it is compared with what the line expects. Where the gate means to differ, or a case does not apply,
//! `deviations.json` says so with the reason; it may list nothing else. `cargo test --test it attacks -- --nocapture`
//! prints the report.

mod case;
mod cast;
mod forge;
mod oracles;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use self::{case::Case, cast::Cast, oracles::Outcome};
use crate::support::{
    raw::Raw,
    upstream::Upstream,
    world::{Plan, World},
};

/// Where the gate and a case part.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deviation {
    /// It is not run.
    #[serde(default)]
    skip: bool,
    /// What it is answered in place of what the case expects.
    status: Option<Vec<String>>,
    /// The oracles that do not hold.
    #[serde(default)]
    not: Vec<String>,
    why: String,
}

#[tokio::test]
async fn attacks_end_as_expected() {
    let cases: Vec<Case> = include_str!("../data/attacks/cases.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let mut deviations: BTreeMap<String, Deviation> =
        serde_json::from_str(include_str!("../data/attacks/deviations.json")).unwrap();
    let theatre = Theatre::open().await;
    let mut report = Report::default();
    for case in &cases {
        let deviation = deviations.remove(&case.id);
        match &deviation {
            Some(deviation) if deviation.skip => report.skipped(case, &deviation.why),
            _ => {
                let outcome = theatre.play(case).await;
                report.judged(case, deviation.as_ref(), &outcome, &oracles::failed(case, &outcome));
            }
        }
    }
    for id in deviations.keys() {
        report.wrong.push(format!("{id}: listed as deviating, and there is no such case"));
    }
    if theatre.world.metric("panic_answers_total").await != "0" {
        report.wrong.push("a request panicked".to_owned());
    }
    println!("{report}");
    assert!(report.wrong.is_empty(), "\n{}", report.wrong.join("\n"));
}

/// The deployment that is attacked.
struct Theatre {
    world: World,
    upstream: Upstream,
    /// Where a forged token may lure the gate.
    lure: Upstream,
}

impl Theatre {
    async fn open() -> Self {
        let (upstream, lure) = (Upstream::start().await, Upstream::start().await);
        let plan = Plan {
            // Each start gets its own mail, so that flows of one account differ.
            reset: "answer_floor = \"1ms\"\nmail_gap = \"0s\"",
            limits: "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_per_account = \"0\"\nmail_total = \"0\"",
            upstream: Some(format!("url = \"http://{}\"", upstream.address)),
            ..Plan::default()
        };
        Self { world: World::with(plan).await, upstream, lure }
    }

    async fn play(&self, case: &Case) -> Outcome {
        let world = &self.world;
        let mut cast = Cast::of(case, self);
        let request = case.request(&mut cast).await;
        if let Some(password) = cast.proposed(case) {
            // What stays the same is asked of no policy, so that it is set only if it is the same to the letter.
            world.store.set(&format!("id-{}", cast.user), "password", password);
        }
        let queries = world.store.queries().len();
        let (passed, patches, lured) = (self.upstream.count(), world.store.patches(), self.lure.count());
        let mails = self.mails().await;

        let answers = match case.id.as_str() {
            "FLOW-016" => self.race(&mut cast).await,
            _ => {
                if case.id == "FLOW-010" {
                    cast.prove().await;
                }
                Raw::exchange(world.gate, &request.bytes).await.into_iter().collect()
            }
        };
        if case.steps.as_deref().is_some_and(|steps| steps.starts_with("submit as the parameters stage"))
            && let Some(answer) = answers.first().filter(|answer| answer.status == 200)
        {
            assert_eq!(world.query_with(&answer.token(), &cast.user).await.status, 200);
        }
        let arrived = self.mails().await;
        Outcome {
            answers,
            target: request.target,
            passed: self.upstream.seen().split_off(passed),
            patches: world.store.patches() - patches,
            stock_resets: world.store.stock_reset_hits(),
            queries: world.store.queries().split_off(queries),
            lured: self.lure.count() - lured,
            mails: world
                .mailbox
                .mails()
                .into_iter()
                .filter(|mail| mail.number > mails && mail.number <= arrived)
                .collect(),
            addresses: cast.addresses(),
            keeps_passwords: cast.keeps_passwords(),
            sets_password: case.body["input"]["password"]
                .as_str()
                .map(|sent| world.store.password_is(&cast.user, sent)),
        }
    }

    /// How many mails there have ever been, when all that are queued have come.
    async fn mails(&self) -> u64 {
        let queued: u64 = self.world.metric("mail_messages_total{outcome=\"queued\"}").await.parse().unwrap();
        self.world.mailbox.arrived(queued).await;
        queued
    }

    /// Twenty passwords at once with one token.
    async fn race(&self, cast: &mut Cast<'_>) -> Vec<crate::support::world::Answer> {
        let token = cast.word("T_RESET").await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..20 {
            let body = json!({"token": token, "input": {"password": format!("Racing-Pass{n}")}}).to_string();
            let request = case::post(self.world.gate, &body);
            let gate = self.world.gate;
            tasks.spawn(async move { Raw::exchange(gate, request).await });
        }
        tasks.join_all().await.into_iter().map(|answer| answer.expect("an answer")).collect()
    }
}

/// What is printed, and what is wrong.
#[derive(Default)]
struct Report {
    classes: BTreeMap<String, [u32; 3]>,
    notes: Vec<String>,
    wrong: Vec<String>,
}

impl Report {
    fn skipped(&mut self, case: &Case, why: &str) {
        self.count(case, 2);
        self.notes.push(format!("  skipped   {:9} {why}", case.id));
    }

    fn judged(&mut self, case: &Case, deviation: Option<&Deviation>, outcome: &Outcome, failed: &[String]) {
        self.count(case, 0);
        let (expected, not) = match deviation {
            Some(deviation) => (deviation.status.as_ref(), deviation.not.as_slice()),
            None => (None, &[][..]),
        };
        let mut faults: Vec<String> = failed.iter().filter(|oracle| !not.contains(oracle)).cloned().collect();
        for stale in not.iter().filter(|oracle| !failed.contains(oracle)) {
            faults.push(format!("{stale} is listed as not holding, and holds"));
        }
        let as_case = case.answers_fit(&case.expect.status, outcome);
        match expected {
            None if !as_case => faults.push("the status".to_owned()),
            Some(_) if as_case => faults.push("the status is listed as deviating, and does not".to_owned()),
            Some(expected) if !case.answers_fit(expected, outcome) => {
                faults.push(format!("the status, which is listed as {}", expected.join(" or ")));
            }
            _ => {}
        }
        if let Some(deviation) = deviation {
            self.count(case, 1);
            self.notes.push(format!("  deviating {:9} {}", case.id, deviation.why));
        }
        if !faults.is_empty() {
            self.wrong.push(format!(
                "{} ({}): {}\n    expected {}\n    got {outcome}",
                case.id,
                case.expect.property.split(':').next().unwrap_or_default(),
                faults.join(", "),
                case.expect.status.join(" or "),
            ));
        }
    }

    fn count(&mut self, case: &Case, column: usize) {
        self.classes.entry(case.class.clone()).or_default()[column] += 1;
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:22}{:>5}{:>11}{:>9}", "class", "run", "deviating", "skipped")?;
        let mut total = [0; 3];
        for (class, counts) in &self.classes {
            let [run, deviating, skipped] = counts;
            writeln!(f, "{class:22}{run:>5}{deviating:>11}{skipped:>9}")?;
            total.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
        }
        let [run, deviating, skipped] = total;
        writeln!(f, "{:22}{run:>5}{deviating:>11}{skipped:>9}", "all")?;
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}
