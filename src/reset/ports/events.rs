//! What the engine reports.

use std::time::Duration;

use super::{Digest, Lane, Rule};

/// Why a flow goes on without an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decoy {
    /// Nobody by that name.
    Unknown,
    /// More than one, or not what was asked for.
    Ambiguous,
    /// The status is not the valid one.
    Inactive,
    /// No address, or not exactly one.
    NoAddress,
    /// The account's id is longer than a token holds.
    LongId,
    /// The account's mail budget is spent.
    OverBudget,
    /// The account has its few live flows.
    Crowded,
    /// The store failed on this look-up, though not on others.
    LookUpFailed,
}

/// Which outside service an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// The identity store.
    Identity,
    /// The code cache.
    Codes,
    /// The crypto library.
    Keys,
}

/// What happened, for the audit trail and the metrics. No name, address, code, token or password is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "`account` is always the record key, `lane` the token's lane")]
pub enum Event {
    /// A rule refused a request.
    Limited { rule: Rule },
    /// A rule that is only observed would have refused a request.
    LimitObserved { rule: Rule },
    /// A rule let a request through that used up four fifths of its budget, or more.
    LimitNear { rule: Rule },
    /// A user query went on without an account.
    Decoyed { why: Decoy },
    /// A code was queued for mailing.
    MailQueued { account: Digest },
    /// A start joined the code mailed a moment ago.
    MailJoined { account: Digest },
    /// The relay took the mail.
    MailSent { account: Digest },
    /// One attempt to send failed and will be repeated.
    MailDelayed { account: Digest },
    /// The relay refused the mail for good, or the link died before it could be sent.
    MailDropped { account: Digest },
    /// The outbox was full.
    OutboxFull,
    /// The code cache was full.
    CodesFull,
    /// A client found no place among those that a limit remembers, and what such clients share was used up.
    KeysFull,
    /// Too many submits were at work.
    SubmitsFull,
    /// Too many calls to the identity store were under way.
    LookUpsFull,
    /// The right code was shown.
    CodeRight { account: Digest, lane: Lane },
    /// A wrong, spent or expired code was shown, or a decoy's.
    CodeWrong { account: Digest, lane: Lane },
    /// The store's policy refused a password.
    PasswordRefused { account: Digest },
    /// The password was set.
    PasswordSet { account: Digest },
    /// The account was changed or removed since the mail was sent.
    LinkInvalid { account: Digest },
    /// The store may have set the password; nobody knows.
    OutcomeUnknown { account: Digest },
    /// A look-up took longer than the answer floor.
    FloorMissed,
    /// A service could not do its work.
    ServiceDown { service: Service },
    /// The engine met a state that it should never meet.
    Broken { what: &'static str },
}

/// What came of a step of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// The stage is behind it.
    Passed,
    /// The stage asked something more, or the same again.
    Asked,
    /// What came with it was no good.
    Refused,
    /// A limit was reached.
    Limited,
    /// A service was down, or full.
    Unavailable,
    /// That was our own fault.
    Failed,
    /// It was answered as its equal before it.
    Repeated,
}

impl Went {
    /// As its answer's status says.
    pub(in crate::reset) const fn of(status: u16) -> Self {
        match status {
            200 => Self::Asked,
            429 => Self::Limited,
            503 => Self::Unavailable,
            400..=499 => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// Audit trail and metrics.
pub trait Events: Send + Sync {
    /// Takes note.
    fn record(&self, event: Event);
    /// Takes note of a step: the stage that it was for, what came of it, and how long the asker waited.
    fn step(&self, _stage: &'static str, _went: Went, _took: Duration) {}
    /// Takes note that a carrier has taken a mail, so long after it was queued.
    fn mail_left(&self, _after: Duration) {}
}
