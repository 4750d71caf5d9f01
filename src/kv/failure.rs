//! What can go wrong with a server, and what follows from it.

use std::io;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::telemetry::metrics::KvFailure;

/// A call came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The server may have done it all the same.
    pub sent: bool,
}

/// Why a server is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// Nobody can be connected to, or the connection broke.
    #[error("cannot be connected to")]
    Unreachable(#[source] io::Error),
    /// It took too long.
    #[error("does not answer in time: see codes.connect_timeout")]
    Slow,
    /// It answered with an error, of which only the code is told: the rest may repeat what was sent.
    #[error("answers with an error: {0}")]
    Error(String),
    /// It does not know the user, or not by that password.
    #[error("does not let us in: see codes.username and codes.password")]
    Stranger,
    /// Only its master may be written to.
    #[error("is a replica of another, and not to be written to")]
    Replica,
    /// No sentinel knows a server by that name.
    #[error("is not known to the sentinels by that name: see codes.store")]
    Unknown,
    /// It throws keys away when it is full, live codes among them.
    #[error(
        "evicts keys when it is full (maxmemory-policy {0}), and live codes with them: set maxmemory-policy noeviction"
    )]
    Evicting(String),
    /// The codes that are there cannot be read with any of the token keys.
    #[error("holds codes of processes with other token.keys: list one of theirs, or set another codes.namespace")]
    OtherKeys,
    /// The crypto library failed.
    #[error("cannot be used: the crypto library failed")]
    Crypto,
}

impl Unfit {
    /// Whether it is there, and stays so until somebody changes something.
    pub const fn is_lasting(&self) -> bool {
        matches!(self, Self::Evicting(_) | Self::OtherKeys | Self::Crypto)
    }
}

impl From<RedisError> for Unfit {
    fn from(error: RedisError) -> Self {
        let code = error.code().map(str::to_owned);
        match (error.kind(), code.as_deref()) {
            (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS" | "DENIED")) => Self::Stranger,
            (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => Self::Replica,
            (_, Some(code)) => Self::Error(code.to_owned()),
            _ if error.is_timeout() => Self::Slow,
            _ => Self::Unreachable(io::Error::other(error.category())),
        }
    }
}

/// What a failed call says.
pub(super) struct Cause {
    pub(super) kind: KvFailure,
    /// The server's word for it.
    pub(super) code: Option<String>,
    pub(super) sent: bool,
}

impl Cause {
    pub(super) const fn timeout() -> Self {
        Self { kind: KvFailure::Timeout, code: None, sent: true }
    }

    pub(super) fn of(error: &RedisError) -> Self {
        let code = error.code().map(str::to_owned);
        let kind = match (error.kind(), code.as_deref()) {
            (_, Some("OOM")) => KvFailure::Full,
            (
                ErrorKind::Server(
                    ServerErrorKind::ReadOnly
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::BusyLoading
                    | ServerErrorKind::Moved
                    | ServerErrorKind::Ask
                    | ServerErrorKind::ClusterDown,
                ),
                _,
            ) => KvFailure::Moved,
            // Of several commands at once only that is told.
            (_, Some(_)) | (ErrorKind::Extension, None) => KvFailure::Refused,
            _ if error.is_timeout() => return Self::timeout(),
            _ if error.is_io_error() || error.is_connection_dropped() => KvFailure::Broken,
            _ => KvFailure::Malformed,
        };
        // What the server answered with an error, it has not done.
        Self { kind, code, sent: matches!(kind, KvFailure::Broken | KvFailure::Malformed) }
    }

    /// Whether a few of these in a row say that nobody is there.
    pub(super) const fn is_strike(&self) -> bool {
        matches!(self.kind, KvFailure::Timeout)
    }

    /// Whether only another connection can help.
    pub(super) const fn ends_the_link(&self) -> bool {
        matches!(self.kind, KvFailure::Broken | KvFailure::Malformed | KvFailure::Moved)
    }
}
