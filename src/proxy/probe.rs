//! Whether the upstream's own self-service processes answer: its reset is out of reach from here, but not for those who
//! reach the upstream another way, and the others are reached from here unless `[edge] deny` names them.

use std::{sync::Arc, time::Duration};

use http::header;
use pingora::{BError, Error, ErrorType, connectors::http::v1::Connector, http::RequestHeader};
use tokio::time::{sleep, timeout};
use url::Position;

use super::upstream::Upstream;
use crate::{
    config::Config,
    telemetry::metrics::{Metrics, UPSTREAM_PROCESSES},
};

/// How long an answer may take, connecting included.
const WITHIN: Duration = Duration::from_secs(5);
/// When to ask again an upstream that did not answer.
const RETRY: Duration = Duration::from_secs(30);
/// Interim answers that are waited out.
const MAX_INTERIM: usize = 4;

/// Asks the upstream, on connections of its own.
pub(crate) struct Probe {
    upstream: Arc<Upstream>,
    metrics: Arc<Metrics>,
    connector: Connector,
    host: String,
    processes: Vec<Process>,
    every: Duration,
}

struct Process {
    name: &'static str,
    path: String,
    warned: bool,
}

impl Probe {
    /// Nothing is asked yet. Panics, as Pingora does, where the system's root certificates cannot be read.
    pub(crate) fn new(config: &Config, upstream: Arc<Upstream>, metrics: Arc<Metrics>) -> Self {
        let parent = config.reset.path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let processes =
            UPSTREAM_PROCESSES.map(|name| Process { name, path: format!("{parent}/{name}"), warned: false });
        Self {
            upstream,
            metrics,
            connector: Connector::new(None),
            host: config.upstream.url[Position::BeforeHost..Position::AfterPort].to_owned(),
            processes: processes.into(),
            every: config.edge.watch_upstream,
        }
    }

    /// Asks now and then, for ever.
    pub(crate) async fn watch(mut self) {
        if self.every.is_zero() {
            return std::future::pending().await;
        }
        loop {
            let answered = self.ask_all().await;
            sleep(if answered { self.every } else { self.every.min(RETRY) }).await;
        }
    }

    /// Whether there was an answer to each question.
    async fn ask_all(&mut self) -> bool {
        let mut answered = true;
        for at in 0..self.processes.len() {
            let Some(Process { name, path, .. }) = self.processes.get(at) else { continue };
            // What is not answered stays as it was.
            let Some(open) = self.is_open(path).await else {
                answered = false;
                continue;
            };
            self.metrics.upstream_process(name, open);
            if let Some(process) = self.processes.get_mut(at).filter(|process| open && !process.warned) {
                process.warned = true;
                tracing::warn!(
                    process = process.name,
                    "the upstream answers this self-service process itself, without limits of ours: switch it off there, \
                     or deny its path in [edge] and let nobody reach the upstream past this gate"
                );
            }
        }
        answered
    }

    /// Whether a stranger is let in, or somebody who signs in as IDM's pages do for strangers; `None` if nobody said so
    /// and not both were answered.
    async fn is_open(&self, path: &str) -> Option<bool> {
        let mut closed = Some(false);
        for signed_in in [false, true] {
            match timeout(WITHIN, self.ask(path, signed_in)).await {
                Ok(Ok(200)) => return Some(true),
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => closed = None,
            }
        }
        closed
    }

    async fn ask(&self, path: &str, signed_in: bool) -> Result<u16, BError> {
        let peer = self.upstream.peer().ok_or_else(|| Error::new(ErrorType::ConnectNoRoute))?;
        let mut request = RequestHeader::build("GET", path.as_bytes(), Some(7))?;
        request.insert_header(header::HOST, self.host.as_str())?;
        request.insert_header(header::ACCEPT, "application/json")?;
        request.insert_header(header::USER_AGENT, "resetgate")?;
        request.insert_header(header::CONNECTION, "close")?;
        request.insert_header("X-OpenIDM-NoSession", "true")?;
        if signed_in {
            request.insert_header("X-OpenIDM-Username", "anonymous")?;
            request.insert_header("X-OpenIDM-Password", "anonymous")?;
        }
        // Never given back to the connector, and so closed when dropped.
        let (mut session, _) = self.connector.get_http_session(&peer).await?;
        session.write_request_header(Box::new(request)).await?;
        for _ in 0..=MAX_INTERIM {
            session.read_response().await?;
            if let Some(status) = session.get_status().filter(|status| !status.is_informational()) {
                return Ok(status.as_u16());
            }
        }
        Err(Error::new(ErrorType::InvalidHTTPHeader))
    }
}
