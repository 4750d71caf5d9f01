//! `resetStage`: takes the new password and sets it.

use std::{sync::LazyLock, time::Duration};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{email_validation::codes_down, user_query, validate_active_account};
use crate::reset::{
    error::Stop,
    flow::{Flow, Known, Tag},
    ports::{
        Account, Change, Claim, Down, Event, Field, LimitKey, NewValue, Patched, PolicyFailure, Purpose, Reason,
        Resource, Rule, Secret, Service, Settled, policy_failures,
    },
    process::Reader,
    stage::{Cx, Next, Stage},
    wire::{self, Input, Requirements},
};

/// The stage's name.
pub const NAME: &str = "resetStage";

/// The stage's part of the process file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where accounts are. The stage names no id attribute of its own; it is the user query's.
    pub resource: Resource,
    /// The attribute to replace.
    pub password_field: Field,
}

impl Settings {
    pub(in crate::reset) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let resource = reader.resource("identityServiceUrl", Some(Field::new("_id")));
        let password_field = reader.field("identityPasswordField");
        reader.ignore(&["identityEmailField"]);
        Some(Self { resource: resource?, password_field: password_field? })
    }
}

/// The stage.
pub struct ResetStage {
    /// Its own part of the process file.
    pub settings: Settings,
    /// Where the look-up found address and status.
    pub query: user_query::Settings,
    /// The status that may reset, where one is asked for.
    pub status: Option<validate_active_account::Settings>,
}

#[async_trait]
impl Stage for ResetStage {
    fn name(&self) -> &'static str {
        NAME
    }

    /// As IDM's own, it looks at the account before it asks: of one that has changed since the mail was sent, nobody
    /// need think of a new password.
    async fn requirements(&self, flow: &mut Flow, cx: &Cx<'_>) -> Result<Option<Requirements>, Stop> {
        let Some(known) = &flow.state.account else { return Err(Stop::InvalidCode) };
        match self.account(known, cx).await {
            Ok(Some(_)) => Ok(Some(ASK.clone())),
            Ok(None) => {
                cx.record_of(flow, Event::LinkInvalid { account: flow.at().account }, Reason::None);
                Err(Stop::bad(CHANGED))
            }
            Err(down) => {
                cx.identity_down(down);
                Err(Stop::Unavailable(down.retry_after))
            }
        }
    }

    async fn advance(&self, input: &Input, flow: &mut Flow, cx: &Cx<'_>) -> Result<Next, Stop> {
        let password = input.text("password")?.filter(|password| !password.is_empty());
        let password = Secret::new(password.ok_or_else(|| Stop::bad("password is missing from input"))?);
        let Some(known) = flow.state.account.clone() else { return Err(Stop::InvalidCode) };
        match self.claim(flow, &password, cx).await? {
            Claim::Granted => {}
            Claim::AlreadySet => return Ok(Next::Done),
            Claim::Gone => {
                cx.record_of(flow, Event::FlowDead { account: flow.at().account }, Reason::Word("gone"));
                return Err(Stop::InvalidCode);
            }
            held @ (Claim::Busy | Claim::Undecided) => {
                let why = if held == Claim::Busy { "busy" } else { "undecided" };
                cx.record_of(flow, Event::PasswordHeld { account: flow.at().account }, Reason::Word(why));
                return Err(Stop::Unavailable(RETRY));
            }
        }
        let (outcome, found) = self.set(&known, &password, cx).await;
        let certain = match outcome {
            Outcome::Set => Some(true),
            Outcome::Unknown(_) => Some(false),
            Outcome::Refused(_) | Outcome::Changed | Outcome::NotSent(_) => None,
        };
        let next = self.settle(outcome, flow, cx).await;
        if let Some((certain, found)) = certain.zip(found) {
            cx.password_set(flow, found, certain);
        }
        next
    }

    fn own_fields(&self, _: Tag) -> Vec<&str> {
        vec!["password"]
    }
}

/// How long a claim holds when nobody settles it: longer than all calls of [`ResetStage::set`] together.
const LEASE: Duration = Duration::from_secs(60);
/// How long to wait for somebody else's claim before giving up.
const PATIENCE: Duration = Duration::from_secs(15);
/// IDM's own words for a link whose account is not what it was.
const CHANGED: &str = "Password reset link is invalid";
const POLL: Duration = Duration::from_millis(50);
const RETRY: Duration = Duration::from_secs(2);
/// How often a revision may move between the read and the PATCH.
const STALE_LIMIT: u32 = 3;

/// How setting a password ended.
enum Outcome {
    Set,
    Refused(Vec<PolicyFailure>),
    /// The account is not what it was when the mail was sent.
    Changed,
    /// Nothing happened.
    NotSent(Duration),
    /// It may have happened.
    Unknown(Duration),
}

impl ResetStage {
    async fn claim(&self, flow: &Flow, password: &Secret, cx: &Cx<'_>) -> Result<Claim, Stop> {
        let at = flow.at();
        let digest = cx.ports.keys.mac(Purpose::Password, &[&at.account, &at.flow, password.expose().as_bytes()]);
        let give_up = cx.now().after(PATIENCE);
        loop {
            let claim = cx.ports.flows.claim(&at, digest, LEASE).await.map_err(|down| codes_down(cx, down))?;
            if claim != Claim::Busy || cx.now() >= give_up {
                return Ok(claim);
            }
            cx.ports.clock.until(cx.now().after(POLL)).await;
        }
    }

    /// Reads the account again, sees whether the password is good enough for it, then replaces it: once more where the
    /// outcome is unknown (the value is the same), twice more where the revision moved. With it comes the account as it
    /// was read last.
    async fn set(&self, known: &Known, password: &Secret, cx: &Cx<'_>) -> (Outcome, Option<Account>) {
        let mut found = None;
        let outcome = self.try_to_set(known, password, &mut found, cx).await;
        (outcome, found)
    }

    async fn try_to_set(&self, known: &Known, password: &Secret, found: &mut Option<Account>, cx: &Cx<'_>) -> Outcome {
        let (mut stale, mut unknown, mut judged) = (0, false, false);
        loop {
            let read = self.account(known, cx).await;
            if let Ok(Some(account)) = &read
                && !std::mem::replace(&mut judged, true)
                && let Some(outcome) = Self::judge(password, account, cx).await
            {
                return outcome;
            }
            let down = match read {
                Ok(Some(account)) => match self.patch(known, found.insert(account), password, cx).await {
                    Ok(Patched::Done) => return Outcome::Set,
                    Ok(Patched::Refused(failures)) if !unknown => return Outcome::Refused(failures),
                    // A history rule refuses what was set a moment ago.
                    Ok(Patched::Refused(_)) => return Outcome::Unknown(RETRY),
                    Ok(Patched::Gone) => return Outcome::Changed,
                    Ok(Patched::Stale) if stale + 1 < STALE_LIMIT => {
                        stale += 1;
                        continue;
                    }
                    Ok(Patched::Stale) if unknown => return Outcome::Unknown(RETRY),
                    Ok(Patched::Stale) => return Outcome::NotSent(RETRY),
                    Err(down) if down.sent && !unknown => {
                        unknown = true;
                        continue;
                    }
                    Err(down) => down,
                },
                Ok(None) => return Outcome::Changed,
                Err(down) => Down { sent: false, ..down },
            };
            cx.identity_down(down);
            return if unknown || down.sent {
                Outcome::Unknown(down.retry_after)
            } else {
                Outcome::NotSent(down.retry_after)
            };
        }
    }

    /// Why the store is not even asked; nothing, if it is.
    async fn judge(password: &Secret, account: &Account, cx: &Cx<'_>) -> Option<Outcome> {
        match cx.ports.passwords.broken(password, account).await {
            Ok(broken) if broken.is_empty() => None,
            Ok(broken) => Some(Outcome::Refused(broken)),
            Err(down) => {
                cx.record(Event::ServiceDown { service: Service::Policy });
                Some(Outcome::NotSent(down.retry_after))
            }
        }
    }

    /// The account, if it is still what it was when the mail was sent: id, address and status.
    async fn account(&self, known: &Known, cx: &Cx<'_>) -> Result<Option<Account>, Down> {
        let mut want = vec![self.query.mail_field.clone()];
        want.extend(self.query.status_field.clone());
        want.extend_from_slice(cx.ports.passwords.compared());
        want.extend_from_slice(cx.ports.aftermath.wants());
        let account = cx.ports.accounts.read(cx.caller, &self.settings.resource, &known.id, &want).await?;
        Ok(account.filter(|account| self.query.is_still(known, account, self.status.as_ref(), cx)))
    }

    async fn patch(&self, known: &Known, account: &Account, password: &Secret, cx: &Cx<'_>) -> Result<Patched, Down> {
        let change = Change { field: &self.settings.password_field, value: NewValue::Text(password) };
        cx.ports
            .accounts
            .patch(cx.caller, &self.settings.resource, &known.id, account.revision.as_ref(), &[change])
            .await
    }

    async fn settle(&self, outcome: Outcome, flow: &Flow, cx: &Cx<'_>) -> Result<Next, Stop> {
        let account = flow.at().account;
        let (event, how) = match &outcome {
            Outcome::Set => (Event::PasswordSet { account }, Settled::Set),
            Outcome::Refused(_) => {
                let until = cx.now().after(cx.settings.token_expiry);
                (Event::PasswordRefused { account }, Settled::Refused { until })
            }
            Outcome::Changed => (Event::LinkInvalid { account }, Settled::NotSent),
            Outcome::NotSent(_) => (Event::PasswordNotSent { account }, Settled::NotSent),
            Outcome::Unknown(_) => (Event::OutcomeUnknown { account }, Settled::Unknown),
        };
        let reason = if let Outcome::Refused(failures) = &outcome { Reason::Policies(failures) } else { Reason::None };
        cx.record_of(flow, event, reason);
        let settled = cx.ports.flows.settle(&flow.at(), how).await.map_err(|down| codes_down(cx, down));
        match outcome {
            Outcome::Set => {
                // The links that strangers had mailed to the owner ended with this one: were the mails that they used up
                // not given back, nothing would be left to get in with another time.
                cx.ports.limits.restore(Rule::MailPerAccount, LimitKey::Account(account)).await;
                // The password is set: that the record could not say so is no reason to tell the owner otherwise.
                Ok(Next::Done)
            }
            Outcome::Refused(failures) => {
                settled?;
                Ok(Next::Ask { tag: Tag::Initial, requirements: refused(&failures, &self.settings.password_field) })
            }
            Outcome::Changed => Err(Stop::bad(CHANGED)),
            Outcome::NotSent(wait) | Outcome::Unknown(wait) => Err(Stop::Unavailable(wait)),
        }
    }
}

static ASK: LazyLock<Requirements> = LazyLock::new(|| Requirements::of(&ask()));

fn ask() -> Value {
    wire::requirements("Reset password", &["password"], &[("password", "Password")])
}

/// The same again, with the reasons in the shape that IDM's client renders.
fn refused(failures: &[PolicyFailure], field: &Field) -> Requirements {
    let mut requirements = ask();
    if let Some(members) = requirements.as_object_mut() {
        let error = json!({
            "code": 403,
            "reason": "Forbidden",
            "message": "Failed policy validation",
            "detail": {"result": false, "failedPolicyRequirements": policy_failures(failures, field)},
        });
        members.insert("error".to_owned(), error);
    }
    Requirements::of(&requirements)
}
