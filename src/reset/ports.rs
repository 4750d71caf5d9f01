//! What the engine needs from the world, as traits: one domain step a call, never "get, then set".
//!
//! Adapters live outside `reset` ([`crate::identity`], [`crate::mail`], [`crate::flows`], [`crate::limits`],
//! [`crate::keys`], [`crate::telemetry`]); `app` picks them. Every call has a deadline of its own inside the adapter.

mod accounts;
mod aftermath;
mod challenge;
mod events;
mod flows;
mod hashes;
mod limits;
mod passwords;
mod request;
mod trace;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use self::{
    accounts::*, aftermath::*, challenge::*, events::*, flows::*, hashes::*, limits::*, passwords::*, request::*,
    trace::*,
};
pub use super::{
    secret::{Json, Secret},
    wire::Reply,
};

/// A keyed MAC, cut to 128 bits. It names accounts, mail addresses, codes and passwords where the thing itself
/// must not be kept.
pub type Digest = [u8; 16];

/// A point in time: milliseconds since the Unix epoch, as the product's own [`Clock`] tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(u64);

impl Time {
    /// The time that many milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }
    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }
    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }
    /// This time plus `span`; the far end of time where that would overflow.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
    /// How long after `earlier` this is; zero if it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A service that could not do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Down {
    /// The effect may have happened all the same.
    pub sent: bool,
    /// It has too much to do: it was not asked at all.
    pub full: bool,
    /// When trying again makes sense.
    pub retry_after: Duration,
}

/// Work whose answer equal requests share.
pub type Work<'a> = Pin<Box<dyn Future<Output = Reply> + Send + 'a>>;

/// Equal requests within the repeat window get one run's answer.
#[async_trait]
pub trait Repeats: Send + Sync {
    /// Runs `work`, or waits for the run of an equal request, or repeats its answer. An answer of 200 or 400 is kept
    /// for the window; others are only shared with those waiting.
    async fn once<'a>(&self, key: Digest, work: Work<'a>) -> Reply;
}

/// A mail to send: the letter itself is made from the process file's translations when its turn comes.
pub struct Job {
    /// The account's record key, for the log.
    pub account: Digest,
    /// Where it comes from, for the audit trail.
    pub source: Source,
    /// The stored address, which [`Outbox::deliverable`] said yes to.
    pub to: Secret,
    /// The whole link.
    pub link: Secret,
    /// What may be typed in place of following it.
    pub code: Secret,
    /// What its owner calls the account, where the same mailbox gets a letter for another as well.
    pub name: Option<Secret>,
    /// The asker's `Accept-Language`.
    pub languages: String,
    /// The link's end: after it, the mail is worth nothing.
    pub until: Time,
    /// The asker's request, where it is followed.
    pub trace: Option<Arc<dyn Trace>>,
}

/// The outbox has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// When trying again makes sense.
    pub retry_after: Duration,
}

/// A place in the outbox, taken before the look-up by everyone.
pub trait Slot: Send + Sync {
    /// Queues a mail.
    fn send(self: Box<Self>, job: Job);
    /// Sends nothing, but keeps the place as long as a mail would, `until` at most.
    fn decoy(self: Box<Self>, until: Time);
}

/// Mail, off the request path.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Whether a stored text is exactly one mail address.
    fn deliverable(&self, address: &str) -> bool;
    /// Takes a place. Those of [`Share::Later`] may not take the last three quarters, and their mails leave after those
    /// of [`Share::First`].
    fn reserve(&self, share: Share) -> Result<Box<dyn Slot>, Full>;
    /// Queues a notice, in a place of its own: no start takes one, nor is there one less for a start. What becomes of it
    /// is an event.
    fn notify(&self, notice: Notice);
    /// Places taken, for operators.
    fn taken(&self) -> usize;
    /// Attempts to send a mail that failed since one did not, likewise.
    fn failures(&self) -> u32 {
        0
    }
    /// Waits until everything queued is sent or given up.
    async fn drained(&self);
}

/// What a MAC is for: digests for one purpose are worth nothing for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A record's key, from process and store id.
    Account,
    /// A mail address.
    Mail,
    /// A code.
    Code,
    /// Digits that stand for it.
    Digits,
    /// A new password.
    Password,
    /// A request's identity for [`Repeats`].
    Repeat,
    /// Captchas: questions of ours, and marks of what is spent.
    Captcha,
    /// The order in which an account's security questions are asked.
    Questions,
}

/// A token that opened.
pub struct OpenedToken {
    /// The sealed state.
    pub state: Secret<Vec<u8>>,
    /// The token's end. Judging it is the caller's.
    pub expires: Time,
    /// Names the sealed field.
    pub id: Digest,
}

/// Seals, opens, MACs and draws.
#[async_trait]
pub trait Keys: Send + Sync {
    /// A token around `state`; `None` only if the crypto library fails.
    fn seal(&self, state: &[u8], expires: Time) -> Option<String>;
    /// What a token of ours holds; `None` for anything else.
    fn open(&self, token: &str) -> Option<OpenedToken>;
    /// A digest of the parts, each told apart from the next. Its key does not change with the token keys.
    fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> Digest;
    /// 128 bits from the system's generator; `None` if it fails.
    fn random(&self) -> Option<[u8; 16]>;
    /// Whether every text is the one that was hashed, in the same time whichever is not.
    async fn all_match(&self, texts: Vec<(SaltedHash, Secret)>) -> bool;
}

/// Time, as a parameter.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Time;
    /// Returns at that time.
    async fn until(&self, at: Time);
}
