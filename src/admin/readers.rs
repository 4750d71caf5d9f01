//! Whether somebody who asks is on this machine.

use std::net::IpAddr;

use hyper::{HeaderMap, header};

/// What a proxy adds to what it passes on. In a mesh, one on this machine passes on what comes from elsewhere.
const PASSED_ON: [&str; 7] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-envoy-external-address",
    "l5d-client-id",
];

/// How a request came.
pub(super) struct Way<'r> {
    pub(super) peer: IpAddr,
    /// The address of ours that it came to.
    pub(super) local: Option<IpAddr>,
    pub(super) headers: &'r HeaderMap,
}

impl Way<'_> {
    /// Whether it is from this machine, to this machine, and nobody else's words: neither passed on by a proxy, nor a
    /// browser's that was told that a name of somebody's is this machine's.
    pub(super) fn is_within_this_machine(&self) -> bool {
        let loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
        loopback(self.peer)
            && self.local.is_some_and(loopback)
            && !self.headers.contains_key(header::ORIGIN)
            && !PASSED_ON.iter().any(|name| self.headers.contains_key(*name))
            && self.headers.get_all(header::HOST).iter().all(|host| host.to_str().is_ok_and(is_this_machine))
    }
}

/// Of `Host`, with or without a port.
fn is_this_machine(host: &str) -> bool {
    let bare = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    };
    let ip = bare.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(bare);
    bare.eq_ignore_ascii_case("localhost") || ip.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(peer: &str, local: &str, headers: &[(&'static str, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Way { peer: peer.parse().unwrap(), local: local.parse().ok(), headers: &headers }.is_within_this_machine()
    }

    #[test]
    fn who_is_on_this_machine() {
        let own = [("host", "localhost:9090")];
        assert!(asks("127.0.0.1", "127.0.0.1", &own));
        assert!(asks("::1", "::1", &own));
        assert!(asks("::ffff:127.0.0.1", "::ffff:127.0.0.1", &[]));
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:9090", "127.8.8.8", "[::1]:9090", "[::1]"] {
            assert!(asks("127.0.0.1", "127.0.0.1", &[("host", host)]), "{host}");
        }
    }

    #[test]
    fn and_who_is_not() {
        let own = ("host", "localhost:9090");
        assert!(!asks("10.0.0.7", "10.0.0.1", &[own]));
        // A mesh's proxy beside us, which passes to the pod's address.
        assert!(!asks("127.0.0.6", "10.0.0.1", &[own]));
        assert!(!asks("127.0.0.1", "nowhere", &[own]));
        for name in PASSED_ON {
            assert!(!asks("127.0.0.1", "127.0.0.1", &[own, (name, "x")]), "{name}");
        }
        assert!(!asks("127.0.0.1", "127.0.0.1", &[own, ("origin", "http://localhost:9090")]));
        // A page of a name that leads to this machine all of a sudden.
        for host in ["evil.example:9090", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1:9090", ""] {
            assert!(!asks("127.0.0.1", "127.0.0.1", &[("host", host)]), "{host}");
        }
    }
}
