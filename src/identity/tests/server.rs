//! An HTTP server on port 0 that answers as the test says, over TLS or not.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// What the server does once it has read a request.
#[derive(Clone)]
pub(super) enum Answer {
    /// Answers.
    Full { status: u16, body: String, headers: Vec<(&'static str, &'static str)> },
    /// Answers 200 with a body that does not end.
    Endless,
    /// Never answers.
    Never,
    /// Closes the connection.
    Drop,
}

impl Answer {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, &body.to_string())
    }

    pub(super) fn text(status: u16, body: &str) -> Self {
        Self::Full { status, body: body.to_owned(), headers: vec![] }
    }

    pub(super) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        if let Self::Full { headers, .. } = &mut self {
            headers.push((name, value));
        }
        self
    }
}

/// A request that was read to its end.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Method and target.
    pub(super) line: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    now: usize,
    most: usize,
}

/// What becomes of a request.
pub(super) type Script = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;

/// The server; it ends with its test's runtime.
pub(super) struct Server {
    address: SocketAddr,
    size: usize,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Server {
    /// One that gives every request that answer.
    pub(super) async fn start(answer: Answer) -> Self {
        let size = match &answer {
            Answer::Full { body, .. } => body.len(),
            _ => 0,
        };
        Self { size, ..Self::by(move |_| answer.clone()).await }
    }

    /// One that gives every request the answer that it deserves.
    pub(super) async fn by(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen(Arc::new(script), None, "127.0.0.1:0".parse().unwrap()).await
    }

    /// The same by TLS.
    pub(super) async fn by_tls(
        tls: rustls::ServerConfig,
        script: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let tls = TlsAcceptor::from(Arc::new(tls));
        Self::listen(Arc::new(script), Some(tls), "127.0.0.1:0".parse().unwrap()).await
    }

    /// The same at an address where another was.
    pub(super) async fn at(address: SocketAddr, script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen(Arc::new(script), None, address).await
    }

    async fn listen(script: Script, tls: Option<TlsAcceptor>, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let task = tokio::spawn(accept(listener, tls, script, state.clone()));
        Self { address, size: 0, state, task }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening; what was its URL then refuses connections.
    pub(super) async fn stop(self) -> String {
        self.task.abort();
        let _ = self.task.await;
        format!("http://{}", self.address)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn host(&self) -> String {
        self.address.to_string()
    }

    /// The answer's size in bytes.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// The one request that came.
    pub(super) fn only(&self) -> Seen {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    /// How many requests were under way at once, at most.
    pub(super) fn most_at_once(&self) -> usize {
        self.state.lock().unwrap().most
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, script: Script, state: Arc<Mutex<State>>) {
    // They end with the listener.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, script, state) = (tls.clone(), script.clone(), state.clone());
        connections.spawn(async move {
            let service = service_fn(|request| serve(request, script.clone(), state.clone()));
            match tls {
                None => {
                    let _ = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service)).await;
                }
                Some(tls) => {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let _ = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service)).await;
                }
            }
        });
    }
}

async fn serve(
    request: Request<Incoming>,
    script: Script,
    state: Arc<Mutex<State>>,
) -> io::Result<Response<BoxBody<Bytes, Infallible>>> {
    {
        let mut state = state.lock().unwrap();
        state.now += 1;
        state.most = state.most.max(state.now);
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    tokio::task::yield_now().await;
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let seen = Seen {
        line: format!("{} {}", head.method, head.uri),
        headers: headers.collect(),
        body: String::from_utf8(body.into()).unwrap(),
    };
    let answer = script(&seen);
    {
        let mut state = state.lock().unwrap();
        state.now -= 1;
        state.seen.push(seen);
    }
    match answer {
        Answer::Full { status, body, headers } => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(Full::from(body).boxed()).unwrap())
        }
        Answer::Endless => Ok(Response::new(Endless.boxed())),
        Answer::Never => std::future::pending().await,
        Answer::Drop => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

/// A body of which nothing ever comes.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Pending
    }
}
