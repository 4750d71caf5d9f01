//! Reading a request's body within bounds. Pingora bounds neither its size nor the time that it takes as a whole.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Version, header};
use pingora::{BError, ErrorType, protocols::http::ServerSession};
use tokio::time::timeout;

use crate::reset::ports::Secret;

use super::failure::is_late;
use crate::listen;

/// The largest body of a step, in bytes. A token and a password need a fourth of it.
pub(super) const MAX_BODY: usize = 16 << 10;
/// How long a body may take.
const WITHIN: Duration = Duration::from_secs(10);
/// How much of a body that nobody wants is read all the same, in bytes, and for how long.
const MAX_DISCARD: usize = 2 << 20;
const DISCARD_WITHIN: Duration = Duration::from_secs(2);

/// Why there is no body.
#[derive(Debug)]
pub(super) enum Fault {
    /// Larger than it may be.
    TooLarge,
    /// Not there in time.
    Slow,
    /// Its framing is broken.
    Malformed,
    /// The client is gone: nobody is left to answer.
    Gone(BError),
}

/// What follows a request's head on its connection.
pub(super) fn follows(session: &mut ServerSession) -> listen::Body {
    if session.is_body_done() {
        listen::Body::Read
    } else if expects_continue(session) {
        listen::Body::Held
    } else {
        listen::Body::Awaited
    }
}

/// How many bytes a request has, its head and its body, if it says so.
pub(super) fn length(session: &mut ServerSession) -> Option<u64> {
    let head = session.to_h1_raw().len() as u64;
    if session.is_body_empty() {
        return Some(head);
    }
    let chunked = session.req_header().headers.contains_key(header::TRANSFER_ENCODING);
    (!chunked).then(|| head.saturating_add(declared(session).unwrap_or_default()))
}

/// The whole body, of no more than so many bytes.
pub(super) async fn read(session: &mut ServerSession, most: usize) -> Result<Bytes, Fault> {
    if declared(session).is_some_and(|length| length > most as u64) {
        return Err(Fault::TooLarge);
    }
    if expects_continue(session) {
        // Pingora takes the 100 for an answer before the body's end, and would close after it.
        let keepalive = session.get_keepalive();
        session.write_continue_response().await.map_err(|error| Fault::Gone(error.into_down()))?;
        session.set_keepalive(keepalive);
    }
    timeout(WITHIN, collect(session, most)).await.unwrap_or(Err(Fault::Slow))
}

/// Reads what is left of a body that nobody wants, if it is not too much. A connection with unread bytes is reset when
/// it is closed, and the client may then never see the answer; one without can even be kept.
pub(super) async fn discard(session: &mut ServerSession) {
    if session.is_body_done() {
        return;
    }
    // A client that waits to be asked sends no body after a refusal, and one that announces too much need not begin.
    let pointless = expects_continue(session) || declared(session).is_some_and(|length| length > MAX_DISCARD as u64);
    if pointless || !timeout(DISCARD_WITHIN, swallow(session)).await.unwrap_or(false) {
        session.set_keepalive(None);
    }
}

/// Reads to the body's end; false if that is too far, or never comes.
async fn swallow(session: &mut ServerSession) -> bool {
    let mut left = MAX_DISCARD;
    loop {
        match chunk(session).await {
            Ok(None) => return true,
            Ok(Some(bytes)) if bytes.len() <= left => left -= bytes.len(),
            _ => return false,
        }
    }
}

/// In a buffer of ours, which is wiped when the engine has read it: the body may hold a password. What Pingora reads into
/// is its own.
async fn collect(session: &mut ServerSession, most: usize) -> Result<Bytes, Fault> {
    let room = declared(session).map_or(most, |length| usize::try_from(length).unwrap_or(most));
    // Never moved, for it never grows beyond its room.
    let mut whole = Secret::of(Vec::with_capacity(room.min(most)));
    while let Some(chunk) = chunk(session).await? {
        let fits = whole.expose().len() + chunk.len() <= most;
        if fits {
            whole.expose_mut().extend_from_slice(&chunk);
        }
        // Pingora's own is wiped too, if nobody else holds it.
        if let Ok(chunk) = chunk.try_into_mut() {
            drop(Secret::of(chunk));
        }
        if !fits {
            return Err(Fault::TooLarge);
        }
    }
    Ok(whole.into_bytes())
}

async fn chunk(session: &mut ServerSession) -> Result<Option<Bytes>, Fault> {
    let exchange = super::exchange(session).map(Arc::clone);
    let piece = match exchange {
        Some(exchange) => exchange.in_time(session.read_request_body()).await.map_err(|_| Fault::Slow)?,
        None => session.read_request_body().await,
    };
    piece.map_err(|error| match error.etype() {
        _ if is_late(&error) => Fault::Slow,
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => Fault::Gone(error.into_down()),
        _ => Fault::Malformed,
    })
}

fn declared(session: &ServerSession) -> Option<u64> {
    session.get_header(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// RFC 9110 §10.1.1: an HTTP/1.0 client that expects is to be ignored.
fn expects_continue(session: &ServerSession) -> bool {
    session.req_header().version != Version::HTTP_10
        && session
            .get_header(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
