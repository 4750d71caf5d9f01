//! `kbaSecurityAnswerVerificationStage`: asks the account's own security questions, after the mailed code.
//!
//! Which of them are asked follows from the account and is the same each time: whoever starts again, or posts an earlier
//! token, gets no other ones. Answers are looked at by one at a time for an account, and wrong ones are counted in the
//! account before they are compared, so however many come at once, none is looked at beyond what is allowed.

use std::time::Duration;

use async_trait::async_trait;

use super::email_validation::codes_down;
use crate::reset::{
    error::Stop,
    flow::{Flow, Known, Tag},
    kba::{
        questions::{NOT_MATCHED, Questions, pairs},
        tally::Tally,
    },
    ports::{Account, Decision, Decoy, Down, Event, Field, LimitKey, Patched, Reason, Resource, Rule, Secret, Turn},
    process::{Kba, Reader},
    stage::{Cx, Next, Stage},
    wire::{Input, Requirements},
};

/// The stage's name.
pub const NAME: &str = "kbaSecurityAnswerVerificationStage";

/// The stage's part of the process file, and what `selfservice.kba.json` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where accounts are. The stage names no id attribute of its own; it is the user query's.
    pub resource: Resource,
    /// The questions: the stage's own, or those of the file.
    pub kba: Kba,
    /// Whether it leaves them to the file.
    pub in_file: bool,
    /// `numberOfQuestionsUserMustAnswer`: how many have to be answered where the questions do not say it.
    pub must_answer: Option<u32>,
}

impl Settings {
    pub(in crate::reset) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let resource = reader.resource("identityServiceUrl", Some(Field::new("_id")));
        let must_answer = reader.count("numberOfQuestionsUserMustAnswer", crate::reset::process::ANSWERS);
        let own = reader.own_kba("kbaConfig");
        // The name that counts is the one beside the questions.
        reader.ignore(&["kbaPropertyName"]);
        let (resource, must_answer, own) = (resource?, must_answer?, own?);
        let in_file = own.is_none();
        Some(Self { resource, kba: own.unwrap_or_default(), in_file, must_answer })
    }

    /// How many questions have to be answered; none where nothing says it.
    pub fn asked(&self) -> Option<u32> {
        self.kba.to_verify.or(self.must_answer)
    }
}

/// The stage.
pub struct Verification(pub(in crate::reset) Questions);

#[async_trait]
impl Stage for Verification {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn requirements(&self, flow: &mut Flow, cx: &Cx<'_>) -> Result<Option<Requirements>, Stop> {
        let questions = &self.0;
        // Before anything else becomes of it: the same for whoever shows the code once more.
        let seed = flow.at().account;
        let Some(known) = flow.state.account.clone() else { return Ok(Some(questions.pretend(&seed, cx))) };
        let read = questions.read(&known, cx).await.map_err(|down| self.down(down, cx))?;
        let account = read.ok_or_else(|| self.changed(flow, cx))?;
        if self.tally().is_some_and(|tally| tally.is_locked(&account)) {
            cx.record_of(flow, Event::KbaLocked { account: seed }, Reason::None);
            return Err(Stop::bad("Maximum attempts exceeded"));
        }
        let entries = questions.entries(&account, flow, cx);
        let found = entries.len();
        let Some(drawn) = questions.draw(entries, &seed, cx) else {
            if cx.settings.reveal_unknown_accounts {
                cx.record_of(flow, Event::Revealed { why: Decoy::NoQuestions }, Reason::None);
                return Err(Stop::Bad(insufficient(questions.count(), found).into()));
            }
            cx.decoy(flow, Decoy::NoQuestions)?;
            return Ok(Some(questions.pretend(&seed, cx)));
        };
        Ok(Some(questions.ask(&drawn)))
    }

    async fn advance(&self, input: &Input, flow: &mut Flow, cx: &Cx<'_>) -> Result<Next, Stop> {
        let given = self.0.given(input)?;
        let account = flow.at().account;
        let refuse = |flow: &Flow, why| {
            cx.record_of(flow, Event::KbaWrong { account }, Reason::Word(why));
            Err(Stop::bad(NOT_MATCHED))
        };
        // Nothing can be learned from none, so it is not counted.
        let Some(given) = given else { return refuse(flow, "missing") };
        let Some(known) = flow.state.account.clone() else {
            flow.floored = true;
            return refuse(flow, "decoy");
        };
        let ticket = cx.random()?;
        if self.turn(flow, ticket, cx).await? == Turn::Gone {
            cx.record_of(flow, Event::KbaWrong { account }, Reason::Word("gone"));
            return Err(Stop::InvalidCode);
        }
        let outcome = self.judge(&known, given, flow, cx).await;
        // Whoever answers last in a token's life needs another life for the password.
        let until = (outcome == Outcome::Right).then(|| cx.now().after(cx.settings.token_expiry));
        if let Err(down) = cx.ports.flows.pass(&flow.at(), ticket, until).await {
            // The turn ends by itself; what was found out stands.
            codes_down(cx, down);
        }
        match outcome {
            Outcome::Right => {
                cx.record_of(flow, Event::KbaRight { account }, Reason::None);
                Ok(Next::Done)
            }
            Outcome::Wrong(why) => refuse(flow, why),
            Outcome::Locked => {
                cx.record_of(flow, Event::KbaLocked { account }, Reason::None);
                Err(Stop::bad(NOT_MATCHED))
            }
            Outcome::Changed => Err(self.changed(flow, cx)),
            Outcome::Down(down) => Err(self.down(down, cx)),
        }
    }

    fn may_wait(&self, _: &Cx<'_>) -> bool {
        true
    }

    fn own_fields(&self, _: Tag) -> Vec<&str> {
        self.0.names()
    }
}

/// How long a turn holds when nobody ends it: longer than all calls of [`Verification::judge`] together.
const LEASE: Duration = Duration::from_secs(60);
/// How long to wait for somebody else's before giving up.
const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);
const RETRY: Duration = Duration::from_secs(2);
const UNSENT: Down = Down { sent: false, full: false, retry_after: RETRY };
/// How often a revision may move between the read and the count: others may count too, where codes are not shared.
const STALE_LIMIT: u32 = 8;

/// What came of answers.
#[derive(PartialEq)]
enum Outcome {
    Right,
    Wrong(&'static str),
    /// Too many were wrong before, so they were not looked at.
    Locked,
    /// The account is not what it was when the mail was sent.
    Changed,
    Down(Down),
}

impl Verification {
    /// Waits until nobody else's answers for the account are looked at.
    async fn turn(&self, flow: &Flow, ticket: [u8; 16], cx: &Cx<'_>) -> Result<Turn, Stop> {
        let at = flow.at();
        let give_up = cx.now().after(PATIENCE);
        loop {
            let turn = cx.ports.flows.turn(&at, ticket, LEASE).await.map_err(|down| codes_down(cx, down))?;
            if turn != Turn::Busy {
                return Ok(turn);
            }
            if cx.now() >= give_up {
                return Err(Stop::Unavailable(RETRY));
            }
            cx.ports.clock.until(cx.now().after(POLL)).await;
        }
    }

    /// Counts, then compares. To be called in the account's turn.
    async fn judge(&self, known: &Known, given: Vec<Secret>, flow: &Flow, cx: &Cx<'_>) -> Outcome {
        for _ in 0..STALE_LIMIT {
            let account = match self.0.read(known, cx).await {
                Ok(Some(account)) => account,
                Ok(None) => return Outcome::Changed,
                Err(down) => return Outcome::Down(down),
            };
            if self.tally().is_some_and(|tally| tally.is_locked(&account)) {
                return Outcome::Locked;
            }
            let entries = self.0.entries(&account, flow, cx);
            let Some(drawn) = self.0.draw(entries, &flow.at().account, cx) else { return Outcome::Wrong("changed") };
            match self.count(known, &account, flow, cx).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(outcome) => return outcome,
            }
            if !cx.ports.keys.all_match(pairs(drawn, given)).await {
                return Outcome::Wrong("wrong");
            }
            self.forget(known, flow, cx).await;
            return Outcome::Right;
        }
        Outcome::Down(UNSENT)
    }

    /// Counts an attempt: in the account where wrong ones lock it, else by what the gate lets an account have. False if the
    /// account has changed since it was read.
    async fn count(&self, known: &Known, account: &Account, flow: &Flow, cx: &Cx<'_>) -> Result<bool, Outcome> {
        let Some(tally) = self.tally() else {
            let key = LimitKey::Account(flow.at().account);
            if cx.ports.limits.charge(Rule::AnswerPerAccount, key).await == Decision::Allowed {
                return Ok(true);
            }
            cx.record_of(flow, Event::Limited { rule: Rule::AnswerPerAccount }, Reason::None);
            return Err(Outcome::Wrong("budget"));
        };
        match tally.add(known, account, cx).await.map_err(Outcome::Down)? {
            Patched::Done => Ok(true),
            Patched::Stale => Ok(false),
            Patched::Gone => Err(Outcome::Changed),
            // What cannot be counted is not compared.
            Patched::Refused(_) => Err(Outcome::Down(UNSENT)),
        }
    }

    /// After the right answers.
    async fn forget(&self, known: &Known, flow: &Flow, cx: &Cx<'_>) {
        let Some(tally) = self.tally() else {
            cx.ports.limits.restore(Rule::AnswerPerAccount, LimitKey::Account(flow.at().account)).await;
            return;
        };
        // If it fails, the owner is told nothing of it: the next time will do.
        for _ in 0..2 {
            match tally.clear(known, cx).await {
                Ok(_) => return,
                Err(down) => cx.identity_down(down),
            }
        }
    }

    fn tally(&self) -> Option<Tally<'_>> {
        let Settings { kba, resource, .. } = &self.0.settings;
        Some(Tally { lockout: kba.lockout.as_ref()?, resource })
    }

    fn changed(&self, flow: &Flow, cx: &Cx<'_>) -> Stop {
        cx.record_of(flow, Event::LinkInvalid { account: flow.at().account }, Reason::None);
        Stop::bad("Password reset link is invalid")
    }

    fn down(&self, down: Down, cx: &Cx<'_>) -> Stop {
        cx.identity_down(down);
        Stop::Unavailable(down.retry_after)
    }
}

/// As IDM says it.
pub(super) fn insufficient(asked: usize, found: usize) -> String {
    format!(
        "Insufficient number of questions. Minimum number of questions user must answer: {asked}, \
         Questions available: {found}"
    )
}
