//! The same stage where nothing proves the account's owner before it: strangers are asked, and can guess.
//!
//! So nobody is to learn from a question whether there is an account. Whoever is asked for is asked questions of the
//! process's own, which follow from the name that was typed: the same ones each time, of an account among those that it
//! has answers to. An account's own words would tell that it is there, so they are never asked. The store is asked as
//! often for nobody as for somebody, and answers wait for the floor.
//!
//! And nothing that a stranger sends may lock an owner out: guesses have a budget that refills, and nothing is counted in
//! the account.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;

use super::{email_validation::codes_down, kba::NAME};
use crate::reset::{
    error::Stop,
    flow::{Flow, Known, Tag},
    kba::{
        Entry, Question,
        questions::{NOT_MATCHED, Questions, pairs},
        tally::Tally,
    },
    ports::{
        Account, AccountId, Decision, Decoy, Digest, Down, Event, LimitKey, NewCode, Opened, Purpose, Reason, Rule,
        Secret, Share, Turn,
    },
    stage::{Cx, Next, Stage},
    wire::{Input, Requirements},
};

/// The stage.
pub struct Alone {
    pub(in crate::reset) questions: Questions,
    /// Whether a code is mailed after it; else nothing more proves the owner.
    pub(in crate::reset) mails: bool,
}

#[async_trait]
impl Stage for Alone {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn requirements(&self, flow: &mut Flow, cx: &Cx<'_>) -> Result<Option<Requirements>, Stop> {
        flow.floored = true;
        let asked = flow.asked.as_ref().map(|asked| asked.literals()).unwrap_or_default();
        let seed = seed(&asked, cx);
        let account = self.look(flow.state.account.as_ref(), cx).await?;
        let drawn = account.as_ref().and_then(|account| self.draw(account, &seed, flow, cx));
        match drawn {
            Some(drawn) => Ok(Some(self.questions.ask(&drawn))),
            None => {
                if flow.state.account.is_some() && cx.settings.reveal_unknown_accounts {
                    cx.record_of(flow, Event::Revealed { why: Decoy::NoQuestions }, Reason::None);
                    return Err(Stop::bad("Unable to find account"));
                }
                if flow.state.account.is_some() {
                    cx.decoy(flow, Decoy::NoQuestions)?;
                }
                Ok(Some(self.questions.pretend(&seed, cx)))
            }
        }
    }

    async fn advance(&self, input: &Input, flow: &mut Flow, cx: &Cx<'_>) -> Result<Next, Stop> {
        let given = self.questions.given(input)?;
        flow.floored = true;
        let record = flow.at().account;
        let refuse = |flow: &Flow, why| {
            cx.record_of(flow, Event::KbaWrong { account: record }, Reason::Word(why));
            Err(Stop::bad(NOT_MATCHED))
        };
        let Some(given) = given else { return refuse(flow, "missing") };
        // Charged for decoys too: what is done for one is done for all.
        let budget = cx.ports.limits.charge(Rule::AnswerPerAccount, LimitKey::Account(record)).await;
        let account = self.look(flow.state.account.as_ref(), cx).await?;
        if budget != Decision::Allowed {
            cx.record_of(flow, Event::Limited { rule: Rule::AnswerPerAccount }, Reason::None);
            return refuse(flow, "budget");
        }
        let Some(account) = account else {
            return refuse(flow, if flow.state.account.is_some() { "changed" } else { "decoy" });
        };
        let name = self.questions.fields().first().and_then(|field| account.text(field)).unwrap_or_default();
        let Some(drawn) = self.draw(&account, &seed(&[name], cx), flow, cx) else { return refuse(flow, "changed") };
        if !cx.ports.keys.all_match(pairs(drawn, given)).await {
            return refuse(flow, "wrong");
        }
        cx.ports.limits.restore(Rule::AnswerPerAccount, LimitKey::Account(record)).await;
        if self.mails {
            self.find_again(&account, flow, cx).await?;
        } else {
            self.enter(flow, cx).await?;
        }
        cx.record_of(flow, Event::KbaRight { account: record }, Reason::None);
        Ok(Next::Done)
    }

    fn may_wait(&self, _: &Cx<'_>) -> bool {
        true
    }

    fn own_fields(&self, _: Tag) -> Vec<&str> {
        self.questions.names()
    }
}

/// Long enough for the step after it.
const LEASE: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(2);

impl Alone {
    /// The account, if it is still what it was; for nobody, as much is asked.
    async fn look(&self, known: Option<&Known>, cx: &Cx<'_>) -> Result<Option<Account>, Stop> {
        if let Some(known) = known
            && let Ok(account) = self.questions.read(known, cx).await
        {
            return Ok(account);
        }
        // A store that fails on this one account must not tell that it is there; one that fails on anybody does not.
        let drawn = cx.random()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let nobody = Known { id: AccountId(drawn), mail: Digest::default() };
        match self.questions.read(&nobody, cx).await {
            Ok(_) if known.is_some() => {
                cx.record(Event::Decoyed { why: Decoy::LookUpFailed });
                Ok(None)
            }
            Ok(_) => Ok(None),
            Err(down) => Err(self.down(down, cx)),
        }
    }

    /// The questions of an account that strangers may see; `None` if they are too few, or it is locked by others.
    fn draw(&self, account: &Account, seed: &Digest, flow: &Flow, cx: &Cx<'_>) -> Option<Vec<Entry>> {
        let settings = &self.questions.settings;
        let lockout = settings.kba.lockout.as_ref();
        if lockout.is_some_and(|lockout| Tally { lockout, resource: &settings.resource }.is_locked(account)) {
            cx.record_of(flow, Event::KbaLocked { account: flow.at().account }, Reason::None);
            return None;
        }
        let mut entries = self.questions.entries(account, flow, cx);
        entries.retain(|entry| matches!(entry.question, Question::System(_)));
        self.questions.draw(entries, seed, cx)
    }

    /// What the look-up found, and the places that it took, for the stage that mails. Only who has answered right learns
    /// that there is none.
    async fn find_again(&self, account: &Account, flow: &mut Flow, cx: &Cx<'_>) -> Result<(), Stop> {
        let room = cx.ports.flows.reserve(cx.now().after(cx.settings.link_lifetime)).await;
        if !room.map_err(|down| codes_down(cx, down))? {
            cx.record(Event::CodesFull);
            return Err(Stop::Unavailable(RETRY));
        }
        let slot = cx.ports.outbox.reserve(Share::Later).map_err(|full| {
            cx.record(Event::OutboxFull);
            Stop::Unavailable(full.retry_after)
        })?;
        flow.slot = Some(slot);
        // The token may come again: each time it mails, that is a flow with an entry of its own.
        flow.state.flow = cx.random()?;
        flow.found.address = account.text(self.questions.mail_field()).map(|address| Secret::new(address.trim()));
        Ok(())
    }

    /// Enters the flow in its account's record, where the password's stage looks for it. No code is ever shown.
    async fn enter(&self, flow: &Flow, cx: &Cx<'_>) -> Result<(), Stop> {
        let (at, until, ticket) = (flow.at(), cx.now().after(cx.settings.token_expiry), cx.random()?);
        let flows = &cx.ports.flows;
        let there = flows.turn(&at, ticket, LEASE).await.map_err(|down| codes_down(cx, down))? != Turn::Gone;
        let code = NewCode { digest: cx.random()?, digits: None, expires: until };
        if !there && flows.open(&at, code).await.map_err(|down| codes_down(cx, down))? == Opened::Crowded {
            return Err(Stop::Unavailable(RETRY));
        }
        // Whoever joined another flow lives as long as that one, if not longer.
        flows.pass(&at, ticket, Some(until)).await.map_err(|down| codes_down(cx, down))
    }

    fn down(&self, down: Down, cx: &Cx<'_>) -> Stop {
        cx.identity_down(down);
        Stop::Unavailable(down.retry_after)
    }
}

/// What questions follow from: the name that was typed, as stores compare it. There is one attribute to ask by, so an
/// account has one name, and what it is called there is what was typed.
fn seed(names: &[&str], cx: &Cx<'_>) -> Digest {
    let folded: BTreeSet<String> = names.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    let mut parts: Vec<&[u8]> = vec![cx.binding, b"name"];
    parts.extend(folded.iter().map(String::as_bytes));
    cx.ports.keys.mac(Purpose::Questions, &parts)
}
