//! `emailValidation`: mails a link with a code, and asks for the code.

use std::{fmt, sync::LazyLock};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::reset::{
    error::Stop,
    flow::{Flow, State, Tag},
    ports::{
        Attempt, Decision, Decoy, Digest, Down, Event, Job, Lane, LimitKey, NewCode, Opened, Purpose, Reason, Rule,
        Secret, Service, Share, Slot, Time,
    },
    process::Reader,
    stage::{Cx, Next, Stage},
    wire::{self, Input, Requirements},
};

/// The stage's name.
pub const NAME: &str = "emailValidation";

/// The stage's part of the process file.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// What the link begins with; `&token=…&code=…` is put right after it.
    pub verification_link: String,
    /// The sender, where the product's own configuration has none.
    pub from: Option<String>,
    /// Subjects by language tag (`en`, `en_GB`, `pt-BR`), in the file's order.
    pub subjects: Vec<(String, String)>,
    /// Bodies by language tag, in the file's order.
    pub messages: Vec<(String, String)>,
    /// What stands for the link in a body.
    pub link_token: String,
    /// `mimeType`, where there is one: what IDM's own mail service is told.
    pub mime_type: Option<String>,
    /// Whether the bodies are HTML, or XML, which IDM sends as well; plain text otherwise.
    pub html: bool,
    /// `emailServiceUrl`: IDM's own mail service, below the store's base URL. Judged only where mail goes there.
    pub service: Option<String>,
    /// `emailServiceParameters`: what it is asked with, as a query.
    pub parameters: Vec<(String, String)>,
}

impl Settings {
    pub(in crate::reset) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let verification_link = reader.text("verificationLink");
        let subjects = reader.translations("subjectTranslations");
        let messages = reader.translations("messageTranslations");
        let link_token = reader.text("verificationLinkToken");
        let from = reader.optional_text("from");
        let mime_type = reader.optional_text("mimeType");
        let kind = mime_type.as_deref().unwrap_or("text/plain").to_ascii_lowercase();
        if !matches!(kind.as_str(), "text/plain" | "text/html" | "text/xml") {
            reader.fault("mimeType", "must be text/plain, text/html or text/xml");
        }
        if let (Some(messages), Some(token)) = (&messages, &link_token)
            && let Some((tag, _)) = messages.iter().find(|(_, text)| !text.contains(token))
        {
            reader.fault("messageTranslations", &format!("must hold {token} in every language, and does not in {tag}"));
        }
        let service = reader.optional_text("emailServiceUrl").map(|text| text.trim_matches('/').to_owned());
        let parameters = reader.parameters("emailServiceParameters");
        // `subject` and `message` are dead in IDM too.
        reader.ignore(&["identityEmailField", "subject", "message"]);
        Some(Self {
            verification_link: verification_link?,
            from,
            subjects: subjects?,
            messages: messages?,
            link_token: link_token?,
            html: kind != "text/plain",
            mime_type,
            service,
            parameters: parameters?,
        })
    }
}

/// Only what a token is bound to: the address of the link, not the texts.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailValidation").field("verification_link", &self.verification_link).finish_non_exhaustive()
    }
}

static ASK: LazyLock<Requirements> = LazyLock::new(|| {
    Requirements::of(&wire::requirements("Verify emailed code", &["code"], &[("code", "Enter code emailed")]))
});

/// The stage.
pub struct EmailValidation(pub Settings);

#[async_trait]
impl Stage for EmailValidation {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn requirements(&self, _: &mut Flow, _: &Cx<'_>) -> Result<Option<Requirements>, Stop> {
        Ok(None)
    }

    async fn advance(&self, input: &Input, flow: &mut Flow, cx: &Cx<'_>) -> Result<Next, Stop> {
        match flow.state.tag {
            Tag::Initial => self.mail(flow, cx).await,
            Tag::ValidateCode => self.validate(input, flow, cx).await,
        }
    }

    fn own_fields(&self, tag: Tag) -> Vec<&str> {
        match tag {
            Tag::Initial => Vec::new(),
            Tag::ValidateCode => vec!["code"],
        }
    }

    fn may_wait(&self, cx: &Cx<'_>) -> bool {
        !cx.ports.flows.takes_alike()
    }
}

impl EmailValidation {
    /// Mails a code, or does as much for nobody.
    async fn mail(&self, flow: &mut Flow, cx: &Cx<'_>) -> Result<Next, Stop> {
        let address = flow.found.address.as_ref();
        let deliverable = address.is_some_and(|address| cx.ports.outbox.deliverable(address.expose()));
        let found = flow.state.account.is_some() || !flow.found.sharers.is_empty();
        if found && !deliverable {
            if cx.settings.reveal_unknown_accounts {
                cx.record_of(flow, Event::Revealed { why: Decoy::NoAddress }, Reason::None);
                return Err(Stop::bad("Unable to verify email"));
            }
            cx.decoy(flow, Decoy::NoAddress)?;
        }
        // From now, as the budget of mails is: were it from when the request came, a link would end before the next mail
        // is due. Only who reads the mail holds this token, so its end tells nobody how long the look-up took.
        let until = cx.now().after(cx.settings.link_lifetime);
        // Drawn and sealed for decoys too: what is done for one is done for all.
        let made = self.make(&flow.state, until, cx)?;
        let record = flow.at().account;
        if flow.state.account.is_none() {
            // As much is asked of what may be far away, for somebody who is not there.
            let _ = cx.ports.flows.withdraw(&flow.at()).await;
            cx.ports.limits.restore(Rule::MailPerAccount, LimitKey::Account(record)).await;
        } else if self.open(flow, cx, made.new).await? {
            cx.record_of(flow, Event::MailQueued { account: record }, Reason::None);
            if let (Some(slot), Some(to)) = (flow.slot.take(), flow.found.address.take()) {
                slot.send(made.job(flow, to, None, until, cx));
            }
        }
        self.mail_sharers(flow, until, cx).await?;
        if let Some(slot) = flow.slot.take() {
            slot.decoy(until);
        }
        Ok(Next::Ask { tag: Tag::ValidateCode, requirements: ASK.clone() })
    }

    /// Draws a code, and makes the link of it that goes on with the state.
    fn make(&self, state: &State, until: Time, cx: &Cx<'_>) -> Result<Made, Stop> {
        let record = state.record.unwrap_or(state.flow);
        let code = Secret::new(URL_SAFE_NO_PAD.encode(cx.random()?));
        let token = cx.seal(&State { tag: Tag::ValidateCode, lane: Lane::Link, ..state.clone() }, until)?;
        let link = Secret::new(format!("{}&token={}&code={}", self.0.verification_link, token.expose(), code.expose()));
        let digits = cx.settings.digits.map(|length| digits(cx, length)).transpose()?;
        let new = NewCode {
            digest: code_digest(cx, &record, &code),
            digits: digits.as_ref().map(|digits| digits_digest(cx, &record, digits)),
            expires: until,
        };
        Ok(Made { link, code: digits.unwrap_or(code), new })
    }

    /// A link for each of several accounts with one address. Whoever asked cannot type what is in one of the letters, for
    /// nobody knows which of the accounts is meant.
    async fn mail_sharers(&self, flow: &mut Flow, until: Time, cx: &Cx<'_>) -> Result<(), Stop> {
        let Some(to) = flow.found.address.take_if(|_| !flow.found.sharers.is_empty()) else { return Ok(()) };
        for sharer in std::mem::take(&mut flow.found.sharers) {
            let state = State { account: Some(sharer.known), record: Some(sharer.record), ..flow.state.clone() };
            let mut own = Flow::resume(State { flow: cx.random()?, ..state });
            own.found.address = Some(Secret::new(to.expose().as_str()));
            // The first has what was taken before the look-up; what is left for the others does not change the answer.
            own.slot = match flow.slot.take() {
                Some(slot) => Some(slot),
                None => self.room_for_one_more(until, cx).await,
            };
            if own.slot.is_none() {
                continue;
            }
            let made = self.make(&own.state, until, cx)?;
            if self.open(&mut own, cx, made.new).await? {
                cx.record_of(&own, Event::MailQueued { account: sharer.record }, Reason::None);
                if let (Some(slot), Some(to)) = (own.slot.take(), own.found.address.take()) {
                    slot.send(made.job(&own, to, Some(sharer.name), until, cx));
                }
            }
            // Whoever did not get a letter leaves the place to the next.
            flow.slot = own.slot;
        }
        Ok(())
    }

    async fn room_for_one_more(&self, until: Time, cx: &Cx<'_>) -> Option<Box<dyn Slot>> {
        let Ok(slot) = cx.ports.outbox.reserve(Share::Later) else {
            cx.record(Event::OutboxFull);
            return None;
        };
        if !cx.ports.flows.reserve(until).await.unwrap_or(false) {
            cx.record(Event::CodesFull);
            return None;
        }
        Some(slot)
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
        flow.floored = self.may_wait(cx);
        cx.record_of(flow, Event::CodeWrong { account: at.account, lane }, Reason::Word(why));
        Err(Stop::InvalidCode)
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

/// A code, and what leads there.
struct Made {
    link: Secret,
    /// What may be typed in place of following the link.
    code: Secret,
    new: NewCode,
}

impl Made {
    fn job(self, flow: &Flow, to: Secret, name: Option<Secret>, until: Time, cx: &Cx<'_>) -> Job {
        let account = flow.at().account;
        let (languages, trace) = (cx.caller.languages.clone(), cx.caller.trace.clone());
        Job { account, source: cx.source(flow), to, link: self.link, code: self.code, name, languages, until, trace }
    }
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
