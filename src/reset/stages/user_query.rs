//! `userQuery`: finds the account, for whoever asks, without saying so.

use async_trait::async_trait;
use serde_json::Value;

use super::email_validation::codes_down;
use crate::reset::{
    error::Stop,
    filter::Filter,
    flow::{Flow, Found, Known, Tag},
    ports::{About, Account, Decoy, Event, Field, Purpose, Reason, Resource, Secret, Service},
    process::Reader,
    stage::{Cx, Next, Stage},
    token,
    wire::{self, Input},
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
}

impl Settings {
    pub(in crate::reset) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let id_field = reader.field("identityIdField");
        let resource = reader.resource("identityServiceUrl", id_field);
        let valid_fields = reader.texts("validQueryFields");
        let mail_field = reader.field("identityEmailField");
        let status_field = reader.optional_text("identityAccountStatusField").map(|text| Field::new(&text));
        reader.ignore(&["identityUsernameField"]);
        Some(Self {
            resource: resource?,
            valid_fields: valid_fields?.iter().map(|text| Field::new(text)).collect(),
            mail_field: mail_field?,
            status_field,
        })
    }
}

/// The stage.
pub struct UserQuery(pub Settings);

#[async_trait]
impl Stage for UserQuery {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn requirements(&self, _: &mut Flow, _: &Cx<'_>) -> Result<Option<Value>, Stop> {
        let properties = [("queryFilter", "filter string to find account")];
        Ok(Some(wire::requirements("Find your account", &["queryFilter"], &properties)))
    }

    async fn advance(&self, input: &Input, flow: &mut Flow, cx: &Cx<'_>) -> Result<Next, Stop> {
        let text = input.required_text("queryFilter")?;
        let filter = Filter::parse(text, &self.0.valid_fields).map_err(|_| Stop::bad("Invalid query filter"))?;
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
            Ok(account) => self.remember(account, flow, cx)?,
            Err(why) if cx.settings.reveal_unknown_accounts => {
                cx.record_of(flow, Event::Revealed { why }, Reason::None);
                return Err(Stop::bad("Unable to find account"));
            }
            Err(why) => cx.decoy(flow, why)?,
        }
        Ok(Next::Done)
    }

    fn own_fields(&self, _: Tag) -> Vec<&str> {
        vec!["queryFilter"]
    }
}

/// How long a full code cache asks to wait: codes end all the time.
const FULL_RETRY: std::time::Duration = std::time::Duration::from_secs(30);

impl UserQuery {
    /// The one account that the store gives and that is what was asked for, or why there is none.
    async fn look_up(&self, filter: &Filter, cx: &Cx<'_>) -> Result<Result<Account, Decoy>, Stop> {
        let mut want: Vec<Field> = filter.fields().into_iter().cloned().collect();
        for field in [Some(&self.0.mail_field), self.0.status_field.as_ref()].into_iter().flatten() {
            if !want.contains(field) {
                want.push(field.clone());
            }
        }
        let mut found = cx.ports.accounts.find(cx.caller, &self.0.resource, filter, &want).await;
        if found.as_ref().is_err_and(|down| down.sent) {
            // A connection lost by chance must not cost its owner a mail.
            found = cx.ports.accounts.find(cx.caller, &self.0.resource, filter, &want).await;
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
        let asked_for = found.iter().all(|account| filter.matches(|field| account.text(field)));
        let mut found = found.into_iter();
        Ok(match (found.next(), found.next()) {
            (None, _) => Err(Decoy::Unknown),
            (Some(account), None) if asked_for && account.id.0.len() <= token::MAX_ID => Ok(account),
            (Some(_), None) if asked_for => Err(Decoy::LongId),
            _ => Err(Decoy::Ambiguous),
        })
    }

    /// Whether the store fails on one look-up only, which must not be told, or is down, which is told to all.
    async fn store_answers_others(&self, cx: &Cx<'_>) -> Result<bool, Stop> {
        let Some(field) = self.0.valid_fields.first() else { return Ok(false) };
        let nobody: String = cx.random()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let filter = Filter::Eq(field.clone(), nobody.as_str().into());
        Ok(cx.ports.accounts.find(cx.caller, &self.0.resource, &filter, std::slice::from_ref(field)).await.is_ok())
    }

    fn remember(&self, account: Account, flow: &mut Flow, cx: &Cx<'_>) -> Result<(), Stop> {
        let keys = &cx.ports.keys;
        let address = account.text(&self.0.mail_field).map(|address| Secret::new(address.trim()));
        let status = self.0.status_field.as_ref().and_then(|field| account.text(field)).map(str::to_owned);
        let mail = mail_digest(cx, address.as_ref().map_or("", |address| address.expose().as_str()));
        flow.state.record = Some(keys.mac(Purpose::Account, &[cx.binding, account.id.0.as_bytes()]));
        flow.state.account = Some(Known { id: account.id, mail });
        flow.found = Found { address, status };
        Ok(())
    }
}

/// What a token keeps of a mail address, to see later whether it is still the same.
pub fn mail_digest(cx: &Cx<'_>, address: &str) -> crate::reset::ports::Digest {
    let folded = Secret::new(address.trim().to_ascii_lowercase());
    cx.ports.keys.mac(Purpose::Mail, &[folded.expose().as_bytes()])
}
