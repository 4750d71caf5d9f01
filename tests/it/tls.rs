//! TLS on the listeners: what is shown and taken there, for HTTP/1.1 and HTTP/2 alike, and how it changes meanwhile.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use resetgate::serve::Ended;
use rustls::version::{TLS12, TLS13};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::support::{
    connections::open,
    http2::Http2,
    raw::Raw,
    tls::{Authority, Pair, Speaker, get},
    upstream::Upstream,
    world::{PATH, Plan, World},
};

const TLS: &str = "handshake_timeout = \"5s\"\n[listen.tls]\ncertificate = \"chain.pem\"\nkey = \"file:key.pem\"";

fn shown(pair: &Pair) -> Vec<(&'static str, String)> {
    vec![("chain.pem", pair.certificate.clone()), ("key.pem", pair.key.clone())]
}

async fn showing(pair: &Pair) -> World {
    World::with(Plan { listen: TLS, addresses: &["tls:127.0.0.1:0"], files: shown(pair), ..Plan::default() }).await
}

async fn failed(world: &World, why: &str) -> String {
    world.metric(&format!("failed_handshakes_total{{why=\"{why}\"}}")).await
}

async fn fails(world: &World, why: &str, times: usize) {
    world.until(async || failed(world, why).await == times.to_string()).await;
}

#[tokio::test]
async fn both_versions_of_tls_and_of_http_are_spoken() {
    let authority = Authority::new();
    let upstream = Upstream::start().await;
    let plan = Plan {
        listen: TLS,
        addresses: &["tls:127.0.0.1:0"],
        files: shown(&authority.vouches("id.example.com")),
        upstream: Some(format!("url = \"http://{}\"", upstream.address)),
        ..Plan::default()
    };
    let mut world = World::with(plan).await;
    let tls = world.more[0];
    for version in [&TLS12, &TLS13] {
        let speaker = Speaker::by(&authority, None, &[version]);
        for protocols in [&[][..], &["http/1.1"], &["h2", "http/1.1"]] {
            let speaker = speaker.clone().offering(protocols);
            let mut stream = speaker.to(tls).await.unwrap();
            assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
            if protocols.len() == 2 {
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
                let mut http2 = Http2::over(stream).await.unwrap();
                assert_eq!(http2.get(PATH).await.unwrap().status, 200);
                assert_eq!(http2.get("/other").await.unwrap().body, "upstream");
            } else {
                assert!(get(&mut stream, PATH, "").await.unwrap().starts_with("HTTP/1.1 200 "));
                assert!(speaker.get(tls, "/other", "").await.unwrap().ends_with("upstream"));
            }
            assert_eq!(upstream.last().header("x-forwarded-proto"), ["https"]);
            assert_eq!(upstream.last().header("x-forwarded-for"), ["127.0.0.1"]);
        }
        assert!(speaker.offering(&["spdy/1"]).to(tls).await.is_err());
    }
    fails(&world, "incompatible", 2).await;
    assert_eq!(world.get("/other").await.body, "upstream");
    assert_eq!(upstream.last().header("x-forwarded-proto"), ["http"]);
    open(&world, 1).await;
    assert_eq!(world.drain().await, Ended::Drained);
}

#[tokio::test]
async fn a_password_is_reset() {
    let authority = Authority::new();
    let mut world = showing(&authority.vouches("id.example.com")).await;
    let root = reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]);
    world.http = client.resolve("id.example.com", world.more[0]).build().unwrap();
    // Where `World::url` leads to.
    let target = format!("https://id.example.com:{}{PATH}", world.more[0].port());
    let opening = world.http.get(&target).send().await.unwrap();
    assert_eq!((opening.status().as_u16(), opening.version()), (200, http::Version::HTTP_2));
    let begin = world.http.post(format!("{target}?_action=submitRequirements"));
    let begun = begin.header("content-type", "application/json").body(r#"{"input":{}}"#).send().await.unwrap();
    assert!(begun.text().await.unwrap().contains("\"token\""));
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    const LARGE: usize = 3 << 20;
    let authority = Authority::new();
    let upstream = Upstream::answering(|seen| {
        let body = "y".repeat(LARGE);
        assert!(seen.body.is_empty() || seen.body.len() == LARGE);
        format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n{body}").into_bytes()
    })
    .await;
    let plan = Plan {
        listen: TLS,
        addresses: &["tls:127.0.0.1:0"],
        files: shown(&authority.vouches("id.example.com")),
        upstream: Some(format!("url = \"http://{}\"", upstream.address)),
        ..Plan::default()
    };
    let world = World::with(plan).await;
    let mut stream = Speaker::new(&authority).to(world.more[0]).await.unwrap();
    let head =
        format!("PUT /a HTTP/1.1\r\nHost: id.example.com\r\nContent-Length: {LARGE}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; LARGE]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&"y".repeat(LARGE)), "{}", answer.len());
    let mut http2 = Http2::over(Speaker::new(&authority).offering(&["h2"]).to(world.more[0]).await.unwrap()).await;
    assert_eq!(http2.as_mut().unwrap().get("/a").await.unwrap().body.len(), LARGE);
}

#[tokio::test]
async fn what_is_no_tls_is_let_go() {
    let authority = Authority::new();
    let mut world = showing(&authority.vouches("id.example.com")).await;
    let tls = world.more[0];
    let mut plain = Raw::to(tls).await;
    plain.send("GET / HTTP/1.1\r\nHost: id.example.com\r\n\r\n").await;
    // An alert, and no answer.
    let told = plain.some(64).await.unwrap_or_default();
    assert!(told.is_empty() || told[0] == 21, "{told:?}");
    fails(&world, "garbage", 1).await;
    drop(TcpStream::connect(tls).await.unwrap());
    fails(&world, "gone", 1).await;
    // A client that does not trust the certificate says so.
    assert!(Speaker::new(&Authority::new()).to(tls).await.is_err());
    fails(&world, "refused", 1).await;
    open(&world, 0).await;

    // One in its midst does not hold up a drain.
    let mut slow = TcpStream::connect(tls).await.unwrap();
    slow.write_all(&[22, 3, 1]).await.unwrap();
    open(&world, 1).await;
    assert_eq!(timeout(Duration::from_secs(4), world.drain()).await.unwrap(), Ended::Drained);
}

#[tokio::test]
async fn a_slow_handshake_is_let_go() {
    let authority = Authority::new();
    let listen = "handshake_timeout = \"200ms\"\n[listen.tls]\ncertificate = \"chain.pem\"\nkey = \"file:key.pem\"";
    let files = shown(&authority.vouches("id.example.com"));
    let world = World::with(Plan { listen, addresses: &["tls:127.0.0.1:0"], files, ..Plan::default() }).await;
    let mut slow = Raw::to(world.more[0]).await;
    slow.send([22, 3, 1]).await;
    assert!(slow.ends().await);
    assert!(Raw::to(world.more[0]).await.ends().await);
    fails(&world, "slow", 2).await;
    open(&world, 0).await;
}

/// Every request that is running while certificates change is answered; who comes then is shown the new one.
#[tokio::test]
async fn certificates_change_under_load() {
    let authority = Authority::new();
    let world = showing(&authority.vouches("id.example.com")).await;
    let tls = world.more[0];
    let speaker = Speaker::new(&authority);
    let mut running = JoinSet::new();
    let mut open = speaker.to(tls).await.unwrap();
    for _ in 0..100 {
        let speaker = speaker.clone();
        running.spawn(async move {
            for _ in 0..4 {
                let answer = speaker.get(tls, PATH, "").await;
                assert!(answer.expect("an answer").starts_with("HTTP/1.1 200 "));
            }
        });
    }
    let mut last = authority.vouches("id.example.com");
    for _ in 0..5 {
        last = authority.vouches("id.example.com");
        assert!(world.change(&[("chain.pem", &last.certificate), ("key.pem", &last.key)]).await);
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    let shown = |stream: &tokio_rustls::client::TlsStream<TcpStream>| {
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    assert_eq!(shown(&speaker.to(tls).await.unwrap()), last.der());
    // What was open goes on.
    assert_ne!(shown(&open), last.der());
    assert!(get(&mut open, PATH, "").await.unwrap().starts_with("HTTP/1.1 200 "));

    // A pair that does not fit, or a file that is half written, leaves all as it was.
    let other = authority.vouches("id.example.com");
    assert!(!world.change(&[("chain.pem", &other.certificate)]).await);
    assert!(!world.change(&[("chain.pem", &other.certificate[..100])]).await);
    assert_eq!(shown(&speaker.to(tls).await.unwrap()), last.der());
}

#[tokio::test]
async fn a_name_has_its_certificate() {
    let authority = Authority::new();
    let (first, other) = (authority.vouches("id.example.com"), authority.vouches("other.example.com"));
    let listen = "[listen.tls]\ncertificate = \"chain.pem\"\nkey = \"file:key.pem\"\n[[listen.tls.additional]]\n\
                  certificate = \"other.pem\"\nkey = \"file:other-key.pem\"";
    let mut files = shown(&first);
    files.extend([("other.pem", other.certificate.clone()), ("other-key.pem", other.key.clone())]);
    let world = World::with(Plan { listen, addresses: &["tls:127.0.0.1:0"], files, ..Plan::default() }).await;
    let speaker = Speaker::new(&authority);
    assert!(speaker.clone().asking_for("other.example.com").to(world.more[0]).await.is_ok());
    assert!(speaker.to(world.more[0]).await.is_ok());
    assert!(speaker.clone().asking_for("third.example.com").to(world.more[0]).await.is_err());
    for key in ["listen.tls.certificate", "listen.tls.additional[0].certificate"] {
        let gauge = async |name: &str| {
            let series = format!("certificate_{name}_timestamp_seconds{{certificate=\"{key}\"}}");
            world.metric(&series).await.parse::<i64>().unwrap()
        };
        assert!(gauge("expires").await > gauge("loaded").await, "{key}");
    }
}

const ASKING: &str = "[listen.tls]\ncertificate = \"chain.pem\"\nkey = \"file:key.pem\"\nclient_ca = \"clients.pem\"\n\
                      forward_client_cert = true";
const INVITING: &str = "[listen.tls]\ncertificate = \"chain.pem\"\nkey = \"file:key.pem\"\nclient_ca = \"clients.pem\"\n\
                        client_auth = \"optional\"";

#[tokio::test]
async fn clients_show_certificates() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let (client, stranger) = (clients.vouches("client.example.com"), others.vouches("client.example.com"));
    for (listen, required) in [(ASKING, true), (INVITING, false)] {
        let upstream = Upstream::start().await;
        let mut files = shown(&authority.vouches("id.example.com"));
        files.push(("clients.pem", clients.pem.clone()));
        let upstream_line = Some(format!("url = \"http://{}\"", upstream.address));
        let addresses = &["tls:127.0.0.1:0"];
        let world = World::with(Plan { listen, addresses, files, upstream: upstream_line, ..Plan::default() }).await;
        let tls = world.more[0];
        let forged = "Client-Cert: :AA==:\r\nClient_Cert: :AA==:\r\nClient-Cert-Chain: :AA==:\r\n";
        let mut refused = 0;
        for version in [&TLS12, &TLS13] {
            let by = |shows| Speaker::by(&authority, shows, &[version]);
            let answer = by(Some(&client)).get(tls, "/other", forged).await.unwrap();
            assert!(answer.ends_with("upstream"), "{answer}");
            let seen = upstream.last();
            let told = format!(":{}:", BASE64_STANDARD.encode(client.der()));
            assert_eq!(seen.header("client-cert"), if required { vec![told] } else { vec![] });
            assert!(!seen.names().iter().any(|name| name == "client_cert" || name == "client-cert-chain"));

            let count = upstream.count();
            assert_eq!(by(Some(&stranger)).get(tls, "/other", "").await, None);
            refused += 1;
            assert_eq!(by(None).get(tls, "/other", forged).await.is_some(), !required);
            if required {
                refused += 1;
                assert_eq!(upstream.count(), count);
            } else {
                assert!(upstream.last().header("client-cert").is_empty());
            }
        }
        fails(&world, "certificate", refused).await;
    }
}

/// A session that began while somebody vouched for a client does not outlive that.
#[tokio::test]
async fn who_is_vouched_for_no_more_does_not_come_back() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let mut files = shown(&authority.vouches("id.example.com"));
    files.push(("clients.pem", clients.pem.clone()));
    let world = World::with(Plan { listen: ASKING, addresses: &["tls:127.0.0.1:0"], files, ..Plan::default() }).await;
    for version in [&TLS12, &TLS13] {
        assert!(world.change(&[("clients.pem", &clients.pem)]).await);
        let speaker = Speaker::by(&authority, Some(&clients.vouches("client.example.com")), &[version]);
        let mut kind = Vec::new();
        for _ in 0..2 {
            let mut stream = speaker.to(world.more[0]).await.unwrap();
            assert!(get(&mut stream, PATH, "").await.is_some());
            kind.push(stream.get_ref().1.handshake_kind().unwrap());
        }
        assert_eq!(kind, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
        // The same again changes nothing.
        assert!(world.change(&[]).await);
        let stream = speaker.to(world.more[0]).await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
        assert!(world.change(&[("clients.pem", &others.pem)]).await);
        assert_eq!(speaker.get(world.more[0], PATH, "").await, None);
    }
}
