//! `kbaSecurityAnswerVerificationStage`: asks the account's own security questions.
//!
//! Which of them are asked follows from the account and is the same each time: whoever starts again, or posts an earlier
//! token, gets no other ones. Answers are looked at by one at a time for an account, and wrong ones are counted in the
//! account before they are compared, so however many come at once, none is looked at beyond what is allowed.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{
    email_validation::codes_down,
    user_query::{self, mail_digest},
    validate_active_account,
};
use crate::reset::{
    error::Stop,
    flow::{Flow, Known, Tag},
    kba::{self, Entry, Question},
    ports::{
        Account, Change, Decision, Decoy, Down, Event, Field, LimitKey, NewValue, Patched, Purpose, Reason, Resource,
        Revision, Rule, SaltedHash, Secret, Turn,
    },
    process::{Kba, Lockout, Reader},
    stage::{Cx, Next, Stage},
    wire::{self, Input},
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
pub struct Verification {
    settings: Settings,
    query: user_query::Settings,
    status: Option<validate_active_account::Settings>,
    /// `answer1` and so on: as many as have to be answered.
    names: Vec<String>,
}

impl Verification {
    /// The stage of those settings. `query` and `status` say where the look-up found address and status.
    pub fn new(
        mut settings: Settings,
        query: user_query::Settings,
        status: Option<validate_active_account::Settings>,
    ) -> Self {
        settings.resource.id_field = query.resource.id_field.clone();
        let names = (1..=settings.asked().unwrap_or(1)).map(|number| format!("answer{number}")).collect();
        Self { settings, query, status, names }
    }
}

#[async_trait]
impl Stage for Verification {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn requirements(&self, flow: &mut Flow, cx: &Cx<'_>) -> Result<Option<Value>, Stop> {
        let Some(known) = flow.state.account.clone() else { return Ok(Some(self.pretend(flow, cx))) };
        let read = self.read(&known, cx).await.map_err(|down| self.down(down, cx))?;
        let account = read.ok_or_else(|| self.changed(flow, cx))?;
        if self.settings.kba.lockout.as_ref().is_some_and(|lockout| is_locked(lockout, &account)) {
            cx.record_of(flow, Event::KbaLocked { account: flow.at().account }, Reason::None);
            return Err(Stop::bad("Maximum attempts exceeded"));
        }
        let entries = self.entries(&account, flow, cx);
        let found = entries.len();
        let Some(drawn) = self.draw(entries, flow, cx) else {
            if cx.settings.reveal_unknown_accounts {
                cx.record_of(flow, Event::Revealed { why: Decoy::NoQuestions }, Reason::None);
                return Err(Stop::Bad(insufficient(self.names.len(), found).into()));
            }
            cx.decoy(flow, Decoy::NoQuestions)?;
            return Ok(Some(self.pretend(flow, cx)));
        };
        let questions: Vec<_> = drawn.iter().map(|entry| entry.question.shown(&self.settings.kba)).collect();
        Ok(Some(self.ask(questions)))
    }

    async fn advance(&self, input: &Input, flow: &mut Flow, cx: &Cx<'_>) -> Result<Next, Stop> {
        let given = self.names.iter().map(|name| input.text(name)).collect::<Result<Vec<_>, _>>()?;
        // As IDM stores them: in lower case, and nothing is trimmed.
        let given: Option<Vec<Secret>> =
            given.into_iter().map(|text| Some(Secret::new(text?.to_lowercase()))).collect();
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
            return Err(Stop::invalid_code());
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

    fn own_fields(&self, _: Tag) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }
}

/// Whatever is wrong with answers.
const NOT_MATCHED: &str = "Answers are not matched";

/// How long a turn holds when nobody ends it: longer than all calls of [`Verification::judge`] together.
const LEASE: Duration = Duration::from_secs(60);
/// How long to wait for somebody else's before giving up.
const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);
const RETRY: Duration = Duration::from_secs(2);
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
            let account = match self.read(known, cx).await {
                Ok(Some(account)) => account,
                Ok(None) => return Outcome::Changed,
                Err(down) => return Outcome::Down(down),
            };
            if self.settings.kba.lockout.as_ref().is_some_and(|lockout| is_locked(lockout, &account)) {
                return Outcome::Locked;
            }
            let entries = self.entries(&account, flow, cx);
            let Some(drawn) = self.draw(entries, flow, cx) else { return Outcome::Wrong("changed") };
            match self.count(known, &account, flow, cx).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(outcome) => return outcome,
            }
            let texts: Vec<(SaltedHash, Secret)> = drawn.into_iter().map(|entry| entry.answer).zip(given).collect();
            if !cx.ports.keys.all_match(texts).await {
                return Outcome::Wrong("wrong");
            }
            self.forget(known, flow, cx).await;
            return Outcome::Right;
        }
        Outcome::Down(Down { sent: false, full: false, retry_after: RETRY })
    }

    /// Counts an attempt: in the account where wrong ones lock it, else by what the gate lets an account have. False if the
    /// account has changed since it was read.
    async fn count(&self, known: &Known, account: &Account, flow: &Flow, cx: &Cx<'_>) -> Result<bool, Outcome> {
        let Some(lockout) = &self.settings.kba.lockout else {
            let key = LimitKey::Account(flow.at().account);
            if cx.ports.limits.charge(Rule::AnswerPerAccount, key).await == Decision::Allowed {
                return Ok(true);
            }
            cx.record_of(flow, Event::Limited { rule: Rule::AnswerPerAccount }, Reason::None);
            return Err(Outcome::Wrong("budget"));
        };
        let wrong = attempts(lockout, account).saturating_add(1);
        match self.write(known, account.revision.as_ref(), lockout, wrong, cx).await.map_err(Outcome::Down)? {
            Patched::Done => Ok(true),
            Patched::Stale => Ok(false),
            Patched::Gone => Err(Outcome::Changed),
            // What cannot be counted is not compared.
            Patched::Refused(_) => Err(Outcome::Down(Down { sent: false, full: false, retry_after: RETRY })),
        }
    }

    /// After the right answers.
    async fn forget(&self, known: &Known, flow: &Flow, cx: &Cx<'_>) {
        let Some(lockout) = &self.settings.kba.lockout else {
            cx.ports.limits.restore(Rule::AnswerPerAccount, LimitKey::Account(flow.at().account)).await;
            return;
        };
        // Whatever the revision is by now. If it fails, the owner is told nothing of it: the next time will do.
        for _ in 0..2 {
            match self.write(known, None, lockout, 0, cx).await {
                Ok(_) => return,
                Err(down) => cx.identity_down(down),
            }
        }
    }

    /// Writes the count as a number, or as a text where the store's schema wants one.
    async fn write(
        &self,
        known: &Known,
        revision: Option<&Revision>,
        lockout: &Lockout,
        wrong: u32,
        cx: &Cx<'_>,
    ) -> Result<Patched, Down> {
        let text = Secret::new(wrong.to_string());
        let patch = async |value| {
            let change = Change { field: &lockout.attempts, value };
            cx.ports.accounts.patch(cx.caller, &self.settings.resource, &known.id, revision, &[change]).await
        };
        match patch(NewValue::Number(wrong)).await? {
            Patched::Refused(_) => patch(NewValue::Text(&text)).await,
            patched => Ok(patched),
        }
    }

    /// The account, if it is still what it was when the mail was sent: id, address and status.
    async fn read(&self, known: &Known, cx: &Cx<'_>) -> Result<Option<Account>, Down> {
        let mut want = vec![self.query.mail_field.clone(), self.settings.kba.property.clone()];
        want.extend(self.query.status_field.clone());
        want.extend(self.settings.kba.lockout.as_ref().map(|lockout| lockout.attempts.clone()));
        let account = cx.ports.accounts.read(cx.caller, &self.settings.resource, &known.id, &want).await?;
        Ok(account.filter(|account| {
            let same_mail = mail_digest(cx, account.text(&self.query.mail_field).unwrap_or_default()) == known.mail;
            let status = self.query.status_field.as_ref().and_then(|field| account.text(field));
            account.id == known.id && same_mail && self.status.as_ref().is_none_or(|rule| rule.holds(status))
        }))
    }

    /// The questions that can be asked of an account.
    fn entries(&self, account: &Account, flow: &Flow, cx: &Cx<'_>) -> Vec<Entry> {
        let Some(json) = account.structure(&self.settings.kba.property) else { return Vec::new() };
        let (entries, unusable) = kba::entries(json, &self.settings.kba);
        for why in unusable {
            cx.record_of(flow, Event::KbaUnusable { account: flow.at().account }, Reason::Word(why.word()));
        }
        entries
    }

    /// As many as have to be answered, in an order of the account's own; `None` if there are too few.
    fn draw(&self, mut entries: Vec<Entry>, flow: &Flow, cx: &Cx<'_>) -> Option<Vec<Entry>> {
        entries.sort_by_cached_key(|entry| self.place(&entry.question, flow, cx));
        entries.truncate(self.names.len());
        (entries.len() == self.names.len()).then_some(entries)
    }

    fn place(&self, question: &Question, flow: &Flow, cx: &Cx<'_>) -> [u8; 16] {
        let (kind, name) = question.name();
        cx.ports.keys.mac(Purpose::Questions, &[&flow.at().account, kind, name])
    }

    /// Questions for nobody, of the process's own.
    fn pretend(&self, flow: &Flow, cx: &Cx<'_>) -> Value {
        let mut questions: Vec<_> =
            self.settings.kba.questions.iter().map(|(id, _)| Question::System(id.clone())).collect();
        questions.sort_by_cached_key(|question| self.place(question, flow, cx));
        let shown = questions.iter().take(self.names.len()).map(|question| question.shown(&self.settings.kba));
        self.ask(shown.collect())
    }

    fn ask(&self, questions: Vec<Value>) -> Value {
        let required: Vec<&str> = self.names.iter().map(String::as_str).take(questions.len()).collect();
        let mut requirements = wire::requirements("Answer security questions", &required, &[]);
        if let Some(members) = requirements.as_object_mut() {
            let properties: Map<_, _> = self.names.iter().cloned().zip(questions).collect();
            members.insert("properties".to_owned(), json!(properties));
        }
        requirements
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

/// Whether an account has used up its wrong answers.
fn is_locked(lockout: &Lockout, account: &Account) -> bool {
    attempts(lockout, account) > lockout.allowed
}

/// How many were wrong; what is no number is none, as what is not there.
fn attempts(lockout: &Lockout, account: &Account) -> u32 {
    let text = account.text(&lockout.attempts).unwrap_or_default().trim();
    let digits = text.split_once('.').map_or(text, |(whole, _)| whole);
    // More than fits is more than is allowed.
    let many = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().unwrap_or(if many { u32::MAX } else { 0 })
}

/// As IDM says it.
fn insufficient(asked: usize, found: usize) -> String {
    format!(
        "Insufficient number of questions. Minimum number of questions user must answer: {asked}, \
         Questions available: {found}"
    )
}
