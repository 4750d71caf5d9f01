//! The rate limits, and whom they take a client for.

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;

use super::Digest;

/// A rate limit of the configuration's `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// Every request to the reset path, per client.
    Client,
    /// User queries, per client.
    StartPerClient,
    /// User queries of everyone.
    StartTotal,
    /// Mails queued, per account.
    MailPerAccount,
    /// Mails sent, of everyone: a pace.
    MailTotal,
    /// Digits typed, per account, in all its flows.
    CodePerAccount,
    /// Security questions answered, per account, likewise.
    AnswerPerAccount,
}

/// Whom a client is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// One IPv4 address (IPv4-mapped IPv6 folded into it).
    V4([u8; 4]),
    /// One IPv6 /64.
    V6([u8; 8]),
    /// No address, or one that could not be read: all such share one strict bucket.
    Unknown,
}

impl Client {
    /// Whom an address is taken for. One IPv6 subscriber has a /64 at least.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.octets()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// What a rule counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKey {
    /// A client.
    Client(Client),
    /// An account's record key.
    Account(Digest),
    /// Nothing: one bucket for all.
    Everyone,
}

/// Whether a rule lets the request through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Within the budget, which has been charged.
    Allowed,
    /// Over the budget, which has not been charged.
    Denied {
        /// When the budget allows one more.
        retry_after: Duration,
        /// What the client may be told of it; nothing where the budget is not the client's own.
        policy: Option<Policy>,
    },
}

/// A client's own budget, as it may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name in the configuration.
    pub name: &'static str,
    /// How many at once.
    pub quota: u32,
    /// In which time as many come back.
    pub window: Duration,
}

/// How much of what everyone shares a client has had of late. It depends on nothing but the client's own starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Next to nothing: it may have all that is there.
    First,
    /// Some: it may have of the part that is for everyone, and leaves the rest to those who come for the first time.
    Later,
}

/// Whether a client may start a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It may, and every budget has been charged.
    Allowed(Share),
    /// It may not, and no budget has been charged.
    Denied {
        /// Which budget is spent.
        rule: Rule,
        /// As in [`Decision::Denied`].
        retry_after: Duration,
        /// As in [`Decision::Denied`].
        policy: Option<Policy>,
    },
}

/// The rate limits.
#[async_trait]
pub trait Limits: Send + Sync {
    /// Charges `rule` once for `key`.
    async fn charge(&self, rule: Rule, key: LimitKey) -> Decision;
    /// Gives `key` its whole budget back.
    async fn restore(&self, rule: Rule, key: LimitKey);
    /// Charges a user query: the client's own budget, then everyone's; both or neither.
    async fn start(&self, client: Client) -> Start;
    /// Whether more than half is used up of what this client may ask or start, or of what everyone may start. It charges
    /// nothing, and no account's budget has a part in it.
    async fn is_pressed(&self, client: Client) -> bool;
}
