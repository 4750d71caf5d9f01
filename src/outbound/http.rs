//! A bounded HTTP client: every call has a deadline, an answer a largest size. It follows no redirect, asks no proxy of
//! the environment, and shares no connection with anybody.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::{
    client::legacy::{Client, connect::capture_connection},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, timeout_at};

use super::{
    Failure, Kind,
    connect::{self, Connector},
};
use crate::{endpoints, reset::ports::Secret};

/// How much of a call there may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connecting, TLS included.
    pub connect: Duration,
    /// All of a call; longer than `connect`.
    pub call: Duration,
    /// How long a connection is kept that nobody uses.
    pub idle: Duration,
    /// And how many of them.
    pub pool: usize,
    /// An answer's body, in bytes.
    pub answer: usize,
}

/// The client of one service.
pub struct Http {
    client: Client<Connector, Full<Bytes>>,
    answer: usize,
}

impl Http {
    /// A client of the service that the connector leads to.
    pub fn new(connector: Connector, bounds: Bounds) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(bounds.idle)
            .pool_max_idle_per_host(bounds.pool)
            .build(connector);
        Self { client, answer: bounds.answer }
    }

    /// Sends the request and waits for the head of the answer. The deadline is for its body, too.
    pub async fn send(&self, mut request: Request<Full<Bytes>>, until: Instant) -> Result<Answer, Failure> {
        let connection = capture_connection(&mut request);
        let response = timeout_at(until, self.client.request(request)).await;
        if let Some(endpoint) = connect::endpoint(&connection) {
            match &response {
                Ok(Ok(_)) => endpoint.answered(),
                Ok(Err(_)) => endpoint.failed(endpoints::Failure::Broken),
                Err(_) => endpoint.failed(endpoints::Failure::Silent),
            }
        }
        let response = response.map_err(|_| Failure::unknown(Kind::Timeout))??;
        Ok(Answer { status: response.status(), response, limit: self.answer, until })
    }
}

/// A request that may be sent more than once.
pub struct Outgoing {
    /// Its method.
    pub method: Method,
    /// All of it: the connector knows where it leads.
    pub uri: Uri,
    /// What every request of its service has.
    pub headers: Arc<HeaderMap>,
    /// And what this one has besides.
    pub own: Vec<(HeaderName, HeaderValue)>,
    /// Its body, which may be sent again.
    pub body: Bytes,
}

impl Outgoing {
    /// The request, with some more headers.
    pub fn with(&self, more: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = HeaderMap::clone(&self.headers);
        request.headers_mut().extend(self.own.iter().cloned().chain(more));
        request
    }
}

/// The head of an answer.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    response: Response<Incoming>,
    limit: usize,
    until: Instant,
}

impl Answer {
    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// What `parse` makes of the body of an answer that says yes.
    pub async fn read<T>(self, parse: impl FnOnce(&[u8]) -> Option<T>) -> Result<T, Failure> {
        let status = self.status;
        if !status.is_success() {
            return Err(Failure::status(status));
        }
        parse(self.body().await?.expose()).ok_or(Failure::answered(Kind::Malformed, status, true))
    }

    /// The body, where it is within the limit.
    pub async fn body(self) -> Result<Secret<Vec<u8>>, Failure> {
        let Self { status, mut response, limit, until } = self;
        let lost = |kind| Failure::answered(kind, status, true);
        let declared = response.body().size_hint().exact().and_then(|length| usize::try_from(length).ok());
        let mut body = Secret::of(Vec::with_capacity(declared.unwrap_or_default().min(limit)));
        while let Some(frame) = timeout_at(until, response.body_mut().frame()).await.map_err(|_| lost(Kind::Timeout))? {
            let Ok(chunk) = frame.map_err(|_| lost(Kind::Lost))?.into_data() else { continue };
            if body.expose().len() + chunk.len() > limit {
                return Err(lost(Kind::TooLong));
            }
            body.expose_mut().extend_from_slice(&chunk);
        }
        Ok(body)
    }
}
