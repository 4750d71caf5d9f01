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
    path::PathBuf,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;
use tokio::net::TcpListener;

pub use self::introduction::{introduction, walk};
use self::{mailbox::Mailbox, store::Store};
use crate::config::{self, Config, Secret, Texts};

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
    /// The built-in configuration does not fit this program.
    #[error("the demo's configuration is not valid: {0:?}")]
    Config(Vec<config::Fault>),
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
    let (store, smtp) = (around.store.address(), around.mailbox.smtp_address());
    let toml = format!(
        r#"
[listen]
addresses = ["{listen}"]
[admin]
address = "{admin}"
[upstream]
url = "http://{store}"
[edge]
watch_upstream = "0s" # the store has no process of its own, and whoever looks for one there is counted
[identity]
kind = "crest"
url = "http://{store}/openidm"
auth = {{ kind = "openidm", username = "{user}", password = "env:PASSWORD" }}
[reset]
process = "selfservice-reset.json"
[token]
ephemeral = true
[mail]
transport = "smtp://{smtp}"
from = "info@example.com"
[log]
format = "text"
[audit]
to = "off" # a person reads along
"#,
        user = store::SERVICE_USER,
    );
    let process = PROCESS.replace("%gate%", &format!("http://{listen}"));
    let texts = Texts { path: PathBuf::from("demo.toml"), toml, process: Some(process) };
    let secret = |_: &str| Some(around.service_password.expose().clone());
    // It warns of what a demo is: local, and over when it ends.
    texts.check(&secret).map(|(config, _warnings)| config).map_err(Fault::Config)
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
        assert_eq!(config.listen.addresses, [config::Address::from(listen)]);
        assert_eq!(config.upstream.endpoints.url.as_str(), format!("http://{}/", around.store.address()));
        assert_eq!(config.identity.endpoints.url.path(), "/openidm");
        let email = config.reset.process.email().unwrap();
        assert_eq!(email.verification_link, format!("http://{listen}/#/passwordreset/"));
        assert_eq!(email.messages.iter().map(|(tag, _)| tag.as_str()).collect::<Vec<_>>(), ["en", "de"]);
        assert_eq!(config.reset.process.stages.len(), 5);
    }

    #[test]
    fn the_process_gives_no_cause_for_warnings() {
        assert_eq!(config::Process::parse(PROCESS).unwrap().1, []);
    }

    #[tokio::test]
    async fn a_taken_port_is_no_obstacle() {
        let taken = bind(0).await.unwrap().local_addr().unwrap();
        let first = bind(taken.port()).await.unwrap();
        let second = bind(taken.port()).await.unwrap();
        assert_ne!(first.local_addr().unwrap(), second.local_addr().unwrap());
    }
}
