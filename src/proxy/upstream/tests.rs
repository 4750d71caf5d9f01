use std::sync::Arc;

use async_trait::async_trait;
use pingora::{
    BError, Error, ErrorType,
    apps::ServerApp,
    proxy::{FailToProxy, ProxyHttp, Session, http_proxy},
    server::configuration::ServerConf,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
};

use super::{
    super::{
        failure,
        respond::{self, Dress},
    },
    *,
};

fn upstream(url: &str) -> Upstream {
    Upstream::new(&Url::parse(url).unwrap())
}

#[tokio::test]
async fn addresses_need_no_look_up() {
    for (url, address, tls) in [
        ("http://127.0.0.1:8081", "127.0.0.1:8081", false),
        ("http://[::1]", "[::1]:80", false),
        ("https://192.0.2.1", "192.0.2.1:443", true),
    ] {
        let peer = upstream(url).peer().unwrap();
        assert_eq!(peer._address.as_inet().unwrap().to_string(), address);
        assert_eq!(peer.is_tls(), tls);
    }
    assert_eq!(upstream("https://idm.example.com:8443").template.sni, "idm.example.com");
}

#[tokio::test]
async fn names_are_looked_up_and_rotated() {
    let upstream = upstream("http://localhost:8081");
    assert!(upstream.peer().is_none());
    assert!(upstream.resolve().await);
    assert!(upstream.peer().is_some());
    *upstream.addresses.write() = vec!["192.0.2.1:1".parse().unwrap(), "192.0.2.2:1".parse().unwrap()];
    let used = || *upstream.peer().unwrap()._address.as_inet().unwrap();
    let first = used();
    assert!(upstream.move_on(Some(&first)));
    let second = used();
    assert_ne!(second, first);
    // Others had failed at the first one meanwhile.
    assert!(upstream.move_on(Some(&first)));
    assert_eq!(used(), second);
    upstream.replace(vec![second, "192.0.2.3:1".parse().unwrap()]);
    assert_eq!(used(), second, "the one that works is kept, wherever the name server puts it");
}

/// Passes everything, and tells of failures as the gate does.
struct Bare(Upstream);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        self.0.peer().map(Box::new).ok_or_else(|| Error::new_up(ErrorType::ConnectNoRoute))
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, (): &mut (), error: BError) -> BError {
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, (): &mut ()) -> FailToProxy {
        let reply = failure::reply(error).unwrap();
        let error_code = reply.status;
        respond::send(session, reply, &Dress::default()).await.unwrap();
        FailToProxy { error_code, can_reuse_downstream: false }
    }
}

/// What somebody is told who asks for `/` through a proxy to that upstream.
async fn told(upstream: Upstream) -> String {
    let proxy = Arc::new(http_proxy(&Arc::new(ServerConf::default()), Bare(upstream)));
    let (mut client, server) = tokio::io::duplex(64 << 10);
    let (_shutdown, down) = watch::channel(false);
    tokio::spawn(async move { proxy.process_new(Box::new(server), &down).await });
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn an_upstream_that_is_silent_is_told_from_one_that_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut silent = upstream(&url);
    silent.template.options.read_timeout = Some(Duration::from_millis(20));
    let answer = told(silent).await;
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains(r#"{"code":504,"#), "{answer}");
    drop(listener);
    let answer = told(upstream(&url)).await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains(r#"{"code":502,"#), "{answer}");
    let answer = told(upstream("http://nowhere.invalid")).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[test]
fn no_timeout_is_left_to_pingora() {
    let options = upstream("http://127.0.0.1").template.options;
    let timeouts =
        [options.connection_timeout, options.total_connection_timeout, options.read_timeout, options.write_timeout];
    assert!(timeouts.iter().all(Option::is_some), "its own default waits for ever");
}
