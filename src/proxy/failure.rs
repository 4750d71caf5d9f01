//! What a client is told when a passed request fails: our words, never the upstream's.

use pingora::{Error, ErrorSource, ErrorType};

use crate::reset::wire::Reply;

/// The answer; `None` where the client is gone.
pub(super) fn reply(error: &Error) -> Option<Reply> {
    let timed_out = matches!(
        error.etype(),
        ErrorType::ConnectTimedout
            | ErrorType::ReadTimedout
            | ErrorType::WriteTimedout
            | ErrorType::TLSHandshakeTimedout
    );
    Some(match (error.esource(), error.etype()) {
        (_, ErrorType::HTTPStatus(status)) => Reply::error(*status, "The request could not be passed on"),
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => Reply::error(408, "The request took too long"),
        _ if is_clients(error) => return None,
        (ErrorSource::Downstream, _) => Reply::error(400, "The request could not be read"),
        (ErrorSource::Upstream, _) if timed_out => Reply::error(504, "The upstream server did not answer in time"),
        (ErrorSource::Upstream, _) => Reply::error(502, "The upstream server could not be reached"),
        (ErrorSource::Internal | ErrorSource::Unset, _) => Reply::error(500, "The request could not be passed on"),
    })
}

/// Whether the client ended it: nothing to answer and nothing to log.
pub(super) fn is_clients(error: &Error) -> bool {
    matches!(error.esource(), ErrorSource::Downstream)
        && matches!(
            error.etype(),
            ErrorType::ReadError | ErrorType::WriteError | ErrorType::WriteTimedout | ErrorType::ConnectionClosed
        )
}
