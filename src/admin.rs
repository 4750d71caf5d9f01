//! `/livez`, `/readyz`, `/readyz/reset`, `/metrics` and `/config`, on a listener of their own.
//!
//! It may be on a pod's address, where others come as well as a kubelet and a scraper: nothing can be changed there, no
//! answer costs a call to anybody, and connections are few and short. The only thing that could give something away is
//! the configuration, and who may read that is the operator's choice (`[admin] config`).

mod health;
mod readers;
mod seats;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

pub use self::health::{Part, State};
use self::{readers::Way, seats::Seats};
use crate::{
    config::ConfigReaders,
    telemetry::metrics::{CONTENT_TYPE, Metrics},
};

/// Connections at a time: a scraper and some probes.
const MAX_CONNECTIONS: usize = 64;
/// How long a request's head may take.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may last, with its one request.
const WITHIN: Duration = Duration::from_secs(15);
/// How long to pause when nothing can be accepted.
const PAUSE: Duration = Duration::from_millis(50);

const PATHS: [&str; 5] = ["/livez", "/readyz", "/readyz/reset", "/metrics", "/config"];
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const TOML: &str = "application/toml; charset=utf-8";
const NOT_YOURS: &str =
    "the configuration is shown to this machine only, by its own address; see admin.config in the reference\n";

/// What operators may see of the inside. Nothing of it waits or calls anybody.
pub trait Inside: Send + Sync {
    /// How what a reset needs is, as far as is known now.
    fn parts(&self) -> Vec<Part>;
    /// The configuration as it is in use, without its secrets: TOML.
    fn config(&self) -> String;
    /// Who may read it.
    fn config_readers(&self) -> ConfigReaders;
}

/// What is told here.
pub(crate) struct Told {
    /// Whether requests are served: it says nothing of the services behind, since to restart or unplug every proxy when a
    /// store is down helps nobody.
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) inside: Arc<dyn Inside>,
}

/// Answers for ever.
pub(crate) async fn serve(listener: TcpListener, told: Told) {
    let (seats, told) = (Arc::new(Seats::new(MAX_CONNECTIONS)), Arc::new(told));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let told = Arc::clone(&told);
                Seats::take(&seats, peer.ip(), converse(stream, peer, told));
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn converse(stream: TcpStream, peer: SocketAddr, told: Arc<Told>) {
    let local = stream.local_addr().ok();
    let service = service_fn(|request: Request<Incoming>| {
        let way = Way { peer: peer.ip(), local: local.map(|local| local.ip()), headers: request.headers() };
        let answer = told.answer(request.method(), request.uri().path(), &way);
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .keep_alive(false)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service);
    // A probe that goes away or is too slow is no news.
    let _ = timeout(WITHIN, connection).await;
}

impl Told {
    fn answer(&self, method: &Method, path: &str, way: &Way<'_>) -> Response<Full<Bytes>> {
        if !PATHS.contains(&path) {
            return response(StatusCode::NOT_FOUND, TEXT, "not found\n");
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "method not allowed\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/livez" => response(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" if self.ready.load(Ordering::Acquire) => response(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n"),
            "/readyz/reset" => {
                let parts = self.inside.parts();
                let failing = health::worst(&parts) == State::Failing;
                let status = if failing { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
                response(status, JSON, health::body(&parts))
            }
            "/metrics" => response(StatusCode::OK, CONTENT_TYPE, self.metrics.render()),
            _ => match self.inside.config_readers() {
                ConfigReaders::Nobody => response(StatusCode::NOT_FOUND, TEXT, "not found\n"),
                ConfigReaders::Loopback if !way.is_within_this_machine() => {
                    response(StatusCode::FORBIDDEN, TEXT, NOT_YOURS)
                }
                ConfigReaders::Loopback | ConfigReaders::Everyone => {
                    response(StatusCode::OK, TOML, self.inside.config())
                }
            },
        }
    }
}

fn response(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        // For the browser of an operator, which other pages use as well.
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests;
