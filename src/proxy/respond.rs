//! Writes an answer of ours: always JSON, never cached, with a length, on a connection that stays.

use bytes::Bytes;
use http::{HeaderName, Method, header};
use pingora::{http::ResponseHeader, proxy::Session};

use crate::reset::wire::Reply;

/// Sends `reply`, with `more` headers. A HEAD gets the headers of its GET.
///
/// # Errors
/// pingora's, when the client cannot be written to.
pub(super) async fn send(session: &mut Session, reply: &Reply, more: &[(HeaderName, String)]) -> pingora::Result<()> {
    let head_only = session.req_header().method == Method::HEAD;
    let mut response = ResponseHeader::build(reply.status, Some(12))?;
    response.insert_header(header::CONTENT_TYPE, "application/json; charset=UTF-8")?;
    response.insert_header(header::CONTENT_LENGTH, reply.body.len())?;
    secure(&mut response)?;
    if let Some(etag) = &reply.etag {
        response.insert_header(header::ETAG, etag.as_str())?;
    }
    if let Some(wait) = reply.retry_after {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        response.insert_header(header::RETRY_AFTER, seconds.to_string())?;
    }
    for (name, value) in more {
        response.insert_header(name.clone(), value.as_str())?;
    }
    let end = head_only || reply.body.is_empty();
    session.write_response_header(Box::new(response), end).await?;
    if !end {
        session.write_response_body(Some(reply.body.clone()), true).await?;
    }
    Ok(())
}

/// Sends a 204 with `headers`: the answer to a preflight.
///
/// # Errors
/// As [`send`].
pub(super) async fn send_empty(session: &mut Session, headers: &[(HeaderName, String)]) -> pingora::Result<()> {
    let mut response = ResponseHeader::build(204, Some(8))?;
    secure(&mut response)?;
    for (name, value) in headers {
        response.insert_header(name.clone(), value.as_str())?;
    }
    session.write_response_header(Box::new(response), true).await
}

/// The same answer, indented: `_prettyPrint=true`.
pub(super) fn pretty(reply: Reply) -> Reply {
    let indented =
        serde_json::from_slice::<serde_json::Value>(&reply.body).and_then(|json| serde_json::to_vec_pretty(&json));
    match indented {
        Ok(body) => Reply { body: Bytes::from(body), ..reply },
        Err(_) => reply,
    }
}

fn secure(response: &mut ResponseHeader) -> pingora::Result<()> {
    // `no-cache` is IDM's own; `no-store` keeps tokens out of every cache (RFC 9111 §5.2.2.5).
    response.insert_header(header::CACHE_CONTROL, "no-cache, no-store")?;
    response.insert_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")?;
    response.insert_header(header::REFERRER_POLICY, "no-referrer")?;
    response.insert_header(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'")
}
