//! One request on its way.

use std::{path::Path, sync::Arc, time::Duration};

use http::Version;
use pingora::protocols::http::ServerSession;
use tokio::time::Instant;

use super::{
    Generation,
    client::Caller,
    ended::Head,
    trail::{Sender, Trail},
    upstream::Attempts,
};
use crate::{
    listen::{Connection, Exchange, Secured},
    reset::ports::RequestId,
    telemetry::metrics::{Asked, Requests, UnderWay},
};

/// How much later a stream is reset: most of those who wait for nothing are told so before.
const SLACK: Duration = Duration::from_millis(400);

/// One request's state.
pub struct Passage {
    /// When its head was there.
    pub(super) began: Instant,
    /// Counts it, as long as it is under way.
    pub(super) under_way: Option<UnderWay>,
    /// What it asks for, on the reset path.
    pub(super) asked: Asked,
    pub(super) generation: Arc<Generation>,
    pub(super) caller: Option<Caller>,
    pub(super) request: Option<RequestId>,
    /// Where it stands in a trace.
    pub(super) trail: Trail,
    /// To the upstream.
    pub(super) attempts: Attempts,
    /// Whether it was for the reset path, or passed; neither, if it was refused.
    pub(super) course: Option<Course>,
    /// The process that answers it, if that is another.
    pub(super) there: Option<Arc<Path>>,
    /// What is told of it when it is over; nothing, if it has been, or is by another process.
    pub(super) head: Option<Head>,
}

/// Which way a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    Intercepted,
    /// To the page of the password policy.
    Policy,
    Passed,
}

impl Passage {
    /// One that begins now, by that generation.
    pub(super) fn new(generation: Arc<Generation>) -> Self {
        Self {
            began: Instant::now(),
            under_way: None,
            asked: Asked::default(),
            generation,
            caller: None,
            request: None,
            trail: Trail::default(),
            attempts: Attempts::default(),
            course: None,
            there: None,
            head: None,
        }
    }

    /// Who sent it.
    pub(super) fn sender(&self) -> Sender {
        match (self.head, self.caller) {
            (None, _) => Sender::Former,
            (_, Some(caller)) if caller.trusted => Sender::Trusted,
            _ => Sender::Stranger,
        }
    }

    /// Counts it, when it is over; by the status of its answer, if it has one.
    pub(super) fn count(&self, requests: &Requests, status: Option<u16>) {
        let Some(status) = status else { return };
        match self.course {
            Some(Course::Intercepted) => requests.answered(status, self.asked, self.began.elapsed()),
            Some(Course::Policy) => requests.told_policy(status),
            Some(Course::Passed) => {
                requests.passed(status, (!self.attempts.tunnels).then(|| self.began.elapsed()));
            }
            None => requests.refused(status),
        }
    }
}

/// Of HTTP/1.
pub(super) fn connection(session: &ServerSession) -> Option<&Connection> {
    session.stream().and_then(|stream| stream.as_any().downcast_ref())
}

/// The stream, of HTTP/2.
pub(super) fn exchange(session: &ServerSession) -> Option<&Arc<Exchange>> {
    session.req_header().extensions.get()
}

/// What TLS told of its connection, where there is TLS.
pub(super) fn secured(session: &ServerSession) -> Option<&Secured> {
    match connection(session) {
        Some(connection) => connection.secured(),
        None => exchange(session).and_then(|exchange| exchange.secured()),
    }
}

/// Whoever keeps a client's time keeps the upstream's as well, whose answer's head may come byte by byte.
pub(super) fn answer_is_due(session: &ServerSession, at: Option<Instant>) {
    if let Some(connection) = connection(session) {
        connection.answer_is_due(at);
    }
    if let Some(exchange) = exchange(session) {
        exchange.answer_is_due(at.map(|at| at + SLACK));
    }
}

/// Whether it may go over to WebSocket. A connection of HTTP/2 is not one request's to turn into something else.
pub(super) fn asks_for_websocket(session: &ServerSession, generation: &Generation, target: &[u8]) -> bool {
    generation.upstream.takes_websocket(target)
        && connection(session).is_some()
        && session.req_header().version == Version::HTTP_11
        && session.is_upgrade_req()
}
