//! Asks each address now and then whether it is well: by connecting, or by a GET that it should answer.

use std::{io, sync::Arc, time::Duration};

use futures_util::future::join_all;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_rustls::TlsConnector;
use url::Position;

use super::{Address, Endpoint, Shared};
use crate::{
    config,
    tls::{self, HTTP1, Unusable},
};

/// By which a server's own logs tell checks from clients' requests.
const USER_AGENT: &str = concat!("resetgate/", env!("CARGO_PKG_VERSION"), " (health)");
/// `HTTP/1.1 200`
const STATUS_LINE: usize = 12;

/// How an address is checked.
pub(super) struct Check {
    every: Duration,
    within: Duration,
    question: Option<Question>,
}

/// What is asked, and over what.
struct Question {
    head: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Check {
    pub(super) fn new(config: &config::Endpoints) -> Result<Self, Unusable> {
        let health = &config.health;
        let question = match &health.path {
            None => None,
            Some(path) => {
                let host = &config.url[Position::BeforeHost..Position::AfterPort];
                let head = format!(
                    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\nConnection: close\r\n\r\n"
                );
                let tls = match &config.tls {
                    None => None,
                    Some(own) => {
                        let name = tls::name(own, config.host()).ok_or(Unusable::Name)?;
                        Some((tls::client(own, &[HTTP1])?, name))
                    }
                };
                Some(Question { head, tls })
            }
        };
        Ok(Self { every: health.interval, within: health.timeout, question })
    }

    /// Whether all is well there.
    async fn is_well(&self, address: &Address) -> bool {
        let asked = async {
            match address {
                Address::Tcp(address) => self.ask(TcpStream::connect(address).await?).await,
                Address::Unix(path) => self.ask(UnixStream::connect(path).await?).await,
            }
        };
        matches!(timeout(self.within, asked).await, Ok(Ok(true)))
    }

    async fn ask(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<bool> {
        let Some(Question { head, tls }) = &self.question else { return Ok(true) };
        match tls {
            None => status_is_good(stream, head).await,
            Some((config, name)) => {
                let stream = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await?;
                status_is_good(stream, head).await
            }
        }
    }
}

/// A server that says 404 or wants somebody to sign in is there all the same.
async fn status_is_good(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str) -> io::Result<bool> {
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await?;
    let mut line = [0; STATUS_LINE];
    stream.read_exact(&mut line).await?;
    let status = line.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..)).unwrap_or_default();
    Ok(matches!(status, [b'2'..=b'4', b'0'..=b'9', b'0'..=b'9']))
}

/// Checks for ever. The only address of a service is used whatever a connection to it says, so it is not asked for one.
pub(super) async fn watch(shared: Arc<Shared>, check: Arc<Check>) {
    let mut ticks = interval(check.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let nodes = shared.nodes.load_full();
        if nodes.len() > 1 || check.question.is_some() {
            let one = |node: &Endpoint| {
                let (node, check) = (node.clone(), Arc::clone(&check));
                async move { node.checked(check.is_well(node.address()).await) }
            };
            join_all(nodes.iter().map(one)).await;
        }
    }
}
