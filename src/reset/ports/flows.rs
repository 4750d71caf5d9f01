//! The code cache, and what its steps come to.

use std::time::Duration;

use async_trait::async_trait;

use super::{Digest, Down, Time};

/// Where a flow's record is: one record an account, in it one entry a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRef {
    /// MAC of process and store id; random for a decoy, so that nothing is found.
    pub account: Digest,
    /// The flow's own id.
    pub flow: [u8; 16],
}

/// Which of a flow's two tokens asks: each has tries of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The token in the answer to the user query: whoever asked.
    Asker,
    /// The token in the mailed link: whoever reads the mail.
    Link,
}

/// A code about to be mailed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewCode {
    /// MAC of account and code.
    pub digest: Digest,
    /// MAC of account and digits, where the mail has digits to type beside its link.
    pub digits: Option<Digest>,
    /// The mailed link's end.
    pub expires: Time,
}

/// How a flow was entered in its account's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// With the new code: mail it, or [`Flows::withdraw`] the flow.
    Mail,
    /// With the code mailed within the gap: send nothing.
    Joined,
    /// Not at all: the account has its few live flows. Go on as a decoy.
    Crowded,
}

/// How showing a code ended. Whoever showed it is told no more than whether it was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It is the one.
    Right,
    /// It is another.
    Wrong,
    /// The lane has no tries left.
    TriedOut,
    /// The account's password was set by a flow.
    Spent,
    /// No such flow: never there, expired, or of an account whose password was set longer ago.
    Gone,
}

/// The right to set the password of a flow whose code was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Ours until settled or until the lease ends.
    Granted,
    /// This flow has set this very password already.
    AlreadySet,
    /// Somebody is at it at this moment.
    Busy,
    /// An earlier password of this flow may have been set: only that one may be tried again.
    Undecided,
    /// No such flow: never there, expired, ended by a set password, or tried out.
    Gone,
}

/// The right to have answers to an account's questions looked at, which one request has at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Ours until it is passed on or until the lease ends.
    Ours,
    /// Somebody else's at this moment.
    Busy,
    /// No such flow: never there, expired, or ended by a set password.
    Gone,
}

/// How a claimed attempt to set the password ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The password is set: every flow of the account ends.
    Set,
    /// The store's policy refused it: counted, the flow goes on until the given time at least.
    Refused {
        /// The end of the fresh token.
        until: Time,
    },
    /// The store was never asked, or surely did nothing: as before.
    NotSent,
    /// The store may have done it: only the same password may be tried again.
    Unknown,
}

/// How spending something ended that can be spent once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// By this call.
    Now,
    /// By an earlier one.
    Before,
    /// Not at all: there is no room to remember it, for whomever.
    Full,
}

/// The code cache: one record an account, changed only by atomic steps.
#[async_trait]
pub trait Flows: Send + Sync {
    /// Takes room for one more start, until that time; false if there is none. Called before any look-up, for everyone
    /// alike: nothing that is found or done later takes or frees any.
    async fn reserve(&self, until: Time) -> Result<bool, Down>;
    /// Enters a flow in its account's record, for which [`Flows::reserve`] has taken room.
    async fn open(&self, at: &FlowRef, code: NewCode) -> Result<Opened, Down>;
    /// Takes back a code that will not be mailed, with every flow that joined it.
    async fn withdraw(&self, at: &FlowRef) -> Result<(), Down>;
    /// Takes one of the lane's tries, then compares; right codes prolong the flow to `until` at least. Digits are right
    /// only for the asker, who types them: the mailed link has its code in it.
    async fn attempt(&self, at: &FlowRef, lane: Lane, code: Digest, until: Time) -> Result<Attempt, Down>;
    /// Whether an attempt takes as long where there is no record, so that its answer need not wait for the floor.
    fn takes_alike(&self) -> bool;
    /// Takes the account's turn to answer, for who has drawn that ticket. The same ticket may take it again.
    async fn turn(&self, at: &FlowRef, ticket: [u8; 16], lease: Duration) -> Result<Turn, Down>;
    /// Passes the turn on; after right answers, the flow lives until the given time at least.
    async fn pass(&self, at: &FlowRef, ticket: [u8; 16], until: Option<Time>) -> Result<(), Down>;
    /// Leases the record to set the password with that digest.
    async fn claim(&self, at: &FlowRef, password: Digest, lease: Duration) -> Result<Claim, Down>;
    /// Ends a granted claim.
    async fn settle(&self, at: &FlowRef, how: Settled) -> Result<(), Down>;
    /// Spends what that mark stands for; the mark is kept until then. One of many calls finds it unspent.
    async fn spend_once(&self, mark: Digest, until: Time) -> Result<Spent, Down>;
    /// Takes back what this caller has spent, for nothing came of it.
    async fn unspend(&self, mark: Digest) -> Result<(), Down>;
}
