//! How it stops.

use std::net::SocketAddr;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    setup::{Around, Files, Gate, PATH},
    soon,
};

/// A request over a connection of its own, which stays open.
async fn send(to: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.replace('\n', "\r\n").as_bytes()).await.unwrap();
    stream
}

/// All that still comes on a connection, to its end.
async fn rest(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    soon("the end of a connection", stream.read_to_end(&mut text)).await.unwrap();
    String::from_utf8(text).unwrap()
}

async fn draining(gate: &Gate) {
    soon("not ready", async { while gate.ask_admin("/readyz").await.status != 503 {} }).await;
    assert_eq!(gate.ask_admin("/livez").await.status, 200);
    soon("a refusal", async { while TcpStream::connect(gate.address).await.is_ok() {} }).await;
}

#[tokio::test]
async fn r13_sigterm_finishes_what_has_begun() {
    let around = Around::start().await;
    let mut gate = Gate::run(Files::of(&around.plan()), &[]).await;
    let token = gate.begin().await;

    let mut idle = send(gate.address, &format!("GET {PATH} HTTP/1.1\nHost: a\n\n")).await;
    soon("an answer", idle.read_u8()).await.unwrap();
    around.upstream.hold();
    around.identity.hold();
    around.smtp.hold();
    let passed = send(gate.address, "GET /elsewhere?x=1 HTTP/1.1\nHost: a\n\n").await;
    around.upstream.holds().await;
    let body = json!({"input": {"queryFilter": "userName eq \"bjensen\""}, "token": token}).to_string();
    let query = format!(
        "POST {PATH}?_action=submitRequirements HTTP/1.1\nHost: a\nContent-Type: application/json\n\
         Content-Length: {}\n\n{body}",
        body.len()
    );
    let answered = send(gate.address, &query).await;
    around.identity.holds().await;

    gate.program.signal("TERM");
    draining(&gate).await;
    rest(idle).await;
    assert_eq!(gate.ask_admin("/readyz").await.status, 503);

    around.upstream.release();
    let passed = rest(passed).await;
    assert!(passed.starts_with("HTTP/1.1 200 ") && passed.contains("/elsewhere?x=1"), "{passed}");
    around.identity.release();
    let answered = rest(answered).await;
    assert!(answered.starts_with("HTTP/1.1 200 ") && answered.contains("\"emailValidation\""), "{answered}");

    // The mail is still on its way, and it is waited for.
    around.smtp.holds().await;
    assert_eq!(gate.ask_admin("/livez").await.status, 200);
    around.smtp.release();
    assert_eq!(gate.program.ended().await, 0);
    assert_eq!(around.mail(1).await.to, ["bjensen@example.com"]);
    assert_eq!(around.mailbox.mails().len(), 1);
}

#[tokio::test]
async fn a_drain_with_nothing_to_do_is_over_at_once() {
    let around = Around::start().await;
    let mut gate = Gate::run(Files::of(&around.plan()), &[]).await;
    assert_eq!(gate.get("/elsewhere").await.status, 200);
    gate.program.signal("TERM");
    assert_eq!(gate.program.ended().await, 0);
}

#[tokio::test]
async fn a_second_sigterm_and_a_sigint_end_it_at_once() {
    for signals in [&["TERM", "TERM"][..], &["INT"], &["TERM", "INT"]] {
        let around = Around::start().await;
        let mut gate = Gate::run(Files::of(&around.plan()), &[]).await;
        around.upstream.hold();
        let held = send(gate.address, "GET /elsewhere HTTP/1.1\nHost: a\n\n").await;
        around.upstream.holds().await;
        let (last, first) = signals.split_last().unwrap();
        for signal in first {
            gate.program.signal(signal);
            draining(&gate).await;
        }
        let before = std::time::Instant::now();
        gate.program.signal(last);
        assert_eq!(gate.program.ended().await, 0, "{signals:?}");
        // A drain would wait for 25 s.
        assert!(before.elapsed().as_secs() < 15, "{signals:?}: {:?}", before.elapsed());
        drop(held);
    }
}

#[tokio::test]
async fn a_unix_socket_goes_with_the_program() {
    let around = Around::start().await;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("http.sock");
    let mut plan = around.plan();
    plan.listen = format!("unix:{}", socket.display());
    let files = Files::of(&plan);
    let mut program = crate::support::program::Program::resetgate(&["run", "--config", &files.config()]);
    program.stderr.find("\"ready\"").await;
    let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
    stream.write_all(format!("GET {PATH} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    program.signal("TERM");
    assert_eq!(program.ended().await, 0);
    assert!(!socket.exists());
}
