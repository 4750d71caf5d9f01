//! What becomes of a request at its begin and at its end, whichever way it goes in between.

use std::time::Duration;

use http::{HeaderValue, Method, header};
use pingora::{Error, ErrorSource, ErrorType, protocols::http::ServerSession};

use super::{
    Gate, Passage, body,
    ended::Head,
    failure, head,
    passage::{self, Course, connection, exchange},
    request_id,
    respond::Answer,
    route::{Route, Why},
    trail::Trail,
};
use crate::{
    listen::{Connection, Peer},
    telemetry::metrics::Denial,
};

/// What becomes of a request.
pub(super) enum Verdict {
    /// It is answered here.
    Answer(Answer),
    /// It goes on, to the upstream or to another process.
    Pass,
}

impl Gate {
    /// Of a request that begins.
    pub(super) fn passage(&self) -> Passage {
        Passage::new(self.generation.load_full())
    }

    /// To be told when its head has been read.
    ///
    /// # Errors
    /// Its connection had to go just before.
    pub(super) fn begins(&self, session: &mut ServerSession, passage: &mut Passage) -> pingora::Result<()> {
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
        if connection.is_some_and(|connection| connection.is_old(passage.began)) || *self.leaving.borrow() {
            session.set_keepalive(None);
        }
        Ok(())
    }

    /// Decides; what has to be read or done for an answer has been then.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) async fn route(&self, session: &mut ServerSession, passage: &mut Passage) -> pingora::Result<Verdict> {
        let fault = head::fault(session);
        let id = request_id::settle(&session.req_header().headers);
        passage.request = Some(id.clone());
        let sender = passage.sender();
        passage.trail = Trail::of(session.req_header_mut(), passage.generation.tracer.as_deref(), sender);
        if let Some(status) = fault {
            return Ok(Verdict::Answer(self.refuse(session, passage, status).await));
        }
        let request = session.req_header();
        let (target, host) = (request.raw_path(), request.headers.get(header::HOST).map(HeaderValue::as_bytes));
        let route = passage.generation.router.route(target, host);
        passage.goes(&route, target);
        Ok(Verdict::Answer(match route {
            Route::Intercept { query } => {
                let query = query.to_vec();
                return self.answer(session, passage, id, &query).await;
            }
            Route::Policy { query } => {
                let query = query.to_vec();
                return self.tell_policy(session, passage, id, &query).await;
            }
            // It would show a client what we add.
            Route::Pass { .. } if request.method == Method::TRACE => self.refuse(session, passage, 405).await,
            Route::Pass { target: origin_form } => {
                if let Some(why) = passage.generation.edge.denies(&request.headers) {
                    return Ok(Verdict::Answer(self.deny(session, passage, why).await));
                }
                passage.course = Some(Course::Passed);
                passage.under_way = Some(self.metrics.requests.passing());
                passage.attempts.websocket = passage::asks_for_websocket(session, &passage.generation, origin_form);
                if origin_form.len() != target.len() {
                    let origin_form = origin_form.to_vec();
                    session.req_header_mut().set_raw_path(&origin_form)?;
                }
                if !session.is_body_done()
                    && let Some(exchange) = exchange(session)
                {
                    exchange.awaits_body();
                }
                return Ok(Verdict::Pass);
            }
            Route::Reject(Why::Denied) => self.deny(session, passage, Denial::Path).await,
            Route::Reject(Why::Disguised) => self.refuse(session, passage, 404).await,
            Route::Reject(Why::Malformed) => self.refuse(session, passage, 400).await,
            Route::Reject(Why::TooLong) => self.refuse(session, passage, 414).await,
        }))
    }

    /// To be told when it has failed. The status that the client is told, or would be; 0 if there is none.
    pub(super) async fn failed(&self, session: &mut ServerSession, error: &Error, passage: &Passage) -> u16 {
        if *error.esource() == ErrorSource::Upstream {
            self.metrics.upstream_failed();
            self.tell(error);
        }
        if *error.esource() == ErrorSource::Downstream
            && *error.etype() == ErrorType::WriteTimedout
            && let Some(exchange) = exchange(session)
        {
            exchange.answer_was_slow();
        }
        let reply = failure::reply(error);
        let status = reply.as_ref().map_or(0, |reply| reply.status);
        let begun =
            passage.attempts.tunnels || session.response_written().is_some_and(|head| !head.status.is_informational());
        if let Some(reply) = reply
            && !begun
        {
            session.set_keepalive(None);
            // Nobody is left to tell if this fails as well.
            let _ = Answer::plain(reply).send(session, passage.request.as_ref()).await;
        }
        status
    }

    /// To be told when it is over, or has failed for good.
    pub(super) fn is_over(&self, session: &ServerSession, error: Option<&Error>, passage: &mut Passage) {
        let status = session.response_written().map(|head| head.status.as_u16());
        let bytes = [session.body_bytes_read(), session.body_bytes_sent()];
        self.ended(connection(session), status, error, bytes, passage);
    }

    /// The same, where somebody else has written the answer.
    pub(super) fn ended(
        &self,
        connection: Option<&Connection>,
        status: Option<u16>,
        error: Option<&Error>,
        bytes: [usize; 2],
        passage: &mut Passage,
    ) {
        passage.ended(status, error, bytes);
        passage.count(&self.metrics.requests, status);
        if let Some(connection) = connection {
            connection.request_is_over();
        }
    }
}
