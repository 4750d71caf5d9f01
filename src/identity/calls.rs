//! Calls of a store: so many at a time, each with one deadline, with credentials, and not at all while it is down.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::{
    Health, Unusable,
    breaker::{Admission, Breaker},
    credentials::Credentials,
    health::Outcomes,
};
use crate::{
    config::Identity,
    outbound::{Answer, Bounds, Connector, Failure, Http, Kind, Outgoing},
    reset::ports::{Caller, Clock, Down, Errand, Span, Time, Trace},
    telemetry::{metrics::Metrics, throttle::Throttle},
};

/// Names a call in the store's own logs; IDM takes it over where it is told to trust it. What comes after a slash is a part
/// of the transaction before it, as in IDM's own calls.
const TRANSACTION_ID: HeaderName = HeaderName::from_static("x-forgerock-transactionid");
/// When trying again makes sense: a store that restarts or sheds load is seldom back sooner.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// A store that is down fails many calls: each kind of failure of each call is said no more often than this. The metric
/// counts what came of all of them.
const QUIET: Duration = Duration::from_secs(60);
/// For each call under way, so many may wait for a turn.
const WAITING: usize = 4;
/// Said where the service user may not send letters.
const NO_MAIL: &str = "the service user may not use IDM's mail service: it needs the action send on emailServiceUrl";
/// Said where it may not ask for the password policy.
const NO_POLICY: &str = "the service user may not ask for the password policy, as policy.source = \"service\" needs: \
                         read on policy/managed/user, and the action validateObject on policy/managed/user/-";
/// The longest answer.
const ANSWER: usize = 256 * 1024;

/// All calls of one store.
pub(super) struct Calls {
    http: Http,
    addresses: Connector,
    credentials: Credentials,
    breaker: Breaker,
    outcomes: Outcomes,
    metrics: Arc<Metrics>,
    turns: Semaphore,
    queue: Semaphore,
    most: usize,
    bounds: Bounds,
    clock: Arc<dyn Clock>,
    began: Time,
    number: AtomicU64,
    said: [[Throttle; Kind::ALL]; Name::ALL],
}

impl Calls {
    /// Of the store that the configuration names. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Unusable`].
    pub(super) fn new(config: &Identity, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Result<Self, Unusable> {
        Self::bounded(config, ANSWER, clock, metrics)
    }

    /// The same, with a bound of the caller's for an answer's body.
    pub(super) fn bounded(
        config: &Identity,
        answer: usize,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Unusable> {
        let connector = Connector::to(&config.endpoints, &metrics)?;
        let bounds = Bounds {
            connect: config.endpoints.connect_timeout,
            call: config.timeout,
            idle: config.idle_timeout,
            pool: config.pool_size,
            answer,
        };
        let most = config.max_concurrent;
        Ok(Self {
            addresses: connector.clone(),
            http: Http::new(connector, bounds),
            credentials: Credentials::new(&config.auth, bounds, Arc::clone(&clock))?,
            breaker: Breaker::new(config.breaker, Arc::clone(&metrics)),
            outcomes: Outcomes::default(),
            metrics,
            turns: Semaphore::new(most.min(Semaphore::MAX_PERMITS)),
            queue: Semaphore::new(most.saturating_mul(1 + WAITING).min(Semaphore::MAX_PERMITS)),
            most,
            bounds,
            began: clock.now(),
            clock,
            number: AtomicU64::new(0),
            said: std::array::from_fn(|_| std::array::from_fn(|_| Throttle::new(QUIET))),
        })
    }

    /// The headers of the credentials that never change.
    pub(super) fn headers(&self) -> HeaderMap {
        self.credentials.headers()
    }

    /// How the store is, as far as is known.
    pub(super) fn health(&self) -> Health {
        let (addresses, up) = self.addresses.count();
        Health { breaker: self.breaker.state(), addresses, up, calls: self.outcomes.outcome() }
    }

    /// How long a call may take.
    pub(super) const fn longest(&self) -> Duration {
        self.bounds.call
    }

    /// Calls under way.
    pub(super) fn under_way(&self) -> usize {
        self.most.saturating_sub(self.turns.available_permits())
    }

    /// Fetches a token, where the credentials are such.
    pub(super) async fn fetch_token(&self) -> Option<Result<(), Failure>> {
        self.credentials.fetch().await
    }

    /// The next call for a request: by the request's own id, so that the store's audit can be joined with ours, and the
    /// next number, which tells it apart from every other.
    pub(super) fn call(&self, caller: &Caller, name: Name) -> Call<'_> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}/{number:x}", caller.request);
        Call { calls: self, name, id, trace: caller.trace.clone(), began: Instant::now() }
    }
}

/// What a call is for.
pub(super) use crate::telemetry::metrics::IdentityCall as Name;

/// One call.
pub(super) struct Call<'a> {
    calls: &'a Calls,
    name: Name,
    id: String,
    trace: Option<Arc<dyn Trace>>,
    began: Instant,
}

/// An answer. It keeps the call's turn until it is dropped.
pub(super) struct Answered<'a> {
    /// It.
    pub(super) answer: Answer,
    _turn: SemaphorePermit<'a>,
}

impl<'a> Call<'a> {
    /// Sends the request and waits for the head of the answer. `nobody` asks whether the store answers at all.
    pub(super) async fn send(
        &self,
        request: &Outgoing,
        nobody: impl FnOnce() -> Option<Outgoing>,
    ) -> Result<Answered<'a>, Failure> {
        let Calls { breaker, clock, bounds, .. } = self.calls;
        let begun = Instant::now();
        match breaker.admit(clock.now()) {
            Admission::Go => {}
            Admission::No => return Err(Failure::unsent(Kind::Open)),
            Admission::Look(look) => {
                let nobody = nobody().ok_or(Failure::unsent(Kind::Request))?;
                let connect = bounds.connect;
                let half = connect + bounds.call.saturating_sub(connect) / 2;
                let well = outcome(&self.ask(&nobody, begun + half).await).map(|failed| !failed);
                look.tell(well, clock.now());
                if well == Some(false) {
                    return Err(Failure::unsent(Kind::Open));
                }
            }
        }
        let asked = self.ask(request, begun + bounds.call).await;
        // What a relay behind IDM's mail service does says nothing of the store, nor what a policy's script does.
        let of_the_store = !self.is_aside() || !asked.as_ref().is_ok_and(|a| a.answer.status.is_server_error());
        if let Some(failed) = outcome(&asked).filter(|_| of_the_store) {
            breaker.note(failed);
        }
        asked
    }

    /// Waits for credentials and a turn, then sends; once more with a new token where the store does not take the old.
    async fn ask(&self, request: &Outgoing, until: Instant) -> Result<Answered<'a>, Failure> {
        let Calls { http, credentials, turns, queue, bounds, .. } = self.calls;
        let Ok(_waiting) = queue.try_acquire() else { return Err(Failure::unsent(Kind::Busy)) };
        let mut again = true;
        loop {
            // A turn that comes late must leave more than the time to connect, or else the deadline could pass while
            // connecting, and nobody could tell that nothing had been sent.
            let now = Instant::now();
            let patience = until.saturating_duration_since(now).checked_sub(bounds.connect);
            let ready = now + patience.ok_or(Failure::unsent(Kind::Timeout))? / 2;
            let credential = timeout_at(ready, credentials.current()).await;
            let credential = credential.map_err(|_| Failure::unsent(Kind::Token))??;
            let Ok(Ok(turn)) = timeout_at(ready, turns.acquire()).await else {
                return Err(Failure::unsent(Kind::Busy));
            };
            let id = (TRANSACTION_ID, HeaderValue::from_str(&self.id)?);
            let span = self.span(request);
            let along = span.iter().flat_map(|span| span.headers()).filter_map(|(name, value)| {
                Some((HeaderName::from_static(name), HeaderValue::from_maybe_shared(value).ok()?))
            });
            let sent = http.send(request.with([id].into_iter().chain(credential.header()).chain(along)), until).await;
            if let Some(span) = span {
                let status = sent.as_ref().ok().map(|answer| answer.status.as_u16());
                span.end(status, sent.as_ref().err().map(|failure| failure.kind.as_str()));
            }
            let answer = sent?;
            // Whom it does not know, it did nothing for.
            if answer.status == StatusCode::UNAUTHORIZED && again && credentials.refused(&credential) {
                again = false;
                continue;
            }
            return Ok(Answered { answer, _turn: turn });
        }
    }

    /// Whether it is for something beside the accounts.
    fn is_aside(&self) -> bool {
        matches!(self.name, Name::Mail | Name::Policy | Name::Revoke)
    }

    fn span(&self, request: &Outgoing) -> Option<Box<dyn Span>> {
        let method = match request.method {
            Method::PATCH => "PATCH",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::DELETE => "DELETE",
            _ => "GET",
        };
        Some(self.trace.as_ref()?.begin(Errand::Call { name: self.name.as_str(), method }))
    }

    /// Counts it. Puts a failure into the log, and makes of it what the engine may know.
    pub(super) fn ended<T>(&self, ended: Result<T, Failure>) -> Result<T, Down> {
        let failed = ended.as_ref().err().map(|failure| failure.kind);
        self.calls.metrics.called(self.name, failed, self.began.elapsed());
        let answered = |failure: &Failure| failure.status.is_some_and(|status| !matches!(status.as_u16(), 401 | 403));
        // What is answered and not done is not the store's doing, mostly; whoever asked for it knows of it.
        if !self.is_aside() || !ended.as_ref().is_err_and(answered) {
            self.calls.outcomes.note(self.name, ended.as_ref().err());
        }
        ended.map_err(|failure| self.failed(failure))
    }

    fn failed(&self, failure: Failure) -> Down {
        let Calls { said, clock, began, credentials, .. } = self.calls;
        let throttle = said.get(self.name as usize).and_then(|kinds| kinds.get(failure.kind as usize));
        let hint = match (self.name, failure.status) {
            (_, Some(StatusCode::UNAUTHORIZED)) => Some(credentials.hint()),
            (Name::Mail, Some(StatusCode::FORBIDDEN)) => Some(NO_MAIL),
            (Name::Policy, Some(StatusCode::FORBIDDEN)) => Some(NO_POLICY),
            _ => failure.hint,
        };
        if let Some(skipped) = throttle.and_then(|throttle| throttle.pass(clock.now().since(*began))) {
            tracing::warn!(
                call = self.name.as_str(),
                kind = ?failure.kind,
                status = failure.status.map(|status| status.as_u16()),
                sent = failure.sent,
                transaction = self.id,
                hint,
                skipped = Some(skipped).filter(|n| *n > 0),
                "the identity store failed"
            );
        }
        Down { sent: failure.sent, full: failure.kind == Kind::Busy, retry_after: RETRY_AFTER }
    }
}

/// Whether the store failed; `None` where it was not asked, or answered oddly.
fn outcome(asked: &Result<Answered<'_>, Failure>) -> Option<bool> {
    match asked {
        Ok(answered) => Some(answered.answer.status.is_server_error()),
        Err(failure) if failure.blames_the_store() => Some(true),
        Err(_) => None,
    }
}
