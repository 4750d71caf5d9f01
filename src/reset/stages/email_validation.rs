//! `emailValidation`: mails a link with a code, and asks for the code.

use std::fmt;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::reset::{
    error::Stop,
    flow::{Flow, State, Tag},
    ports::{
        if !deliverable {
            // As much is asked of what may be far away, for somebody who is not there.
            let _ = cx.ports.flows.withdraw(&flow.at()).await;
            cx.ports.limits.restore(Rule::MailPerAccount, LimitKey::Account(record)).await;
        } else if self.open(flow, cx, new).await? {
            cx.record_of(flow, Event::MailQueued { account: record }, Reason::None);
            if let (Some(slot), Some(to)) = (flow.slot.take(), flow.found.address.take()) {
                let (code, languages) = (digits.unwrap_or(code), cx.caller.languages.clone());
                let (source, trace) = (source(flow, cx), cx.caller.trace.clone());
                slot.send(Job { account: record, source, to, link, code, languages, until, trace });
            }
        }
        if let Some(slot) = flow.slot.take() {
            slot.decoy(until);
        }
        let requirements = wire::requirements("Verify emailed code", &["code"], &[("code", "Enter code emailed")]);
        Ok(Next::Ask { tag: Tag::ValidateCode, requirements })
    }

    /// Enters the flow in its account's record; whether its code is to be mailed.
    async fn open(&self, flow: &mut Flow, cx: &Cx<'_>, code: NewCode) -> Result<bool, Stop> {
        let at = flow.at();
        let opened = cx.ports.flows.open(&at, code).await.unwrap_or_else(|_| {
            // Only accounts come here: to say so would be to say that this one exists.
            cx.record(Event::ServiceDown { service: Service::Codes });
            Opened::Crowded
        });
        match opened {
            Opened::Mail => {
                let budget = cx.ports.limits.charge(Rule::MailPerAccount, LimitKey::Account(at.account)).await;
                if budget == Decision::Allowed {
                    return Ok(true);
                }
                cx.record_of(flow, Event::Limited { rule: Rule::MailPerAccount }, Reason::None);
                if cx.ports.flows.withdraw(&at).await.is_err() {
                    cx.record(Event::ServiceDown { service: Service::Codes });
                }
                cx.decoy(flow, Decoy::OverBudget)?;
            }
            Opened::Joined => cx.record_of(flow, Event::MailJoined { account: at.account }, Reason::None),
            Opened::Crowded => cx.decoy(flow, Decoy::Crowded)?,
        }
        Ok(false)
    }

    async fn validate(&self, input: &Input, flow: &mut Flow, cx: &Cx<'_>) -> Result<Next, Stop> {
        let code = input.text("code")?.map(str::trim).filter(|code| !code.is_empty());
        let code = Secret::new(code.ok_or_else(|| Stop::bad("Input code is missing"))?);
        let (at, lane) = (flow.at(), flow.state.lane);
        let until = cx.now().after(cx.settings.token_expiry);
        let digest = match typed(&code).filter(|_| cx.settings.digits.is_some() && lane == Lane::Asker) {
            Some(digits) => self.typed(flow, &digits, cx).await?,
            None => Some(code_digest(cx, &at.account, &code)),
        };
        let compared = digest.map_or_else(|| cx.random(), Ok)?;
        let attempt = cx.ports.flows.attempt(&at, lane, compared, until).await.map_err(|down| codes_down(cx, down))?;
        let why = match attempt {
            Attempt::Right => {
                cx.record_of(flow, Event::CodeRight { account: at.account, lane }, Reason::None);
                return Ok(Next::Done);
            }
            _ if flow.state.account.is_none() => "decoy",
            Attempt::Wrong if digest.is_none() => "budget",
            Attempt::Wrong => "wrong",
            Attempt::TriedOut => "tried-out",
            Attempt::Spent => "spent",
            Attempt::Gone => "gone",
        };
        // To find a record and to find none do not take quite the same time.
        flow.floored = true;
        cx.record_of(flow, Event::CodeWrong { account: at.account, lane }, Reason::Word(why));
        Err(Stop::invalid_code())
    }

    /// The digest of typed digits. They are few enough to be guessed by whoever starts flows without end, so an account
    /// has a budget of its own for them, in all its flows, right ones included: it must be charged before they are
    /// compared. Beyond it, `None`: none are right; the code in the mailed link, which nobody can guess, stays good.
    async fn typed(&self, flow: &Flow, digits: &Secret, cx: &Cx<'_>) -> Result<Option<Digest>, Stop> {
        let account = flow.at().account;
        // Charged for decoys too: what is done for one is done for all.
        if cx.ports.limits.charge(Rule::CodePerAccount, LimitKey::Account(account)).await == Decision::Allowed {
            return Ok(Some(digits_digest(cx, &account, digits)));
        }
        cx.record_of(flow, Event::Limited { rule: Rule::CodePerAccount }, Reason::None);
        Ok(None)
    }
}

/// Where a mail comes from.
fn source(flow: &Flow, cx: &Cx<'_>) -> Source {
    // Nobody else has a mail.
    let account = flow.state.account.as_ref().map_or_else(|| AccountId(String::new()), |known| known.id.clone());
    Source { request: cx.caller.request.clone(), client: cx.caller.client, flow: flow.state.flow, account }
}

/// So many random digits.
fn digits(cx: &Cx<'_>, length: u32) -> Result<Secret, Stop> {
    // Of 128 bits the remainder by a number this small is even.
    let number = u128::from_be_bytes(cx.random()?) % 10_u128.saturating_pow(length);
    let width = usize::try_from(length).unwrap_or(usize::MAX);
    Ok(Secret::new(format!("{number:0width$}")))
}

/// The digits of a code that is nothing else; people type them in groups.
fn typed(code: &Secret) -> Option<Secret> {
    let digits = Secret::new(code.expose().replace([' ', '-'], ""));
    digits.expose().bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)
}

fn digits_digest(cx: &Cx<'_>, record: &Digest, digits: &Secret) -> Digest {
    cx.ports.keys.mac(Purpose::Digits, &[record, digits.expose().as_bytes()])
}

fn code_digest(cx: &Cx<'_>, record: &Digest, code: &Secret) -> Digest {
    cx.ports.keys.mac(Purpose::Code, &[record, code.expose().as_bytes()])
}

/// The code cache could not do its work: 503.
pub fn codes_down(cx: &Cx<'_>, down: Down) -> Stop {
    cx.record(Event::ServiceDown { service: Service::Codes });
    Stop::Unavailable(down.retry_after)
}
