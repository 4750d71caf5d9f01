//! Listeners whose connections begin with whom they are from: the PROXY protocol, of trusted peers alone.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{
    connections::open,
    http2::{Frames, Http2},
    raw::{Raw, request},
    tls::{Authority, Speaker, get},
    upstream::Upstream,
    world::{PATH, Plan, World},
};

const BERT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

const TRUSTING: &str = "trusted_proxies = [\"127.0.0.1\", \"198.51.100.7\"]\nmax_connections_per_client = 2";
const LINE: &str = "PROXY TCP4 192.0.2.1 198.51.100.9 4321 443\r\n";

/// Version 2: a command, a family, addresses, and more that nobody asks for.
fn binary(command: u8, family: u8, addresses: &[u8], more: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, family]);
    header.extend(u16::try_from(addresses.len() + more.len()).unwrap().to_be_bytes());
    [&header, addresses, more].concat()
}

fn v4(from: [u8; 4]) -> Vec<u8> {
    [&from[..], &[198, 51, 100, 9], &4321_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
}

fn v6() -> Vec<u8> {
    let from: std::net::Ipv6Addr = "2001:db8::1".parse().unwrap();
    [&from.octets()[..], &from.octets(), &4321_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
}

async fn trusting(upstream: &Upstream) -> World {
    let upstream = Some(format!("url = \"http://{}\"", upstream.address));
    World::with(Plan { listen: TRUSTING, addresses: &["proxy:127.0.0.1:0"], upstream, ..Plan::default() }).await
}

async fn refused(world: &World, why: &str, times: usize) {
    let series = format!("refused_proxy_headers_total{{why=\"{why}\"}}");
    world.until(async || world.metric(&series).await == times.to_string()).await;
}

/// Whom the upstream sees a request from that comes after that header.
async fn seen(upstream: &Upstream, address: SocketAddr, header: impl AsRef<[u8]>, says: &str) -> String {
    let mut raw = Raw::to(address).await;
    let mut bytes = header.as_ref().to_vec();
    bytes.extend(request("GET", "/other", &[("X-Forwarded-For", says), ("Connection", "close")], None));
    raw.send(bytes).await;
    assert_eq!(raw.answer().await.expect("an answer").body, "upstream");
    upstream.last().header("x-forwarded-for").join(";")
}

#[tokio::test]
async fn a_client_is_who_the_proxy_says_it_is() {
    let upstream = Upstream::start().await;
    let world = trusting(&upstream).await;
    let from = async |header: &[u8]| seen(&upstream, world.more[0], header, "203.0.113.5").await;
    // What such a client says of itself is not believed.
    assert_eq!(from(LINE.as_bytes()).await, "192.0.2.1");
    assert_eq!(from(b"PROXY TCP6 2001:db8::1 2001:db8::2 4321 443\r\n").await, "2001:db8::1");
    assert_eq!(from(&binary(1, 0x11, &v4([192, 0, 2, 1]), &[])).await, "192.0.2.1");
    assert_eq!(from(&binary(1, 0x21, &v6(), &[])).await, "2001:db8::1");
    // A name, a checksum that nobody looks at, and padding.
    let more = [&[2, 0, 2, b'i', b'd', 3, 0, 4, 1, 2, 3, 4, 4, 2, 0][..], &[0; 512]].concat();
    assert_eq!(from(&binary(1, 0x11, &v4([192, 0, 2, 1]), &more)).await, "192.0.2.1");
    // If it is a trusted proxy itself, it is.
    assert_eq!(from(&binary(1, 0x11, &v4([198, 51, 100, 7]), &[])).await, "203.0.113.5, 198.51.100.7");
    // The proxy speaks for itself, or of nobody that has an address.
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN whatever it is\r\n"] {
        assert_eq!(from(header).await, "203.0.113.5, 127.0.0.1");
    }
    for header in [binary(0, 0, &[], &[]), binary(0, 0x11, &v4([192, 0, 2, 1]), &[]), binary(1, 0x31, &[0; 216], &[])] {
        assert_eq!(from(&header).await, "203.0.113.5, 127.0.0.1");
    }
    // It may come in pieces.
    let mut raw = Raw::to(world.more[0]).await;
    for byte in [LINE.as_bytes(), &request("GET", "/pieces", &[], None)].concat() {
        raw.send([byte]).await;
    }
    assert_eq!(raw.answer().await.unwrap().status, 200);
    assert_eq!(upstream.last().header("x-forwarded-for"), ["192.0.2.1"]);
}

#[tokio::test]
async fn without_a_header_that_is_clear_nothing_is_read() {
    let upstream = Upstream::start().await;
    let world = trusting(&upstream).await;
    let plain = request("GET", "/other", &[], None);
    let mut long = b"PROXY TCP4 ".to_vec();
    long.extend([b'1'; 200]);
    let bad = [
        plain.clone(),
        b"PROXY TCP4 192.0.2.1 198.51.100.9 4321\r\n".to_vec(),
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 198.51.100.9 4321 443\n\n".to_vec(),
        b"PROXY UDP4 192.0.2.1 198.51.100.9 4321 443\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.999 198.51.100.9 4321 443\r\n".to_vec(),
        b"proxy TCP4 192.0.2.1 198.51.100.9 4321 443\r\n".to_vec(),
        long,
        // Datagrams, a family that there is not, a command that there is not, too few bytes, far too many.
        binary(1, 0x12, &v4([192, 0, 2, 1]), &[]),
        binary(1, 0x41, &v4([192, 0, 2, 1]), &[]),
        binary(2, 0x11, &v4([192, 0, 2, 1]), &[]),
        binary(1, 0x21, &v4([192, 0, 2, 1]), &[0; 8]),
        binary(1, 0x11, &v4([192, 0, 2, 1]), &[0; 8 << 10]),
    ];
    for header in &bad {
        let mut raw = Raw::to(world.more[0]).await;
        raw.send([&header[..], &plain].concat()).await;
        assert!(raw.ends().await, "{header:?}");
    }
    refused(&world, "malformed", bad.len()).await;
    let mut raw = Raw::from(BERT, world.more[0]).await;
    raw.send([LINE.as_bytes(), &plain].concat()).await;
    assert!(raw.ends().await);
    refused(&world, "stranger", 1).await;
    drop(TcpStream::connect(world.more[0]).await.unwrap());
    refused(&world, "gone", 1).await;
    assert_eq!(upstream.count(), 0);
    // Where none is expected, one is no request.
    let mut raw = Raw::to(world.gate).await;
    raw.send([LINE.as_bytes(), &plain].concat()).await;
    assert!(raw.answer().await.is_none_or(|answer| answer.status == 400));
    assert_eq!(upstream.count(), 0);
    open(&world, 0).await;
}

#[tokio::test]
async fn a_header_that_takes_long_is_not_waited_for() {
    let listen = "trusted_proxies = [\"127.0.0.1\"]\nhandshake_timeout = \"200ms\"";
    let world = World::with(Plan { listen, addresses: &["proxy:127.0.0.1:0"], ..Plan::default() }).await;
    let mut raw = Raw::to(world.more[0]).await;
    raw.send("PROXY ").await;
    assert!(raw.ends().await);
    assert!(Raw::to(world.more[0]).await.ends().await);
    refused(&world, "slow", 2).await;
}

/// The bounds of one client are those of whom the proxy names, not the proxy's.
#[tokio::test]
async fn each_client_has_its_own_connections() {
    let upstream = Upstream::start().await;
    let world = trusting(&upstream).await;
    let mut all = Vec::new();
    for client in ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"] {
        let mut raw = Raw::to(world.more[0]).await;
        raw.send(format!("PROXY TCP4 {client} 198.51.100.9 4321 443\r\n")).await;
        raw.send(request("GET", PATH, &[], None)).await;
        assert_eq!(raw.answer().await.unwrap().status, 200);
        all.push(raw);
    }
    // The first has waited longest of three that are two too many for none but its client.
    assert!(all[0].ends().await);
    assert_eq!(world.metric("evicted_connections_total{cap=\"client\"}").await, "1");
    open(&world, 3).await;
    for raw in &mut all[1..] {
        raw.send(request("GET", PATH, &[], None)).await;
        assert_eq!(raw.answer().await.unwrap().status, 200);
    }
}

/// And its own budget.
#[tokio::test]
async fn each_client_has_its_own_limit() {
    let limits = "client = \"2/1h\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_total = \"0\"";
    let plan = Plan { listen: TRUSTING, limits, addresses: &["proxy:127.0.0.1:0"], ..Plan::default() };
    let world = World::with(plan).await;
    let mut told = Vec::new();
    for client in ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"] {
        let header = format!("PROXY TCP4 {client} 198.51.100.9 4321 443\r\n");
        let request = request("GET", PATH, &[("Connection", "close")], None);
        told.push(Raw::exchange(world.more[0], [header.as_bytes(), &request].concat()).await.unwrap().status);
    }
    assert_eq!(told, [200, 200, 429, 200]);
}

#[tokio::test]
async fn it_comes_before_tls_and_before_http2() {
    let authority = Authority::new();
    let pair = authority.vouches("id.example.com");
    let upstream = Upstream::start().await;
    let plan = Plan {
        listen: "trusted_proxies = [\"127.0.0.1\"]\n[listen.tls]\ncertificate = \"chain.pem\"\nkey = \"file:key.pem\"",
        addresses: &["proxy+tls:127.0.0.1:0", "proxy+h2c:127.0.0.1:0"],
        files: vec![("chain.pem", pair.certificate.clone()), ("key.pem", pair.key.clone())],
        upstream: Some(format!("url = \"http://{}\"", upstream.address)),
        ..Plan::default()
    };
    let world = World::with(plan).await;
    let headers = [LINE.as_bytes().to_vec(), binary(1, 0x11, &v4([192, 0, 2, 1]), &[])];
    for header in &headers {
        let announced = async |address| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(header).await.unwrap();
            stream
        };
        let from = || (upstream.last().header("x-forwarded-for"), upstream.last().header("x-forwarded-proto"));
        let told = |scheme: &str| (vec!["192.0.2.1".to_owned()], vec![scheme.to_owned()]);
        let speaker = Speaker::new(&authority);
        let mut stream = speaker.over(announced(world.more[0]).await).await.unwrap();
        assert!(get(&mut stream, "/other", "").await.unwrap().ends_with("upstream"));
        assert_eq!(from(), told("https"));
        let stream = speaker.clone().offering(&["h2"]).over(announced(world.more[0]).await).await.unwrap();
        assert_eq!(Http2::over(stream).await.unwrap().get("/other").await.unwrap().body, "upstream");
        assert_eq!(from(), told("https"));
        let mut http2 = Http2::over(announced(world.more[1]).await).await.unwrap();
        assert_eq!(http2.get("/other").await.unwrap().body, "upstream");
        assert_eq!(from(), told("http"));
        // Within TLS it is no header.
        assert!(speaker.to(world.more[0]).await.is_err());
    }
    refused(&world, "malformed", headers.len()).await;
    // Nor is HTTP/2 one.
    let mut frames = Frames::to(world.more[1]).await;
    assert!(frames.next(&[4]).await.is_none());
}

/// Who is trusted can change; it holds for connections to come.
#[tokio::test]
async fn trust_is_reloaded() {
    let world = World::with(Plan { listen: TRUSTING, addresses: &["proxy:127.0.0.1:0"], ..Plan::default() }).await;
    let asks = [LINE.as_bytes(), &request("GET", PATH, &[("Connection", "close")], None)].concat();
    assert_eq!(Raw::exchange(world.more[0], &asks).await.unwrap().status, 200);
    let toml = world.file("resetgate.toml");
    let without = toml.replace("\"127.0.0.1\", ", "");
    assert!(world.change(&[("resetgate.toml", &without)]).await);
    let mut raw = Raw::to(world.more[0]).await;
    raw.send(&asks).await;
    assert!(raw.ends().await);
    refused(&world, "stranger", 1).await;
    assert!(world.change(&[("resetgate.toml", &toml)]).await);
    assert_eq!(Raw::exchange(world.more[0], &asks).await.unwrap().status, 200);
}
