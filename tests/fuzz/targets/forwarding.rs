//! Who the client is: an untrusted peer is itself whatever it sends, and a trusted one names the right-most address that
//! is not a trusted proxy's.
//!
//! The input is a byte (which header, whether the peer is trusted, IPv4 or IPv6), the peer's last two bytes, and the
//! header's lines.
#![no_main]
#![forbid(unsafe_code)]

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, LazyLock},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use resetgate::{
    config::{ClientHeader, Connections, Listen},
    listen::Peer,
    proxy::client::Clients,
    reset::ports::{Client, Time},
    telemetry::metrics::Metrics,
};

static BY_CHAIN: LazyLock<Clients> = LazyLock::new(|| clients(ClientHeader::XForwardedFor));
static BY_NODES: LazyLock<Clients> = LazyLock::new(|| clients(ClientHeader::Forwarded));

fn clients(client_header: ClientHeader) -> Clients {
    let trusted_proxies = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network")).to_vec();
    let connections = Connections::default();
    let listen =
        Listen { addresses: Vec::new(), trusted_proxies, trust_unix: false, client_header, connections, tls: None };
    Clients::new(&listen, Arc::new(Metrics::new(Time::from_millis(0)).expect("metrics")))
}

fuzz_target!(|data: &[u8]| {
    let [how, high, low, lines @ ..] = data else { return };
    let trusted = how & 1 == 1;
    let peer: IpAddr = match (how & 2 == 2, trusted) {
        (false, false) => Ipv4Addr::new(192, 0, *high, *low).into(),
        (false, true) => Ipv4Addr::new(10, 0, *high, *low).into(),
        (true, false) => Ipv6Addr::new(0x2001, 0xdb8, u16::from(*high), u16::from(*low), 1, 2, 3, 4).into(),
        (true, true) => Ipv6Addr::new(0xfd00, 0, u16::from(*high), u16::from(*low), 1, 2, 3, 4).into(),
    };
    let (clients, name) = match how & 4 == 4 {
        false => (&*BY_CHAIN, "x-forwarded-for"),
        true => (&*BY_NODES, "forwarded"),
    };
    let mut headers = HeaderMap::new();
    let mut texts = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        texts.push(line.to_vec());
        headers.append(HeaderName::from_static(name), value);
    }

    let caller = clients.caller(Some(Peer::Tcp((peer, 4711).into())), &headers);
    assert_eq!((caller.peer, caller.trusted), (Some(peer), trusted));
    if !trusted {
        assert_eq!(caller.client, bucket(peer), "a stranger is somebody else");
        return;
    }
    if caller.client == Client::Unknown {
        return;
    }
    // Somebody is named: the peer, or whoever stands in a line, to whom nobody but trusted proxies stands to the right.
    if name == "x-forwarded-for" {
        assert_eq!(caller.client, bucket(rightmost(&texts).unwrap_or(peer)));
    } else if caller.client != bucket(peer) {
        assert!(texts.iter().any(|line| line.to_ascii_lowercase().windows(4).any(|word| word == b"for=")));
    }
});

/// The whole chain in one, from the right.
fn rightmost(lines: &[Vec<u8>]) -> Option<IpAddr> {
    // What stands further left need not even be text.
    let chain = lines.join(&b',');
    let chain = String::from_utf8_lossy(&chain);
    let named = chain.split(',').map(str::trim).filter(|element| !element.is_empty()).map(|element| {
        let bare = element.trim_start_matches('[');
        let bare = bare.split_once(']').map_or(bare, |(ip, _)| ip);
        // With a port, an address may have a scope (RFC 4007), which changes nothing.
        let bare = bare.split_once('%').map_or(bare, |(ip, _)| ip);
        let bare = bare.parse().ok().or_else(|| bare.rsplit_once(':')?.0.parse().ok());
        bare.map(|ip: IpAddr| ip.to_canonical())
    });
    let mut leftmost = None;
    for ip in named.rev() {
        leftmost = Some(ip.expect("what was understood is an address"));
        if !leftmost.is_some_and(is_proxy) {
            break;
        }
    }
    leftmost
}

fn is_proxy(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 10,
        IpAddr::V6(ip) => ip.octets()[0] == 0xfd,
    }
}

fn bucket(ip: IpAddr) -> Client {
    match ip {
        IpAddr::V4(ip) => Client::V4(ip.octets()),
        IpAddr::V6(ip) => Client::V6(std::array::from_fn(|at| ip.octets()[at])),
    }
}
