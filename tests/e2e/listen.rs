//! Where requests come in, with the programs that bring them there.

use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    program::Program,
    raw::Raw,
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
