//! An upstream of somebody else's making: nginx, under TLS, which lets in only whom it knows.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use reqwest::Client;
use tokio::{net::TcpStream, task::JoinSet};

use crate::support::{
    authority::{Authority, Shown},
    program::Program,
    reserved::Reserved,
    setup::{Files, Gate, Plan},
    skip, soon,
};

const NGINX: &str = "/usr/sbin/nginx";
const DONE: &str = "resetgate_reloads_total{outcome=\"done\"}";

/// A server that says its name and which certificate it was shown.
struct Nginx {
    program: Program,
    address: SocketAddr,
    _place: Reserved,
    folder: tempfile::TempDir,
}

fn missing() -> bool {
    skip("nginx", Path::new(NGINX).exists())
}

impl Nginx {
    async fn start(name: &str, shown: &Shown, clients: &Authority) -> Self {
        // It does not tell which port it was given.
        let place = Reserved::new();
        let address = place.address;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let conf = format!(
            r#"
daemon off;
master_process off;
pid {path}/pid;
error_log stderr notice;
events {{}}
http {{
  access_log off;
  client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;
  uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
  keepalive_timeout 30s;
  keepalive_requests 1000000;
  server {{
    listen {address} ssl reuseport;
    ssl_certificate {path}/server.pem;
    ssl_certificate_key {path}/server.key;
    ssl_client_certificate {path}/clients.pem;
    ssl_verify_client on;
    location / {{ default_type text/plain; return 200 "{name} $ssl_client_serial"; }}
  }}
}}
"#
        );
        fs::write(folder.path().join("nginx.conf"), conf).unwrap();
        fs::write(folder.path().join("clients.pem"), clients.pem()).unwrap();
        let nginx = Self { program: Self::spawn(folder.path()), address, _place: place, folder };
        nginx.certify(shown);
        let mut nginx = nginx;
        nginx.again().await;
        nginx
    }

    fn spawn(folder: &Path) -> Program {
        let mut command = Command::new(NGINX);
        command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf")).args(["-e", "stderr"]);
        Program::spawn(command)
    }

    fn certify(&self, shown: &Shown) {
        fs::write(self.folder.path().join("server.pem"), shown.certificate.pem()).unwrap();
        fs::write(self.folder.path().join("server.key"), shown.key.serialize_pem()).unwrap();
    }

    /// In the place of the one that was, if that is over or not.
    async fn again(&mut self) {
        self.program.kill();
        self.program = Self::spawn(self.folder.path());
        soon("nginx", async { while TcpStream::connect(self.address).await.is_err() {} }).await;
    }
}

/// What the gate shows of itself, in files.
fn show(files: &Files, shown: &Shown) {
    files.write("client.pem", &shown.certificate.pem());
    files.write("client.key", &shown.key.serialize_pem());
}

/// In front of those, with a certificate of the clients' authority.
async fn gate(servers: &[&Nginx], tls: &str, more: &[(&str, String)], clients: &Authority) -> Gate {
    let addresses: Vec<_> = servers.iter().map(|nginx| format!("\"{}\"", nginx.address)).collect();
    let plan = Plan {
        upstream: "https://idm.internal".into(),
        upstream_lines: format!(
            "addresses = [{}]\n[upstream.health]\ninterval = \"50ms\"\n[upstream.tls]\ncertificate = \"client.pem\"\n\
             key = \"file:client.key\"\n{tls}",
            addresses.join(", ")
        ),
        more: "[reload]\nwatch = \"20ms\"".into(),
        ..Plan::alone()
    };
    let files = Files::of(&plan);
    show(&files, &clients.certify("resetgate"));
    for (name, text) in more {
        files.write(name, text);
    }
    Gate::run(files, &[]).await
}

#[tokio::test]
async fn one_of_two_is_killed_and_brought_back_and_no_request_fails() {
    if missing() {
        return;
    }
    let (shown, clients) = (Shown::own("whatever"), Authority::new());
    let mut first = Nginx::start("first", &shown, &clients).await;
    let second = Nginx::start("second", &shown, &clients).await;
    let gate = gate(&[&first, &second], &format!("pin = \"{}\"", shown.pin()), &[], &clients).await;
    let (done, url) = (Arc::new(AtomicBool::new(false)), format!("http://{}/a", gate.address));
    let mut load = JoinSet::new();
    for _ in 0..4 {
        let (done, url) = (Arc::clone(&done), url.clone());
        load.spawn(async move {
            let client = Client::builder().no_proxy().build().unwrap();
            let mut answers = 0;
            while !done.load(Ordering::Relaxed) {
                let answer = client.get(&url).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                answers += 1;
            }
            answers
        });
    }
    let gauge = format!("resetgate_endpoint_up{{address=\"{}\",service=\"upstream\"}}", first.address);
    let passed = "resetgate_passed_requests_total{status=\"2xx\"}";
    gate.counts(passed, 50).await;
    first.program.kill();
    soon("it is noticed", async { while gate.metric(&gauge).await == 1 {} }).await;
    gate.counts(passed, gate.metric(passed).await + 50).await;
    first.again().await;
    soon("it is noticed", async { while gate.metric(&gauge).await == 0 {} }).await;
    soon("it has its share", async { while !gate.get("/a").await.body.starts_with("first ") {} }).await;
    done.store(true, Ordering::Relaxed);
    let answers: usize = load.join_all().await.into_iter().sum();
    assert!(answers >= 100, "{answers}");
    assert_eq!(gate.metric("resetgate_passed_requests_total{status=\"5xx\"}").await, 0);
}

#[tokio::test]
async fn a_server_with_another_certificate_is_believed_if_the_same_authority_vouches_for_it() {
    if missing() {
        return;
    }
    let (servers, clients) = (Authority::new(), Authority::new());
    let mut nginx = Nginx::start("nginx", &servers.certify("idm.internal"), &clients).await;
    let ca = ("ca.pem", servers.pem());
    let mut gate = gate(&[&nginx], "ca = \"ca.pem\"", &[ca], &clients).await;
    assert_eq!(gate.get("/a").await.status, 200);
    nginx.certify(&servers.certify("idm.internal"));
    nginx.again().await;
    assert_eq!(gate.get("/a").await.status, 200);
    nginx.certify(&servers.certify("other.internal"));
    nginx.again().await;
    let answer = gate.get("/a").await;
    assert_eq!((answer.status, answer.json()["code"].as_u64()), (502, Some(502)));
    let told = gate.program.stderr.find("TLS to the upstream failed").await;
    assert!(told.contains("tls.server_name") && told.contains("\"service\":\"upstream\""), "{told}");
}

#[tokio::test]
async fn a_pin_is_changed_by_a_reload_and_a_clients_certificate_by_itself() {
    if missing() {
        return;
    }
    let (before, after, clients) = (Shown::own("a"), Shown::own("a"), Authority::new());
    let mut nginx = Nginx::start("nginx", &before, &clients).await;
    let mut gate = gate(&[&nginx], &format!("pin = \"{}\"", before.pin()), &[], &clients).await;
    let first = gate.get("/a").await;
    assert_eq!(first.status, 200);

    // What it shows of itself is read again, and shown with the next connection, which is a new one.
    show(&gate.files, &clients.certify("resetgate"));
    gate.counts(DONE, 1).await;
    let second = gate.get("/a").await;
    assert_eq!(second.status, 200);
    assert_ne!(second.body, first.body, "another serial number");

    nginx.certify(&after);
    nginx.again().await;
    assert_eq!(gate.get("/a").await.status, 502);
    let told = gate.program.stderr.find("TLS to the upstream failed").await;
    assert!(told.contains("not the one of tls.pin"), "{told}");
    let text = fs::read_to_string(gate.files.config()).unwrap();
    let reloads = gate.metric(DONE).await;
    gate.files.write("resetgate.toml", &text.replace(&before.pin(), &after.pin()));
    gate.program.signal("HUP");
    gate.counts(DONE, reloads + 1).await;
    assert_eq!(gate.get("/a").await.status, 200);
}

/// There is nobody whom such a machine believes, but for the one who is pinned.
#[tokio::test]
async fn a_pin_needs_no_roots_of_the_systems() {
    if missing() {
        return;
    }
    let (shown, clients) = (Shown::own("a"), Authority::new());
    let nginx = Nginx::start("nginx", &shown, &clients).await;
    let gate = gate(&[&nginx], &format!("pin = \"{}\"", shown.pin()), &[], &clients).await;
    let files = gate.killed();
    let none = files.write("no-roots.pem", "");
    let gate = Gate::run(files, &[("SSL_CERT_FILE", none.to_str().unwrap()), ("SSL_CERT_DIR", "/nowhere")]).await;
    assert_eq!(gate.get("/a").await.status, 200);
}
