//! Reads the body of a request to the reset path: bounded in size and time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header;
use pingora::{protocols::http::v1::common::is_expect_continue_req, proxy::Session};

/// The longest body, in bytes.
const MAX: usize = 16 << 10;
/// For the whole body; pingora's own timeouts are per read, and HTTP/2 has none.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Over [`MAX`].
    TooLarge,
    /// Not all there within [`DEADLINE`].
    TooSlow,
    /// Broken framing, or a client that went away.
    Broken,
}

/// Reads it all. What cannot be read ends the connection after the answer, except a body that is merely too large:
/// its rest is read, as far as that is reasonable, so that its sender gets to see the answer.
pub(super) async fn read(session: &mut Session) -> Result<Bytes, Unread> {
    let read = tokio::time::timeout(DEADLINE, read_all(session)).await.unwrap_or(Err(Unread::TooSlow));
    match read {
        Ok(_) => {}
        Err(Unread::TooLarge) => session.set_close_on_response_before_downstream_finish(false),
        Err(Unread::TooSlow | Unread::Broken) => session.set_keepalive(None),
    }
    read
}

async fn read_all(session: &mut Session) -> Result<Bytes, Unread> {
    let declared =
        session.get_header(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > MAX as u64) {
        return Err(Unread::TooLarge);
    }
    if is_expect_continue_req(session.req_header()) {
        // pingora leaves this to whoever reads the body; without it curl waits a second.
        session.write_continue_response().await.map_err(|_| Unread::Broken)?;
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = session.read_request_body().await.map_err(|_| Unread::Broken)? {
        if body.len() + chunk.len() > MAX {
            return Err(Unread::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
