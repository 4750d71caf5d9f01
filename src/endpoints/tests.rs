use std::{collections::HashMap, io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    time::{advance, sleep},
};
use url::Url;

use super::*;
use crate::{
    config::{Health, Place},
    reset::ports::Time,
};

fn config(places: Vec<Place>) -> config::Endpoints {
    config::Endpoints {
        url: Url::parse("http://idm.example").unwrap(),
        addresses: places,
        connect_timeout: Duration::from_secs(2),
        health: Health {
            path: None,
            interval: Duration::ZERO,
            timeout: Duration::from_secs(2),
            healthy: 2,
            unhealthy: 3,
        },
        tls: None,
    }
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(Time::from_millis(0)).unwrap())
}

fn ip(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 80))
}

fn several(lasts: &[u8]) -> (Endpoints, Arc<Metrics>) {
    let metrics = metrics();
    let places = lasts.iter().map(|last| Place::Ip(ip(*last))).collect();
    (Endpoints::new(Backend::Upstream, &config(places), &metrics).unwrap(), metrics)
}

fn picked(endpoints: &Endpoints) -> String {
    endpoints.pick(&[]).map_or_else(String::new, |endpoint| endpoint.address().to_string())
}

fn gauges(metrics: &Metrics) -> Vec<String> {
    let lines = metrics.render();
    let lines = lines.lines().filter_map(|line| line.strip_prefix("resetgate_endpoint_up{"));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn addresses_take_turns() {
    let (endpoints, _) = several(&[1, 2, 3]);
    let turns: Vec<_> = (0..6).map(|_| picked(&endpoints)).collect();
    assert_eq!(turns[..3], ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"]);
    assert_eq!(turns[..3], turns[3..]);
    let first = endpoints.pick(&[]).unwrap();
    for _ in 0..6 {
        let second = endpoints.pick(std::slice::from_ref(&first)).unwrap();
        assert_ne!(second, first);
        assert_ne!(endpoints.pick(&[first.clone(), second.clone()]), Some(second));
    }
    let (only, _) = several(&[1]);
    let one = only.pick(&[]).unwrap();
    assert!(only.pick(std::slice::from_ref(&one)).is_none() && !only.has_another(&[one]));
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_is_left_alone_and_then_tried_by_one_request() {
    let (endpoints, metrics) = several(&[1, 2]);
    let bad = endpoints.pick(&[]).unwrap();
    assert_eq!(bad.address(), &Address::Tcp(ip(1)));
    bad.failed(Failure::Broken);
    bad.failed(Failure::Silent);
    bad.answered();
    bad.failed(Failure::Connect);
    assert!((0..10).all(|_| picked(&endpoints) == "192.0.2.2:80"));
    let shown = gauges(&metrics);
    assert_eq!(
        shown,
        ["address=\"192.0.2.1:80\",service=\"upstream\"} 0", "address=\"192.0.2.2:80\",service=\"upstream\"} 1"]
    );
    advance(Duration::from_millis(1100)).await;
    let tries = (0..10).filter(|_| picked(&endpoints) == "192.0.2.1:80").count();
    assert_eq!(tries, 1);
    bad.answered();
    let tries = (0..10).filter(|_| picked(&endpoints) == "192.0.2.1:80").count();
    assert_eq!((tries, endpoints.count()), (5, (2, 2)));
    let text = metrics.render();
    for line in [
        "endpoint_failures_total{kind=\"connect\",service=\"upstream\"} 1",
        "endpoint_failures_total{kind=\"broken\",service=\"upstream\"} 1",
        "endpoint_changes_total{service=\"upstream\",to=\"down\"} 1",
        "endpoint_changes_total{service=\"upstream\",to=\"up\"} 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn where_none_is_well_each_is_used() {
    let (endpoints, _) = several(&[1, 2]);
    for _ in 0..2 {
        endpoints.pick(&[]).unwrap().failed(Failure::Connect);
    }
    assert_eq!(endpoints.count(), (2, 0));
    let turns: Vec<_> = (0..4).map(|_| picked(&endpoints)).collect();
    assert_eq!(turns[..2], turns[2..]);
    assert_ne!(turns[0], turns[1]);
}

/// A name server that says what it is told.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<HashMap<String, Vec<u8>>>>);

impl Server {
    fn says(&self, name: &str, lasts: &[u8]) {
        self.0.lock().insert(name.to_owned(), lasts.to_vec());
    }

    fn look_up(&self) -> LookUp {
        let known = Arc::clone(&self.0);
        Arc::new(move |name, port| {
            let found = known
                .lock()
                .get(&name)
                .map(|lasts| lasts.iter().map(|last| SocketAddr::new(ip(*last).ip(), port)).collect::<Vec<_>>());
            Box::pin(async move { found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)) })
        })
    }
}

fn all(endpoints: &Endpoints) -> Vec<String> {
    endpoints.shared.nodes.load().iter().map(|node| node.address().to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn names_are_looked_up_anew_and_what_was_known_outlives_a_name_server() {
    let (server, metrics) = (Server::default(), metrics());
    server.says("a.example", &[1, 2]);
    let places = vec![Place::Name("a.example".into(), 80), Place::Ip(ip(9)), Place::Name("b.example".into(), 80)];
    let endpoints = Endpoints::by(server.look_up(), Backend::Upstream, &config(places), &metrics).unwrap();
    assert_eq!(all(&endpoints), ["192.0.2.9:80"], "what needs no name server is there at once");
    endpoints.looked_up().await;
    assert_eq!(all(&endpoints), ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.9:80"]);
    let bad = endpoints.shared.nodes.load()[0].clone();
    bad.failed(Failure::Connect);

    server.says("b.example", &[3]);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(all(&endpoints), ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.9:80", "192.0.2.3:80"], "soon, as it failed");
    assert!(!endpoints.shared.nodes.load()[0].is_up(), "what is known of an address outlives a look-up");

    server.says("a.example", &[4, 1, 9]);
    sleep(Duration::from_secs(29)).await;
    assert_eq!(all(&endpoints).len(), 4, "not yet");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(all(&endpoints), ["192.0.2.4:80", "192.0.2.1:80", "192.0.2.9:80", "192.0.2.3:80"], "each once");

    server.0.lock().clear();
    sleep(Duration::from_secs(120)).await;
    assert_eq!(all(&endpoints).len(), 4);
    let failures = metrics.render().lines().any(|line| {
        line.strip_prefix("resetgate_endpoint_failures_total{kind=\"look_up\",service=\"upstream\"} ")
            .is_some_and(|count| count.parse::<u32>().unwrap() > 50)
    });
    assert!(failures, "{}", metrics.render());
    server.says("a.example", &[5]);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(all(&endpoints)[0], "192.0.2.5:80");

    let many: Vec<u8> = (0..200).collect();
    server.says("a.example", &many);
    server.says("b.example", &many);
    sleep(Duration::from_secs(31)).await;
    assert_eq!(all(&endpoints).len(), config::MAX_ADDRESSES);
    assert_eq!(gauges(&metrics).len(), config::MAX_ADDRESSES);
}

#[tokio::test]
async fn the_present_generation_is_shown_and_one_that_is_gone_is_not() {
    let metrics = metrics();
    let make = |last| Endpoints::new(Backend::Identity, &config(vec![Place::Ip(ip(last))]), &metrics).unwrap();
    let before = make(1);
    let now = make(2);
    assert_eq!(gauges(&metrics), ["address=\"192.0.2.2:80\",service=\"identity\"} 1"]);
    drop(now);
    assert_eq!(gauges(&metrics), ["address=\"192.0.2.1:80\",service=\"identity\"} 1"], "it was not taken up");
    drop(before);
    assert!(gauges(&metrics).is_empty());
}

/// Answers each connection with the status that it holds; 0 takes none.
async fn server(status: Arc<AtomicUsize>) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(String::new()));
    let last = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let status = status.load(Ordering::Relaxed);
            let mut read = vec![0; 4096];
            let length = client.read(&mut read).await.unwrap_or(0);
            if length > 0 {
                *last.lock() = String::from_utf8_lossy(&read[..length]).into_owned();
            }
            if status > 0 {
                let _ = client.write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes()).await;
            }
        }
    });
    (address, seen)
}

async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it comes to hold");
}

#[tokio::test]
async fn checks_ask_for_a_path_and_go_by_the_status() {
    let status = Arc::new(AtomicUsize::new(200));
    let (address, seen) = server(Arc::clone(&status)).await;
    let mut config = config(vec![Place::Ip(address)]);
    config.health = Health {
        path: Some("/openidm/info/ping".into()),
        interval: Duration::from_millis(10),
        timeout: Duration::from_millis(500),
        ..config.health
    };
    let metrics = metrics();
    let endpoints = Endpoints::new(Backend::Upstream, &config, &metrics).unwrap();
    until(|| !seen.lock().is_empty()).await;
    let head = seen.lock().clone();
    assert!(head.starts_with("GET /openidm/info/ping HTTP/1.1\r\nHost: idm.example\r\n"), "{head}");
    for (bad, good) in [(500, 404), (503, 302), (0, 401), (99, 200)] {
        assert_eq!(endpoints.count(), (1, 1));
        status.store(bad, Ordering::Relaxed);
        until(|| endpoints.count() == (1, 0)).await;
        assert!(endpoints.pick(&[]).is_some(), "it is the only one");
        status.store(good, Ordering::Relaxed);
        until(|| endpoints.count() == (1, 1)).await;
    }
}

#[tokio::test]
async fn checks_connect_where_no_path_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("idm.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(vec![Place::Ip(tcp.local_addr().unwrap()), Place::Unix(path)]);
    config.health.interval = Duration::from_millis(10);
    let metrics = metrics();
    let endpoints = Endpoints::new(Backend::Upstream, &config, &metrics).unwrap();
    drop(unix);
    until(|| endpoints.count() == (2, 1)).await;
    assert!(picked(&endpoints).starts_with("127.0.0.1"));
    let address = tcp.local_addr().unwrap();
    drop(tcp);
    until(|| endpoints.count() == (2, 0)).await;
    let _again = TcpListener::bind(address).await.unwrap();
    until(|| endpoints.count() == (2, 1)).await;
    drop(endpoints);
}
