use rustls::pki_types::CertificateDer;

use super::*;
use crate::{
    config::{ClientTls, Health, Place},
    keys::install_crypto,
    reset::ports::Time,
};

fn config(url: &str) -> config::Upstream {
    let seconds = Duration::from_secs;
    config::Upstream {
        endpoints: config::Endpoints {
            url: url.parse().unwrap(),
            addresses: vec![Place::Ip("127.0.0.1:8081".parse().unwrap())],
            connect_timeout: seconds(2),
            health: Health { path: None, interval: seconds(0), timeout: seconds(1), healthy: 2, unhealthy: 3 },
            tls: url.starts_with("https").then(ClientTls::default),
        },
        try_timeout: seconds(60),
        total_timeout: seconds(90),
        idle_timeout: seconds(20),
        pool_size: 8,
        websocket: Vec::new(),
        websocket_idle_timeout: seconds(300),
    }
}

fn upstream(config: &config::Upstream) -> Upstream {
    install_crypto();
    Upstream::new(config, &Arc::new(Metrics::new(Time::from_millis(0)).unwrap())).unwrap()
}

fn peer(config: &config::Upstream) -> Box<HttpPeer> {
    upstream(config).peer(&mut Attempts::default(), Instant::now()).unwrap()
}

#[tokio::test]
async fn no_timeout_is_left_to_pingora() {
    let options = peer(&config("http://idm")).options;
    let timeouts = [
        options.connection_timeout,
        options.total_connection_timeout,
        options.read_timeout,
        options.write_timeout,
        options.idle_timeout,
    ];
    assert_eq!(timeouts, [2, 2, 60, 10, 20].map(|secs| Some(Duration::from_secs(secs))), "its own is to wait for ever");
}

#[tokio::test]
async fn a_try_takes_no_more_than_what_is_left() {
    let mut config = config("http://idm");
    config.total_timeout = Duration::from_millis(700);
    let upstream = upstream(&config);
    let mut attempts = Attempts::default();
    let first = upstream.peer(&mut attempts, Instant::now()).unwrap().options;
    assert_eq!(first.connection_timeout, Some(config.total_timeout));
    assert_eq!(first.read_timeout, Some(config.total_timeout));
    config.total_timeout = Duration::ZERO;
    let over = self::upstream(&config).peer(&mut Attempts::default(), Instant::now()).unwrap_err();
    assert_eq!((over.etype(), over.esource()), (&ErrorType::ReadTimedout, &pingora::ErrorSource::Upstream));
}

#[tokio::test]
async fn a_connection_by_other_settings_is_another() {
    use pingora::upstreams::peer::Peer;

    let certificate = |name: &str| rcgen::generate_simple_self_signed([name.into()]).unwrap().cert.der().clone();
    let with = |change: &dyn Fn(&mut ClientTls)| {
        let mut config = config("https://idm");
        let mut tls = ClientTls { roots: Some(vec![certificate_of("a")]), ..ClientTls::default() };
        change(&mut tls);
        config.endpoints.tls = Some(tls);
        peer(&config)
    };
    let same = with(&|_| {});
    assert_eq!(same.reuse_hash(), with(&|_| {}).reuse_hash(), "a reload that changes nothing keeps connections");
    assert!(same.options.verify_cert && same.options.verify_hostname);
    assert_eq!(same.sni, "idm");
    let named = with(&|tls| tls.server_name = Some("other".into()));
    assert_eq!(named.sni, "other");
    let pinned = with(&|tls| *tls = ClientTls { pin: Some([1; 32]), ..ClientTls::default() });
    assert!(!pinned.options.verify_cert);
    let others = [
        with(&|tls| tls.roots = Some(vec![certificate("b")])),
        named,
        pinned,
        with(&|tls| *tls = ClientTls { pin: Some([2; 32]), ..ClientTls::default() }),
    ];
    let mut hashes: Vec<_> = others.iter().chain([&same]).map(|peer| peer.reuse_hash()).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 5);
    let mut elsewhere = config("http://idm");
    elsewhere.endpoints.addresses = vec![Place::Ip("127.0.0.1:8082".parse().unwrap())];
    assert_ne!(peer(&config("http://idm")).reuse_hash(), peer(&elsewhere).reuse_hash());
}

/// The same one each time.
fn certificate_of(name: &str) -> CertificateDer<'static> {
    use std::sync::Mutex;
    static MADE: Mutex<Vec<(String, CertificateDer<'static>)>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap();
    if let Some((_, der)) = made.iter().find(|(known, _)| known == name) {
        return der.clone();
    }
    let der = rcgen::generate_simple_self_signed([name.into()]).unwrap().cert.der().clone();
    made.push((name.to_owned(), der.clone()));
    der
}

#[tokio::test]
async fn where_a_certificate_is_pinned_no_other_and_none_is_recognised() {
    let mut config = config("https://idm");
    config.endpoints.tls = Some(ClientTls { pin: Some([7; 32]), ..ClientTls::default() });
    let pinned = upstream(&config);
    let shown = |digest: &[u8]| {
        let ssl = pingora::protocols::tls::SslDigest::new("", "", None, None, digest.to_vec());
        Digest { ssl_digest: Some(Arc::new(ssl)), ..Digest::default() }
    };
    assert!(pinned.recognises(Some(&shown(&[7; 32]))));
    for other in [&[8; 32][..], &[7; 31], &[]] {
        assert!(!pinned.recognises(Some(&shown(other))));
    }
    assert!(!pinned.recognises(None) && !pinned.recognises(Some(&Digest::default())));
}

#[tokio::test]
async fn websockets_are_taken_where_they_are_listed_and_where_nobody_reads_another_path() {
    let mut config = config("http://idm");
    config.websocket = vec![
        PathPattern { path: "/openidm/ws".into(), below: true },
        PathPattern { path: "/one".into(), below: false },
    ];
    let upstream = upstream(&config);
    for target in ["/openidm/ws", "/openidm/ws?x=%2e", "/openidm/ws/a", "/openidm/ws/a/b.c?x=/../", "/one"] {
        assert!(upstream.takes_websocket(target.as_bytes()), "{target}");
    }
    for target in [
        "/openidm/wsx",
        "/openidm/ws/",
        "/openidm/ws/../admin",
        "/openidm/ws/%2e%2e/admin",
        "/openidm/ws//a",
        "/openidm/ws/a;b",
        "/openidm/ws/./a",
        "/one/two",
        "/",
        "/other",
    ] {
        assert!(!upstream.takes_websocket(target.as_bytes()), "{target}");
    }
}
