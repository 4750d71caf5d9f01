//! The gate: what pingora asks at each phase of a request. The reset path is answered here; what could be read as the
//! reset path but is not spelled like it is refused; every other path passes through untouched.

mod body;
mod client;
mod failure;
mod headers;
mod intercept;
mod origin;
mod query;
mod reading;
mod respond;
pub mod route;
pub mod upstream;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{Method, header};
use pingora::{
    apps::HttpServerOptions,
    http::RequestHeader,
    prelude::HttpPeer,
    proxy::{FailToProxy, ProxyHttp, Session},
};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use self::{
    client::Clients,
    intercept::Intercept,
    route::{Route, Router, Why},
    upstream::Upstream,
};
use crate::{
    config,
    listen::Peer,
    reset::{
        Engine,
        ports::{Events, Limits},
        wire::Reply,
    },
    telemetry::metrics::Metrics,
};

/// Idle time between two requests of one connection, in seconds.
const KEEP_ALIVE_SECS: u64 = 30;
/// Requests on one connection before it is closed, which frees what it has gathered.
const REQUESTS_PER_CONNECTION: u32 = 1000;
/// A single read of a passed body, and a single write of an answer.
const IO_TIMEOUT: Duration = Duration::from_secs(30);
/// A reader slower than this is not a reader, in bytes a second.
const MIN_SEND_RATE: usize = 1024;
/// How long the rest of a refused body is read, so that its sender sees the answer and not a reset connection.
const REST_OF_BODY: Duration = Duration::from_secs(2);
/// Submits at work at once; beyond it they are refused, so that a flood of them leaves the rest of the process alone.
const MAX_WORK: usize = 1024;

/// What the gate needs from the rest.
pub struct Parts {
    /// Answers the reset path.
    pub engine: Arc<Engine>,
    /// The client limit.
    pub limits: Arc<dyn Limits>,
    /// Takes note.
    pub events: Arc<dyn Events>,
    /// Counts answers.
    pub metrics: Arc<Metrics>,
}

/// pingora's server options: its defaults keep connections for ever.
pub fn options() -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.keepalive_request_limit = Some(REQUESTS_PER_CONNECTION);
    options.h2_idle_timeout = Some(Duration::from_secs(60));
    options
}

/// The proxy's logic.
pub struct Gate {
    router: Router,
    clients: Clients,
    intercept: Intercept,
    upstream: Arc<Upstream>,
    metrics: Arc<Metrics>,
}

impl Gate {
    /// The gate in front of `upstream`. Every submit is a task on `work`, for the drain to wait for.
    pub fn new(
        listen: &config::Listen,
        upstream: Arc<Upstream>,
        reset: &config::Reset,
        parts: Parts,
        work: TaskTracker,
    ) -> Self {
        let metrics = Arc::clone(&parts.metrics);
        Self {
            router: Router::new(&reset.path),
            clients: Clients::new(listen, Arc::clone(&metrics)),
            intercept: Intercept::new(parts, reset, work, Arc::new(Semaphore::new(MAX_WORK))),
            upstream,
            metrics,
        }
    }
}

/// What one request carries from phase to phase.
#[derive(Default)]
pub struct Passage {
    /// The target to forward, where it is not the one that came.
    target: Option<Vec<u8>>,
    /// Whether the request was passed rather than answered.
    passed: bool,
}

#[async_trait]
impl ProxyHttp for Gate {
    type CTX = Passage;

    fn new_ctx(&self) -> Passage {
        Passage::default()
    }

    /// No compression module: answers that hold tokens are never compressed.
    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, _: &mut Passage) -> pingora::Result<()> {
        // Only where the connection is kept at all: HTTP/1.1's default is for ever.
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(KEEP_ALIVE_SECS));
        }
        session.set_read_timeout(Some(IO_TIMEOUT));
        session.set_write_timeout(Some(IO_TIMEOUT));
        session.set_min_send_rate(Some(MIN_SEND_RATE));
        session.set_total_drain_timeout(Some(REST_OF_BODY));
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, passage: &mut Passage) -> pingora::Result<bool> {
        let request = session.req_header();
        let host = host(request);
        let target = request.raw_path().to_vec();
        let refusal = match self.router.route(&target, host.as_deref()) {
            _ if host.is_none() && request.version == http::Version::HTTP_11 => {
                Reply::error(400, "Exactly one Host header is needed")
            }
            Route::Intercept { query } => {
                let caller = self.clients.caller(Peer::of(session), &session.req_header().headers);
                self.intercept.answer(session, query, caller).await?;
                return Ok(true);
            }
            Route::Pass { .. } if request.method == Method::TRACE => Reply::error(405, "Method not allowed"),
            Route::Pass { target: forwarded } => {
                passage.passed = true;
                passage.target = (forwarded != target).then(|| forwarded.to_vec());
                return Ok(false);
            }
            Route::Reject(Why::Disguised) => Reply::error(404, "Not found"),
            Route::Reject(Why::Malformed) => Reply::error(400, "Malformed request target"),
            Route::Reject(Why::TooLong) => Reply::error(414, "Request target is too long"),
        };
        session.set_keepalive(None);
        self.metrics.answered(refusal.status);
        respond::send(session, &refusal, &[]).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Passage) -> pingora::Result<Box<HttpPeer>> {
        self.upstream.peer()
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        passage: &mut Passage,
    ) -> pingora::Result<()> {
        if let Some(target) = &passage.target {
            request.set_raw_path(target)?;
        }
        let caller = self.clients.caller(Peer::of(session), &session.req_header().headers);
        headers::forward(request, &caller)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &pingora::Error, _: &mut Passage) -> FailToProxy {
        let reply = failure::reply(error);
        if let Some(reply) = &reply
            && session.response_written().is_none()
        {
            session.set_keepalive(None);
            // The client may be gone; there is nobody else to tell.
            let _ = respond::send(session, reply, &[]).await;
        }
        FailToProxy { error_code: reply.map_or(0, |reply| reply.status), can_reuse_downstream: false }
    }

    fn suppress_error_log(&self, _: &Session, _: &Passage, error: &pingora::Error) -> bool {
        failure::is_clients(error)
    }

    /// For pingora's own error lines: nothing of the target, which may hold an id, an address or a token.
    fn request_summary(&self, session: &Session, _: &Passage) -> String {
        session.req_header().method.to_string()
    }

    async fn logging(&self, session: &mut Session, _: Option<&pingora::Error>, passage: &mut Passage) {
        if passage.passed {
            self.metrics.passed(session.response_written().map_or(0, |response| response.status.as_u16()));
        }
    }
}

/// The one host that the request names: `Host`, or HTTP/2's `:authority`. pingora has refused two that differ.
fn host(request: &RequestHeader) -> Option<Vec<u8>> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(host.as_bytes().to_vec()),
        (None, _) => request.uri.authority().map(|authority| authority.as_str().as_bytes().to_vec()),
        _ => None,
    }
}
