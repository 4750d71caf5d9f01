//! Request headers: how much of them there may be, and what is told to the upstream about the client.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue};
use pingora::http::RequestHeader;

use super::{client::Caller, edge::CERTIFICATE_HEADERS};
use crate::{config::ClientHeader, listen::Secured, telemetry::access::dotted};

/// The largest request head, in bytes.
pub(super) const MAX_HEAD: usize = 64 << 10;
/// The most header lines.
pub(super) const MAX_LINES: usize = 128;

/// Headers that make some servers route by them instead of by the target. They are never forwarded.
const OVERRIDES: [&str; 8] = [
    "x-original-url",
    "x-rewrite-url",
    "x-original-uri",
    "x-override-url",
    "x-envoy-original-path",
    "x-forwarded-path",
    "x-forwarded-uri",
    "x-forwarded-prefix",
];
/// Headers that say who the client is and how it came. The rest of their family goes with them.
const FORWARDING: [&str; 18] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-server",
    "x-forwarded",
    "x-original-forwarded-for",
    "x-original-host",
    "x-host",
    "x-real-ip",
    "forwarded",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-originating-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "front-end-https",
];

/// How most of them begin.
const FAMILY: &str = "x-forwarded-";

/// What is known of a request besides its headers.
pub(super) struct Seen<'a> {
    /// Who sent it.
    pub(super) caller: Caller,
    /// Its Host.
    pub(super) host: Option<&'a HeaderValue>,
    /// What TLS told of the connection; none where it is plain.
    pub(super) secured: Option<&'a Secured>,
    /// Headers that only a trusted peer may send (`[edge] trust_headers`).
    pub(super) trust_headers: &'a [String],
    /// The header in which a trusted peer says who the client is (`[listen] client_header`).
    pub(super) client_header: ClientHeader,
}

/// Prepares a request for the upstream. Routing overrides go. What an untrusted peer says of the client is replaced by
/// what we saw; a trusted peer's word is kept, and the peer is added to the chain. Who the client is to the upstream,
/// only a trusted peer may say, and only in the one header in which it says so to us: a proxy that writes the one leaves
/// the other as the client sent it.
pub(super) fn forward(request: &mut RequestHeader, seen: &Seen<'_>) -> pingora::Result<()> {
    let unwanted: Vec<HeaderName> =
        request.headers.keys().filter(|name| is_unwanted(name.as_str(), seen)).cloned().collect();
    for name in &unwanted {
        request.remove_header(name);
    }
    if let Some(certificate) = seen.secured.and_then(|secured| secured.certificate.as_ref()) {
        request.insert_header("Client-Cert", certificate.clone())?;
    }
    let peer = seen.caller.peer;
    if seen.caller.trusted {
        if let Some(ip) = peer {
            match seen.client_header {
                ClientHeader::XForwardedFor => append(request, "X-Forwarded-For", &text(ip))?,
                ClientHeader::Forwarded => append(request, "Forwarded", format!("for={}", node(ip)).as_bytes())?,
            }
        }
        return Ok(());
    }
    if let Some(ip) = peer {
        request.insert_header("X-Forwarded-For", text(ip))?;
    }
    let scheme = HeaderValue::from_static(if seen.secured.is_some() { "https" } else { "http" });
    request.insert_header("X-Forwarded-Proto", scheme)?;
    if let Some(host) = seen.host {
        request.insert_header("X-Forwarded-Host", host.clone())?;
    }
    Ok(())
}

/// Underscores are dashes to a reader in CGI's tradition, so a twin written with them is as good as the header itself; to
/// some of them all is that is no letter or digit.
/// A trusted peer's word is the spelling that is listed; its twin came past that peer.
fn is_unwanted(name: &str, seen: &Seen<'_>) -> bool {
    let trusted = seen.caller.trusted;
    // Whatever is listed here begins so, and so do its twins; most headers need no other look.
    let known = begins_as_listed(name);
    // There are more of this family than anybody lists (`X-Forwarded-Ssl`, `-Scheme`, `-By`).
    if known && !trusted && name.get(..FAMILY.len()).is_some_and(|head| is_twin(head, FAMILY)) {
        return true;
    }
    // Who asks for certificates knows them; whoever is at the other end speaks for nobody else.
    let asks = seen.secured.is_some_and(|secured| secured.asks);
    if known && asks && CERTIFICATE_HEADERS.iter().any(|listed| is_twin(name, listed)) {
        return true;
    }
    let other = match seen.client_header {
        ClientHeader::XForwardedFor => "forwarded",
        ClientHeader::Forwarded => "x-forwarded-for",
    };
    if known && OVERRIDES.iter().any(|listed| is_twin(name, listed)) {
        return true;
    }
    let tells = (known && FORWARDING.iter().any(|listed| is_twin(name, listed)))
        || seen.trust_headers.iter().any(|listed| is_twin(name, listed));
    let listed = || FORWARDING.contains(&name) || seen.trust_headers.iter().any(|listed| listed == name);
    tells && !(trusted && name != other && listed())
}

fn begins_as_listed(name: &str) -> bool {
    matches!(name.as_bytes().first(), Some(b'c' | b'f' | b't' | b'x'))
}

/// Whether two names in lower case are the same to a reader for whom underscores, dots and the like are dashes.
pub(super) fn is_twin(name: &str, other: &str) -> bool {
    let dashed = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
    name.len() == other.len() && name.bytes().map(dashed).eq(other.bytes().map(dashed))
}

fn append(request: &mut RequestHeader, name: &'static str, element: &[u8]) -> pingora::Result<()> {
    let mut all: Vec<u8> = Vec::new();
    for value in request.headers.get_all(name) {
        if !value.is_empty() {
            all.extend_from_slice(value.as_bytes());
            all.extend_from_slice(b", ");
        }
    }
    all.extend_from_slice(element);
    request.insert_header(name, all)?;
    Ok(())
}

fn text(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => {
            let mut text = Vec::with_capacity(15);
            dotted(ip.octets(), &mut text);
            text
        }
        IpAddr::V6(ip) => ip.to_string().into(),
    }
}

/// RFC 7239 §6: an IPv6 address is bracketed and quoted.
fn node(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("\"[{ip}]\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reset::ports::Client;

    fn forwarded(lines: &[(&'static str, &'static str)], peer: &str, trusted: bool) -> Vec<String> {
        forwarded_by(ClientHeader::XForwardedFor, lines, peer, trusted)
    }

    fn forwarded_by(
        client_header: ClientHeader,
        lines: &[(&'static str, &'static str)],
        peer: &str,
        trusted: bool,
    ) -> Vec<String> {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in lines {
            request.append_header(*name, *value).unwrap();
        }
        let peer: IpAddr = peer.parse().unwrap();
        let caller = Caller { client: Client::Unknown, peer: Some(peer), trusted };
        let host = HeaderValue::from_static("idm.example.com");
        let trust_headers = ["x-remote-user", "ssl_client_cert"].map(str::to_owned);
        let seen = Seen { caller, host: Some(&host), secured: None, trust_headers: &trust_headers, client_header };
        forward(&mut request, &seen).unwrap();
        let mut lines: Vec<_> =
            request.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn whatever_is_listed_begins_so() {
        let all = [&OVERRIDES[..], &FORWARDING, &CERTIFICATE_HEADERS, &[FAMILY]].concat();
        assert!(all.into_iter().all(begins_as_listed));
    }

    #[test]
    fn an_untrusted_peers_word_is_replaced() {
        let lines = [
            ("Accept", "*/*"),
            ("X-Forwarded-For", "10.0.0.1"),
            ("X_Forwarded_For", "10.0.0.1"),
            ("X-Forwarded-Port", "1"),
            ("X_Forwarded-Ssl", "on"),
            ("True-Client-IP", "10.0.0.1"),
            ("X-Real-IP", "10.0.0.1"),
            ("CF-Connecting-IP", "10.0.0.1"),
            ("X-Original-Host", "evil.example"),
            ("Forwarded", "for=10.0.0.1"),
            ("X-Original-URL", "/openidm/selfservice/reset"),
            ("X_Rewrite-Url", "/openidm/selfservice/reset"),
            ("X.Forwarded.For", "10.0.0.1"),
            ("X.Remote~User", "openidm-admin"),
            ("X-Override-URL", "/openidm/selfservice/reset"),
            ("X-HTTP-Method-Override", "PATCH"),
            ("X-Remote-User", "openidm-admin"),
            ("X_Remote-User", "openidm-admin"),
            ("SSL-Client-Cert", "openidm-admin"),
            ("SSL_Client_Cert", "openidm-admin"),
            ("X-Remote-Users", "kept"),
            ("X-OpenIDM-Username", "bjensen"),
            ("X_Other", "kept"),
        ];
        assert_eq!(
            forwarded(&lines, "192.0.2.1", false),
            [
                "accept: */*",
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-host: idm.example.com",
                "x-forwarded-proto: http",
                "x-http-method-override: PATCH",
                "x-openidm-username: bjensen",
                "x-remote-users: kept",
                "x_other: kept",
            ]
        );
    }

    #[test]
    fn a_trusted_peers_word_is_kept() {
        let lines = [
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-For", "10.0.0.9"),
            ("X-Forwarded-Proto", "https"),
            ("X_Forwarded_Proto", "http"),
            ("Forwarded", "for=192.0.2.1"),
            ("X-Rewrite-URL", "/"),
            ("X-Remote-User", "bjensen"),
            ("X_Remote_User", "openidm-admin"),
            ("SSL_Client_Cert", "a"),
            ("SSL-Client-Cert", "openidm-admin"),
        ];
        assert_eq!(
            forwarded(&lines, "fd00::1", true),
            [
                "ssl_client_cert: a",
                "x-forwarded-for: 192.0.2.1, 10.0.0.9, fd00::1",
                "x-forwarded-proto: https",
                "x-remote-user: bjensen",
            ]
        );
        assert_eq!(forwarded(&[], "10.0.0.1", true), ["x-forwarded-for: 10.0.0.1"]);
    }

    #[test]
    fn what_tls_told_goes_up_and_nothing_else_of_its_kind() {
        let caller = |trusted| Caller { client: Client::Unknown, peer: "192.0.2.1".parse().ok(), trusted };
        let up = |trusted, asks, certificate: Option<&'static str>| {
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            for name in ["Client-Cert", "Client_Cert", "Client-Cert-Chain"] {
                request.append_header(name, "somebody").unwrap();
            }
            let secured = Secured { asks, version: "1.3", certificate: certificate.map(HeaderValue::from_static) };
            let seen = Seen {
                caller: caller(trusted),
                host: None,
                secured: Some(&secured),
                trust_headers: &CERTIFICATE_HEADERS.map(str::to_owned),
                client_header: ClientHeader::XForwardedFor,
            };
            forward(&mut request, &seen).unwrap();
            let text = |name| request.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
            let all: Vec<String> = ["client-cert", "client_cert", "client-cert-chain"].map(text).into();
            (all.join("|"), request.headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https"))
        };
        assert_eq!(up(false, true, Some(":AA==:")), (":AA==:||".to_owned(), true));
        assert_eq!(up(true, true, Some(":AA==:")), (":AA==:||".to_owned(), false));
        assert_eq!(up(true, true, None), ("||".to_owned(), false));
        assert_eq!(up(false, false, None), ("||".to_owned(), true));
        assert_eq!(up(true, false, None), ("somebody||somebody".to_owned(), false));
    }

    #[test]
    fn a_trusted_peer_is_believed_in_the_one_header_that_is_configured() {
        let lines = [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1"), ("X-Forwarded-Proto", "https")];
        assert_eq!(
            forwarded_by(ClientHeader::Forwarded, &lines, "fd00::1", true),
            ["forwarded: for=192.0.2.1, for=\"[fd00::1]\"", "x-forwarded-proto: https"]
        );
        assert_eq!(forwarded_by(ClientHeader::Forwarded, &[], "10.0.0.1", true), ["forwarded: for=10.0.0.1"]);
        assert_eq!(
            forwarded_by(ClientHeader::XForwardedFor, &lines, "10.0.0.1", true),
            ["x-forwarded-for: 192.0.2.1, 10.0.0.1", "x-forwarded-proto: https"]
        );
    }
}
