//! Which questions are asked, and of whom.

use serde_json::{Map, Value, json};

use super::{Entry, Question, entries};
use crate::reset::{
    error::Stop,
    flow::{Flow, Known},
    ports::{Account, Digest, Down, Event, Field, Purpose, Reason, SaltedHash, Secret},
    stage::Cx,
    stages::{kba::Settings, user_query, validate_active_account},
    wire::{self, Input, Requirements},
};

/// Whatever is wrong with answers.
pub(in crate::reset) const NOT_MATCHED: &str = "Answers are not matched";

/// The process's questions, and where accounts have theirs.
pub(in crate::reset) struct Questions {
    pub(in crate::reset) settings: Settings,
    query: user_query::Settings,
    status: Option<validate_active_account::Settings>,
    /// `answer1` and so on: as many as have to be answered.
    names: Vec<String>,
}

impl Questions {
    /// By those settings. `query` and `status` say where the look-up found address and status.
    pub(in crate::reset) fn new(
        mut settings: Settings,
        query: user_query::Settings,
        status: Option<validate_active_account::Settings>,
    ) -> Self {
        settings.resource.id_field = query.resource.id_field.clone();
        let names = (1..=settings.asked().unwrap_or(1)).map(|number| format!("answer{number}")).collect();
        Self { settings, query, status, names }
    }

    /// How many have to be answered.
    pub(in crate::reset) fn count(&self) -> usize {
        self.names.len()
    }

    /// The inputs that answers come in.
    pub(in crate::reset) fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// The attribute with an account's address.
    pub(in crate::reset) fn mail_field(&self) -> &Field {
        &self.query.mail_field
    }

    /// The attributes that an account may be asked for by.
    pub(in crate::reset) fn fields(&self) -> &[Field] {
        &self.query.valid_fields
    }

    /// The answers, as IDM stores them: in lower case, and nothing is trimmed. `None` if one is missing.
    ///
    /// # Errors
    /// [`Stop::Bad`] where one is no text.
    pub(in crate::reset) fn given(&self, input: &Input) -> Result<Option<Vec<Secret>>, Stop> {
        let given = self.names.iter().map(|name| input.text(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(given.into_iter().map(|text| Some(Secret::new(text?.to_lowercase()))).collect())
    }

    /// The account, if it is still what it was when it was found: id, address and status.
    pub(in crate::reset) async fn read(&self, known: &Known, cx: &Cx<'_>) -> Result<Option<Account>, Down> {
        let account = cx.ports.accounts.read(cx.caller, &self.settings.resource, &known.id, &self.wanted()).await?;
        Ok(account.filter(|account| self.query.is_still(known, account, self.status.as_ref(), cx)))
    }

    /// What of an account has to be known.
    pub(in crate::reset) fn wanted(&self) -> Vec<Field> {
        let mut want = vec![self.query.mail_field.clone(), self.settings.kba.property.clone()];
        want.extend(self.query.status_field.clone());
        want.extend(self.settings.kba.lockout.as_ref().map(|lockout| lockout.attempts.clone()));
        want.extend(self.query.valid_fields.first().cloned());
        want
    }

    /// The questions that can be asked of an account.
    pub(in crate::reset) fn entries(&self, account: &Account, flow: &Flow, cx: &Cx<'_>) -> Vec<Entry> {
        let Some(json) = account.structure(&self.settings.kba.property) else { return Vec::new() };
        let (entries, unusable) = entries(json, &self.settings.kba);
        for why in unusable {
            cx.record_of(flow, Event::KbaUnusable { account: flow.at().account }, Reason::Word(why.word()));
        }
        entries
    }

    /// As many as have to be answered, in an order that follows from `seed`; `None` if there are too few.
    pub(in crate::reset) fn draw(&self, mut entries: Vec<Entry>, seed: &Digest, cx: &Cx<'_>) -> Option<Vec<Entry>> {
        entries.sort_by_cached_key(|entry| place(&entry.question, seed, cx));
        entries.truncate(self.names.len());
        (entries.len() == self.names.len()).then_some(entries)
    }

    /// What asks for them.
    pub(in crate::reset) fn ask(&self, entries: &[Entry]) -> Requirements {
        self.requirements(entries.iter().map(|entry| entry.question.shown(&self.settings.kba)).collect())
    }

    /// What asks for as many of nobody, of the process's own.
    pub(in crate::reset) fn pretend(&self, seed: &Digest, cx: &Cx<'_>) -> Requirements {
        let mut questions: Vec<_> =
            self.settings.kba.questions.iter().map(|(id, _)| Question::System(id.clone())).collect();
        questions.sort_by_cached_key(|question| place(question, seed, cx));
        let shown = questions.iter().take(self.names.len()).map(|question| question.shown(&self.settings.kba));
        self.requirements(shown.collect())
    }

    fn requirements(&self, questions: Vec<Value>) -> Requirements {
        let required: Vec<&str> = self.names.iter().map(String::as_str).take(questions.len()).collect();
        let mut requirements = wire::requirements("Answer security questions", &required, &[]);
        if let Some(members) = requirements.as_object_mut() {
            let properties: Map<_, _> = self.names.iter().cloned().zip(questions).collect();
            members.insert("properties".to_owned(), json!(properties));
        }
        Requirements::of(&requirements)
    }
}

fn place(question: &Question, seed: &Digest, cx: &Cx<'_>) -> Digest {
    let (kind, name) = question.name();
    cx.ports.keys.mac(Purpose::Questions, &[seed, kind, name])
}

/// What answers are compared with.
pub(in crate::reset) fn pairs(drawn: Vec<Entry>, given: Vec<Secret>) -> Vec<(SaltedHash, Secret)> {
    drawn.into_iter().map(|entry| entry.answer).zip(given).collect()
}
