//! The proxy: answers the reset path itself, forwards every other path as it came, refuses what could be either.

mod body;
pub mod client;
mod desk;
mod direct;
mod edge;
mod ended;
mod failure;
pub mod framing;
mod generation;
mod head;
mod headers;
mod in_flight;
mod intercept;
mod kinder;
mod origin;
mod passage;
mod passing;
mod phases;
mod policy;
mod probe;
mod query;
mod reading;
mod refusing;
mod request_id;
mod respond;
pub mod route;
mod shape;
mod steps;
mod trail;
mod upstream;
mod users;

use std::{
    ops::Deref,
    os::fd::RawFd,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::header;
use pingora::{
    BError, Error, ErrorType,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    protocols::Digest,
    proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session},
    upstreams::peer::HttpPeer,
};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

pub(crate) use self::direct::Served;
pub(crate) use self::generation::{rooted, roots};
use self::{
    desk::Desk,
    passage::{connection, exchange},
    phases::Verdict,
};
pub use self::{
    generation::{Generation, NoRoots, NoTls},
    passage::Passage,
    steps::Steps,
};
pub use self::{
    in_flight::InFlight,
    probe::{Door, doors},
};

use crate::{
    reset::ports::Events,
    telemetry::{metrics::Metrics, throttle::Throttle},
};

/// How often a failure of the upstream is told; the metrics count each.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Answers the reset path, and says what becomes of every other request.
pub struct Gate {
    generation: Arc<ArcSwap<Generation>>,
    events: Arc<dyn Events>,
    metrics: Arc<Metrics>,
    leaving: watch::Receiver<bool>,
    steps: watch::Receiver<Steps>,
    desk: Desk,
    started: Instant,
    /// How often a failure of the upstream is told, and one of TLS to it.
    told: Throttle,
    told_of_tls: Throttle,
    /// When what has no end of its own has to go.
    stopping: watch::Receiver<bool>,
}

impl Gate {
    /// A proxy that goes by whatever `generation` is the present one. Submits take one of `seats` and run on `work`, which
    /// a drain must wait for. Once `leaving` turns true, an answer is its connection's last; once `stopping` does, tunnels
    /// end. Steps are run where `steps` says.
    pub(crate) fn new(
        generation: Arc<ArcSwap<Generation>>,
        (leaving, stopping, steps): (watch::Receiver<bool>, watch::Receiver<bool>, watch::Receiver<Steps>),
        events: Arc<dyn Events>,
        metrics: Arc<Metrics>,
        (seats, work): (Arc<InFlight>, TaskTracker),
    ) -> Self {
        Self {
            generation,
            leaving,
            desk: Desk::new(Arc::clone(&metrics), Arc::clone(&events), steps.clone(), seats, work),
            steps,
            events,
            metrics,
            started: Instant::now(),
            told: Throttle::new(TOLD_EVERY),
            told_of_tls: Throttle::new(TOLD_EVERY),
            stopping,
        }
    }
}

/// The gate, as Pingora runs it: what passes goes this way, and what has to be looked at first.
pub struct Passing(pub(crate) Arc<Gate>);

impl Deref for Passing {
    type Target = Gate;

    fn deref(&self) -> &Gate {
        &self.0
    }
}

#[async_trait]
impl ProxyHttp for Passing {
    /// In a box: Pingora moves it about within its own future, and that into a box, for each request.
    type CTX = Box<Passage>;

    fn new_ctx(&self) -> Box<Passage> {
        Box::new(self.passage())
    }

    /// Without Pingora's compression: it must never touch an answer that mixes secrets with a stranger's words.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, passage: &mut Self::CTX) -> pingora::Result<()> {
        self.begins(session, passage)
    }

    async fn request_filter(&self, session: &mut Session, passage: &mut Self::CTX) -> pingora::Result<bool> {
        match self.route(session, passage).await? {
            Verdict::Answer(answer) => answer.send(session, passage.request.as_ref()).await.map(|()| true),
            Verdict::Pass => Ok(false),
        }
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        piece: &mut Option<Bytes>,
        end: bool,
        passage: &mut Self::CTX,
    ) -> pingora::Result<()> {
        // What comes through a tunnel is no request's body.
        if passage.attempts.tunnels {
            return Ok(());
        }
        match exchange(session) {
            Some(exchange) if end => exchange.body_is_read(),
            Some(exchange) => exchange.body_came(piece.as_ref().map_or(0, Bytes::len)),
            None => {}
        }
        if !end {
            return Ok(());
        }
        let due = passage.attempts.is_sent(tokio::time::Instant::now());
        if let Some(connection) = connection(session) {
            connection.body_is_read();
        }
        passage::answer_is_due(session, due);
        Ok(())
    }

    async fn upstream_peer(&self, _: &mut Session, passage: &mut Self::CTX) -> pingora::Result<Box<HttpPeer>> {
        if let Some(there) = &passage.there {
            return steps::peer(there);
        }
        let Passage { generation, attempts, began, .. } = &mut **passage;
        // Nothing is waited for between a request's head and its first try.
        let now = if attempts.count() == 0 { *began } else { tokio::time::Instant::now() };
        generation.upstream.peer(attempts, now)
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _: bool,
        _: &HttpPeer,
        _: RawFd,
        digest: Option<&Digest>,
        passage: &mut Self::CTX,
    ) -> pingora::Result<()> {
        match passage.there.is_some() || passage.generation.upstream.recognises(digest) {
            true => Ok(()),
            false => Err(Error::new_up(ErrorType::InvalidCert)),
        }
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        passage: &mut Self::CTX,
    ) -> pingora::Result<()> {
        // Every request has one since `early_request_filter`; without, nobody knows which headers to believe.
        let Some(caller) = passage.caller else { return Err(Error::new(ErrorType::InternalError)) };
        if passage.there.is_some() {
            steps::introduce(request, caller.client)?;
        } else {
            // Pingora has taken out what asks for anything else, or not as it should.
            passage.attempts.websocket = passage.attempts.websocket && request.headers.contains_key(header::UPGRADE);
            let seen = headers::Seen {
                caller,
                host: session.get_header(header::HOST),
                secured: passage::secured(session),
                trust_headers: &passage.generation.edge.trust_headers,
                client_header: passage.generation.clients.header(),
            };
            headers::forward(request, &seen)?;
        }
        // Last: of what a client says, these are no part.
        passage.trail.send_up(request, passage.there.is_some())?;
        passage.request.as_ref().map_or(Ok(()), |id| request_id::send_up(request, id))
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        passage: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let tunnel = self.takes_answer(session, answer, passage)?;
        if !tunnel && !framing::is_answered_clearly(answer.version, answer.status, &answer.headers) {
            // The connection to the upstream ends with this, and with it whatever else it holds.
            return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
        }
        match &passage.request {
            Some(id) if tunnel || !answer.status.is_informational() => request_id::bring_back(answer, id),
            _ => Ok(()),
        }
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        piece: &mut Option<Bytes>,
        is_last: bool,
        _: &mut Self::CTX,
    ) -> pingora::Result<Option<Duration>> {
        if let Some(connection) = connection(session).filter(|_| is_last) {
            connection.answer_is_whole();
        }
        let bytes = piece.as_ref().map_or(0, Bytes::len);
        if let Some(takes) = exchange(session).map(|exchange| exchange.to_take(bytes)) {
            session.set_write_timeout(Some(takes));
        }
        Ok(None)
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, passage: &mut Self::CTX, error: BError) -> BError {
        self.could_not_connect(passage, error)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        error: BError,
        passage: &mut Self::CTX,
        reused: bool,
    ) -> BError {
        self.broke(session, passage, error, reused)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, passage: &mut Self::CTX) -> FailToProxy {
        FailToProxy { error_code: self.failed(session, error, passage).await, can_reuse_downstream: false }
    }

    /// It would say what the upstream said, and as often as clients like; see [`Gate::tell`].
    fn suppress_error_log(&self, _: &Session, _: &Self::CTX, _: &Error) -> bool {
        true
    }

    /// As is what is tried again, which the metrics count.
    fn suppress_proxy_warn_log(&self, _: &Session, _: &Self::CTX, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }

    /// Nothing of the target: its query may hold a token, its path somebody's id or address.
    fn request_summary(&self, session: &Session, _: &Self::CTX) -> String {
        session.req_header().method.to_string()
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, passage: &mut Self::CTX) {
        self.is_over(session, error, passage);
    }
}
