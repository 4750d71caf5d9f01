//! WebSocket, where it is let through: bytes both ways, and an end for each tunnel.

use std::time::{Duration, Instant};

use resetgate::serve::Ended;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{
    connections::open,
    raw::{Raw, request},
    upstream::Upstream,
    world::{Plan, World},
};

const ASKED: [(&str, &str); 5] = [
    ("Connection", "keep-alive, Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Protocol", "chat"),
];
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzhZRbK+xOo0=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

/// Goes over to WebSocket whatever it is asked, says hello, and gives back what it gets.
async fn echo(mut client: TcpStream) {
    let mut read = Vec::new();
    while !read.windows(4).any(|window| window == b"\r\n\r\n") {
        if client.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8_lossy(&read).to_ascii_lowercase();
    assert!(head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
    assert!(head.contains("sec-websocket-key: ") && head.contains("x-forwarded-for: 127.0.0.1\r\n"), "{head}");
    let _ = client.write_all(SWITCHED.as_bytes()).await;
    let _ = client.write_all(b"hello").await;
    let mut some = vec![0; 16 << 10];
    while let Ok(length @ 1..) = client.read(&mut some).await {
        if client.write_all(&some[..length]).await.is_err() {
            return;
        }
    }
}

async fn served<F>(with: impl Fn(TcpStream) -> F + Send + 'static, more: &str) -> (World, AbortOnDropHandle<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("url = \"http://{}\"", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            open.spawn(with(client));
        }
    });
    let lines = format!("{url}\nwebsocket = [\"/openidm/ws/**\"]\n{more}");
    let world = World::with(Plan { upstream: Some(lines), ..Plan::default() }).await;
    (world, AbortOnDropHandle::new(server))
}

/// A client that has gone over.
async fn through(world: &World) -> Raw {
    let mut client = Raw::to(world.gate).await;
    client.send(request("GET", "/openidm/ws/a?b", &ASKED, None)).await;
    let (status, headers) = client.head().await.expect("an answer");
    assert_eq!(status, 101);
    assert_eq!(headers["upgrade"], "websocket");
    assert_eq!(headers["connection"].to_str().unwrap().to_ascii_lowercase(), "upgrade");
    assert_eq!(headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzhZRbK+xOo0=");
    assert_eq!(headers["sec-websocket-protocol"], "chat");
    client
}

async fn exactly(client: &mut Raw, length: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < length {
        got.extend(client.some(length - got.len()).await.expect("more"));
    }
    got
}

#[tokio::test]
async fn bytes_pass_both_ways() {
    let (world, _server) = served(echo, "").await;
    let mut client = through(&world).await;
    assert_eq!(exactly(&mut client, 5).await, b"hello", "it may speak first");
    for length in [1, 5, 70_000] {
        let sent: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        client.send(&sent).await;
        assert_eq!(exactly(&mut client, length).await, sent);
    }
    open(&world, 1).await;
    drop(client);
    open(&world, 0).await;
}

#[tokio::test]
async fn only_the_silence_of_both_ends_a_tunnel() {
    // Longer than one answer may take, which a tunnel has nothing to do with.
    let times = "try_timeout = \"100ms\"\ntotal_timeout = \"100ms\"\nwebsocket_idle_timeout = \"400ms\"";
    let (world, _server) = served(echo, times).await;
    let mut client = through(&world).await;
    exactly(&mut client, 5).await;
    let began = Instant::now();
    for _ in 0..10 {
        client.send("x").await;
        assert_eq!(exactly(&mut client, 1).await, b"x");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let quiet = Instant::now();
    assert!(client.ends().await);
    assert!(began.elapsed() > Duration::from_secs(1) && quiet.elapsed() < Duration::from_secs(3));
    open(&world, 0).await;

    // One that only listens.
    let speaker = |mut client: TcpStream| async move {
        let _ = client.read(&mut [0; 4096]).await;
        let _ = client.write_all(SWITCHED.as_bytes()).await;
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _ = client.write_all(b"tick").await;
        }
        std::future::pending::<()>().await;
    };
    let (world, _server) = served(speaker, times).await;
    let mut client = through(&world).await;
    assert_eq!(exactly(&mut client, 40).await.len(), 40);
    assert!(client.ends().await);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_waited_for_no_longer_than_any() {
    let silent = |client: TcpStream| async move {
        std::future::pending::<()>().await;
        drop(client);
    };
    let (world, _server) = served(silent, "try_timeout = \"200ms\"\ntotal_timeout = \"200ms\"").await;
    let began = Instant::now();
    let answer = Raw::exchange(world.gate, request("GET", "/openidm/ws/a", &ASKED, None)).await.expect("an answer");
    assert_eq!(answer.status, 504);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn elsewhere_and_to_anything_else_nobody_goes_over() {
    let upstream = Upstream::answering(|seen| {
        let willing = seen.target().contains("willing");
        let answer = if willing { SWITCHED } else { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno" };
        answer.as_bytes().to_vec()
    })
    .await;
    let lines = format!("url = \"http://{}\"\nwebsocket = [\"/openidm/ws/**\"]", upstream.address);
    let world = World::with(Plan { upstream: Some(lines), ..Plan::default() }).await;
    let h2c = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQ")];
    let plain = [("Accept", "*/*")];
    for (target, headers) in [
        ("/openidm/wsx", &ASKED[..]),
        ("/openidm/info", &ASKED),
        ("/openidm/ws/a%2fb", &ASKED),
        ("/openidm/ws/a", &h2c),
        ("/openidm/ws/a", &plain),
    ] {
        let answer = Raw::exchange(world.gate, request("GET", target, headers, None)).await.expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (200, "no"), "{target}");
        let seen = upstream.last();
        assert!(seen.header("upgrade").is_empty() && seen.header("connection").is_empty(), "{target} {seen:?}");
    }
    // Nor where the server would.
    for (target, headers) in [("/willing", &ASKED[..]), ("/openidm/ws/willing", &h2c), ("/openidm/ws/willing", &plain)]
    {
        let answer = Raw::exchange(world.gate, request("GET", target, headers, None)).await.expect("an answer");
        assert_eq!(answer.status, 502, "{target}");
        assert!(!answer.headers.contains_key("upgrade"));
    }
    // A server that says no is heard.
    let answer = Raw::exchange(world.gate, request("GET", "/openidm/ws/a", &ASKED, None)).await.expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (200, "no"));
    assert_eq!(upstream.last().header("upgrade"), ["websocket"]);
}

#[tokio::test]
async fn a_drain_ends_them() {
    let (mut world, _server) = served(echo, "").await;
    let mut client = through(&world).await;
    exactly(&mut client, 5).await;
    let began = Instant::now();
    assert_eq!(world.drain().await, Ended::Drained);
    assert!(client.ends().await);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
