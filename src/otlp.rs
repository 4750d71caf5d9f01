//! Exports spans to a collector: OTLP over HTTP, in protobuf. It is off the way of every request: a collector that is slow
//! or down costs spans, which are counted, and nothing else. Nothing of the environment is read.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::InstrumentationScope,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use url::{Position, Url};

use crate::{
    config::Tracing,
    reset::ports::Time,
    telemetry::{
        throttle::Throttle,
        trace::{Tracer, text},
    },
    tls::{self, HTTP1, Unusable},
};

/// Spans that go together.
const BATCH: usize = 512;
/// How often an export is tried, and how long after the first time it is tried again.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is said that none gets through.
const QUIET: Duration = Duration::from_secs(60);

/// The task that exports. It ends with this.
pub struct Exporter {
    task: AbortOnDropHandle<()>,
    end: watch::Sender<bool>,
}

/// Where spans go.
struct Collector {
    url: Url,
    host: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    timeout: Duration,
    resource: Resource,
}

/// By the configuration; `None` if nothing is to be exported.
///
/// # Errors
/// If TLS cannot be set up.
pub fn start(config: &Tracing, now: Time) -> Result<Option<(Arc<Tracer>, Exporter)>, Unusable> {
    let Some(url) = &config.otlp else { return Ok(None) };
    let host = url.host_str().ok_or(Unusable::Name)?.trim_matches(['[', ']']).to_owned();
    let secured = || {
        let name = tls::name(&config.tls, &host).ok_or(Unusable::Name)?;
        Ok::<_, Unusable>((tls::client(&config.tls, &[HTTP1])?, name))
    };
    let collector = Collector {
        tls: (url.scheme() == "https").then(secured).transpose()?,
        url: url.clone(),
        host,
        headers: config.headers.clone(),
        timeout: config.timeout,
        resource: Resource {
            attributes: vec![
                text("service.name", config.service_name.as_str()),
                text("service.version", env!("CARGO_PKG_VERSION")),
            ],
            ..Resource::default()
        },
    };
    let (tracer, spans) = Tracer::new(config.sample, now);
    let end = watch::Sender::new(false);
    let work = run(collector, spans, Arc::clone(&tracer), config.interval, end.subscribe());
    Ok(Some((tracer, Exporter { task: AbortOnDropHandle::new(tokio::spawn(work)), end })))
}

impl Exporter {
    /// Exports what waits, within that time.
    pub async fn finish(self, within: Duration) {
        self.end.send_replace(true);
        let _ = timeout(within, self.task).await;
    }
}

async fn run(
    collector: Collector,
    mut spans: mpsc::Receiver<Span>,
    tracer: Arc<Tracer>,
    interval: Duration,
    mut end: watch::Receiver<bool>,
) {
    let (told, began) = (Throttle::new(QUIET), Instant::now());
    loop {
        let mut batch = Vec::new();
        let ending = tokio::select! {
            () = fill(&mut spans, &mut batch, interval) => false,
            _ = end.wait_for(|end| *end) => true,
        };
        while ending && let Ok(span) = spans.try_recv() {
            batch.push(span);
        }
        while !batch.is_empty() {
            let rest = batch.split_off(batch.len().min(BATCH));
            let count = batch.len();
            let tries = if ending { 1 } else { TRIES };
            if let Err(kind) = collector.export(batch, tries).await {
                tracer.drop_some(count);
                if let Some(skipped) = told.pass(began.elapsed()) {
                    let skipped = Some(skipped).filter(|n| *n > 0);
                    tracing::warn!(service = "collector", kind, skipped, "spans could not be exported");
                }
            }
            batch = rest;
        }
        if ending {
            return;
        }
    }
}

/// Until there are enough, or it has been so long since the first.
async fn fill(spans: &mut mpsc::Receiver<Span>, batch: &mut Vec<Span>, interval: Duration) {
    let Some(first) = spans.recv().await else { return std::future::pending().await };
    batch.push(first);
    let until = Instant::now() + interval;
    while batch.len() < BATCH {
        let left = BATCH - batch.len();
        if !matches!(timeout_at(until, spans.recv_many(batch, left)).await, Ok(1..)) {
            return;
        }
    }
}

impl Collector {
    async fn export(&self, spans: Vec<Span>, tries: u32) -> Result<(), &'static str> {
        let scope = InstrumentationScope { name: "resetgate".to_owned(), ..InstrumentationScope::default() };
        let spans = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
        let spans = ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![spans],
            ..ResourceSpans::default()
        };
        let body = Bytes::from(ExportTraceServiceRequest { resource_spans: vec![spans] }.encode_to_vec());
        let mut pause = PAUSE;
        for left in (0..tries).rev() {
            let kind = match timeout(self.timeout, self.send(body.clone())).await {
                Ok(Ok(status)) if status.is_success() => return Ok(()),
                // Others will be no better the next time (OTLP, "Failures").
                Ok(Ok(status)) if !matches!(status.as_u16(), 429 | 502..=504) => return Err("refused"),
                Ok(Ok(_)) => "busy",
                Ok(Err(_)) => "connect",
                Err(_) => "timeout",
            };
            if left == 0 {
                return Err(kind);
            }
            sleep(pause).await;
            pause *= 2;
        }
        Ok(())
    }

    async fn send(&self, body: Bytes) -> io::Result<StatusCode> {
        let port = self.url.port_or_known_default().unwrap_or(4318);
        let stream = TcpStream::connect((self.host.as_str(), port)).await?;
        match &self.tls {
            None => self.post(stream, body).await,
            Some((config, name)) => {
                let stream = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await?;
                self.post(stream, body).await
            }
        }
    }

    async fn post(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        body: Bytes,
    ) -> io::Result<StatusCode> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let mut request = Request::post(&self.url[Position::BeforePath..])
            .header(header::HOST, &self.url[Position::BeforeHost..Position::AfterPort])
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::USER_AGENT, concat!("resetgate/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(io::Error::other)?;
        Ok(sender.send_request(request).await.map_err(io::Error::other)?.status())
    }
}
