//! What follows when a password is set: its owner is told by mail, a webhook is called, sessions are ended.
//!
//! What it promises: each is tried until it is taken, refused for good, or `after.lifetime` is over, and none of it holds
//! up the answer or undoes anything. It happens once for each flow, as far as this process knows: a call is made twice
//! only if its answer was lost, and has the same name then. What waits lives in memory, and is lost with the process.
//!
//! Where the store did not say whether it has set the password, that is waited for: whoever tries again with the same
//! one mostly finds out. If nobody does, the owner is better told of a change that was none than of none that was one.

mod desk;
mod filling;
mod revocation;
mod seen;
mod signing;
mod webhook;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};

pub use self::seen::Seen;
use self::{desk::Desk, revocation::Revocation, webhook::Webhook};
use crate::{
    config::{self, Piece},
    outbound::{Failure, Unusable},
    reset::ports::{After as What, Aftermath, Clock, Done, Events, Field, Notice, Outbox, Reason, Secret, Time},
    telemetry::{audit::Keys, metrics::Metrics},
};

/// Why it cannot be set up. Nothing of it depends on whether anybody can be reached.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant is what its text says")]
pub enum StartError {
    #[error("after.webhook: {0}")]
    Webhook(#[source] Unusable),
    #[error("after.revoke: {0}")]
    Revoke(#[source] Unusable),
}

/// The identity store, asked as its service user.
#[async_trait]
pub trait Store: Send + Sync {
    /// Makes a call below its base URL, and gives the answer's status, whatever it says.
    async fn call(
        &self,
        method: Method,
        below: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
    ) -> Result<StatusCode, Failure>;
}

/// Everything that it needs from outside.
pub struct World {
    /// By which notices go.
    pub outbox: Arc<dyn Outbox>,
    /// The attribute that has the mail address.
    pub mail: Field,
    /// The identity store.
    pub store: Arc<dyn Store>,
    /// What hashes an account's id, as in the audit trail.
    pub names: Arc<Keys>,
    /// Which flows were acted upon.
    pub seen: Arc<Seen>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Whom what comes of it is told.
    pub events: Arc<dyn Events>,
    /// What counts calls.
    pub metrics: Arc<Metrics>,
    /// 64 random bits, for jitter.
    pub random: fn() -> u64,
}

/// All of it, for one configuration. What it does in the background ends with it.
pub struct After {
    desk: Arc<Desk>,
    wants: Vec<Field>,
}

impl After {
    /// Nobody is asked yet.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(config: &config::After, world: World) -> Result<Self, StartError> {
        let mut wants: Vec<Field> = Vec::new();
        let mut want = |name: &str| {
            let field = Field::new(name);
            if !wants.contains(&field) {
                wants.push(field);
            }
        };
        let mut targets: Vec<Box<dyn Target>> = Vec::new();
        if let Some(webhook) = &config.webhook {
            let made = Webhook::new(webhook, &world.names, &world.metrics).map_err(StartError::Webhook)?;
            targets.push(Box::new(made));
        }
        for revoke in &config.revoke {
            revoke
                .url
                .attributes()
                .chain(revoke.body.iter().flat_map(config::Template::attributes))
                .for_each(&mut want);
            let made = Revocation::new(revoke, &world.store, &world.metrics).map_err(StartError::Revoke)?;
            targets.push(Box::new(made));
        }
        let notice = config.notice.as_ref().map(|notice| {
            notice.attributes.iter().for_each(|name| want(name));
            let more = notice.attributes.iter().map(|name| Field::new(name));
            Told { fields: std::iter::once(world.mail.clone()).chain(more).collect(), client: notice.client }
        });
        Ok(Self { desk: Desk::new(config.lifetime, targets, notice, world), wants })
    }

    /// How much waits, for operators.
    pub fn waiting(&self) -> usize {
        self.desk.waiting()
    }

    /// How much may wait.
    pub const fn capacity() -> usize {
        desk::MOST
    }

    /// Waits until everything is done or given up. What waits to be certain does so no longer.
    pub async fn drained(&self) {
        self.desk.drained().await;
    }
}

impl Drop for After {
    fn drop(&mut self) {
        self.desk.abort();
    }
}

impl Aftermath for After {
    fn wants(&self) -> &[Field] {
        &self.wants
    }

    fn password_set(&self, done: Done) {
        Desk::take(&self.desk, done);
    }
}

/// Who is told by mail, and what.
struct Told {
    /// The attributes with addresses.
    fields: Vec<Field>,
    /// Whether it is said where it was done from.
    client: bool,
}

/// So many addresses of one account are written to.
const ADDRESSES: usize = 5;

impl Told {
    /// The account's addresses, each once.
    fn addresses(&self, done: &Done, outbox: &dyn Outbox) -> Vec<Secret> {
        let mut all: Vec<Secret> = Vec::new();
        let mut add = |text: &str| {
            let known = all.iter().any(|known| known.expose().eq_ignore_ascii_case(text));
            if !known && all.len() < ADDRESSES && outbox.deliverable(text) {
                all.push(Secret::new(text));
            }
        };
        for field in &self.fields {
            if let Some(text) = done.found.text(field) {
                add(text.trim());
            }
            let several = done.found.structure(field).and_then(|json| serde_json::from_str::<Vec<String>>(json).ok());
            several.into_iter().flatten().map(Secret::new).for_each(|text| add(text.expose().trim()));
        }
        all
    }

    fn notice(&self, done: &Done, to: Secret, until: Time) -> Notice {
        Notice {
            account: done.account,
            source: done.source.clone(),
            to,
            at: done.at,
            tells_client: self.client,
            languages: done.languages.clone(),
            until,
            trace: done.trace.clone(),
        }
    }
}

/// Who is called.
#[async_trait]
trait Target: Send + Sync {
    /// Which of them it is.
    fn what(&self) -> What;
    /// Calls it. The call has a deadline of its own.
    async fn call(&self, done: &Done, now: Time) -> Outcome;
}

/// How a call ended.
#[derive(Debug)]
enum Outcome {
    /// It is done.
    Done,
    /// It will never be: trying again makes no sense.
    Refused(Reason<'static>),
    /// It was not done now, or nobody knows.
    Failed(Reason<'static>),
}

/// What stands for a placeholder.
fn value<'d>(piece: &Piece, done: &'d Done, time: &'d str) -> Option<&'d str> {
    match piece {
        Piece::Text(_) => None,
        Piece::Id => Some(&done.source.account.0),
        Piece::Time => Some(time),
        Piece::Request => Some(done.source.request.as_str()),
        Piece::Attribute(name) => done.found.text(&Field::new(name)),
    }
}
