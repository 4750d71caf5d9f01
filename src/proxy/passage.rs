//! One request on its way.

use std::{path::Path, sync::Arc};

use pingora::proxy::Session;

use super::{Generation, client::Caller};
use crate::listen::{Connection, Exchange};

/// One request's state.
pub struct Passage {
    pub(super) generation: Arc<Generation>,
    pub(super) caller: Option<Caller>,
    pub(super) connects: u8,
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
