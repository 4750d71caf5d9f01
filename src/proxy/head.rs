//! Requests whose head alone is reason enough to refuse them.

use http::{Method, Version, header};
use pingora::protocols::http::ServerSession;

use super::{framing, headers, route};

/// The status that a request's head alone earns it; `None` if there is nothing wrong with it.
pub(super) fn fault(session: &ServerSession) -> Option<u16> {
    let request = session.req_header();
    let head = session.to_h1_raw();
    if head.len() > headers::MAX_HEAD || request.headers.len() > headers::MAX_LINES {
        return Some(431);
    }
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let (host, more) = (hosts.next(), hosts.next().is_some());
    // What is no host must not go up as one (RFC 9112 §3.2).
    let misnamed = host.is_some_and(|host| !route::is_authority(host.as_bytes()));
    // Later than HTTP/1.1 there is `:authority`, and before it nobody asked for a Host.
    let host_wanted = request.version == Version::HTTP_11;
    if !framing::is_framed_clearly(&head) || more || misnamed || (host_wanted && host.is_none()) {
        return Some(400);
    }
    // CONNECT is refused by Pingora before it comes here, unless it is a mistake.
    (request.method == Method::CONNECT).then_some(405)
}
