//! A bounded HTTP client for a store: every call has one deadline, an answer has a largest size, calls have a largest
//! number. It follows no redirect, asks no proxy of the environment, and shares no connection with anybody.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::InvalidHeaderValue};
use reqwest::{Client, Request, Response, redirect};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::Unusable;
use crate::{
    reset::ports::{Down, Secret},
    telemetry::throttle::Throttle,
};

/// Names a call in the store's own logs; IDM takes it over where it is told to trust it.
const TRANSACTION_ID: HeaderName = HeaderName::from_static("x-forgerock-transactionid");
/// When trying again makes sense: a store that restarts or sheds load is seldom back sooner.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Shorter than the 30 s after which Jetty, IDM's server, closes an idle connection: a PATCH must not meet that close.
const IDLE: Duration = Duration::from_secs(20);

/// A store that is down fails many calls: each kind of failure of each call is said no more often than this. The metric
/// counts what came of all of them.
const QUIET: Duration = Duration::from_secs(60);

/// How much a call may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Resolving the name, connecting and the TLS handshake.
    pub(super) connect: Duration,
    /// All of it, the wait for a turn included.
    pub(super) total: Duration,
    /// The answer's body, in bytes.
    pub(super) answer: usize,
    /// Calls at once. Four times as many may wait for their turn.
    pub(super) calls: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), total: Duration::from_secs(5), answer: 256 * 1024, calls: 256 }
    }
}

/// What went wrong, as far as the log may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Too many calls were under way for too long.
    Busy,
    /// The request could not be made.
    Request,
    /// No connection came about: name, network, TLS.
    Connect,
    /// The deadline passed.
    Timeout,
    /// The connection broke.
    Lost,
    /// The answer was too long.
    TooLong,
    /// The status says no.
    Status,
    /// The answer is not what the store's protocol says.
    Malformed,
}

const KINDS: usize = Kind::Malformed as usize + 1;

/// A call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    kind: Kind,
    status: Option<StatusCode>,
    sent: bool,
}

impl Failure {
    /// A call of which the store surely knows nothing.
    pub(super) const fn unsent(kind: Kind) -> Self {
        Self { kind, status: None, sent: false }
    }

    /// A call that was answered; `sent` says whether the effect may have happened all the same.
    const fn answered(kind: Kind, status: StatusCode, sent: bool) -> Self {
        Self { kind, status: Some(status), sent }
    }

    /// For a call without effect, where `sent` means no more than that the store was reached.
    pub(super) const fn reached(self) -> Self {
        Self { sent: self.sent || self.status.is_some(), ..self }
    }

    /// The status of an answer that says no. A 4xx is the one class that promises that nothing was done.
    pub(super) fn status(status: StatusCode) -> Self {
        Self::answered(Kind::Status, status, !status.is_client_error())
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        if error.is_connect() {
            Self::unsent(Kind::Connect)
        } else if error.is_builder() {
            Self::unsent(Kind::Request)
        } else if error.is_timeout() {
            Self { kind: Kind::Timeout, status: None, sent: true }
        } else {
            Self { kind: Kind::Lost, status: None, sent: true }
        }
    }
}

impl From<InvalidHeaderValue> for Failure {
    fn from(_: InvalidHeaderValue) -> Self {
        Self::unsent(Kind::Request)
    }
}

/// For each call under way, so many may wait for a turn.
const WAITING: usize = 4;

/// The client of one store.
pub(super) struct Http {
    client: Client,
    turns: Semaphore,
    queue: Semaphore,
    bounds: Bounds,
    /// Tells this process's calls from another's. Not a secret.
    run: u64,
    calls: AtomicU64,
    started: Instant,
    said: [[Throttle; KINDS]; Name::ALL],
}

impl Http {
    /// A client that sends `headers` with every call; `tls` says whether its URLs are `https`.
    ///
    /// # Errors
    /// [`Unusable::NoCrypto`] before a provider is installed, [`Unusable::Client`] where root certificates are missing.
    pub(super) fn new(headers: HeaderMap, tls: bool, bounds: Bounds) -> Result<Self, Unusable> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(Unusable::NoCrypto); // reqwest would panic
        }
        let mut builder = Client::builder()
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .connect_timeout(bounds.connect)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(32);
        if !tls {
            // A container beside a store on loopback may well have no root certificates, and needs none.
            builder = builder.tls_certs_only([]);
        }
        Ok(Self {
            client: builder.build().map_err(Unusable::Client)?,
            turns: Semaphore::new(bounds.calls.min(Semaphore::MAX_PERMITS)),
            queue: Semaphore::new(bounds.calls.saturating_mul(1 + WAITING).min(Semaphore::MAX_PERMITS)),
            bounds,
            run: RandomState::new().hash_one(std::process::id()),
            calls: AtomicU64::new(0),
            started: Instant::now(),
            said: std::array::from_fn(|_| std::array::from_fn(|_| Throttle::new(QUIET))),
        })
    }

    /// Calls under way.
    pub(super) fn under_way(&self) -> usize {
        self.bounds.calls.saturating_sub(self.turns.available_permits())
    }

    /// The next call, which is to be told apart from every other.
    pub(super) fn call(&self, name: Name) -> Call<'_> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        Call { http: self, name, id: format!("resetgate-{:016x}-{number:x}", self.run) }
    }
}

/// One call.
pub(super) struct Call<'a> {
    http: &'a Http,
    name: Name,
    id: String,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A look-up.
    Find,
    /// Reading one account again.
    Read,
    /// Setting a password.
    Patch,
}

impl Name {
    const ALL: usize = 3;

    const fn as_str(self) -> &'static str {
        match self {
            Self::Find => "find",
            Self::Read => "read",
            Self::Patch => "patch",
        }
    }
}

impl<'a> Call<'a> {
    /// Sends the request and waits for the head of the answer.
    pub(super) async fn send(&self, mut request: Request) -> Result<Answer<'a>, Failure> {
        let Http { client, turns, queue, bounds, .. } = self.http;
        let start = Instant::now();
        let Ok(_waiting) = queue.try_acquire() else { return Err(Failure::unsent(Kind::Busy)) };
        // A turn that comes late must leave more than the time to connect, or else the deadline could pass while
        // connecting, and nobody could tell that nothing had been sent.
        let patience = bounds.total.saturating_sub(bounds.connect) / 2;
        let Ok(Ok(turn)) = timeout(patience, turns.acquire()).await else {
            return Err(Failure::unsent(Kind::Busy));
        };
        request.headers_mut().insert(TRANSACTION_ID, HeaderValue::from_str(&self.id)?);
        *request.timeout_mut() = Some(bounds.total.saturating_sub(start.elapsed())); // counts for the body, too
        let response = client.execute(request).await?;
        Ok(Answer { status: response.status(), response, limit: bounds.answer, _turn: turn })
    }

    /// Puts the failure into the log, and makes of it what the engine may know.
    pub(super) fn failed(&self, failure: Failure) -> Down {
        let throttle = self.http.said.get(self.name as usize).and_then(|kinds| kinds.get(failure.kind as usize));
        if let Some(skipped) = throttle.and_then(|throttle| throttle.pass(self.http.started.elapsed())) {
            tracing::warn!(
                call = self.name.as_str(),
                kind = ?failure.kind,
                status = failure.status.map(|status| status.as_u16()),
                sent = failure.sent,
                transaction = self.id,
                skipped = Some(skipped).filter(|n| *n > 0),
                "the identity store failed"
            );
        }
        Down { sent: failure.sent, full: failure.kind == Kind::Busy, retry_after: RETRY_AFTER }
    }
}

/// The head of an answer. It keeps the call's turn until it is dropped.
pub(super) struct Answer<'a> {
    /// Its status.
    pub(super) status: StatusCode,
    response: Response,
    limit: usize,
    _turn: SemaphorePermit<'a>,
}

impl Answer<'_> {
    /// What `parse` makes of the body of an answer that says yes.
    pub(super) async fn read<T>(self, parse: impl FnOnce(&[u8]) -> Option<T>) -> Result<T, Failure> {
        let status = self.status;
        if !status.is_success() {
            return Err(Failure::status(status));
        }
        parse(self.body().await?.expose()).ok_or(Failure::answered(Kind::Malformed, status, true))
    }

    /// The body, where it is within the limit.
    pub(super) async fn body(mut self) -> Result<Secret<Vec<u8>>, Failure> {
        let declared = self.response.content_length().and_then(|length| usize::try_from(length).ok());
        let mut body = Secret::of(Vec::with_capacity(declared.unwrap_or_default().min(self.limit)));
        while let Some(chunk) = self.response.chunk().await? {
            if body.expose().len() + chunk.len() > self.limit {
                return Err(Failure::answered(Kind::TooLong, self.status, true));
            }
            body.expose_mut().extend_from_slice(&chunk);
        }
        Ok(body)
    }
}
