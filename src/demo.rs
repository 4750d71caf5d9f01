//! The demo: the whole thing in one process on loopback, without configuration, network or any other program. An identity
//! store that is the upstream as well, a mailbox, a page that walks the reset, and the configuration of a gate before them.

mod accept;
mod http;
mod introduction;
pub mod mailbox;
mod page;
pub mod store;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;
use tokio::net::TcpListener;
use url::Url;

pub use self::introduction::{introduction, walk};
use self::{mailbox::Mailbox, store::Store};
use crate::config::{
    Address, Admin, ClientHeader, Codes, Config, Connections, Edge, Identity, Limits, Listen, Log, LogFormat, Mail,
    Process, Rate, Reset, Secret, Smtp, SmtpTls, Token, TokenKey, Transport, Upstream,
};

/// Where each part listens if nothing else does; else the system chooses.
mod port {
    pub(super) const GATE: u16 = 8080;
    pub(super) const STORE: u16 = 8081;
    pub(super) const MAILBOX: u16 = 8025;
    pub(super) const SMTP: u16 = 1025;
    pub(super) const ADMIN: u16 = 9090;
}

const PROCESS: &str = include_str!("demo/selfservice-reset.json");

/// What a gate needs around it, running. Dropping it ends it.
pub struct Surroundings {
    /// The identity store, which is the upstream too.
    pub store: Store,
    /// Where the gate's mail goes.
    pub mailbox: Mailbox,
    service_password: Secret,
}

/// Why there is no demo.
#[derive(Debug, Error)]
pub enum Fault {
    /// The machine gives no randomness for a key.
    #[error("no randomness for a key")]
    Randomness,
    /// The built-in process file does not fit this program.
    #[error("the demo's process is not valid: {0}")]
    Process(String),
    /// An address cannot be written as a URL.
    #[error("an address is not a URL: {0}")]
    Url(#[from] url::ParseError),
}

/// Starts everything around the gate.
///
/// # Errors
/// No loopback port is free, or the machine gives no randomness.
pub async fn surroundings() -> io::Result<Surroundings> {
    let secret: [u8; 24] = random().map_err(io::Error::other)?;
    let service_password = Secret::new(BASE64_URL_SAFE_NO_PAD.encode(secret));
    let store = Store::start(bind(port::STORE).await?, service_password.expose().clone());
    let mailbox = Mailbox::start(bind(port::SMTP).await?, bind(port::MAILBOX).await?);
    Ok(Surroundings { store, mailbox, service_password })
}

/// Free addresses for the gate and for its admin listener: the usual ones, where they are.
///
/// # Errors
/// No loopback port is free.
pub async fn addresses() -> io::Result<(SocketAddr, SocketAddr)> {
    // Both are held until both are known, lest they be the same.
    let (gate, admin) = (bind(port::GATE).await?, bind(port::ADMIN).await?);
    Ok((gate.local_addr()?, admin.local_addr()?))
}

async fn bind(usual: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, usual)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await,
    }
}

/// The configuration of the gate that listens there: the defaults, but for what lies around it.
///
/// # Errors
/// See [`Fault`]; none is the user's.
pub fn config(around: &Surroundings, listen: SocketAddr, admin: SocketAddr) -> Result<Config, Fault> {
    let upstream = format!("http://{}", around.store.address());
    let smtp = around.mailbox.smtp_address();
    Ok(Config {
        listen: Listen {
            addresses: vec![Address::Tcp(listen)],
            trusted_proxies: Vec::new(),
            trust_unix: false,
            client_header: ClientHeader::XForwardedFor,
            connections: Connections::default(),
        },
        admin: Admin { address: admin },
        upstream: Upstream { url: Url::parse(&upstream)? },
        // The store has no process of its own, and whoever looks for one there is counted.
        edge: Edge { watch_upstream: Duration::ZERO, ..Edge::default() },
        identity: Identity {
            url: Url::parse(&format!("{upstream}/openidm"))?,
            username: store::SERVICE_USER.to_owned(),
            password: Secret::new(around.service_password.expose().clone()),
            max_concurrent: 256,
        },
        reset: Reset {
            path: "/openidm/selfservice/reset".to_owned(),
            process: process(listen)?,
            link_lifetime: MINUTE * 20,
            answer_floor: Duration::from_millis(250),
            repeat_window: MINUTE,
            mail_gap: MINUTE,
            crest_ids: false,
            reveal_unknown_accounts: false,
            cors_origins: Vec::new(),
            max_in_flight: 4096,
        },
        token: Token { keys: vec![TokenKey(Secret::of(random()?))] },
        codes: Codes { tries: 5, digits: None, capacity: 1_000_000 },
        limits: Limits {
            client: rate(300, MINUTE),
            start_per_client: rate(30, MINUTE * 10),
            start_total: rate(1200, MINUTE),
            mail_per_account: rate(3, MINUTE * 60),
            mail_total: rate(120, MINUTE),
            code_per_account: rate(15, MINUTE * 60),
            overrides: vec![],
            observe: vec![],
            capacity: 10_000,
        },
        mail: Mail {
            transport: Transport::Smtp(Smtp {
                host: smtp.ip().to_string(),
                port: smtp.port(),
                tls: SmtpTls::None,
                ca: None,
                credentials: None,
            }),
            from: "info@example.com".to_owned(),
            helo: None,
            capacity: 1_000,
            later: 1_000,
        },
        log: Log { format: LogFormat::Text },
    })
}

const MINUTE: Duration = Duration::from_secs(60);

fn rate(count: u32, period: Duration) -> Option<Rate> {
    NonZeroU32::new(count).map(|count| Rate { count, period })
}

fn process(gate: SocketAddr) -> Result<Process, Fault> {
    let text = PROCESS.replace("%gate%", &format!("http://{gate}"));
    let (process, _warnings) = Process::parse(&text).map_err(|faults| Fault::Process(format!("{faults:?}")))?;
    Ok(process)
}

fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Fault::Randomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn surrounds_a_gate_with_what_it_needs() {
        let around = surroundings().await.unwrap();
        let (listen, admin) = addresses().await.unwrap();
        assert!(listen != admin && listen.ip().is_loopback());
        let config = config(&around, listen, admin).unwrap();
        assert_eq!(config.listen.addresses, [Address::Tcp(listen)]);
        assert_eq!(config.upstream.url.as_str(), format!("http://{}/", around.store.address()));
        assert_eq!(config.identity.url.path(), "/openidm");
        let email = config.reset.process.email().unwrap();
        assert_eq!(email.verification_link, format!("http://{listen}/#/passwordreset/"));
        assert_eq!(email.messages.iter().map(|(tag, _)| tag.as_str()).collect::<Vec<_>>(), ["en", "de"]);
        assert_eq!(config.reset.process.stages.len(), 5);
    }

    #[test]
    fn the_process_gives_no_cause_for_warnings() {
        assert_eq!(Process::parse(PROCESS).unwrap().1, []);
    }

    #[tokio::test]
    async fn a_taken_port_is_no_obstacle() {
        let taken = bind(0).await.unwrap().local_addr().unwrap();
        let first = bind(taken.port()).await.unwrap();
        let second = bind(taken.port()).await.unwrap();
        assert_ne!(first.local_addr().unwrap(), second.local_addr().unwrap());
    }
}
