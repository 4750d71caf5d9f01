//! What is told of a request when it is over: once, however it ends.

use http::{Method, Version};
use pingora::{Error, ErrorSource, ErrorType, protocols::http::ServerSession};

use super::{
    Passage,
    failure::is_late,
    passage::{Course, secured},
    route::Route,
    shape::Shape,
};
use crate::{
    config::{Access, ClientLog},
    endpoints::{Address, Endpoint},
    telemetry::{
        access::{Line, Named},
        trace::{Done, SpanKind, number, text},
    },
};

/// What is known of a request from its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    method: &'static str,
    protocol: &'static str,
    tls: Option<&'static str>,
    /// Where it goes, once that has been looked at.
    shape: Shape,
}

impl Head {
    pub(super) fn of(session: &ServerSession) -> Self {
        let request = session.req_header();
        Self {
            method: method(&request.method),
            protocol: protocol(request.version),
            tls: secured(session).map(|secured| secured.version),
            shape: Shape::default(),
        }
    }
}

impl Passage {
    /// To be told where it goes.
    pub(super) fn goes(&mut self, route: &Route<'_>, target: &[u8]) {
        let Some(head) = &mut self.head else { return };
        head.shape = match route {
            Route::Intercept { .. } => Shape::RESET,
            Route::Policy { .. } => Shape::POLICY,
            Route::Pass { target } => self.generation.shapes.of(target),
            Route::Reject(_) => self.generation.shapes.of(target),
        };
    }

    /// To be told when it is over, as far as Pingora knows.
    pub(super) fn ended(&mut self, status: Option<u16>, error: Option<&Error>, bytes: [usize; 2]) {
        let why = match error {
            Some(error) => Some(broken(error)),
            None => status.and_then(|status| refused(self.course, status)),
        };
        self.tell(status, why, Some(bytes.map(|count| u64::try_from(count).unwrap_or(u64::MAX)).into()));
    }

    fn tell(&mut self, status: Option<u16>, why: Option<&'static str>, bytes: Option<(u64, u64)>) {
        let Some(head) = self.head.take() else { return };
        self.trace(&head, status, why);
        let log = self.generation.log;
        let wanted = match log.access {
            Access::All => true,
            Access::Reset => self.course == Some(Course::Intercepted),
            Access::Off => false,
        };
        if !wanted {
            return;
        }
        let name = match log.client {
            ClientLog::Address => Some(Named::Exactly as fn(_) -> _),
            ClientLog::Network => Some(Named::Roughly as fn(_) -> _),
            ClientLog::Off => None,
        };
        // They would tell how long a password is that somebody types, and when it is good enough.
        let bytes = bytes.filter(|_| self.course != Some(Course::Policy));
        Line {
            method: head.method,
            route: match self.course {
                Some(Course::Intercepted) => "reset",
                Some(Course::Policy) => "policy",
                Some(Course::Passed) => "passed",
                None => "refused",
            },
            path: self.generation.shapes.show(head.shape).parts(),
            protocol: head.protocol,
            tls: head.tls,
            status,
            why,
            received: bytes.map(|(received, _)| received),
            sent: bytes.map(|(_, sent)| sent),
            took: self.began.elapsed(),
            client: name.zip(self.caller).map(|(name, caller)| name(caller.client)),
            upstream: self.attempts.at().map(Endpoint::text),
            tries: self.attempts.count(),
            upstream_took: self.attempts.took(),
            request: self.request.as_ref(),
            trace: self.trail.id(),
        }
        .write();
    }
}

impl Passage {
    /// Its span, and that of what the upstream did for it.
    fn trace(&self, head: &Head, status: Option<u16>, why: Option<&'static str>) {
        let (Some(tracer), Some(at)) = (&self.generation.tracer, self.trail.at) else { return };
        if !at.sampled {
            return;
        }
        let path = self.generation.shapes.show(head.shape).to_string();
        let answered = |status: Option<u16>| status.map(|status| number("http.response.status_code", status));
        if let Some(up) = self.trail.up.filter(|_| self.attempts.count() > 0) {
            let mut attributes = vec![text("http.request.method", head.method)];
            attributes.extend(answered(status.filter(|_| self.attempts.answered)));
            match self.attempts.at().map(|at| at.address()) {
                Some(Address::Tcp(at)) => {
                    attributes.push(text("server.address", at.ip().to_string()));
                    attributes.push(number("server.port", at.port()));
                }
                Some(Address::Unix(path)) => attributes.push(text("server.address", path.display().to_string())),
                None => {}
            }
            if self.attempts.count() > 1 {
                attributes.push(number("http.request.resend_count", self.attempts.count() - 1));
            }
            tracer.record(Done {
                place: up,
                parent: Some(at.span),
                name: head.method.to_owned(),
                kind: SpanKind::Client,
                began: self.attempts.first().unwrap_or(self.began),
                attributes,
                failed: why.filter(|why| why.starts_with("upstream")),
                later: false,
            });
        }
        let protocol = head.protocol.strip_prefix("HTTP/").unwrap_or(head.protocol);
        let scheme = if head.tls.is_some() { "https" } else { "http" };
        let mut attributes = vec![
            text("http.request.method", head.method),
            text("http.route", path.as_str()),
            text("url.scheme", scheme),
            text("network.protocol.version", protocol),
        ];
        attributes.extend(answered(status));
        attributes.extend(self.request.as_ref().map(|id| text("resetgate.request", id.as_str())));
        tracer.record(Done {
            place: at,
            parent: self.trail.parent(),
            name: format!("{} {path}", head.method),
            kind: SpanKind::Server,
            began: self.began,
            attributes,
            // What a client did wrong is no failure of ours.
            failed: why.filter(|_| status.is_none_or(|status| status >= 500)),
            later: false,
        });
    }
}

/// Whatever serves a request may be gone before it is over: a stream's time is, or the program's.
impl Drop for Passage {
    fn drop(&mut self) {
        self.tell(None, Some("cut"), None);
    }
}

/// A method that nobody knows is a client's own word.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "_OTHER",
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2",
        _ => "_OTHER",
    }
}

/// Why a request was cut short: whose fault, and which.
fn broken(error: &Error) -> &'static str {
    use ErrorType::{
        BindError, ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, HTTPStatus, HandshakeError,
        InvalidCert, InvalidHTTPHeader, ReadTimedout, SocketError, TLSHandshakeFailure, TLSHandshakeTimedout,
        WriteTimedout,
    };
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, WriteTimedout) => "client_slow",
        (ErrorSource::Downstream, _) if is_late(error) => "client_slow",
        (ErrorSource::Downstream, InvalidHTTPHeader | HTTPStatus(_)) => "malformed",
        (ErrorSource::Downstream, _) => "client_gone",
        (ErrorSource::Upstream, ConnectNoRoute) => "upstream_unknown",
        (ErrorSource::Upstream, ConnectTimedout | TLSHandshakeTimedout) => "upstream_connect_timeout",
        (ErrorSource::Upstream, TLSHandshakeFailure | InvalidCert | HandshakeError) => "upstream_tls",
        (ErrorSource::Upstream, ReadTimedout | WriteTimedout) => "upstream_timeout",
        (ErrorSource::Upstream, InvalidHTTPHeader) => "upstream_malformed",
        (ErrorSource::Upstream, ConnectRefused | ConnectError | SocketError | BindError) => "upstream_connect",
        (ErrorSource::Upstream, _) => "upstream_broken",
        (ErrorSource::Internal | ErrorSource::Unset, _) => "internal",
    }
}

/// Why we answered as we did; nothing where that is the ordinary answer, or the upstream's.
const fn refused(course: Option<Course>, status: u16) -> Option<&'static str> {
    match (course, status) {
        (Some(Course::Passed), _) => None,
        (Some(Course::Intercepted | Course::Policy), 408) => Some("client_slow"),
        (Some(Course::Intercepted | Course::Policy), 413) => Some("too_large"),
        (Some(Course::Intercepted | Course::Policy), 429) => Some("limit"),
        (Some(Course::Intercepted | Course::Policy), 500) => Some("internal"),
        (Some(Course::Intercepted | Course::Policy), 503) => Some("unavailable"),
        (Some(Course::Intercepted | Course::Policy), _) => None,
        (None, 403) => Some("denied"),
        (None, 404) => Some("disguised"),
        (None, 405) => Some("method"),
        (None, 414 | 431) => Some("too_large"),
        (None, _) => Some("malformed"),
    }
}
