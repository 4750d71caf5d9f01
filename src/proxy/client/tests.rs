use proptest::prelude::*;

use super::*;
use crate::reset::ports::Time;

fn clients(header: ClientHeader) -> Clients {
    let listen = Listen {
        addresses: vec![],
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        trust_unix: true,
        client_header: header,
        connections: crate::config::Connections::default(),
        tls: None,
    };
    Clients::new(&listen, Arc::new(Metrics::new(Time::from_millis(0)).unwrap()))
}

fn headers(name: &'static str, lines: &[&str]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in lines {
        map.append(name, HeaderValue::from_str(line).unwrap());
    }
    map
}

fn peer(address: &str) -> Option<Peer> {
    Some(Peer::Tcp(SocketAddr::new(address.parse().unwrap(), 1)))
}

fn xff(from: &str, lines: &[&str]) -> Client {
    clients(ClientHeader::XForwardedFor).caller(peer(from), &headers("x-forwarded-for", lines)).client
}

fn rfc7239(lines: &[&str]) -> Client {
    clients(ClientHeader::Forwarded).caller(peer("10.0.0.1"), &headers("forwarded", lines)).client
}

const A: Client = Client::V4([192, 0, 2, 1]);
const B: Client = Client::V4([198, 51, 100, 7]);
const SIX: Client = Client::V6([0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2]);

#[test]
fn an_untrusted_peer_is_the_client() {
    assert_eq!(xff("192.0.2.1", &[]), A);
    assert_eq!(xff("192.0.2.1", &["198.51.100.7"]), A);
    assert_eq!(xff("::ffff:192.0.2.1", &[]), A);
    assert_eq!(xff("2001:db8:1:2:3:4:5:6", &[]), SIX);
    let clients = clients(ClientHeader::XForwardedFor);
    let caller = clients.caller(peer("192.0.2.1"), &headers("x-forwarded-for", &["10.0.0.1"]));
    assert!(!caller.trusted);
    assert!(clients.metrics.render().contains("resetgate_untrusted_forwarding_headers_total 1"));
    assert_eq!(clients.caller(None, &HeaderMap::new()).client, Client::Unknown);
}

#[test]
fn a_trusted_peer_names_the_client() {
    for (lines, client) in [
        (&[][..], Client::V4([10, 0, 0, 1])),
        (&["192.0.2.1"], A),
        (&["192.0.2.1:4711"], A),
        (&["::ffff:192.0.2.1"], A),
        (&["2001:db8:1:2::9"], SIX),
        (&["[2001:db8:1:2::9]"], SIX),
        (&["[2001:db8:1:2::9]:80"], SIX),
        (&["198.51.100.7, 192.0.2.1"], A),
        (&["198.51.100.7,192.0.2.1, 10.1.1.1"], A),
        (&["198.51.100.7", "192.0.2.1", "10.1.1.1,fd00::1"], A),
        (&["10.2.2.2, 10.1.1.1"], Client::V4([10, 2, 2, 2])),
        (&["192.0.2.1,"], A),
        (&["unknown"], Client::Unknown),
        (&["192.0.2.1, unknown"], Client::Unknown),
        (&["192.0.2.1, 10.0.0.256"], Client::Unknown),
        (&["fe80::1%eth0"], Client::Unknown),
        (&["garbage, 192.0.2.1"], A),
    ] {
        assert_eq!(xff("10.0.0.1", lines), client, "{lines:?}");
        assert_eq!(xff("::ffff:10.0.0.1", lines), client, "{lines:?}");
    }
    let many = vec!["10.0.0.9"; 33].join(",");
    assert_eq!(xff("10.0.0.1", &[&format!("192.0.2.1,{many}")]), Client::Unknown);
    let unix = clients(ClientHeader::XForwardedFor);
    assert_eq!(unix.caller(Some(Peer::Unix), &headers("x-forwarded-for", &["192.0.2.1"])).client, A);
    assert_eq!(unix.caller(Some(Peer::Unix), &HeaderMap::new()).client, Client::Unknown);
    // The other header is hearsay even from a trusted peer.
    assert_eq!(
        unix.caller(peer("10.0.0.1"), &headers("forwarded", &["for=192.0.2.1"])).client,
        Client::V4([10, 0, 0, 1])
    );
}

#[test]
fn rfc_7239() {
    for (lines, client) in [
        (&["for=192.0.2.1"][..], A),
        (&["For=\"192.0.2.1:4711\""], A),
        (&["for=192.0.2.1:80"], A),
        (&["for=\"[2001:db8:1:2::17]:4711\""], SIX),
        (&["for=\"[2001:db8:1:2::17]\";proto=https;by=203.0.113.43"], SIX),
        (&["proto=http;for=192.0.2.1;host=\"a,b;c\""], A),
        (&["for=198.51.100.7, for=192.0.2.1"], A),
        (&["for=198.51.100.7;x=\"\", for=192.0.2.1 , for=10.0.0.3"], A),
        (&["for=198.51.100.7", "for=10.0.0.3"], B),
        (&["by=192.0.2.1"], Client::V4([10, 0, 0, 1])),
        (&["for=\"evil", "for=192.0.2.1"], A),
        (&["for=\"evil, for=192.0.2.1"], Client::Unknown),
        (&["for=198.51.100.7;x=\", for=\"[2001:db8::1]\""], Client::Unknown),
        (&["for=unknown"], Client::Unknown),
        (&["for=_hidden"], Client::Unknown),
        (&["for=192.0.2.1;for=198.51.100.7"], Client::Unknown),
        (&["for=\"192.0.2.\\1\""], Client::Unknown),
        (&["for="], Client::Unknown),
        (&["for"], Client::Unknown),
        (&["for =192.0.2.1"], Client::Unknown),
        (&["192.0.2.1"], Client::Unknown),
    ] {
        assert_eq!(rfc7239(lines), client, "{lines:?}");
    }
    assert_eq!(rfc7239(&[&format!("for=192.0.2.1;x={}", "y".repeat(MAX_LINE))]), Client::Unknown);
}

proptest! {
    /// Whatever a client writes first, the element that a trusted proxy appends on a line of its own decides.
    #[test]
    fn hearsay_is_never_believed(hearsay in "[ -~]{0,80}") {
        prop_assert_eq!(xff("10.0.0.1", &[&hearsay, "192.0.2.1"]), A);
        prop_assert_eq!(xff("10.0.0.1", &[&format!("{hearsay}, 192.0.2.1")]), A);
        prop_assert_eq!(rfc7239(&[&hearsay, "for=192.0.2.1"]), A);
        // On the same line, a broken beginning may spoil it, but not for somebody else.
        let joined = rfc7239(&[&format!("{hearsay}, for=192.0.2.1")]);
        prop_assert!(joined == A || joined == Client::Unknown, "{joined:?}");
    }
}
