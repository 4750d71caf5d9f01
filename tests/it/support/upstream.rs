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
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
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
        Self::answering(say_upstream).await
    }

    pub(crate) async fn answering(reply: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::serving(TcpListener::bind("127.0.0.1:0").await.unwrap(), None, reply)
    }

    /// The same under TLS.
    pub(crate) async fn under(tls: TlsAcceptor) -> Self {
        Self::serving(TcpListener::bind("127.0.0.1:0").await.unwrap(), Some(tls), say_upstream)
    }

    /// The same there.
    pub(crate) fn on(listener: TcpListener) -> Self {
        Self::serving(listener, None, say_upstream)
    }

    /// At a Unix socket.
    pub(crate) fn unix(listener: UnixListener) -> Self {
        let (upstream, state) = Self::idle("127.0.0.1:0".parse().unwrap(), say_upstream);
        let server = tokio::spawn(async move {
            let mut open = JoinSet::new();
            for connection in 0.. {
                let Ok((client, _)) = listener.accept().await else { return };
                state.connections.fetch_add(1, Ordering::Relaxed);
                open.spawn(converse(client, connection, state.clone()));
            }
        });
        Self { _server: AbortOnDropHandle::new(server), ..upstream }
    }

    fn serving(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        reply: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let (upstream, state) = Self::idle(listener.local_addr().unwrap(), reply);
        let server = tokio::spawn(async move {
            // Ends with this, and every connection with it.
            let mut open = JoinSet::new();
            for connection in 0.. {
                let Ok((client, _)) = listener.accept().await else { return };
                let (state, tls) = (state.clone(), tls.clone());
                open.spawn(async move {
                    match tls {
                        None => {
                            state.connections.fetch_add(1, Ordering::Relaxed);
                            converse(client, connection, state).await;
                        }
                        Some(tls) => {
                            let Ok(client) = tls.accept(client).await else { return };
                            state.connections.fetch_add(1, Ordering::Relaxed);
                            converse(client, connection, state).await;
                        }
                    }
                });
            }
        });
        Self { _server: AbortOnDropHandle::new(server), ..upstream }
    }

    fn idle(address: SocketAddr, reply: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> (Self, State) {
        let state = State { seen: Arc::default(), connections: Arc::default(), reply: Arc::new(reply) };
        let (seen, connections) = (Arc::clone(&state.seen), Arc::clone(&state.connections));
        let server = AbortOnDropHandle::new(tokio::spawn(async {}));
        (Self { address, seen, connections, _server: server }, state)
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

fn say_upstream(seen: &Seen) -> Vec<u8> {
    let body = if seen.method() == "HEAD" { "" } else { "upstream" };
    format!("HTTP/1.1 200 OK\r\nX-From: upstream\r\nContent-Length: 8\r\n\r\n{body}").into_bytes()
}

#[derive(Clone)]
struct State {
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    reply: Arc<Reply>,
}

async fn converse(mut client: impl AsyncRead + AsyncWrite + Unpin, connection: usize, state: State) {
    let mut read = Vec::new();
    while let Some(request) = receive(&mut client, &mut read).await {
        let request = Seen { connection, ..request };
        state.seen.lock().push(request.clone());
        if client.write_all(&(state.reply)(&request)).await.is_err() || client.flush().await.is_err() {
            return;
        }
    }
}

async fn receive(client: &mut (impl AsyncRead + Unpin), read: &mut Vec<u8>) -> Option<Seen> {
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

async fn find(client: &mut (impl AsyncRead + Unpin), read: &mut Vec<u8>, what: &[u8]) -> Option<usize> {
    loop {
        if let Some(at) = read.windows(what.len()).position(|window| window == what) {
            return Some(at);
        }
        more(client, read).await?;
    }
}

async fn take(client: &mut (impl AsyncRead + Unpin), read: &mut Vec<u8>, length: usize) -> Option<Vec<u8>> {
    while read.len() < length {
        more(client, read).await?;
    }
    Some(read.drain(..length).collect())
}

async fn more(client: &mut (impl AsyncRead + Unpin), read: &mut Vec<u8>) -> Option<()> {
    let some = client.read_buf(read).await.unwrap_or(0);
    (some > 0).then_some(())
}
