//! What goes over the wire, JSON equal to IDM's.

use std::time::Duration;

use bytes::Bytes;

/// An answer on the reset path. Its body is JSON and ends without a line break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The JSON.
    pub body: Bytes,
    /// `Retry-After`, with 429 and 503.
    pub retry_after: Option<Duration>,
    /// `ETag`, on the GET.
    pub etag: Option<String>,
}
