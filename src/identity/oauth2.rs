//! Access tokens of an authorization server: one for all calls, renewed before it ends, by one request at a time.
//!
//! A renewal is a task of its own, so that whoever waits for it may give up without ending it for the others; it ends
//! with the last who holds it. What the server says stays here: of an error, only a code of the standard's own list
//! gets into the log.

mod grant;

use std::{sync::Arc, time::Duration};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use http::HeaderValue;
use parking_lot::{Mutex, RwLock};
use tokio::{task::AbortHandle, time::Instant};
use tokio_util::task::AbortOnDropHandle;

pub(super) use self::grant::{basic, bearer};
use super::Unusable;
use crate::{
    config::OAuth2,
    outbound::{Bounds, Connector, Failure, Http, Kind, Outgoing},
    reset::ports::{Clock, Time},
    telemetry::throttle::Throttle,
};

/// The longest answer of a token endpoint.
const ANSWER: usize = 64 * 1024;
/// How early a token is renewed, where its life is long enough.
const EARLY: Duration = Duration::from_secs(60);
/// After the first failure, and after many.
const BACKOFF: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// How often the store may send us back for another token than the one that we have.
const REFUSALS: Duration = Duration::from_secs(5);
/// How often a failure of one kind is said.
const QUIET: Duration = Duration::from_secs(60);

/// An access token, as it goes into a header.
pub(super) struct Token {
    pub(super) header: HeaderValue,
    renew: Time,
    ends: Time,
}

type Outcome = Result<Arc<Token>, Failure>;

/// Where tokens come from.
pub(super) struct Tokens {
    source: Arc<Source>,
    renewal: Mutex<Option<Renewal>>,
    refused: Mutex<Option<Time>>,
}

struct Renewal {
    task: AbortHandle,
    outcome: Shared<BoxFuture<'static, Outcome>>,
}

struct Source {
    http: Http,
    request: Outgoing,
    call: Duration,
    clock: Arc<dyn Clock>,
    current: RwLock<Option<Arc<Token>>>,
    trouble: Mutex<Trouble>,
    began: Time,
    said: [Throttle; Kind::ALL],
}

#[derive(Default)]
struct Trouble {
    failures: u32,
    until: Option<Time>,
}

impl Tokens {
    /// Asks for nothing yet.
    ///
    /// # Errors
    /// [`Unusable`], where the token endpoint can never be asked.
    pub(super) fn new(settings: &OAuth2, bounds: Bounds, clock: Arc<dyn Clock>) -> Result<Self, Unusable> {
        // One request at a time, and seldom: no connection is kept.
        let bounds = Bounds { pool: 0, answer: ANSWER, ..bounds };
        let connector = Connector::to_host(&settings.token_url, &settings.tls, bounds.connect)?;
        let source = Source {
            http: Http::new(connector, bounds),
            request: grant::request(settings)?,
            call: bounds.call,
            began: clock.now(),
            clock,
            current: RwLock::default(),
            trouble: Mutex::default(),
            said: std::array::from_fn(|_| Throttle::new(QUIET)),
        };
        Ok(Self { source: Arc::new(source), renewal: Mutex::default(), refused: Mutex::default() })
    }

    /// A token that is good now. The caller bounds the wait.
    pub(super) async fn current(&self) -> Outcome {
        let now = self.source.clock.now();
        let token = self.source.current.read().clone();
        match token {
            Some(token) if now < token.renew => Ok(token),
            token => {
                let renewal = self.renewal(now);
                match (token, renewal) {
                    (Some(token), _) if now < token.ends => Ok(token), // nobody waits for what is only early
                    (_, Some(outcome)) => outcome.await,
                    (_, None) => Err(Failure::unsent(Kind::Token)),
                }
            }
        }
    }

    /// Fetches one, and says why there is none. It is the current one then.
    pub(super) async fn fetch(&self) -> Result<(), Failure> {
        let fetched = self.source.ask(self.source.clock.now()).await.map_err(|(failure, _)| failure)?;
        *self.source.current.write() = Some(Arc::new(fetched));
        Ok(())
    }

    /// The renewal under way, or a new one; `None` while the server's last failure is too recent.
    fn renewal(&self, now: Time) -> Option<Shared<BoxFuture<'static, Outcome>>> {
        let mut renewal = self.renewal.lock();
        if let Some(Renewal { task, outcome }) = &*renewal
            && !task.is_finished()
        {
            return Some(outcome.clone());
        }
        // One that ended a moment ago may have brought a token.
        if let Some(token) = self.source.current.read().as_ref().filter(|token| now < token.renew) {
            return Some(futures_util::future::ready(Ok(Arc::clone(token))).boxed().shared());
        }
        if self.source.trouble.lock().until.is_some_and(|until| now < until) {
            return None;
        }
        let task = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&self.source).renew()));
        let handle = task.abort_handle();
        let outcome = task.map(|ended| ended.unwrap_or(Err(Failure::unsent(Kind::Token)))).boxed().shared();
        *renewal = Some(Renewal { task: handle, outcome: outcome.clone() });
        Some(outcome)
    }

    /// Takes note that the store does not take that token. Whether it makes sense to try again with another.
    pub(super) fn refused(&self, token: &Arc<Token>) -> bool {
        let now = self.source.clock.now();
        let mut current = self.source.current.write();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, token)) {
            let mut refused = self.refused.lock();
            if refused.is_some_and(|last| now.since(last) < REFUSALS) {
                return false; // it takes none of them: the server is not to suffer for it
            }
            *refused = Some(now);
            *current = None;
        }
        true
    }
}

impl Source {
    async fn renew(self: Arc<Self>) -> Outcome {
        let asked = self.clock.now();
        match self.ask(asked).await {
            Ok(token) => {
                let token = Arc::new(token);
                *self.current.write() = Some(Arc::clone(&token));
                *self.trouble.lock() = Trouble::default();
                Ok(token)
            }
            Err((failure, code)) => {
                self.say(failure, code);
                let mut trouble = self.trouble.lock();
                let [first, most] = BACKOFF;
                let wait = first.saturating_mul(1 << trouble.failures.min(10)).min(most);
                *trouble =
                    Trouble { failures: trouble.failures.saturating_add(1), until: Some(self.clock.now().after(wait)) };
                Err(Failure::unsent(Kind::Token))
            }
        }
    }

    async fn ask(&self, asked: Time) -> Result<Token, (Failure, Option<&'static str>)> {
        let until = Instant::now() + self.call;
        let answer = self.http.send(self.request.with([]), until).await.map_err(|failure| (failure, None))?;
        let status = answer.status;
        let body = answer.body().await.map_err(|failure| (failure, None))?;
        if !status.is_success() {
            let (code, hint) = grant::refusal(body.expose()).unzip();
            return Err((Failure { hint, ..Failure::status(status) }, code));
        }
        let granted = grant::granted(body.expose());
        let grant::Granted { header, life } =
            granted.ok_or((Failure::answered(Kind::Malformed, status, true), None))?;
        let renew = asked.after(life - EARLY.min(life / 4));
        Ok(Token { header, renew, ends: asked.after(life) })
    }

    fn say(&self, failure: Failure, code: Option<&'static str>) {
        let throttle = self.said.get(failure.kind as usize);
        let now = self.clock.now().since(self.began);
        if let Some(skipped) = throttle.and_then(|throttle| throttle.pass(now)) {
            tracing::warn!(
                kind = ?failure.kind,
                status = failure.status.map(|status| status.as_u16()),
                code,
                hint = failure.hint,
                skipped = Some(skipped).filter(|n| *n > 0),
                "no access token for the identity store: identity.auth.token_url failed"
            );
        }
    }
}
