//! `[limits]`: how much of what, and for whom it is otherwise.

use std::{num::NonZeroU32, time::Duration};

use ipnet::{IpNet, Ipv4Net};

use super::{Store, raw::Section, units};

const NAMES: [(&str, LimitName); 7] = [
    ("client", LimitName::Client),
    ("start_per_client", LimitName::StartPerClient),
    ("start_total", LimitName::StartTotal),
    ("mail_per_account", LimitName::MailPerAccount),
    ("mail_total", LimitName::MailTotal),
    ("code_per_account", LimitName::CodePerAccount),
    ("answer_per_account", LimitName::AnswerPerAccount),
];

/// Guesses of a short secret in a row, at the very most (NIST SP 800-63B-4 §3.2.2).
const MOST_CODES: u32 = 100;

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Every request to the reset path, per client.
    pub client: Option<Rate>,
    /// User queries, per client.
    pub start_per_client: Option<Rate>,
    /// User queries of everyone.
    pub start_total: Option<Rate>,
    /// Mails queued, per account.
    pub mail_per_account: Option<Rate>,
    /// Mails sent, of everyone: a pace.
    pub mail_total: Option<Rate>,
    /// Digits typed, per account.
    pub code_per_account: Option<Rate>,
    /// Security questions answered, per account.
    pub answer_per_account: Option<Rate>,
    /// What some clients have instead; the first that is for a client counts.
    pub overrides: Vec<Override>,
    /// The rates that only count what they would refuse.
    pub observe: Vec<LimitName>,
    /// Clients, or accounts, that each of the rates remembers.
    pub capacity: usize,
    /// Whether starts, and what accounts may have, are counted on the server that codes are on.
    pub shared: bool,
}

/// The key of a rate in `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the key of that name in Limits")]
pub enum LimitName {
    Client,
    StartPerClient,
    StartTotal,
    MailPerAccount,
    MailTotal,
    CodePerAccount,
    AnswerPerAccount,
}

/// `[[limits.override]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Who has it: at least one network, none of IPv6 narrower than /64.
    pub clients: Vec<IpNet>,
    /// [`Limits::client`] for each of them.
    pub client: Option<Rate>,
    /// [`Limits::start_per_client`] for each of them.
    pub start_per_client: Option<Rate>,
}

/// `"count/period"`: a GCRA of that burst, refilled evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many at once.
    pub count: NonZeroU32,
    /// In which time as many come back.
    pub period: Duration,
}

impl Rate {
    /// The time after which one more is allowed.
    pub fn refill(&self) -> Duration {
        self.period / self.count.get()
    }
}

/// Reads the section; `codes` is where codes are.
pub(super) fn limits(mut section: Section<'_>, codes: Option<&Store>) -> Option<Limits> {
    let shared = section.or("store", "memory", |text| units::one_of(text, &[("memory", false), ("redis", true)]));
    if shared == Some(true) && matches!(codes, Some(Store::Memory)) {
        section.fault("store", "needs a server to count on: set codes.store to its redis:// URL");
    }
    let client = section.or("client", "300/1m", units::rate);
    let start_per_client = section.or("start_per_client", "30/10m", units::rate);
    let start_total = section.or("start_total", "1200/1m", units::rate);
    let mail_per_account = section.or("mail_per_account", "3/1h", units::rate);
    let mail_total = section.or("mail_total", "120/1m", units::rate);
    let code_per_account = section.or("code_per_account", "15/1h", units::rate);
    if code_per_account.flatten().is_some_and(|rate| rate.count.get() > MOST_CODES) {
        section.fault("code_per_account", &format!("must not allow more than {MOST_CODES} at once"));
    }
    let answer_per_account = section.or("answer_per_account", "5/1h", units::rate);
    if answer_per_account.flatten().is_some_and(|rate| rate.count.get() > MOST_CODES) {
        section.fault("answer_per_account", &format!("must not allow more than {MOST_CODES} at once"));
    }
    let observe = section.list("observe", &[], |text| units::one_of(text, &NAMES));
    for index in 0..observe.as_ref().map_or(0, Vec::len) {
        section.item_warn("observe", index, "refuses nothing: what it would refuse is only counted");
    }
    let capacity = section.number("capacity", 420_000, 1..=10_000_000);
    // Every one is read, so that every fault is told.
    let overrides: Vec<_> = section
        .sections("override")
        .into_iter()
        .map(|section| exception(section, client.flatten(), start_per_client.flatten()))
        .collect();
    section.finish();
    Some(Limits {
        client: client?,
        start_per_client: start_per_client?,
        start_total: start_total?,
        mail_per_account: mail_per_account?,
        mail_total: mail_total?,
        code_per_account: code_per_account?,
        answer_per_account: answer_per_account?,
        overrides: overrides.into_iter().collect::<Option<_>>()?,
        observe: observe?,
        capacity: usize::try_from(capacity?).ok()?,
        shared: shared?,
    })
}

/// One `[[limits.override]]`; what it does not say is as for everyone.
fn exception(mut section: Section<'_>, client: Option<Rate>, start_per_client: Option<Rate>) -> Option<Override> {
    let says = section.has("client") || section.has("start_per_client");
    if !says {
        section.fault("client", "must be set, or start_per_client, or it changes nothing");
    }
    let clients = section.list("clients", &[], network);
    if clients.as_ref().is_some_and(Vec::is_empty) {
        section.fault("clients", "must have at least one address or network");
    }
    let own = section.optional("client", units::rate);
    let own_starts = section.optional("start_per_client", units::rate);
    section.finish();
    Some(Override {
        clients: clients?,
        client: own?.unwrap_or(client),
        start_per_client: own_starts?.unwrap_or(start_per_client),
    })
}

/// `203.0.113.0/24`, `203.0.113.7`, `2001:db8::/48`. IPv4-mapped IPv6 is IPv4, as it is for clients.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let net = units::network(text).ok_or("must be an address or a network, such as 203.0.113.0/24")?;
    let IpNet::V6(v6) = net else { return Ok(net) };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    if let Some(v4) = mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok()) {
        return Ok(v4.into());
    }
    if v6.prefix_len() > 64 {
        return Err("must be a /64 or wider: an IPv6 client is counted as its /64".to_owned());
    }
    Ok(net)
}
