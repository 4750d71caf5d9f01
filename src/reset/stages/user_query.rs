//! `userQuery`: finds the account, for whoever asks, without saying so.

use std::sync::LazyLock;

use async_trait::async_trait;

use super::{
    validate_active_account,
    {captcha, email_validation::codes_down},
};
use crate::reset::{
    error::Stop,
    filter::Filter,
    flow::{Flow, Found, Known, Sharer, Tag},
    ports::{About, Account, Decoy, Event, Field, Purpose, Reason, Resource, Secret, Service},
    process::Reader,
    stage::{Cx, Next, Stage},
    token,
    wire::{self, Input, Requirements},
};

/// The stage's name.
pub const NAME: &str = "userQuery";

/// The stage's part of the process file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where accounts are.
    pub resource: Resource,
    /// The attributes that a filter may name.
    pub valid_fields: Vec<Field>,
    /// The attribute that holds the mail address.
    pub mail_field: Field,
    /// The attribute that holds the status, where one is asked for.
    pub status_field: Option<Field>,
    /// The attribute that holds what an account's owner calls it.
    pub name_field: Option<Field>,
}

impl Settings {
    pub(in crate::reset) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let id_field = reader.field("identityIdField");
        let resource = reader.resource("identityServiceUrl", id_field);
        let valid_fields = reader.texts("validQueryFields");
        let mail_field = reader.field("identityEmailField");
        let status_field = reader.optional_text("identityAccountStatusField").map(|text| Field::new(&text));
        let name_field = reader.optional_text("identityUsernameField").map(|text| Field::new(&text));
        Some(Self {
            resource: resource?,
            valid_fields: valid_fields?.iter().map(|text| Field::new(text)).collect(),
            mail_field: mail_field?,
            status_field,
            name_field,
        })
    }
}

impl Settings {
    /// Whether an account is what it was when it was found: by its id, its address and, where one is asked for, its status.
    pub(in crate::reset) fn is_still(
        &self,
        known: &Known,
        account: &Account,
        status: Option<&validate_active_account::Settings>,
        cx: &Cx<'_>,
    ) -> bool {
        let same_mail = mail_digest(cx, account.text(&self.mail_field).unwrap_or_default()) == known.mail;
        let found = self.status_field.as_ref().and_then(|field| account.text(field));
        account.id == known.id && same_mail && status.is_none_or(|rule| rule.holds(found))
    }
}

static ASK: LazyLock<Requirements> = LazyLock::new(|| {
    let properties = [("queryFilter", "filter string to find account")];
    Requirements::of(&wire::requirements("Find your account", &["queryFilter"], &properties))
});

/// The stage.
pub struct UserQuery {
    /// Its part of the process file.
    pub settings: Settings,
    /// That of the captcha, where the process has one.
    pub captcha: Option<captcha::Settings>,
}

#[async_trait]
impl Stage for UserQuery {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn requirements(&self, _: &mut Flow, _: &Cx<'_>) -> Result<Option<Requirements>, Stop> {
        Ok(Some(ASK.clone()))
    }

    async fn advance(&self, input: &Input, flow: &mut Flow, cx: &Cx<'_>) -> Result<Next, Stop> {
        let text = input.required_text("queryFilter")?;
        let filter = Filter::parse(text, &self.settings.valid_fields).map_err(|_| Stop::bad("Invalid query filter"))?;
        if let Some(captcha) = &self.captcha
            && let Some(first) = captcha.admit(flow, cx).await?
        {
            return Ok(first);
        }
        let share = cx.start(&filter).await?;
        // From here on all take the same time, whatever comes of it, and all that may be full is asked first.
        flow.floored = true;
        let slot = cx.ports.outbox.reserve(share).map_err(|full| {
            cx.note(Event::OutboxFull, &About { asked: Some(&filter), ..About::default() });
            Stop::Unavailable(full.retry_after)
        })?;
        let room = cx.ports.flows.reserve(cx.began.after(cx.settings.link_lifetime)).await;
        if !room.map_err(|down| codes_down(cx, down))? {
            cx.note(Event::CodesFull, &About { asked: Some(&filter), ..About::default() });
            return Err(Stop::Unavailable(cx.settings.link_lifetime.min(FULL_RETRY)));
        }
        flow.slot = Some(slot);
        // The token may come again, with this name or another: each time it starts a flow with a record entry of its own.
        flow.state.flow = cx.random()?;
        let about = About { flow: Some(&flow.state.flow), asked: Some(&filter), ..About::default() };
        cx.note(Event::Started, &about);
        match self.look_up(&filter, cx).await? {
            Ok(found) => self.remember(found, flow, cx)?,
            Err(why) if cx.settings.reveal_unknown_accounts => {
                cx.record_of(flow, Event::Revealed { why }, Reason::None);
                return Err(Stop::bad("Unable to find account"));
            }
            Err(why) => cx.decoy(flow, why)?,
        }
        flow.asked = Some(filter);
        Ok(Next::Done)
    }

    fn may_wait(&self, _: &Cx<'_>) -> bool {
        true
    }

    fn own_fields(&self, _: Tag) -> Vec<&str> {
        vec!["queryFilter"]
    }
}

/// How long a full code cache asks to wait: codes end all the time.
const FULL_RETRY: std::time::Duration = std::time::Duration::from_secs(30);
/// Of so many accounts with one mail address each gets a link; of more, none.
const MAX_SHARERS: usize = 5;

impl UserQuery {
    /// The accounts that the store gives and that are what was asked for, or why there are none. Several only where each
    /// of them is to get a link, and all have one mail address.
    async fn look_up(&self, filter: &Filter, cx: &Cx<'_>) -> Result<Result<Vec<Account>, Decoy>, Stop> {
        let each = cx.settings.each_of_a_mailbox;
        let Settings { mail_field, status_field, name_field, .. } = &self.settings;
        let name_field = name_field.as_ref().filter(|_| each);
        let mut want: Vec<Field> = filter.fields().into_iter().cloned().collect();
        for field in [Some(mail_field), status_field.as_ref(), name_field].into_iter().flatten() {
            if !want.contains(field) {
                want.push(field.clone());
            }
        }
        // One more than can be used: that there are too many must not look as if there were not.
        let most = if each { MAX_SHARERS + 1 } else { 2 };
        let asked = if cx.settings.case_sensitive { filter.clone().in_either_case() } else { filter.clone() };
        let mut found = cx.ports.accounts.find(cx.caller, &self.settings.resource, &asked, &want, most).await;
        if found.as_ref().is_err_and(|down| down.sent) {
            // A connection lost by chance must not cost its owner a mail.
            found = cx.ports.accounts.find(cx.caller, &self.settings.resource, &asked, &want, most).await;
        }
        let found = match found {
            Ok(found) => found,
            Err(down) if down.sent && self.store_answers_others(cx).await? => {
                cx.record(Event::ServiceDown { service: Service::Identity });
                return Ok(Err(Decoy::LookUpFailed));
            }
            Err(down) => {
                cx.identity_down(down);
                return Err(Stop::Unavailable(down.retry_after));
            }
        };
        // A store may ignore a filter or read it more loosely than it was meant: what is not what was asked for may
        // hide another match behind the page, so nothing is certain then.
        if !found.iter().all(|account| filter.matches(|field| account.text(field))) {
            return Ok(Err(Decoy::Ambiguous));
        }
        let mut found = found;
        // Who is called `Ann` where somebody else is called `ann` must get in as well.
        let exactly = |account: &Account| filter.matches_exactly(|field| account.text(field));
        if cx.settings.case_sensitive && found.iter().filter(|account| exactly(account)).count() == 1 {
            found.retain(exactly);
        }
        let mail = |account: &Account| account.text(mail_field).map(|address| mail_digest(cx, address));
        let one_mailbox =
            found.first().and_then(mail).filter(|one| found.iter().all(|other| mail(other) == Some(*one)));
        Ok(match found.len() {
            0 => Err(Decoy::Unknown),
            2.. if !each || found.len() > MAX_SHARERS || one_mailbox.is_none() => Err(Decoy::Ambiguous),
            _ if found.iter().any(|account| account.id.0.len() > token::MAX_ID) => Err(Decoy::LongId),
            _ => Ok(found),
        })
    }

    /// Whether the store fails on one look-up only, which must not be told, or is down, which is told to all.
    async fn store_answers_others(&self, cx: &Cx<'_>) -> Result<bool, Stop> {
        let Some(field) = self.settings.valid_fields.first() else { return Ok(false) };
        let nobody: String = cx.random()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let filter = Filter::Eq(field.clone(), nobody.as_str().into());
        Ok(cx
            .ports
            .accounts
            .find(cx.caller, &self.settings.resource, &filter, std::slice::from_ref(field), 1)
            .await
            .is_ok())
    }

    fn remember(&self, found: Vec<Account>, flow: &mut Flow, cx: &Cx<'_>) -> Result<(), Stop> {
        let address = found.first().and_then(|account| account.text(&self.settings.mail_field));
        let address = address.map(|address| Secret::new(address.trim()));
        let mut sharers: Vec<_> = found.into_iter().map(|account| self.sharer(account, cx)).collect();
        flow.found = Found { address, status: None, sharers: Vec::new() };
        match sharers.pop() {
            Some(only) if sharers.is_empty() => flow.settle(only),
            last => {
                // Which of them the asker means nobody knows: only the links lead to accounts.
                flow.state.record = Some(cx.random()?);
                sharers.extend(last);
                flow.found.sharers = sharers;
            }
        }
        Ok(())
    }

    fn sharer(&self, account: Account, cx: &Cx<'_>) -> Sharer {
        let Settings { mail_field, status_field, name_field, .. } = &self.settings;
        let text = |field: &Option<Field>| field.as_ref().and_then(|field| account.text(field)).map(str::to_owned);
        let (status, name) = (text(status_field), text(name_field));
        let mail = mail_digest(cx, account.text(mail_field).unwrap_or_default());
        let record = cx.ports.keys.mac(Purpose::Account, &[cx.binding, account.id.0.as_bytes()]);
        Sharer { known: Known { id: account.id, mail }, record, status, name: Secret::new(name.unwrap_or_default()) }
    }
}

/// What a token keeps of a mail address, to see later whether it is still the same.
fn mail_digest(cx: &Cx<'_>, address: &str) -> crate::reset::ports::Digest {
    let folded = Secret::new(address.trim().to_ascii_lowercase());
    cx.ports.keys.mac(Purpose::Mail, &[folded.expose().as_bytes()])
}
