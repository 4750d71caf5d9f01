//! What becomes of a passed request that fails: another try where nothing can happen twice, and what is told of it.

use std::sync::Arc;

use http::{Method, StatusCode};
use pingora::{BError, Error, ErrorSource, ErrorType, http::ResponseHeader, proxy::Session};
use tokio::time::Instant;

use super::{
    Gate, Passage, failure, framing,
    passage::{answer_is_due, connection},
};
use crate::{endpoints::Failure, tls};

/// What is told where a certificate is not the pinned one.
const NOT_PINNED: &str = "the server's certificate is not the one of tls.pin";

impl Gate {
    /// Nothing was sent: any request may go to another address.
    pub(super) fn could_not_connect(&self, passage: &mut Passage, mut error: BError) -> BError {
        if passage.there.is_some() {
            error.set_retry(false);
            return error;
        }
        let how = match error.etype() {
            ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Failure::ConnectTimeout,
            ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError => Failure::Tls,
            _ => Failure::Connect,
        };
        passage.attempts.failed(how);
        if how == Failure::Tls {
            self.tell_of_tls(passage, &error);
        }
        self.try_again(passage, &mut error);
        error
    }

    /// Something may have been sent. A request that changes nothing and has no body goes to another address, where there is
    /// one; what may have changed something goes nowhere else. One that met a kept connection as it was closed is sent
    /// anew, if sending it twice does no more than once (RFC 9110 §9.2.2, §9.3.1).
    pub(super) fn broke(&self, session: &mut Session, passage: &mut Passage, error: BError, reused: bool) -> BError {
        let mut error = error;
        answer_is_due(session, None);
        let method = session.req_header().method.clone();
        if passage.there.is_some() {
            match method.is_idempotent() && !session.as_ref().retry_buffer_truncated() {
                true => error.retry.decide_reuse(reused),
                false => error.set_retry(false),
            }
            return error;
        }
        if failure::is_late(&error)
            && *error.esource() == ErrorSource::Downstream
            && passage.attempts.is_overdue(Instant::now())
        {
            // The connection has kept the time of an upstream that sends its answer's head byte by byte.
            error = Error::new_up(ErrorType::ReadTimedout);
        }
        if *error.esource() != ErrorSource::Upstream || passage.attempts.answered {
            error.set_retry(false);
            return error;
        }
        let closing = reused && !matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::InvalidHTTPHeader);
        if closing && method.is_idempotent() && !session.as_ref().retry_buffer_truncated() {
            error.retry.decide_reuse(true);
            if error.retry() {
                return error;
            }
        }
        let unsent = *error.etype() == ErrorType::InvalidCert;
        // Who has not been sent all cannot answer: a slow client's doing.
        let owes = passage.attempts.is_sent_whole() || *error.etype() != ErrorType::ReadTimedout;
        if !owes {
            error.set_retry(false);
            return error;
        }
        passage.attempts.failed(match error.etype() {
            ErrorType::InvalidCert => Failure::Tls,
            ErrorType::ReadTimedout | ErrorType::WriteTimedout => Failure::Silent,
            _ if tls::explain(error.root_cause()).is_some() => Failure::Tls,
            _ => Failure::Broken,
        });
        if unsent {
            self.tell_of_tls(passage, &error);
        }
        let safe = matches!(method, Method::GET | Method::HEAD | Method::OPTIONS) && session.is_body_empty();
        // What is no answer would be none elsewhere either, and is nobody's failure to answer.
        if unsent || (safe && *error.etype() != ErrorType::InvalidHTTPHeader) {
            self.try_again(passage, &mut error);
        } else {
            error.set_retry(false);
        }
        error
    }

    /// Takes note of an answer's head. Whether it needs no judge of what follows it: it begins a tunnel that was asked for.
    pub(super) fn takes_answer(
        &self,
        session: &Session,
        answer: &ResponseHeader,
        passage: &mut Passage,
    ) -> pingora::Result<bool> {
        let attempts = &mut passage.attempts;
        let tunnel = attempts.websocket
            && answer.status == StatusCode::SWITCHING_PROTOCOLS
            && framing::goes_over_to_websocket(&answer.headers);
        if answer.status.is_informational() && !tunnel {
            return match attempts.is_overdue(Instant::now()) {
                true => Err(Error::new_up(ErrorType::ReadTimedout)),
                false => Ok(false),
            };
        }
        attempts.begins_to_be_answered(Instant::now());
        if let Some(took) = attempts.took() {
            self.metrics.requests.first_byte(took);
        }
        attempts.tunnels = tunnel;
        answer_is_due(session, None);
        if let Some(connection) = connection(session).filter(|_| tunnel) {
            connection.tunnels(passage.generation.upstream.websocket_idle(), self.stopping.clone());
        }
        Ok(tunnel)
    }

    fn try_again(&self, passage: &Passage, error: &mut Error) {
        let again = passage.generation.upstream.has_another(&passage.attempts);
        error.set_retry(again);
        if again {
            self.metrics.upstream_retried();
        }
    }

    /// Says what kind of failure the upstream's is, at most every [`super::TOLD_EVERY`].
    pub(super) fn tell(&self, error: &Error) {
        if self.told.pass(self.started.elapsed()).is_some() {
            let kind = error.etype().as_str();
            match tls::explain(error.root_cause()) {
                Some(why) => tracing::warn!(kind, why, service = "upstream", "a request could not be passed on"),
                None => tracing::warn!(kind, "a request could not be passed on"),
            }
        }
    }

    /// Says which setting a handshake's failure points at, at most every [`super::TOLD_EVERY`].
    fn tell_of_tls(&self, passage: &Passage, error: &Error) {
        let Some(endpoint) = passage.attempts.at().cloned() else { return };
        if self.told_of_tls.pass(self.started.elapsed()).is_none() {
            return;
        }
        let known = (*error.etype() == ErrorType::InvalidCert).then_some(NOT_PINNED);
        let upstream = Arc::clone(&passage.generation.upstream);
        // Nobody waits for it, and the throttle lets few of them run.
        tokio::spawn(async move {
            let why = match known {
                Some(why) => why,
                None => upstream.explain(&endpoint).await.unwrap_or("the handshake failed, for no reason of ours"),
            };
            let address = endpoint.address();
            tracing::warn!(service = "upstream", %address, why, "TLS to the upstream failed");
        });
    }
}
