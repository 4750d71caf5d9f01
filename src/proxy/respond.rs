//! Writing an answer of our own: JSON as CREST has it, with a length, never cached, never framed, the connection kept.

use std::{mem, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use pingora::{
    http::ResponseHeader,
    protocols::http::{ServerSession, date},
};
use serde_json::Value;

use crate::reset::{
    ports::{Policy, RequestId},
    wire::Reply,
};

/// An answer, to be sent.
pub(super) struct Answer {
    pub(super) reply: Reply,
    pub(super) dress: Dress,
}

/// How an answer is dressed.
#[derive(Clone, Debug, Default)]
pub(super) struct Dress {
    /// Indent the JSON.
    pub(super) pretty: bool,
    /// The listed origin of the page that asks.
    pub(super) origin: Option<HeaderValue>,
    /// Answers differ by origin, and a cache must know.
    pub(super) vary: bool,
    /// It answers a listed page's preflight (Fetch §3.2.2), and has no body.
    pub(super) preflight: bool,
}

/// Room for an answer's head.
const HEAD: usize = 768;

/// What a listed page may send: IDM's own list, and what its clients send besides.
const ALLOWED_HEADERS: &str = "accept, accept-api-version, authorization, cache-control, content-type, \
     x-openidm-nosession, x-openidm-password, x-openidm-username, x-requested-with";

impl Answer {
    /// As anybody's page may have it.
    pub(super) fn plain(reply: Reply) -> Self {
        Self { reply, dress: Dress::default() }
    }

    /// To a preflight.
    pub(super) fn preflight(dress: Dress) -> Self {
        let reply = Reply::of(204, Bytes::new());
        Self { reply, dress: Dress { preflight: true, ..dress } }
    }

    /// Sends it, with the request's id. Its body is left out for HEAD, its length is not.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) async fn send(self, session: &mut ServerSession, request: Option<&RequestId>) -> pingora::Result<()> {
        let mut head = ResponseHeader::build(self.reply.status, Some(17))?;
        let body = self.body();
        let mut put = Ok(());
        self.lines(body.len(), request, |name, value| {
            put = mem::replace(&mut put, Ok(())).and_then(|()| head.insert_header(name, value));
        });
        put?;
        let end = self.dress.preflight || session.req_header().method == Method::HEAD;
        session.write_response_header(Box::new(head)).await.map_err(|error| error.into_down())?;
        if !end {
            session.write_response_body(body, true).await.map_err(|error| error.into_down())?;
        }
        Ok(())
    }

    /// All of it as it is in HTTP/1.1 (RFC 9112 §4) for any method but HEAD, and how much of that is the body. `keeps` says
    /// whether the connection stays.
    pub(super) fn bytes(self, request: Option<&RequestId>, keeps: bool) -> (Vec<u8>, usize) {
        let body = self.body();
        let mut bytes = Vec::with_capacity(HEAD + body.len());
        let status = StatusCode::from_u16(self.reply.status).unwrap_or_default();
        for part in ["HTTP/1.1 ", status.as_str(), " ", status.canonical_reason().unwrap_or_default(), "\r\n"] {
            bytes.extend_from_slice(part.as_bytes());
        }
        let mut put = |name: &str, value: &[u8]| {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        };
        put("Date", date::get_cached_date().as_bytes());
        put("Connection", if keeps { b"keep-alive" } else { b"close" });
        self.lines(body.len(), request, put);
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&body);
        (bytes, body.len())
    }

    fn body(&self) -> Bytes {
        let body = self.reply.body.clone();
        if self.dress.pretty { indent(body) } else { body }
    }

    /// Its header lines, whoever writes them.
    fn lines(&self, length: usize, request: Option<&RequestId>, mut put: impl FnMut(&'static str, &[u8])) {
        let Self { reply, dress } = self;
        if dress.preflight {
            put("Access-Control-Allow-Methods", b"GET, POST");
            put("Access-Control-Allow-Headers", ALLOWED_HEADERS.as_bytes());
            put("Access-Control-Max-Age", b"600");
        } else {
            put("Content-Type", b"application/json; charset=UTF-8");
            put("Content-Length", length.to_string().as_bytes());
        }
        if let Some(etag) = &reply.etag {
            put("ETag", etag.as_bytes());
        }
        if let Some(wait) = reply.retry_after {
            let seconds = seconds(wait);
            put("Retry-After", seconds.to_string().as_bytes());
            if let Some(policy) = reply.policy {
                put("RateLimit-Policy", policy_line(policy).as_bytes());
                put("RateLimit", format!("\"{}\";r=0;t={seconds}", policy.name).as_bytes());
            }
        }
        if let Some(id) = request {
            put("X-Request-Id", id.as_str().as_bytes());
        }
        put("Cache-Control", b"no-cache, no-store");
        put("X-Content-Type-Options", b"nosniff");
        put("Referrer-Policy", b"no-referrer");
        put("Content-Security-Policy", b"default-src 'none'; frame-ancestors 'none'");
        if dress.vary {
            put("Vary", b"Origin");
        }
        if let Some(origin) = &dress.origin {
            put("Access-Control-Allow-Origin", origin.as_bytes());
            put("Access-Control-Expose-Headers", b"ETag, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id");
        }
    }
}

/// RFC 9110 §10.2.3 has whole seconds; to be early by a part of one is to be refused again.
fn seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers): a list of one. A window that is not whole seconds cannot be
/// said, and need not.
fn policy_line(policy: Policy) -> String {
    let window = policy.window;
    let window = if window.subsec_nanos() == 0 { format!(";w={}", window.as_secs()) } else { String::new() };
    format!("\"{}\";q={}{window}", policy.name, policy.quota)
}

fn indent(body: Bytes) -> Bytes {
    let pretty = serde_json::from_slice::<Value>(&body).and_then(|value| serde_json::to_vec_pretty(&value));
    pretty.map_or(body, Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_whole_seconds_and_never_early() {
        for (millis, wait) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60)] {
            assert_eq!(seconds(Duration::from_millis(millis)), wait);
        }
    }

    #[test]
    fn a_policy_is_a_structured_field() {
        let line = |window| policy_line(Policy { name: "client", quota: 300, window });
        assert_eq!(line(Duration::from_secs(60)), "\"client\";q=300;w=60");
        assert_eq!(line(Duration::from_millis(1500)), "\"client\";q=300");
    }
}
