//! Whether the upstream's own self-service processes answer: its reset is out of reach from here, but not for those who
//! reach the upstream another way, and the others are reached from here unless `[edge] deny` names them.
//!
//! It asks what a stranger would get: by a GET, which changes nothing there, with no credential of ours.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use http::{HeaderValue, StatusCode, header};
use pingora::{
    BError, Error, ErrorType,
    connectors::{ConnectorOptions, http::v1::Connector},
    http::RequestHeader,
};
use tokio::time::{sleep, timeout};
use url::Position;

use super::{
    generation::{NoTls, rooted, roots},
    route::{Route, Router},
    upstream::Upstream,
};
use crate::{
    config::Config,
    telemetry::metrics::{Metrics, UPSTREAM_PROCESSES},
};

/// How long an answer may take, connecting included.
const WITHIN: Duration = Duration::from_secs(5);
/// When to ask again an upstream that did not answer: doubled each time, up to the second.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LAST_RETRY: Duration = Duration::from_secs(120);
/// Interim answers that are waited out.
const MAX_INTERIM: usize = 4;
/// By which the upstream's own logs tell these questions from clients'.
const USER_AGENT: &str = concat!("resetgate/", env!("CARGO_PKG_VERSION"));

/// Asks the upstream, on connections of its own.
pub(crate) struct Probe {
    upstream: Arc<Upstream>,
    metrics: Arc<Metrics>,
    connector: Connector,
    host: String,
    processes: Vec<Process>,
    every: Duration,
}

/// One of the upstream's own self-service processes, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// One of [`UPSTREAM_PROCESSES`].
    pub name: &'static str,
    /// Where it is.
    pub path: String,
    /// Whether clients of the gate reach it.
    pub passed: bool,
    /// Whether it lets strangers in; `None` if nobody said so.
    pub open: Option<bool>,
}

/// Asks once for each of them.
///
/// # Errors
/// If TLS to the upstream cannot be set up.
pub async fn doors(config: &Config, metrics: &Arc<Metrics>) -> Result<Vec<Door>, NoTls> {
    let upstream = Arc::new(Upstream::new(&config.upstream, metrics)?);
    let probe = &rooted(|| Probe::new(config, Arc::clone(&upstream), Arc::clone(metrics)))?;
    let _ = timeout(WITHIN, upstream.looked_up()).await;
    let ask = |process: &Process| {
        let Process { name, path, passed, .. } = process;
        let door = Door { name, path: path.clone(), passed: *passed, open: None };
        async move { Door { open: probe.is_open(&door.path).await, ..door } }
    };
    Ok(join_all(probe.processes.iter().map(ask)).await)
}

struct Process {
    name: &'static str,
    path: String,
    /// Whether clients of the gate reach it.
    passed: bool,
    /// What was last known of it.
    open: bool,
}

impl Probe {
    /// Nothing is asked yet. Panics, as Pingora does, where the system's root certificates cannot be read.
    pub(crate) fn new(config: &Config, upstream: Arc<Upstream>, metrics: Arc<Metrics>) -> Self {
        let parent = config.reset.path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let router = Router::new(&config.reset.path).denying(&config.edge.deny);
        let processes = UPSTREAM_PROCESSES.map(|name| {
            let path = format!("{parent}/{name}");
            let passed = matches!(router.route(path.as_bytes(), None), Route::Pass { .. });
            Process { name, path, passed, open: false }
        });
        let mut options = ConnectorOptions::new(processes.len());
        options.ca_file = roots();
        Self {
            upstream,
            metrics,
            connector: Connector::new(Some(options)),
            host: config.upstream.endpoints.url[Position::BeforeHost..Position::AfterPort].to_owned(),
            processes: processes.into(),
            every: config.edge.watch_upstream,
        }
    }

    /// Asks now and then, for ever.
    pub(crate) async fn watch(mut self) {
        if self.every.is_zero() {
            return std::future::pending().await;
        }
        let mut retry = FIRST_RETRY;
        loop {
            if self.ask_all().await {
                retry = FIRST_RETRY;
                sleep(self.every).await;
            } else {
                sleep(self.every.min(retry)).await;
                retry = retry.saturating_mul(2).min(LAST_RETRY);
            }
        }
    }

    /// Whether there was an answer to each question.
    async fn ask_all(&mut self) -> bool {
        let mut answered = true;
        for at in 0..self.processes.len() {
            let Some(Process { name, path, .. }) = self.processes.get(at) else { continue };
            let open = self.is_open(path).await;
            self.metrics.upstream_process(name, open);
            answered &= open.is_some();
            if let (Some(process), Some(open)) = (self.processes.get_mut(at), open) {
                process.note(open);
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
                Ok(Ok(true)) => return Some(true),
                Ok(Ok(false)) => {}
                Ok(Err(_)) | Err(_) => closed = None,
            }
        }
        closed
    }

    /// Whether that was answered as a process answers: 200, with JSON. Some upstreams have a page for every path.
    async fn ask(&self, path: &str, signed_in: bool) -> Result<bool, BError> {
        let peer = self.upstream.any_peer().ok_or_else(|| Error::new(ErrorType::ConnectNoRoute))?;
        let mut request = RequestHeader::build("GET", path.as_bytes(), Some(7))?;
        request.insert_header(header::HOST, self.host.as_str())?;
        request.insert_header(header::ACCEPT, "application/json")?;
        request.insert_header(header::USER_AGENT, USER_AGENT)?;
        request.insert_header(header::CONNECTION, "close")?;
        request.insert_header("X-OpenIDM-NoSession", "true")?;
        if signed_in {
            request.insert_header("X-OpenIDM-Username", "anonymous")?;
            request.insert_header("X-OpenIDM-Password", "anonymous")?;
        }
        // Never given back to the connector, and so closed when dropped.
        let (mut session, _) = self.connector.get_http_session(&*peer).await?;
        if !self.upstream.recognises(Some(session.digest())) {
            return Err(Error::new_up(ErrorType::InvalidCert));
        }
        session.write_request_header(Box::new(request)).await?;
        for _ in 0..=MAX_INTERIM {
            session.read_response().await?;
            if let Some(head) = session.resp_header().filter(|head| !head.status.is_informational()) {
                let kind = head.headers.get(header::CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
                let json = kind.to_ascii_lowercase().starts_with(b"application/json");
                return Ok(head.status == StatusCode::OK && json);
            }
        }
        Err(Error::new(ErrorType::InvalidHTTPHeader))
    }
}

impl Process {
    /// Tells a change, once.
    fn note(&mut self, open: bool) {
        let before = std::mem::replace(&mut self.open, open);
        let process = self.name;
        match (before, open) {
            (false, true) if self.passed => tracing::warn!(
                process,
                deny = format!("{}/**", self.path),
                "the upstream lets strangers use this self-service process of its own, without limits of ours: unless \
                 that is meant, switch it off there or add this path to edge.deny"
            ),
            (false, true) => tracing::warn!(
                process,
                "the upstream lets strangers use this self-service process of its own; it is out of reach from here, so \
                 let nobody reach the upstream past this gate"
            ),
            (true, false) => tracing::info!(process, "the upstream no longer lets strangers use this process"),
            (false, false) | (true, true) => {}
        }
    }
}
