//! Why a call failed, as far as the log and the engine may know.

use http::{StatusCode, header::InvalidHeaderValue};
use hyper_util::client::legacy;

/// What went wrong.
pub use crate::telemetry::metrics::CallFailure as Kind;
use crate::tls;

/// A call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How.
    pub kind: Kind,
    /// What the answer said, where one began.
    pub status: Option<StatusCode>,
    /// Whether the effect may have happened all the same.
    pub sent: bool,
    /// What an operator may look at.
    pub hint: Option<&'static str>,
}

impl Failure {
    /// A call of which the store surely knows nothing.
    pub const fn unsent(kind: Kind) -> Self {
        Self { kind, status: None, sent: false, hint: None }
    }

    /// A call of which nothing is known.
    pub const fn unknown(kind: Kind) -> Self {
        Self { sent: true, ..Self::unsent(kind) }
    }

    /// A call that was answered; `sent` says whether the effect may have happened all the same.
    pub const fn answered(kind: Kind, status: StatusCode, sent: bool) -> Self {
        Self { kind, status: Some(status), sent, hint: None }
    }

    /// For a call without effect, where `sent` means no more than that the store was reached.
    pub const fn reached(self) -> Self {
        Self { sent: self.sent || self.status.is_some(), ..self }
    }

    /// The status of an answer that says no. A 4xx is the one class that promises that nothing was done.
    pub fn status(status: StatusCode) -> Self {
        Self::answered(Kind::Status, status, !status.is_client_error())
    }

    /// Whether it is the store's as a whole, as far as one call can tell.
    pub fn blames_the_store(&self) -> bool {
        match self.kind {
            Kind::Connect | Kind::Lost => true,
            // Otherwise it was we who had no time left to ask.
            Kind::Timeout => self.sent,
            Kind::Status => self.status.is_some_and(|status| status.is_server_error()),
            Kind::Busy | Kind::Open | Kind::Token | Kind::Request | Kind::TooLong | Kind::Malformed => false,
        }
    }
}

impl From<legacy::Error> for Failure {
    fn from(error: legacy::Error) -> Self {
        let hint = tls::explain(&error);
        // A server that refuses the client's certificate has listened to nothing, whenever it says so.
        if error.is_connect() || tls::refused(&error) {
            Self { hint, ..Self::unsent(Kind::Connect) }
        } else {
            Self { hint, ..Self::unknown(Kind::Lost) }
        }
    }
}

impl From<InvalidHeaderValue> for Failure {
    fn from(_: InvalidHeaderValue) -> Self {
        Self::unsent(Kind::Request)
    }
}
