//! What a client is told when forwarding fails: a constant text, never the upstream's words.

use std::io;

use pingora::{Error, ErrorSource, ErrorType};

use crate::reset::wire::{Reply, reason};

/// Whether a client is slower than its connection allows.
pub(super) fn is_late(error: &Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    *error.etype() == ErrorType::ReadError && cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}

/// The answer; `None` if nobody is left to hear it.
pub(super) fn reply(error: &Error) -> Option<Reply> {
    use ErrorType::{
        ConnectTimedout, ConnectionClosed, HTTPStatus, ReadError, ReadTimedout, TLSHandshakeTimedout, WriteError,
        WriteTimedout,
    };
    let status = match (error.esource(), error.etype()) {
        (_, HTTPStatus(status)) => *status,
        (ErrorSource::Upstream, ConnectTimedout | TLSHandshakeTimedout | ReadTimedout | WriteTimedout) => 504,
        (ErrorSource::Upstream, _) => 502,
        (ErrorSource::Downstream, ReadError) if is_late(error) => 408,
        (ErrorSource::Downstream, ReadError | WriteError | ConnectionClosed | WriteTimedout) => return None,
        (ErrorSource::Downstream, _) => 400,
        (ErrorSource::Internal | ErrorSource::Unset, _) => 500,
    };
    Some(Reply::error(status, reason(status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        for (error, status) in [
            (Error::new_up(ErrorType::ConnectRefused), Some(502)),
            (Error::new_up(ErrorType::ConnectTimedout), Some(504)),
            (Error::new_up(ErrorType::ReadTimedout), Some(504)),
            (Error::new_up(ErrorType::InvalidHTTPHeader), Some(502)),
            (Error::new_up(ErrorType::HTTPStatus(502)), Some(502)),
            (Error::because(ErrorType::ReadError, "", io::Error::from(io::ErrorKind::TimedOut)).into_down(), Some(408)),
            (Error::because(ErrorType::ReadError, "", io::Error::from(io::ErrorKind::BrokenPipe)).into_down(), None),
            (Error::new_down(ErrorType::InvalidHTTPHeader), Some(400)),
            (Error::new_down(ErrorType::ConnectionClosed), None),
            (Error::new_in(ErrorType::InternalError), Some(500)),
        ] {
            assert_eq!(reply(&error).map(|reply| reply.status), status, "{error}");
        }
    }
}
