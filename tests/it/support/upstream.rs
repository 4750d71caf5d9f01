//! An upstream that keeps every byte it is sent, and answers what it is told to.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// With its last, empty line.
    pub(crate) head: Vec<u8>,
    /// Without chunks' sizes.
    pub(crate) body: Vec<u8>,
    /// Which of the connections it came over, in the order in which they were opened.
    pub(crate) connection: usize,
}

impl Seen {
    pub(crate) fn line(&self) -> String {
        let end = self.head.iter().position(|byte| *byte == b'\r').unwrap();
        self.head[..end].iter().copied().map(char::from).collect()
    }

    pub(crate) fn method(&self) -> String {
        self.line().split(' ').next().unwrap().to_owned()
    }

    /// The target, each byte as one character.
    pub(crate) fn target(&self) -> String {
        self.line().split(' ').nth(1).unwrap().to_owned()
    }

    /// The names of all headers, in lower case, in their order.
    pub(crate) fn names(&self) -> Vec<String> {
        let head: String = self.head.iter().copied().map(char::from).collect();
        let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        let mut names: Vec<_> = lines.map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort();
        names
    }

    /// The header's lines, whatever the case of its name.
    pub(crate) fn header(&self, name: &str) -> Vec<String> {
        let head: String = self.head.iter().copied().map(char::from).collect();
        let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).collect()
    }
}

type Reply = dyn Fn(&Seen) -> Vec<u8> + Send + Sync;

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    _server: AbortOnDropHandle<()>,
}

impl Upstream {
    /// Answers 200 and says that it is the upstream.
    pub(crate) async fn start() -> Self {
        Self::answering(|seen| {
            let body = if seen.method() == "HEAD" { "" } else { "upstream" };
            format!("HTTP/1.1 200 OK\r\nX-From: upstream\r\nContent-Length: 8\r\n\r\n{body}").into_bytes()
        })
        .await
    }

    pub(crate) async fn answering(reply: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (shared, reply): (_, Arc<Reply>) = (Arc::clone(&seen), Arc::new(reply));
        let connections = Arc::new(AtomicUsize::new(0));
        let connected = Arc::clone(&connections);
        let server = tokio::spawn(async move {
            for connection in 0.. {
                let Ok((client, _)) = listener.accept().await else { return };
                connected.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(converse(client, connection, Arc::clone(&shared), Arc::clone(&reply)));
            }
        });
        Self { address, seen, connections, _server: AbortOnDropHandle::new(server) }
    }

    /// All that came, oldest first.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen.lock().last().cloned().expect("a request")
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().len()
    }
}

async fn converse(mut client: TcpStream, connection: usize, seen: Arc<Mutex<Vec<Seen>>>, reply: Arc<Reply>) {
    let mut read = Vec::new();
    while let Some(request) = receive(&mut client, &mut read).await {
        let request = Seen { connection, ..request };
        seen.lock().push(request.clone());
        if client.write_all(&reply(&request)).await.is_err() {
            return;
        }
    }
}

async fn receive(client: &mut TcpStream, read: &mut Vec<u8>) -> Option<Seen> {
    let end = find(client, read, b"\r\n\r\n").await?;
    let mut seen = Seen { head: read.drain(..end + 4).collect(), ..Seen::default() };
    if !seen.header("transfer-encoding").is_empty() {
        loop {
            let end = find(client, read, b"\r\n").await?;
            let line: Vec<u8> = read.drain(..end + 2).collect();
            let length = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            let chunk = take(client, read, length + 2).await?;
            if length == 0 {
                return Some(seen);
            }
            seen.body.extend_from_slice(&chunk[..length]);
        }
    }
    if let Some(length) = seen.header("content-length").first() {
        seen.body = take(client, read, length.parse().unwrap()).await?;
    }
    Some(seen)
}

async fn find(client: &mut TcpStream, read: &mut Vec<u8>, what: &[u8]) -> Option<usize> {
    loop {
        if let Some(at) = read.windows(what.len()).position(|window| window == what) {
            return Some(at);
        }
        more(client, read).await?;
    }
}

async fn take(client: &mut TcpStream, read: &mut Vec<u8>, length: usize) -> Option<Vec<u8>> {
    while read.len() < length {
        more(client, read).await?;
    }
    Some(read.drain(..length).collect())
}

async fn more(client: &mut TcpStream, read: &mut Vec<u8>) -> Option<()> {
    let some = client.read_buf(read).await.unwrap_or(0);
    (some > 0).then_some(())
}
