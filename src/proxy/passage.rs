//! One request on its way.

use std::{path::Path, sync::Arc};

use http::Version;
use pingora::proxy::Session;

use super::{Generation, client::Caller, upstream::Attempts};
use crate::listen::{Connection, Exchange};

/// One request's state.
pub struct Passage {
    pub(super) generation: Arc<Generation>,
    pub(super) caller: Option<Caller>,
    /// To the upstream.
    pub(super) attempts: Attempts,
    /// Whether it was for the reset path, or passed; neither, if it was refused.
    pub(super) course: Option<Course>,
    /// The process that answers it, if that is another.
    pub(super) there: Option<Arc<Path>>,
}

/// Which way a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    Intercepted,
    Passed,
}

/// Of HTTP/1.
pub(super) fn connection(session: &Session) -> Option<&Connection> {
    session.stream().and_then(|stream| stream.as_any().downcast_ref())
}

/// The stream, of HTTP/2.
pub(super) fn exchange(session: &Session) -> Option<&Arc<Exchange>> {
    session.req_header().extensions.get()
}

/// Whether it may go over to WebSocket. A connection of HTTP/2 is not one request's to turn into something else.
pub(super) fn asks_for_websocket(session: &Session, generation: &Generation, target: &[u8]) -> bool {
    connection(session).is_some()
        && session.req_header().version == Version::HTTP_11
        && session.is_upgrade_req()
        && generation.upstream.takes_websocket(target)
}
