//! Where requests come in, with the programs that bring them there.

use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    program::Program,
    raw::Raw,
    reserved::Reserved,
    setup::{Files, PATH, Plan},
    skip,
};

/// A script's python, where there is one.
fn python() -> Option<Command> {
    let python = "/usr/bin/python3";
    let found = Command::new(python).arg("--version").output().is_ok_and(|ran| ran.status.success());
    (!skip("python3", found)).then(|| Command::new(python))
}

fn request() -> String {
    format!("GET {PATH} HTTP/1.1\r\nHost: id.example.com\r\nConnection: close\r\n\r\n")
}

/// With sockets of systemd's, as `activate.py` opens them.
fn activated(mut python: Command, sockets: &[String], files: &Files) -> Program {
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/activate.py")).args(sockets).args([
        "--",
        env!("CARGO_BIN_EXE_resetgate"),
        "run",
        "--config",
        &files.config(),
    ]);
    python.env_remove("RESETGATE_LOG");
    Program::spawn(python)
}

#[tokio::test]
async fn systemd_opens_the_sockets() {
    let Some(python) = python() else { return };
    let files = Files::of(&Plan { listen: "systemd:http\", \"h2c:systemd:mesh".into(), ..Plan::alone() });
    let path = files.path().join("given.sock");
    let sockets = ["http=0", "unused=0", "mesh=0", &format!("http={}", path.display())].map(str::to_owned);
    let mut program = activated(python, &sockets, &files);
    let mut ports = Vec::new();
    for _ in 0..3 {
        ports.push(program.stdout.find("").await);
    }
    // Whoever comes before it runs waits.
    let mut early = Raw::to(format!("127.0.0.1:{}", ports[0]).parse().unwrap()).await;
    early.send(request()).await;
    assert_eq!(early.answer().await.unwrap().status, 200);
    let ready = program.stderr.find("\"ready\"").await;
    assert!(ready.contains("systemd:http, systemd:http, h2c:systemd:mesh"), "{ready}");

    let mut local = tokio::net::UnixStream::connect(&path).await.unwrap();
    local.write_all(request().as_bytes()).await.unwrap();
    let mut answer = String::new();
    local.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let mut mesh = Raw::to(format!("127.0.0.1:{}", ports[2]).parse().unwrap()).await;
    mesh.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    // Its settings.
    assert_eq!(mesh.some(9).await.unwrap()[3], 4);
    drop(mesh);

    program.signal("TERM");
    assert_eq!(program.ended().await, 0);
    // The file is systemd's.
    assert!(path.exists());
}

#[tokio::test]
async fn a_socket_that_systemd_did_not_open_ends_the_start() {
    let Some(python) = python() else { return };
    let files = Files::of(&Plan { listen: "systemd:https".into(), ..Plan::alone() });
    let mut program = activated(python, &["http=0".to_owned()], &files);
    assert_eq!(program.ended().await, 1);
    let said = program.stderr.seen.last().unwrap();
    assert!(said.starts_with("resetgate: cannot listen on systemd:https: systemd gave this process no"), "{said}");
}

/// Files for a listener that speaks TLS: certificate and key are the same self-signed pair's.
fn secured(addresses: &str, more: &str) -> Files {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = Files::of(&Plan { listen: addresses.to_owned(), ..Plan::alone() });
    files.write("chain.pem", &made.cert.pem());
    files.write("key.pem", &made.signing_key.serialize_pem());
    let text = std::fs::read_to_string(files.config()).unwrap();
    let section = format!("{more}\n[listen.tls]\ncertificate = \"chain.pem\"\nkey = \"file:key.pem\"\n[admin]");
    files.write("resetgate.toml", &text.replace("[admin]", &section));
    files
}

/// Runs it, and tells the port of each address.
async fn running(files: &Files) -> (Program, Vec<u16>) {
    let mut program = Program::resetgate(&["run", "--config", &files.config()]);
    let ready = program.stderr.find("\"ready\"").await;
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let addresses = ready["fields"]["addresses"].as_str().unwrap();
    let ports = addresses.split(", ").map(|address| address.rsplit(':').next().unwrap().parse().unwrap()).collect();
    (program, ports)
}

/// What a program prints that ends by itself.
fn printed(program: &str, arguments: &[&str]) -> String {
    let ran = Command::new(program).args(arguments).stdin(std::process::Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned()
}

#[tokio::test]
async fn curl_and_openssl_speak_tls_with_it() {
    let has = |program| Command::new(program).arg("version").output().is_ok();
    if skip("curl", has("curl")) || skip("openssl", has("openssl")) {
        return;
    }
    let files = secured("tls:127.0.0.1:0", "");
    let (mut program, ports) = running(&files).await;
    let (url, chain) = (format!("https://localhost:{}{PATH}", ports[0]), files.path().join("chain.pem"));
    let chain = chain.to_str().unwrap();
    for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let format = "%{http_code} %{http_version}";
        let arguments = ["-sS", "--noproxy", "*", flag, "--cacert", chain, "-o", "/dev/null", "-w", format, &url];
        assert_eq!(printed("curl", &arguments), format!("200 {version}"));
    }
    let connect = format!("localhost:{}", ports[0]);
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let arguments = ["s_client", "-connect", &connect, flag, "-CAfile", chain, "-verify_return_error", "-brief"];
        let told = printed("openssl", &arguments);
        assert!(told.contains(version) && told.contains("Verification: OK"), "{told}");
    }
    let old = printed("openssl", &["s_client", "-connect", &connect, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    assert!(old.contains("no peer certificate available"), "{old}");
    program.signal("TERM");
    assert_eq!(program.ended().await, 0);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_ends_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let files = secured(&format!("tls:{}", taken.local_addr().unwrap()), "");
    files.write("chain.pem", "nothing");
    let mut program = Program::resetgate(&["run", "--config", &files.config()]);
    assert_eq!(program.ended().await, 64);
    let told = &program.stderr.seen;
    assert!(
        told.iter().any(|line| line.contains("listen.tls.certificate = \"chain.pem\": must name a PEM")),
        "{told:?}"
    );
}

/// HAProxy in front, by both versions of its protocol, to a plain listener and to one with TLS.
#[tokio::test]
async fn haproxy_says_whom_a_connection_is_from() {
    let haproxy = "/usr/sbin/haproxy";
    if skip("haproxy", std::path::Path::new(haproxy).exists()) {
        return;
    }
    let files = secured("proxy:127.0.0.1:0\", \"proxy+tls:127.0.0.1:0", "trusted_proxies = [\"127.0.0.1\"]\n");
    // 127.0.0.3 asks too much, and 127.0.0.4 does not.
    let text = std::fs::read_to_string(files.config()).unwrap();
    files.write("resetgate.toml", &format!("{text}\n[limits]\nclient = \"2/1h\"\n"));
    let (gate, ports) = running(&files).await;
    let ways = [("send-proxy", ports[0], ""), ("send-proxy-v2", ports[1], " ssl verify none")];
    let mut text =
        "global\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 9s\n timeout server 9s\n".to_owned();
    let mut fronts = Vec::new();
    for (sends, port, tls) in ways {
        let front = Reserved::new();
        text += &format!("listen {sends}\n bind {}\n server gate 127.0.0.1:{port} {sends}{tls}\n", front.address);
        fronts.push(front);
    }
    let config = files.write("haproxy.cfg", &text);
    let mut command = Command::new(haproxy);
    command.args(["-db", "-f"]).arg(config);
    let _haproxy = Program::spawn(command);
    for (front, client) in fronts.iter().map(|front| front.address).zip([[3, 5], [4, 6]]) {
        crate::support::soon("haproxy", async {
            while tokio::net::TcpStream::connect(front).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let [busy, quiet] = client.map(|last| std::net::Ipv4Addr::new(127, 0, 0, last));
        let mut told = Vec::new();
        for from in [busy, busy, busy, quiet] {
            let mut raw = Raw::from(from, front).await;
            raw.send(request()).await;
            told.push(raw.answer().await.unwrap().status);
        }
        assert_eq!(told, [200, 200, 429, 200]);
    }
    drop(gate);
}
