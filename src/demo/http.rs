//! The demo's HTTP servers: bounded in headers, bodies and time; answers in CREST's manner.

use std::{convert::Infallible, future::Future, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// What every handler answers.
pub(super) type Answer = Response<Full<Bytes>>;
/// An answer that ends the handling early; boxed, because an answer is large.
pub(super) type Refusal = Box<Answer>;

/// The largest body that is read into memory.
const BODY: usize = 16 * 1024;
const BODY_TIME: Duration = Duration::from_secs(30);
const HEADER_TIME: Duration = Duration::from_secs(30);
const HEADER_BYTES: usize = 64 * 1024;

/// Serves HTTP/1.1 on `listener` until the handle is dropped.
pub(super) fn serve<H, F>(listener: TcpListener, handle: H) -> AbortOnDropHandle<()>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    super::accept::accept(listener, move |socket| {
        let handle = handle.clone();
        async move {
            let service = service_fn(move |request| {
                let answer = handle(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIME)
                .max_buf_size(HEADER_BYTES)
                .serve_connection(TokioIo::new(socket), service);
            // How a connection ends is the client's affair; there is nobody to tell.
            let _ = connection.await;
        }
    })
}

/// The whole body, or the error to answer.
pub(super) async fn body(incoming: Incoming) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(BODY_TIME, Limited::new(incoming, BODY).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(fault)) if fault.is::<LengthLimitError>() => {
            Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "The request entity is too large"))
        }
        Ok(Err(_)) => Err(refuse(StatusCode::BAD_REQUEST, "The request could not be read")),
        Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "The request took too long")),
    }
}

/// Reads a body of any size, keeping only its first `keep` bytes: those, and how many there were.
pub(super) async fn measure(mut incoming: Incoming, keep: usize) -> Result<(Vec<u8>, u64), Refusal> {
    let mut kept = Vec::new();
    let mut length = 0u64;
    loop {
        match tokio::time::timeout(BODY_TIME, incoming.frame()).await {
            Ok(None) => return Ok((kept, length)),
            Ok(Some(Ok(frame))) => {
                let Some(data) = frame.data_ref() else { continue };
                length = length.saturating_add(data.len() as u64);
                kept.extend(data.iter().take(keep.saturating_sub(kept.len())));
            }
            Ok(Some(Err(_))) => return Err(refuse(StatusCode::BAD_REQUEST, "The request could not be read")),
            Err(_) => return Err(refuse(StatusCode::REQUEST_TIMEOUT, "The request took too long")),
        }
    }
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Full::from(body.to_string()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json;charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

/// A JSON answer with 200.
pub(super) fn ok(body: &Value) -> Answer {
    json(StatusCode::OK, body)
}

/// CREST's error body. Its phrases are HTTP's but for two.
pub(super) fn error(status: StatusCode, message: &str) -> Answer {
    json(status, &json!({"code": status.as_u16(), "reason": reason(status), "message": message}))
}

/// The same, to end the handling with.
pub(super) fn refuse(status: StatusCode, message: &str) -> Refusal {
    Box::new(error(status, message))
}

/// CREST's phrase for a status.
fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::REQUEST_TIMEOUT => "Request Time-out",
        StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
        other => other.canonical_reason().unwrap_or("Resource Exception"),
    }
}

/// A fixed file of a page. Pages load nothing from elsewhere, run no script that is not a file, and show in no frame.
pub(super) fn file(content_type: &'static str, content: impl Into<Bytes>) -> Answer {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                          base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let mut answer = Response::new(Full::new(content.into()));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("content-security-policy", HeaderValue::from_static(POLICY));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

/// 405, saying what would have been allowed.
pub(super) fn not_allowed(allowed: &'static str) -> Answer {
    let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}
