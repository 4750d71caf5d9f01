//! The access log: one line for each request, however it ends, and nothing of anybody in it.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
};

use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{
    raw::{Raw, request},
    setup::{Files, Gate, PATH, Plan, client},
    soon,
};

/// Answers by what stands in the path.
async fn serve(mut client: TcpStream) {
    let mut read = Vec::new();
    loop {
        while !read.windows(4).any(|window| window == b"\r\n\r\n") {
            if client.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let head = String::from_utf8(std::mem::take(&mut read)).unwrap();
        let (answer, goes_on) = match head.split(' ').nth(1).unwrap_or_default() {
            path if path.starts_with("/openidm/managed/user/cut") => {
                ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", false)
            }
            path if path.starts_with("/openidm/managed/user/odd") => ("What?\r\n\r\n", false),
            path if path.starts_with("/openidm/managed/user/mute") => ("", true),
            "/openidm/ws" => (
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzhZRbK+xOo0=\r\n\r\nhello",
                false,
            ),
            _ => ("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nupstream", true),
        };
        if client.write_all(answer.as_bytes()).await.is_err() || !goes_on {
            return;
        }
    }
}

struct Server(SocketAddr, #[expect(dead_code, reason = "it serves as long as this is there")] AbortOnDropHandle<()>);

async fn server() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            open.spawn(serve(client));
        }
    });
    Server(address, AbortOnDropHandle::new(server))
}

/// The line of the request with that id.
async fn line(gate: &mut Gate, id: &str) -> Value {
    let line = gate.program.stderr.find(&format!("\"request\":\"{id}\"")).await;
    let read: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("JSON, not {line}"));
    assert_eq!((&read["level"], &read["target"]), (&"INFO".into(), &"resetgate::access".into()), "{line}");
    assert!(read["fields"]["duration_ms"].as_f64().is_some_and(|took| (0.0..60_000.0).contains(&took)), "{line}");
    read["fields"].clone()
}

/// What a line says beside the times, as `name=value`.
fn says(fields: &Value) -> Vec<String> {
    let varies = ["duration_ms", "upstream_ms", "request"];
    let mut all: Vec<_> = fields
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| !varies.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={}", value.as_str().map_or(value.to_string(), str::to_owned)))
        .collect();
    all.sort();
    all
}

async fn send(gate: &Gate, method: &str, target: &str, id: &str, more: &[(&str, &str)], body: Option<&str>) -> u16 {
    let headers = [&[("X-Request-Id", id)], more].concat();
    Raw::exchange(gate.address, request(method, target, &headers, body)).await.map_or(0, |answer| answer.status)
}

#[tokio::test]
async fn each_request_has_a_line_and_nobodys_name_is_in_it() {
    let server = server().await;
    let plan = Plan {
        listen: "127.0.0.1:0\", \"h2c:127.0.0.1:0".into(),
        upstream: format!("http://{}", server.0),
        upstream_lines: "try_timeout = \"250ms\"\nwebsocket = [\"/openidm/ws\"]".into(),
        more: "[limits]\nclient = \"6/1h\"".into(),
        ..Plan::alone()
    };
    let mut gate = Gate::run(Files::of(&plan), &[]).await;
    let upstream = format!("upstream={}", server.0);
    let common = |own: &[&str]| {
        let mut all: Vec<_> = own.iter().map(|text| (*text).to_owned()).collect();
        all.extend(["client=127.0.0.1".to_owned(), "protocol=HTTP/1.1".to_owned()]);
        all.sort();
        all
    };
    let user = "/openidm/managed/user/bjensen?_fields=mail&token=canary";

    assert_eq!(send(&gate, "PUT", user, "a1", &[("User-Agent", "canary")], Some("{\"a\":1}")).await, 200);
    let fields = line(&mut gate, "a1").await;
    let path = "path=/openidm/managed/user/*";
    let passed = ["route=passed", path, &upstream];
    let whole = [&passed[..], &["method=PUT", "status=200", "bytes_received=7", "bytes_sent=8"]].concat();
    assert_eq!(says(&fields), common(&whole));
    assert!(fields["upstream_ms"].as_f64().unwrap() <= fields["duration_ms"].as_f64().unwrap(), "{fields}");

    // What goes wrong up there, and what a client does.
    for (what, status, why, sent) in [
        ("cut", 200, "upstream_broken", 1),
        ("odd", 502, "upstream_malformed", 59),
        ("mute", 504, "upstream_timeout", 69),
    ] {
        let target = format!("/openidm/managed/user/{what}-bjensen");
        send(&gate, "GET", &target, what, &[], None).await;
        let own = format!("status={status} why={why} bytes_sent={sent}");
        let own: Vec<_> = own.split(' ').chain(["method=GET", "bytes_received=0"]).chain(passed).collect();
        assert_eq!(says(&line(&mut gate, what).await), common(&own));
    }
    let mut gone = Raw::to(gate.address).await;
    gone.send(format!("POST {user} HTTP/1.1\r\nHost: a\r\nX-Request-Id: a5\r\nContent-Length: 9\r\n\r\n123")).await;
    drop(gone);
    let fields = line(&mut gate, "a5").await;
    assert_eq!(
        (&fields["why"], &fields["status"], &fields["bytes_received"]),
        (&"client_gone".into(), &Value::Null, &3.into())
    );

    // Refused, each for a reason of its own.
    for (id, method, target, status, why, path) in [
        ("b1", "GET", "/openidm/selfservice/%72eset", 404, "disguised", "/openidm/selfservice/*"),
        ("b2", "TRACE", "/openidm/info/ping", 405, "method", "/openidm/info/ping"),
        ("b3", "GET", "/openidm/bjensen\u{e4}", 400, "malformed", "/openidm/*"),
        ("b4", "canary", "/bjensen", 200, "", "/*"),
    ] {
        assert_eq!(send(&gate, method, target, id, &[], None).await, status, "{id}");
        let fields = line(&mut gate, id).await;
        assert_eq!(fields["why"].as_str().unwrap_or_default(), why, "{fields}");
        assert_eq!(fields["path"], path);
        assert_eq!(fields["route"], if why.is_empty() { "passed" } else { "refused" });
        assert_eq!(fields["method"], if method == "canary" { "_OTHER" } else { method });
    }

    // The reset path; at last one too many.
    for id in ["c1", "c2"] {
        assert_eq!(send(&gate, "GET", &format!("{PATH}?x=canary"), id, &[], None).await, 200);
    }
    let fields = line(&mut gate, "c2").await;
    let sent = format!("bytes_sent={}", fields["bytes_sent"]);
    let own = ["route=reset", "path=/openidm/selfservice/reset", "method=GET", "status=200", "bytes_received=0", &sent];
    assert_eq!(says(&fields), common(&own));
    let mut last = 0;
    while last != 429 {
        last = send(&gate, "GET", PATH, "c3", &[], None).await;
    }
    while line(&mut gate, "c3").await["why"] != "limit" {}

    // Over HTTP/2, and through a tunnel, which ends when both sides have.
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}{user}", gate.door("h2c"));
    assert_eq!(http2.get(url).header("x-request-id", "d1").send().await.unwrap().status(), 200);
    let fields = line(&mut gate, "d1").await;
    assert_eq!((&fields["protocol"], &fields["path"]), (&"HTTP/2".into(), &"/openidm/managed/user/*".into()));
    let upgrade = [
        ("X-Request-Id", "d2"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    let mut tunnel = Raw::to(gate.address).await;
    tunnel.send(request("GET", "/openidm/ws", &upgrade, None)).await;
    assert_eq!(tunnel.head().await.unwrap().0, 101);
    assert_eq!(tunnel.take(5).await.unwrap(), b"hello");
    drop(tunnel);
    let fields = line(&mut gate, "d2").await;
    assert_eq!((&fields["status"], &fields["route"]), (&101.into(), &"passed".into()), "{fields}");
    assert_eq!(fields["bytes_sent"], 5, "{fields}");

    gate.program.signal("TERM");
    assert_eq!(gate.program.ended().await, 0);
    for told in &gate.program.stderr.seen {
        assert!(!told.contains("bjensen") && !told.contains("canary") && !told.contains("_fields"), "{told}");
    }
}

#[tokio::test]
async fn an_operator_says_whose_requests_are_told_and_how_exactly() {
    let server = server().await;
    let plan = |more: &str| Plan { upstream: format!("http://{}", server.0), more: more.into(), ..Plan::alone() };
    let mut gate = Gate::run(Files::of(&plan("[log]\naccess = \"reset\"\nclient = \"network\"")), &[]).await;
    assert_eq!(send(&gate, "GET", "/", "a1", &[], None).await, 200);
    assert_eq!(send(&gate, "GET", PATH, "a2", &[], None).await, 200);
    assert_eq!(line(&mut gate, "a2").await["client"], "127.0.0.0/24");

    // A reload changes it for the next.
    let text = std::fs::read_to_string(gate.files.config()).unwrap();
    let reload = |gate: &Gate, access: &str| {
        gate.files.write("resetgate.toml", &text.replace("\"reset\"", access).replace("\"network\"", "\"off\""));
        gate.program.signal("HUP");
    };
    reload(&gate, "\"off\"");
    gate.program.stderr.find("\"reloaded\"").await;
    assert_eq!(send(&gate, "GET", PATH, "a3", &[], None).await, 200);
    reload(&gate, "\"all\"");
    gate.program.stderr.find("\"reloaded\"").await;
    assert_eq!(send(&gate, "GET", "/", "a4", &[], None).await, 200);
    assert_eq!(line(&mut gate, "a4").await.get("client"), None);
    gate.program.signal("TERM");
    gate.program.ended().await;
    let told: Vec<_> = gate.program.stderr.seen.iter().filter(|line| line.contains("resetgate::access")).collect();
    assert_eq!(told.len(), 2, "{told:#?}");

    // The filter does so, too.
    let filter = [("RESETGATE_LOG", "info,resetgate::access=off")];
    let mut gate = Gate::run(Files::of(&plan("")), &filter).await;
    assert_eq!(send(&gate, "GET", PATH, "a1", &[], None).await, 200);
    gate.program.signal("TERM");
    gate.program.ended().await;
    assert!(gate.program.stderr.seen.iter().all(|line| !line.contains("resetgate::access")));
}

/// A gate that writes its log to `to`, and where it listens and where operators look.
struct Muted {
    child: std::process::Child,
    gate: SocketAddr,
    admin: SocketAddr,
}

impl Drop for Muted {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Muted {
    /// Asks for as much as makes a few thousand lines.
    async fn floods(&self) {
        let many = request("GET", PATH, &[], None).repeat(100);
        let asking = stream::iter(0..30).map(async |_| {
            let mut client = Raw::to(self.gate).await;
            client.send(&many).await;
            for _ in 0..100 {
                assert_eq!(soon("an answer", client.answer()).await.unwrap().status, 200);
            }
        });
        asking.buffer_unordered(8).collect::<()>().await;
    }

    async fn dropped(&self) -> u64 {
        let metrics = client().get(format!("http://{}/metrics", self.admin)).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let line = metrics.lines().find(|line| line.starts_with("resetgate_log_lines_dropped") && !line.contains('#'));
        line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or_else(|| panic!("drops in {metrics}"))
    }

    async fn ends_well(mut self) {
        let stopped = Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &self.child.id().to_string()]).status();
        assert!(stopped.unwrap().success());
        let ended = tokio::task::spawn_blocking(move || self.child.wait().unwrap());
        assert_eq!(soon("its end", ended).await.unwrap().code(), Some(0));
    }
}

/// Where a gate listens, by the line that says so.
fn ready(child: std::process::Child, line: &str) -> Muted {
    let line: Value = serde_json::from_str(line).unwrap();
    let address = |name: &str| line["fields"][name].as_str().unwrap().parse().unwrap();
    Muted { child, gate: address("addresses"), admin: address("admin") }
}

#[tokio::test]
async fn a_log_that_nobody_reads_loses_lines_and_no_request() {
    let files = Files::of(&Plan { more: "[limits]\nclient = \"0\"".into(), ..Plan::alone() });
    let (read, write) = std::io::pipe().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_resetgate"));
    command.args(["run", "--config", &files.config()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(write);
    let child = command.spawn().unwrap();
    drop(command);
    let mut lines = BufReader::with_capacity(1, read).lines();
    let line = lines.find_map(|line| line.ok().filter(|line| line.contains("\"ready\""))).unwrap();
    let gate = ready(child, &line);
    // A pipe holds 64 KiB, and the gate some megabytes.
    while gate.dropped().await == 0 {
        gate.floods().await;
    }
    let (before, took) = (gate.dropped().await, std::time::Instant::now());
    gate.floods().await;
    assert!(gate.dropped().await >= before + 3000);
    assert!(took.elapsed().as_secs() < 60, "{took:?}");
    gate.ends_well().await;
}

#[tokio::test]
async fn a_full_disk_loses_lines_and_no_request() {
    let files = Files::of(&Plan { more: "[limits]\nclient = \"0\"".into(), ..Plan::alone() });
    let log = files.path().join("log");
    // As a disk that has no more room, a file may not grow beyond that.
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" run --config \"$1\" 2>>\"$2\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_resetgate"), &files.config()]).arg(&log).stdout(Stdio::null());
    let child = command.stdin(Stdio::null()).spawn().unwrap();
    let text = || std::fs::read_to_string(&log).unwrap_or_default();
    let line = soon("ready", async {
        loop {
            if let Some(line) = text().lines().find(|line| line.contains("\"ready\"")) {
                return line.to_owned();
            }
            tokio::task::yield_now().await;
        }
    });
    let gate = ready(child, &line.await);
    gate.floods().await;
    soon("drops", async { while gate.dropped().await < 1000 {} }).await;
    assert!(text().lines().count() > 10, "{}", text());
    // With room again, it is written again.
    std::fs::File::options().write(true).open(&log).unwrap().set_len(0).unwrap();
    soon("lines", async {
        while !text().contains("resetgate::access") {
            assert_eq!(client().get(format!("http://{}{PATH}", gate.gate)).send().await.unwrap().status(), 200);
        }
    })
    .await;
    gate.ends_well().await;
}

#[tokio::test]
async fn of_a_password_that_somebody_types_not_even_the_length_is_told() {
    let more = "[policy]\nsource = \"local\"".into();
    let mut gate = Gate::run(Files::of(&Plan { more, ..Plan::alone() }), &[]).await;
    let validate = "/openidm/policy/selfservice/reset/?_action=validateObject";
    let json = [("Content-Type", "application/json")];
    assert_eq!(send(&gate, "POST", validate, "p1", &json, Some("{\"password\":\"canary-typed\"}")).await, 200);
    let fields = line(&mut gate, "p1").await;
    let told = ["route", "path", "method", "status"].map(|name| fields[name].to_string());
    assert_eq!(told, ["\"policy\"", "\"/openidm/policy/selfservice/reset\"", "\"POST\"", "200"]);
    assert!(fields["bytes_received"].is_null() && fields["bytes_sent"].is_null(), "{fields}");
}
