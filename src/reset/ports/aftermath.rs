//! What follows when a password is set.

use std::sync::Arc;

use super::{Account, Digest, Field, Secret, Source, Time, Trace};

/// A password that was set.
pub struct Done {
    /// The account's record key.
    pub account: Digest,
    /// In which flow, and by which request.
    pub source: Source,
    /// When.
    pub at: Time,
    /// The asker's `Accept-Language`.
    pub languages: String,
    /// The account as it was right before: with its mail address, and with what [`Aftermath::wants`].
    pub found: Account,
    /// Whether the store said so; else it may have set it, and nobody knows.
    pub certain: bool,
    /// The asker's request, where it is followed.
    pub trace: Option<Arc<dyn Trace>>,
}

/// A word to an account's owner that its password was set.
pub struct Notice {
    /// The account's record key, for the log.
    pub account: Digest,
    /// Where it comes from, for the audit trail.
    pub source: Source,
    /// An address that [`Outbox::deliverable`](super::Outbox::deliverable) said yes to.
    pub to: Secret,
    /// When it was set.
    pub at: Time,
    /// Whether it says whom the asker was taken for.
    pub tells_client: bool,
    /// The asker's `Accept-Language`.
    pub languages: String,
    /// After it, nobody needs to be told any more.
    pub until: Time,
    /// The asker's request, where it is followed.
    pub trace: Option<Arc<dyn Trace>>,
}

/// What is done about it: people and other programs are told. None of it holds up the answer, or undoes anything.
pub trait Aftermath: Send + Sync {
    /// The attributes that it needs of an account.
    fn wants(&self) -> &[Field];
    /// Takes note; it never waits. Of one flow, only the first is acted upon, unless that one is uncertain: then whatever
    /// comes next is waited for, for a while.
    fn password_set(&self, done: Done);
}

/// Nothing is done.
pub struct Nothing;

impl Aftermath for Nothing {
    fn wants(&self) -> &[Field] {
        &[]
    }

    fn password_set(&self, _: Done) {}
}
