//! TLS to the upstream: whom it may be, and what is said where it is somebody else.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use resetgate::keys::install_crypto;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{
    authority::{Authority, Shown},
    raw::{Raw, request},
    upstream::Upstream,
    world::{Answer, Plan, World},
};

/// Files that a configuration names by their whole path.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        install_crypto();
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

async fn world(upstream: &Upstream, host: &str, tls: &str) -> World {
    let lines = format!(
        "url = \"https://{host}\"\naddresses = [\"{}\"]\nconnect_timeout = \"5s\"\n[upstream.tls]\n{tls}",
        upstream.address
    );
    World::with(Plan { upstream: Some(lines), ..Plan::default() }).await
}

async fn get(world: &World) -> Answer {
    Raw::exchange(world.gate, request("GET", "/a", &[], None)).await.expect("an answer")
}

/// What is logged on this test's thread, where all of it runs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        tracing::subscriber::set_default(tracing_subscriber::fmt().json().with_writer(move || log.clone()).finish())
    }

    fn says(&self, what: &str) -> bool {
        String::from_utf8_lossy(&self.0.lock().unwrap()).contains(what)
    }
}

/// Nothing comes through, the client is told no more than that, and the log says what to change.
async fn assert_refused(upstream: &Upstream, host: &str, tls: &str, why: &str) {
    let log = Log::default();
    let _captured = log.capture();
    let world = world(upstream, host, tls).await;
    for method in ["GET", "POST"] {
        let before = upstream.count();
        let body = (method == "POST").then_some("secret");
        let answer = Raw::exchange(world.gate, request(method, "/a", &[], body)).await.expect("an answer");
        assert_eq!((answer.status, answer.json()["code"].as_u64()), (502, Some(502)), "{why}");
        assert!(!answer.body.contains("tls"), "{}", answer.body);
        assert_eq!(upstream.count(), before, "{why}: nothing was sent");
    }
    world.until(async || log.says(why)).await;
    assert!(log.says("\"service\":\"upstream\""));
    let failures = "endpoint_failures_total{kind=\"tls\",service=\"upstream\"}";
    assert_eq!(world.metric(failures).await, "2", "{why}");
}

#[tokio::test]
async fn who_vouches_and_for_which_name_is_configured() {
    let (files, authority, other) = (Files::new(), Authority::new(), Authority::new());
    let upstream = Upstream::under(authority.certify("idm.internal").serve(None)).await;
    let ca = format!("ca = \"{}\"", files.put("ca.pem", &authority.pem()));
    let others = format!("ca = \"{}\"", files.put("other.pem", &other.pem()));

    let good = world(&upstream, "idm.internal", &ca).await;
    for _ in 0..5 {
        assert_eq!(get(&good).await.body, "upstream");
    }
    assert_eq!(upstream.connections(), 1, "it is kept");
    let named = world(&upstream, "idm", &format!("{ca}\nserver_name = \"idm.internal\"")).await;
    assert_eq!(get(&named).await.status, 200);
    assert_eq!(upstream.last().header("host"), ["id.example.com"]);

    assert_refused(&upstream, "idm.internal", &others, "set tls.ca to who does").await;
    assert_refused(&upstream, "idm.internal", "", "set tls.ca to who does").await;
    assert_refused(&upstream, "idm", &ca, "set tls.server_name to one that it has").await;
    let wrong = format!("{ca}\nserver_name = \"other.internal\"");
    assert_refused(&upstream, "idm.internal", &wrong, "set tls.server_name to one that it has").await;
}

#[tokio::test]
async fn a_certificate_that_vouches_for_itself_can_be_pinned() {
    let _files = Files::new();
    let (shown, other) = (Shown::own("whoever.example"), Shown::own("whoever.example"));
    let upstream = Upstream::under(shown.serve(None)).await;
    let pinned = world(&upstream, "idm", &format!("pin = \"{}\"", shown.pin())).await;
    for _ in 0..3 {
        assert_eq!(get(&pinned).await.body, "upstream");
    }
    assert_eq!(upstream.connections(), 1);
    assert_refused(&upstream, "idm", &format!("pin = \"{}\"", other.pin()), "not the one of tls.pin").await;
}

/// What the gate asks by itself is for the same server only.
#[tokio::test]
async fn nobody_else_than_the_pinned_one_is_asked_for_its_own_processes() {
    let _files = Files::new();
    let (shown, other) = (Shown::own("idm"), Shown::own("idm"));
    let upstream = Upstream::under(shown.serve(None)).await;
    let plan = |pin: String| Plan {
        upstream: Some(format!(
            "url = \"https://idm\"\naddresses = [\"{}\"]\n[upstream.tls]\npin = \"{pin}\"",
            upstream.address
        )),
        edge: "watch_upstream = \"10ms\"",
        ..Plan::default()
    };
    let wrong = World::with(plan(other.pin())).await;
    wrong.until(async || upstream.connections() > 3).await;
    assert_eq!(upstream.count(), 0);
    let right = World::with(plan(shown.pin())).await;
    right.until(async || upstream.count() > 3).await;
}

#[tokio::test]
async fn a_server_that_asks_who_we_are_is_shown_a_certificate() {
    let (files, servers, clients, other) = (Files::new(), Authority::new(), Authority::new(), Authority::new());
    let upstream = Upstream::under(servers.certify("idm").serve(Some(&clients))).await;
    let ca = format!("ca = \"{}\"", files.put("ca.pem", &servers.pem()));
    let pair = |name: &str, of: &Authority| {
        let shown = of.certify("resetgate");
        let certificate = files.put(&format!("{name}.pem"), &shown.certificate.pem());
        let key = files.put(&format!("{name}.key"), &shown.key.serialize_pem());
        format!("{ca}\ncertificate = \"{certificate}\"\nkey = \"file:{key}\"")
    };
    let known = world(&upstream, "idm", &pair("known", &clients)).await;
    for _ in 0..3 {
        assert_eq!(get(&known).await.body, "upstream");
    }
    assert_eq!(upstream.connections(), 1);
    assert_refused(&upstream, "idm", &ca, "set tls.certificate and tls.key").await;
    assert_refused(&upstream, "idm", &pair("other", &other), "does not accept the client's certificate").await;
}

#[tokio::test]
async fn what_does_not_speak_tls_is_told() {
    let _files = Files::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("url = \"https://{}\"", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let _ = client.read(&mut [0; 4096]).await;
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    let log = Log::default();
    let _captured = log.capture();
    let world = World::with(Plan { upstream: Some(url), ..Plan::default() }).await;
    assert_eq!(get(&world).await.status, 502);
    world.until(async || log.says("does not speak TLS")).await;
    server.abort();
}
