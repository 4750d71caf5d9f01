//! The proxy: answers the reset path itself, forwards every other path as it came, refuses what could be either.

mod body;
pub mod client;
mod desk;
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
    os::fd::RawFd,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, header};
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

pub(crate) use self::generation::{rooted, roots};
use self::{
    desk::Desk,
    ended::Head,
    passage::{Course, connection, exchange},
    respond::Dress,
    route::{Route, Why},
    trail::Trail,
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
    listen::{Connection, Peer},
    reset::ports::Events,
    telemetry::{
        metrics::{Denial, Metrics},
        throttle::Throttle,
    },
};

/// How often a failure of the upstream is told; the metrics count each.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// The proxy, as Pingora runs it.
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

#[async_trait]
impl ProxyHttp for Gate {
    type CTX = Passage;

    fn new_ctx(&self) -> Passage {
        Passage::new(self.generation.load_full())
    }

    /// Without Pingora's compression: it must never touch an answer that mixes secrets with a stranger's words.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, passage: &mut Passage) -> pingora::Result<()> {
        // No bounds here on reads, on writes and between requests: the connection has its own, on what it waits for.
        session.set_read_timeout(None);
        session.set_total_drain_timeout(Some(Duration::from_secs(2)));
        // Else who sends the next request before the answer has none of the two served.
        session.set_pipelining_enabled(true);
        let follows = body::follows(session);
        let length = body::length(session);
        let connection = connection(session);
        if let Some(connection) = connection {
            connection.asks(length);
        }
        if connection.is_some_and(|connection| !connection.head_is_read(follows)) {
            return Err(Error::new_down(ErrorType::ConnectionClosed));
        }
        let exchange = exchange(session);
        let peer = connection.map(Connection::peer).or_else(|| exchange.map(|exchange| exchange.peer()));
        passage.caller = Some(passage.generation.clients.caller(peer, &session.req_header().headers));
        // What another process passes on, that one tells of.
        passage.head = Some(Head::of(session)).filter(|_| peer != Some(Peer::Former));
        if let Some(takes) = exchange.map(|exchange| exchange.to_take(0)) {
            session.set_write_timeout(Some(takes));
            return Ok(());
        }
        if connection.is_some_and(Connection::is_old) || *self.leaving.borrow() {
            session.set_keepalive(None);
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, passage: &mut Passage) -> pingora::Result<bool> {
        let fault = head::fault(session);
        let id = request_id::settle(session.req_header_mut());
        passage.request = Some(id.clone());
        let sender = passage.sender();
        passage.trail = Trail::of(session.req_header_mut(), passage.generation.tracer.as_deref(), sender);
        if let Some(status) = fault {
            return self.refuse(session, passage, status).await;
        }
        let request = session.req_header();
        let (target, host) = (request.raw_path(), request.headers.get(header::HOST).map(HeaderValue::as_bytes));
        let generation = Arc::clone(&passage.generation);
        let route = generation.router.route(target, host);
        passage.goes(&route, target);
        match route {
            Route::Intercept { query } => {
                let query = query.to_vec();
                self.answer(session, passage, id, &query).await
            }
            Route::Policy { query } => {
                let query = query.to_vec();
                self.tell_policy(session, passage, id, &query).await
            }
            // It would show a client what we add.
            Route::Pass { .. } if request.method == Method::TRACE => self.refuse(session, passage, 405).await,
            Route::Pass { target: origin_form } => {
                if let Some(why) = generation.edge.denies(&request.headers) {
                    return self.deny(session, passage, why).await;
                }
                passage.course = Some(Course::Passed);
                passage.under_way = Some(self.metrics.requests.passing());
                passage.attempts.websocket = passage::asks_for_websocket(session, &generation, origin_form);
                if origin_form.len() != target.len() {
                    let origin_form = origin_form.to_vec();
                    session.req_header_mut().set_raw_path(&origin_form)?;
                }
                if !session.is_body_done()
                    && let Some(exchange) = exchange(session)
                {
                    exchange.awaits_body();
                }
                Ok(false)
            }
            Route::Reject(Why::Denied) => self.deny(session, passage, Denial::Path).await,
            Route::Reject(Why::Disguised) => self.refuse(session, passage, 404).await,
            Route::Reject(Why::Malformed) => self.refuse(session, passage, 400).await,
            Route::Reject(Why::TooLong) => self.refuse(session, passage, 414).await,
        }
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        piece: &mut Option<Bytes>,
        end: bool,
        passage: &mut Passage,
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

    async fn upstream_peer(&self, _: &mut Session, passage: &mut Passage) -> pingora::Result<Box<HttpPeer>> {
        if let Some(there) = &passage.there {
            return steps::peer(there);
        }
        let upstream = Arc::clone(&passage.generation.upstream);
        upstream.peer(&mut passage.attempts).map(Box::new)
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _: bool,
        _: &HttpPeer,
        _: RawFd,
        digest: Option<&Digest>,
        passage: &mut Passage,
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
        passage: &mut Passage,
    ) -> pingora::Result<()> {
        // Every request has one since `early_request_filter`; without, nobody knows which headers to believe.
        let Some(caller) = passage.caller else { return Err(Error::new(ErrorType::InternalError)) };
        if let Some(id) = &passage.request {
            request_id::send_up(request, id)?;
        }
        passage.trail.send_up(request, passage.there.is_some())?;
        if passage.there.is_some() {
            return steps::introduce(request, caller.client);
        }
        // Pingora has taken out what asks for anything else, or not as it should.
        passage.attempts.websocket &= request.headers.contains_key(header::UPGRADE);
        let host = session.get_header(header::HOST);
        let seen = headers::Seen {
            caller,
            host,
            secured: passage::secured(session),
            trust_headers: &passage.generation.edge.trust_headers,
            client_header: passage.generation.clients.header(),
        };
        headers::forward(request, &seen)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        passage: &mut Passage,
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
        _: bool,
        _: &mut Passage,
    ) -> pingora::Result<Option<Duration>> {
        let bytes = piece.as_ref().map_or(0, Bytes::len);
        if let Some(takes) = exchange(session).map(|exchange| exchange.to_take(bytes)) {
            session.set_write_timeout(Some(takes));
        }
        Ok(None)
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, passage: &mut Passage, error: BError) -> BError {
        self.could_not_connect(passage, error)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        error: BError,
        passage: &mut Passage,
        reused: bool,
    ) -> BError {
        self.broke(session, passage, error, reused)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, passage: &mut Passage) -> FailToProxy {
        if *error.esource() == pingora::ErrorSource::Upstream {
            self.metrics.upstream_failed();
            self.tell(error);
        }
        if *error.esource() == pingora::ErrorSource::Downstream
            && *error.etype() == ErrorType::WriteTimedout
            && let Some(exchange) = exchange(session)
        {
            exchange.answer_was_slow();
        }
        let reply = failure::reply(error);
        let error_code = reply.as_ref().map_or(0, |reply| reply.status);
        let begun =
            passage.attempts.tunnels || session.response_written().is_some_and(|head| !head.status.is_informational());
        if let Some(reply) = reply
            && !begun
        {
            session.set_keepalive(None);
            // Nobody is left to tell if this fails as well.
            let _ = respond::send(session, reply, &Dress::default()).await;
        }
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    /// It would say what the upstream said, and as often as clients like; see [`Gate::tell`].
    fn suppress_error_log(&self, _: &Session, _: &Passage, _: &Error) -> bool {
        true
    }

    /// As is what is tried again, which the metrics count.
    fn suppress_proxy_warn_log(&self, _: &Session, _: &Passage, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }

    /// Nothing of the target: its query may hold a token, its path somebody's id or address.
    fn request_summary(&self, session: &Session, _: &Passage) -> String {
        session.req_header().method.to_string()
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, passage: &mut Passage) {
        passage.ended(session, error);
        passage.count(&self.metrics.requests, session.response_written().map(|head| head.status.as_u16()));
        if let Some(connection) = connection(session) {
            connection.request_is_over();
        }
    }
}
