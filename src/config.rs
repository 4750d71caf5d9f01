//! The checked configuration: what a start needs, with types that cannot be wrong. `raw` reads the TOML, `check` turns
//! it into this and reports every fault at once.

mod after;
mod audit;
mod captcha;
mod check;
mod codes;
mod connections;
mod document;
mod edge;
mod effective;
mod endpoints;
mod expressions;
mod fault;
mod identity;
mod life;
mod limits;
mod listen;
mod log;
mod mail;
mod messages;
mod plaintext;
mod policy;
mod process;
mod raw;
mod redis;
mod reset;
mod secret;
mod server_tls;
#[allow(dead_code, reason = "until the first section reads a service without which it means nothing")]
mod service;
mod tls;
mod tracing;
mod units;
mod upstream;
mod wording;
mod words;

#[cfg(test)]
mod tests;

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;

pub use self::{
    after::{After, At as AfterAt, Called, Notice, Piece, Revoke, Template, Webhook},
    audit::{Audit, AuditTo},
    captcha::{Captcha, Judge, Provider, Siteverify},
    check::{Texts, admin_address, load},
    effective::Effective,
    endpoints::{Endpoints, Health, MAX_ADDRESSES, Place},
    fault::Fault,
    identity::{Auth, Breaker, ClientAuth, Identity, OAuth2},
    life::Drain,
    limits::{LimitName, Limits, Override, Rate},
    log::{Access, ClientLog, Log, LogFormat},
    mail::{Mail, Smtp, SmtpTls, Transport},
    messages::{MESSAGES, Messages},
    policy::{Breach, LocalPolicy, Policy, PolicySource},
    redis::{Redis, RedisKind, Server, Store},
    secret::named_key,
    server_tls::{ClientCerts, ServerTls},
    service::Service,
    tls::{ClientTls, Pair},
    tracing::Tracing,
    units::deadline,
    upstream::Upstream,
    wording::{LetterTemplate, Wording},
    words::WordList,
};
pub use crate::reset::{process::Process, secret::Secret};

/// Everything.
#[derive(Debug)]
pub struct Config {
    /// Where requests come in.
    pub listen: Listen,
    /// Where operators look.
    pub admin: Admin,
    /// Where every other path goes.
    pub upstream: Upstream,
    /// What goes there, and what does not.
    pub edge: Edge,
    /// Where accounts are.
    pub identity: Identity,
    /// The reset itself.
    pub reset: Reset,
    /// Its tokens.
    pub token: Token,
    /// Its code cache.
    pub codes: Codes,
    /// Its limits.
    pub limits: Limits,
    /// Its mail.
    pub mail: Mail,
    /// Whose rules a new password has to meet.
    pub policy: Policy,
    /// What follows when a password is set.
    pub after: After,
    /// Its captcha, if it has one.
    pub captcha: Option<Captcha>,
    /// What is printed.
    pub log: Log,
    /// Where its audit trail goes.
    pub audit: Audit,
    /// Where spans go.
    pub tracing: Tracing,
    /// How it ends.
    pub drain: Drain,
    /// How often `files` are looked at; zero is never.
    pub watch: Duration,
    /// Where a process finds the one that it takes over from; none, if it never does.
    pub upgrade: Option<PathBuf>,
    /// What it was read from.
    pub texts: Texts,
    /// The files that the configuration file names, but for the process file, which may change while it stays as it is.
    pub files: Vec<PathBuf>,
    /// All of it once more, to be shown: without secrets, and with what is set by default.
    pub effective: Effective,
    /// What is as it should be, and not what one might think: which settings of IDM mean something else here.
    pub told: Vec<Fault>,
}

impl Config {
    /// Places in the outbox: no more than `mail.capacity`, and no more than the pace of mail empties within half of a
    /// link's life. A mail that would leave later is worth nothing to its owner, who should rather be told to come back.
    pub fn outbox_places(&self) -> usize {
        let Some(pace) = self.limits.mail_total else { return self.mail.capacity };
        let refill = pace.refill().as_millis().max(1);
        let in_time = u128::from(pace.count.get()) + self.reset.link_lifetime.as_millis() / 2 / refill;
        self.mail.capacity.min(usize::try_from(in_time).unwrap_or(usize::MAX))
    }

    /// Places in the outbox that later starts may have: a quarter, but never less than one client may start at once.
    pub fn later_places(&self) -> usize {
        let places = self.outbox_places();
        let alone = self.limits.start_per_client.and_then(|rate| usize::try_from(rate.count.get()).ok());
        places.div_ceil(4).max(places.min(alone.unwrap_or(places)))
    }
}

/// `[listen]`
#[derive(Clone, Debug)]
pub struct Listen {
    /// At least one.
    pub addresses: Vec<Address>,
    /// Peers that may say who the client is.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether peers on a Unix socket may (`"unix"` in `trusted_proxies`).
    pub trust_unix: bool,
    /// The one header that a trusted peer says it with.
    pub client_header: ClientHeader,
    /// How many connections there may be, and how slow.
    pub connections: Connections,
    /// `[listen.tls]`; there if and only if an address speaks TLS.
    pub tls: Option<ServerTls>,
}

/// The keys of `[listen]` that bound connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Open at a time, over all addresses; if not set, what the process has file descriptors for.
    pub max: Option<usize>,
    /// Open at a time from one IPv4 address or IPv6 /64 that is nobody's proxy.
    pub max_per_client: usize,
    /// From a connection's start to the end of what comes before its first request: PROXY header and TLS handshake.
    pub handshake_timeout: Duration,
    /// From a request's first byte to its head's end.
    pub header_timeout: Duration,
    /// From an answer, or the connection's start, to the next request's first byte.
    pub idle_timeout: Duration,
    /// The longest silence while a body is awaited.
    pub body_timeout: Duration,
    /// Bytes per second of a body that is awaited, or of an answer that is not taken.
    pub min_rate: u32,
    /// After which the next answer is a connection's last.
    pub max_lifetime: Duration,
    /// Of which the last is answered with `Connection: close`, or comes with `GOAWAY`; at least one.
    pub max_requests: u32,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `proxy+`, or `proxy:`: whether each connection begins with who it is from, in the PROXY protocol.
    pub proxied: bool,
    /// What is spoken there.
    pub speaks: Speaks,
    /// Where that is.
    pub at: At,
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1.
    Plain,
    /// `tls:`: HTTP/2 or HTTP/1.1, as is agreed upon.
    Tls,
    /// `h2c:`: HTTP/2 without TLS for whoever begins with it (RFC 9113 §3.3), HTTP/1.1 for others.
    H2c,
}

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// `0.0.0.0:8080`, `[::]:8080`
    Tcp(SocketAddr),
    /// `unix:/run/resetgate/http.sock`
    Unix(PathBuf),
    /// `systemd:http`: all sockets of that name that systemd opened for this process.
    Systemd(String),
}

impl Address {
    /// Its address and port; none of a Unix socket, or of one that is not known yet.
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self.at {
            At::Tcp(address) => Some(address),
            At::Unix(_) | At::Systemd(_) => None,
        }
    }
}

/// HTTP/1.1 there.
impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self { proxied: false, speaks: Speaks::Plain, at: At::Tcp(address) }
    }
}

/// As it is written in the configuration.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.proxied, self.speaks) {
            (false, Speaks::Plain) => "",
            (false, Speaks::Tls) => "tls:",
            (false, Speaks::H2c) => "h2c:",
            (true, Speaks::Plain) => "proxy:",
            (true, Speaks::Tls) => "proxy+tls:",
            (true, Speaks::H2c) => "proxy+h2c:",
        })?;
        match &self.at {
            At::Tcp(address) => address.fmt(f),
            At::Unix(path) => write!(f, "unix:{}", path.display()),
            At::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// How a trusted peer names the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientHeader {
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `Forwarded` (RFC 7239)
    Forwarded,
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    /// Of `/livez`, `/readyz`, `/metrics` and `/config`.
    pub address: SocketAddr,
    /// Who may read `/config`.
    pub config: ConfigReaders,
}

/// Who may read the configuration, which has no secrets, and says how everything is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigReaders {
    /// Those on this machine.
    Loopback,
    /// Whoever reaches the address.
    Everyone,
    /// Nobody.
    Nobody,
}

/// `[edge]`
#[derive(Clone, Debug)]
pub struct Edge {
    /// Headers that only a trusted peer may send up, in lower case.
    pub trust_headers: Vec<String>,
    /// What becomes of a request that asks for another method than its own.
    pub method_override: MethodOverride,
    /// Who may not sign in by way of the gate: ASCII, in any case.
    pub deny_users: Vec<String>,
    /// Paths that are never passed.
    pub deny: Vec<PathPattern>,
    /// How often the upstream is asked whether its own processes answer, at start for the first time; zero is never.
    pub watch_upstream: Duration,
}

/// A path, with or without all that lies below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    /// Starts with `/`, no trailing slash, plain segments, eight at most.
    pub path: String,
    /// Whether what lies below is meant as well (`/**`).
    pub below: bool,
}

/// What becomes of a passed request with `X-HTTP-Method-Override` or the like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MethodOverride {
    /// It passes as it came.
    #[default]
    Pass,
    /// It is refused.
    Refuse,
}

/// `[reset]`
#[derive(Clone, Debug)]
pub struct Reset {
    /// The intercepted path: starts with `/`, no trailing slash, plain segments.
    pub path: String,
    /// The stages.
    pub process: Process,
    /// The mailed link's life.
    pub link_lifetime: Duration,
    /// User queries are answered at its next multiple.
    pub answer_floor: Duration,
    /// How long an equal POST gets an equal answer.
    pub repeat_window: Duration,
    /// Within it of a mail, another start sends none.
    pub mail_gap: Duration,
    /// Whether the GET's body has `_id` and `_rev`.
    pub crest_ids: bool,
    /// IDM's own behaviour: an unknown account is told.
    pub reveal_unknown_accounts: bool,
    /// `reset.case_sensitive`: the store tells `A` from `a`, so it is asked for what was typed or that in lower case.
    pub case_sensitive: bool,
    /// `reset.shared_mailbox`: of several accounts with one mail address, each gets a link.
    pub each_of_a_mailbox: bool,
    /// `[reset.messages]`
    pub messages: Messages,
    /// `[reset.cors] origins`: pages of other sites that may post, such as `https://login.example.com`.
    pub cors_origins: Vec<String>,
    /// Submits at work at a time.
    pub max_in_flight: usize,
}

/// `[token]`
#[derive(Debug)]
pub struct Token {
    /// Newest first; each 32 bytes. Never empty: `ephemeral = true` draws one at start.
    pub keys: Vec<TokenKey>,
    /// Whether it was drawn: no other process has it.
    pub ephemeral: bool,
}

/// A token key.
pub struct TokenKey(pub Secret<[u8; 32]>);

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// `[codes]`
#[derive(Debug)]
pub struct Codes {
    /// Where they are.
    pub store: Store,
    /// Per flow and lane.
    pub tries: u32,
    /// Passwords that may be refused in one flow.
    pub refused: u32,
    /// How many digits a mail has to type beside its link; none in the other format.
    pub digits: Option<u32>,
    /// Accounts with live flows.
    pub capacity: usize,
    /// Where they are kept from one process to the next; none, if exit forgets them.
    pub state_file: Option<PathBuf>,
}
