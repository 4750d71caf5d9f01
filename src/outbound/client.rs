//! The client of a service that is asked now and then.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header::USER_AGENT};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use url::Url;

use super::{Bounds, Connector, Failure, Http, Kind, Name, Outgoing, Unusable};
use crate::{
    config::Service,
    reset::ports::Secret,
    telemetry::{metrics::Metrics, throttle::Throttle},
};

/// Calls under way at a time; others wait for their turn within their own deadline.
const MOST: usize = 64;
/// Connections kept for the next call, and how long.
const POOL: usize = 8;
const IDLE: Duration = Duration::from_secs(20);
/// How often each kind of failure is said; the metric counts them all.
const QUIET: Duration = Duration::from_secs(60);
const AGENT: HeaderValue = HeaderValue::from_static(concat!("resetgate/", env!("CARGO_PKG_VERSION")));

/// Asks one service.
pub struct Client {
    name: Name,
    url: Url,
    uri: Uri,
    headers: Arc<HeaderMap>,
    http: Http,
    timeout: Duration,
    turns: Semaphore,
    metrics: Arc<Metrics>,
    began: Instant,
    said: [Throttle; Kind::ALL],
}

/// An answer, all of it.
pub struct Whole {
    /// Whatever it says: a status that is no success has been counted as a failure, and is the caller's to judge.
    pub status: StatusCode,
    /// The body.
    pub body: Secret<Vec<u8>>,
}

impl Client {
    /// Of the service that the configuration names; an answer of more than so many bytes is a failure. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn new(config: &Service, name: Name, answer: usize, metrics: Arc<Metrics>) -> Result<Self, Unusable> {
        let connect = config.timeout.mul_f64(0.8);
        let tls = config.tls.clone().unwrap_or_default();
        let connector = Connector::to_host(&config.url, &tls, connect)?;
        let bounds = Bounds { connect, call: config.timeout, idle: IDLE, pool: POOL, answer };
        Ok(Self {
            name,
            uri: uri(&config.url)?,
            url: config.url.clone(),
            headers: Arc::new(HeaderMap::from_iter([(USER_AGENT, AGENT)])),
            http: Http::new(connector, bounds),
            timeout: config.timeout,
            turns: Semaphore::new(MOST),
            metrics,
            began: Instant::now(),
            said: std::array::from_fn(|_| Throttle::new(QUIET)),
        })
    }

    /// The service's URL, for whoever asks below it.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Sends a request to the service's own URL, or to another on the same host, and waits for the whole answer.
    ///
    /// # Errors
    /// [`Failure`]; it has been counted and, now and then, said.
    pub async fn send(
        &self,
        method: Method,
        url: Option<&Url>,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
    ) -> Result<Whole, Failure> {
        let began = Instant::now();
        let answered = self.ask(method, url, headers, body, began + self.timeout).await;
        let failed = match &answered {
            Ok(whole) if whole.status.is_success() => None,
            Ok(whole) => Some(Failure::status(whole.status)),
            Err(failure) => Some(*failure),
        };
        self.metrics.called_out(self.name, failed.map(|failure| failure.kind), began.elapsed());
        if let Some(failure) = failed {
            self.say(&failure);
        }
        answered
    }

    /// Takes note of an answer that its caller could not make sense of.
    pub fn malformed(&self) {
        self.metrics.called_out(self.name, Some(Kind::Malformed), Duration::ZERO);
        self.say(&Failure::unsent(Kind::Malformed));
    }

    async fn ask(
        &self,
        method: Method,
        url: Option<&Url>,
        own: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
        until: Instant,
    ) -> Result<Whole, Failure> {
        let uri = match url {
            Some(url) if url.origin() == self.url.origin() => uri(url).map_err(|_| Failure::unsent(Kind::Request))?,
            Some(_) => return Err(Failure::unsent(Kind::Request)),
            None => self.uri.clone(),
        };
        let turn = timeout_at(until, self.turns.acquire()).await;
        let _turn = turn.ok().and_then(Result::ok).ok_or(Failure::unsent(Kind::Busy))?;
        let request = Outgoing { method, uri, headers: Arc::clone(&self.headers), own, body };
        let answer = self.http.send(request.with([]), until).await?;
        Ok(Whole { status: answer.status, body: answer.body().await? })
    }

    fn say(&self, failure: &Failure) {
        let quiet = self.said.get(failure.kind as usize);
        if let Some(skipped) = quiet.and_then(|throttle| throttle.pass(self.began.elapsed())) {
            tracing::warn!(
                service = self.name.as_str(),
                kind = failure.kind.as_str(),
                status = failure.status.map(|status| status.as_u16()),
                hint = failure.hint,
                skipped,
                "a call to another service failed"
            );
        }
    }
}

/// As it is asked for: without the fragment, which is nobody's but the client's.
fn uri(url: &Url) -> Result<Uri, Unusable> {
    Uri::try_from(url.as_str().split('#').next().unwrap_or_default()).map_err(|_| Unusable::Url)
}

#[cfg(test)]
mod tests;
