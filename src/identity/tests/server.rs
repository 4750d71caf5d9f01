//! An HTTP server on port 0 that gives every request one answer.

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
use tokio::{net::TcpListener, task::JoinHandle};

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

/// The server; it ends with its test's runtime.
pub(super) struct Server {
    address: SocketAddr,
    answer: Answer,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let task = tokio::spawn(accept(listener, answer.clone(), state.clone()));
        Self { address, answer, state, task }
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
    pub(super) fn size(&self) -> usize {
        match &self.answer {
            Answer::Full { body, .. } => body.len(),
            _ => 0,
        }
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

async fn accept(listener: TcpListener, answer: Answer, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (answer, state) = (answer.clone(), state.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| serve(request, answer.clone(), state.clone()));
            let _ = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service)).await;
        });
    }
}

async fn serve(
    request: Request<Incoming>,
    answer: Answer,
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
