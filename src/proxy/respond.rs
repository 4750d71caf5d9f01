//! Writing an answer of our own: JSON as CREST has it, with a length, never cached, never framed, the connection kept.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use pingora::{http::ResponseHeader, proxy::Session};
use serde_json::Value;

use super::request_id::{self, REQUEST_ID};
use crate::reset::{ports::Policy, wire::Reply};

/// How an answer is dressed.
#[derive(Clone, Debug, Default)]
pub(super) struct Dress {
    /// Indent the JSON.
    pub(super) pretty: bool,
    /// The listed origin of the page that asks.
    pub(super) origin: Option<HeaderValue>,
    /// Answers differ by origin, and a cache must know.
    pub(super) vary: bool,
}

/// What a listed page may send: IDM's own list, and what its clients send besides.
const ALLOWED_HEADERS: &str = "accept, accept-api-version, authorization, cache-control, content-type, \
     x-openidm-nosession, x-openidm-password, x-openidm-username, x-requested-with";

/// Sends the reply. Its body is left out for HEAD, its length is not.
pub(super) async fn send(session: &mut Session, reply: Reply, dress: &Dress) -> pingora::Result<()> {
    let body = if dress.pretty { indent(reply.body) } else { reply.body };
    let mut head = ResponseHeader::build(reply.status, Some(15))?;
    head.insert_header(header::CONTENT_TYPE, "application/json; charset=UTF-8")?;
    head.insert_header(header::CONTENT_LENGTH, body.len())?;
    if let Some(etag) = reply.etag {
        head.insert_header("ETag", etag)?;
    }
    if let Some(wait) = reply.retry_after {
        let seconds = seconds(wait);
        head.insert_header("Retry-After", seconds)?;
        if let Some(policy) = reply.policy {
            head.insert_header("RateLimit-Policy", policy_line(policy))?;
            head.insert_header("RateLimit", format!("\"{}\";r=0;t={seconds}", policy.name))?;
        }
    }
    dress_up(&mut head, session, dress)?;
    let end = session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(head), end).await.map_err(|error| error.into_down())?;
    if !end {
        session.write_response_body(Some(body), true).await.map_err(|error| error.into_down())?;
    }
    Ok(())
}

/// Answers a listed page's preflight (Fetch §3.2.2).
pub(super) async fn send_preflight(session: &mut Session, dress: &Dress) -> pingora::Result<()> {
    let mut head = ResponseHeader::build(204, Some(11))?;
    head.insert_header("Access-Control-Allow-Methods", "GET, POST")?;
    head.insert_header("Access-Control-Allow-Headers", ALLOWED_HEADERS)?;
    head.insert_header("Access-Control-Max-Age", "600")?;
    dress_up(&mut head, session, dress)?;
    session.write_response_header(Box::new(head), true).await.map_err(|error| error.into_down())
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

fn dress_up(head: &mut ResponseHeader, session: &Session, dress: &Dress) -> pingora::Result<()> {
    if let Some(id) = session.get_header(REQUEST_ID) {
        head.insert_header(request_id::WRITTEN, id.clone())?;
    }
    head.insert_header(header::CACHE_CONTROL, "no-cache, no-store")?;
    head.insert_header("X-Content-Type-Options", "nosniff")?;
    head.insert_header("Referrer-Policy", "no-referrer")?;
    head.insert_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")?;
    if dress.vary {
        head.insert_header("Vary", "Origin")?;
    }
    if let Some(origin) = &dress.origin {
        head.insert_header("Access-Control-Allow-Origin", origin.clone())?;
        head.insert_header(
            "Access-Control-Expose-Headers",
            "ETag, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id",
        )?;
    }
    Ok(())
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
