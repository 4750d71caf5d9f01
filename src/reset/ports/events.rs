//! What the engine reports.

use std::time::Duration;

use super::{AccountId, Caller, Client, Digest, Lane, PolicyFailure, RequestId, Rule, Secret};
use crate::reset::filter::Filter;

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
    /// The account has too few security questions whose answers can be looked at.
    NoQuestions,
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
    /// Whoever says which passwords are good enough.
    Policy,
    /// Who judges captchas.
    Captcha,
}

/// What is done when a password is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum After {
    /// A mail to its owner.
    Notice,
    /// A call to somebody who wants to hear of it.
    Webhook,
    /// A call that ends the account's sessions.
    Revocation,
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
    /// A user query that no limit refused.
    Started,
    /// A user query ended because there was no account, and whoever asked was told so.
    Revealed { why: Decoy },
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
    /// There was no room to remember what is spent.
    MarksFull,
    /// A captcha was solved.
    CaptchaSolved,
    /// An answer to a captcha was refused.
    CaptchaRefused,
    /// A user query came with a captcha that an earlier one had used.
    CaptchaSpent,
    /// A token was shown that is not ours, is over, or is of another process.
    TokenRefused,
    /// The right code was shown.
    CodeRight { account: Digest, lane: Lane },
    /// A wrong, spent or expired code was shown, or a decoy's.
    CodeWrong { account: Digest, lane: Lane },
    /// The right answers came to the security questions.
    KbaRight { account: Digest },
    /// A wrong answer came, or none at all.
    KbaWrong { account: Digest },
    /// Answers came of an account that has used up what it may give wrong ones, and were not looked at.
    KbaLocked { account: Digest },
    /// A security question is of no use: nobody knows it any more, or its answer is kept in a way that is not known here.
    KbaUnusable { account: Digest },
    /// A password came for a flow that has ended.
    FlowDead { account: Digest },
    /// A password came while another may be set, or may have been: it has to wait.
    PasswordHeld { account: Digest },
    /// A password was not sent, for the store could not be asked.
    PasswordNotSent { account: Digest },
    /// The store's policy refused a password.
    PasswordRefused { account: Digest },
    /// The password was set.
    PasswordSet { account: Digest },
    /// Something was done, since it was set.
    AfterDone { what: After, account: Digest },
    /// It failed, and is tried again.
    AfterDelayed { what: After, account: Digest },
    /// It is given up.
    AfterDropped { what: After, account: Digest },
    /// The account was changed or removed since the mail was sent.
    LinkInvalid { account: Digest },
    /// The store may have set the password; nobody knows.
    OutcomeUnknown { account: Digest },
    /// A look-up took longer than the answer floor.
    FloorMissed,
    /// A service could not do its work.
    ServiceDown { service: Service },
    /// A target was refused that some reader could take for the reset path.
    Disguised,
    /// A request was refused by `[edge]`.
    Denied,
    /// Another configuration was taken up.
    Reloaded,
    /// Another configuration could not be taken up.
    ReloadFailed,
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

/// Why something happened, where the event does not say it itself.
#[derive(Clone, Copy, Debug, Default)]
pub enum Reason<'a> {
    /// There is nothing to say.
    #[default]
    None,
    /// In a word of ours.
    Word(&'static str),
    /// By an SMTP reply code.
    Status(u16),
    /// By policies of the store.
    Policies(&'a [PolicyFailure]),
}

/// Where an event comes from and whom it is about, for the audit trail, which tells ids, names and addresses as keyed
/// hashes.
#[derive(Clone, Copy, Default)]
#[allow(missing_docs, reason = "each is what its name says")]
pub struct About<'a> {
    pub request: Option<&'a RequestId>,
    pub client: Option<Client>,
    /// The id of the flow, which is in its tokens, too.
    pub flow: Option<&'a [u8; 16]>,
    pub account: Option<&'a AccountId>,
    /// The account's mail address.
    pub mail: Option<&'a Secret>,
    /// What was typed to find it.
    pub asked: Option<&'a Filter>,
    pub reason: Reason<'a>,
}

/// The same, for what happens when the request is long over.
#[derive(Clone)]
#[allow(missing_docs, reason = "each is what its name says")]
pub struct Source {
    pub request: RequestId,
    pub client: Client,
    pub flow: [u8; 16],
    pub account: AccountId,
}

impl Source {
    /// That of no request.
    pub fn nobody() -> Self {
        let Caller { request, client, .. } = Caller::nobody();
        Self { request, client, flow: Default::default(), account: AccountId(String::new()) }
    }

    /// What is known of an event that comes from there.
    pub fn about<'a>(&'a self, reason: Reason<'a>) -> About<'a> {
        About {
            request: Some(&self.request),
            client: Some(self.client),
            flow: Some(&self.flow),
            account: Some(&self.account),
            reason,
            ..About::default()
        }
    }
}

/// Audit trail and metrics.
pub trait Events: Send + Sync {
    /// Takes note. It never waits.
    fn record(&self, event: Event, about: &About<'_>);
    /// Takes note of a step: the stage that it was for, what came of it, and how long the asker waited.
    fn step(&self, _stage: &'static str, _went: Went, _took: Duration) {}
    /// Takes note that a carrier has taken a mail, so long after it was queued.
    fn mail_left(&self, _after: Duration) {}
}
