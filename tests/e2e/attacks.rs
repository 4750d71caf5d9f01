//! What attackers send, as a table: every line of `tests/data/attacks/*.jsonl` is sent to the program, which runs between
//! a store, an upstream and a mailbox of the test's, and what came of it is compared with what the line expects. Where the
//! gate means to differ, or a case does not apply, `deviations.json` says so with the reason; it may list nothing else.
//! `cargo test --test e2e attacks -- --nocapture` prints the report.

mod case;
mod cast;
mod forge;
mod oracles;
mod report;

use std::{cell::RefCell, collections::BTreeMap};

use serde::Deserialize;
use serde_json::json;

use self::{case::Case, cast::Cast, oracles::Outcome, report::Report};
use crate::{
    logs::{loud, nothing_told},
    support::{
        answer::Answer,
        raw::Raw,
        setup::{Around, Files, Gate, Plan, SERVICE_PASSWORD},
        soon,
        upstream::Upstream,
    },
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
    let tables = [include_str!("../data/attacks/cases.jsonl"), include_str!("../data/attacks/neighbours.jsonl")];
    let cases = tables.iter().flat_map(|table| table.lines());
    let cases: Vec<Case> =
        cases.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
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
    println!("{report}");
    assert!(report.wrong.is_empty(), "\n{}", report.wrong.join("\n"));
    theatre.close().await;
}

/// The program that is attacked, and what stands around it.
struct Theatre {
    gate: Gate,
    around: Around,
    upstream: Upstream,
    /// Where a forged token may lure the gate.
    lure: Upstream,
    /// Names, addresses, tokens, codes and passwords, which the program must not print.
    secrets: RefCell<Vec<String>>,
}

impl Theatre {
    async fn open() -> Self {
        let (around, upstream, lure) = (Around::start().await, Upstream::start().await, Upstream::start().await);
        let limits = ["client", "start_per_client", "start_total", "mail_per_account", "mail_total"];
        let plan = Plan {
            upstream: format!("http://{}", upstream.address),
            // Each start gets its own mail, so that flows of one account differ.
            reset: "answer_floor = \"1ms\"\nmail_gap = \"0s\"".into(),
            // What is counted are mails with links.
            more: format!(
                "[after.notice]\nmail = \"off\"\n[limits]\n{}",
                limits.map(|limit| format!("{limit} = \"0\"\n")).concat()
            ),
            ..around.plan()
        };
        let gate = Gate::run(Files::of(&plan), &loud()).await;
        let secrets = [SERVICE_PASSWORD, "submitRequirements", "queryFilter"].map(str::to_owned).to_vec();
        Self { gate, around, upstream, lure, secrets: RefCell::new(secrets) }
    }

    /// It still lives, nothing in it has panicked, and it has told nobody anything.
    async fn close(self) {
        assert_eq!(self.gate.metric("resetgate_panic_answers_total").await, 0);
        let secrets = self.secrets.into_inner();
        nothing_told(self.gate, &secrets.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    fn is_secret(&self, text: &str) {
        self.secrets.borrow_mut().push(text.to_owned());
    }

    async fn play(&self, case: &Case) -> Outcome {
        let store = &self.around.store;
        let mut cast = Cast::of(case, self);
        let request = case.request(&mut cast).await;
        if let Some(password) = cast.proposed(case) {
            // What stays the same is asked of no policy, so that it is set only if it is the same to the letter.
            store.set(&format!("id-{}", cast.user), "password", password);
        }
        let queries = store.queries().len();
        let (passed, patches, lured) = (self.upstream.count(), store.patches(), self.lure.count());
        let mails = self.mails().await;

        let answers = match case.id.as_str() {
            "FLOW-016" => self.race(&mut cast).await,
            _ => {
                if case.id == "FLOW-010" {
                    cast.prove().await;
                }
                Raw::exchange(self.gate.address, &request.bytes).await.into_iter().collect()
            }
        };
        if case.steps.as_deref().is_some_and(|steps| steps.starts_with("submit as the parameters stage"))
            && let Some(answer) = answers.first().filter(|answer| answer.status == 200)
        {
            assert_eq!(self.query(&answer.token(), &cast.user).await.status, 200);
        }
        let arrived = self.mails().await;
        Outcome {
            answers,
            target: request.target,
            passed: self.upstream.seen().split_off(passed),
            patches: store.patches() - patches,
            stock_resets: store.stock_reset_hits(),
            queries: store.queries().split_off(queries),
            lured: self.lure.count() - lured,
            mails: self
                .around
                .mailbox
                .mails()
                .into_iter()
                .filter(|mail| mail.number > mails && mail.number <= arrived)
                .collect(),
            addresses: cast.addresses(),
            keeps_passwords: cast.keeps_passwords(),
            sets_password: case.body["input"]["password"].as_str().map(|sent| store.password_is(&cast.user, sent)),
        }
    }

    /// A start for that user, at the token's user query.
    async fn query(&self, token: &str, user: &str) -> Answer {
        let filter = format!("userName eq \"{user}\"");
        self.gate.post(&json!({"token": token, "input": {"queryFilter": filter}})).await
    }

    /// How many mails there have ever been, when all that are queued have come.
    async fn mails(&self) -> u64 {
        let queued = self.gate.metric("resetgate_mail_messages_total{outcome=\"queued\"}").await;
        soon("mails", self.around.mailbox.arrived(queued)).await;
        queued
    }

    /// Twenty passwords at once with one token.
    async fn race(&self, cast: &mut Cast<'_>) -> Vec<Answer> {
        let (token, gate) = (cast.word("T_RESET").await, self.gate.address);
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..20 {
            let body = json!({"token": token, "input": {"password": format!("Racing-Pass{n}")}}).to_string();
            let request = case::post(gate, &body);
            tasks.spawn(async move { Raw::exchange(gate, request).await });
        }
        tasks.join_all().await.into_iter().map(|answer| answer.expect("an answer")).collect()
    }
}
