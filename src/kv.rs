//! A Redis or Valkey server that processes share: one connection, kept by a task, over which all ask at once.
//!
//! While there is no connection every call fails at once; nothing is kept for later, and nothing is done in this
//! process instead. A connection is used only when the server is what it has to be ([`Unfit`]): one that may be written
//! to, that forgets nothing for want of room, and whose [`Accord`] holds.

mod dial;
mod failure;
mod fitness;
mod keeper;
mod script;
pub mod trial;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use redis::{FromRedisValue, RedisResult, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use self::{dial::Dialler, failure::Cause};
pub use self::{
    failure::{Lost, Unfit},
    script::Script,
};
use crate::{
    config,
    reset::ports::{Digest, Down, Secret, Time},
    telemetry::{
        metrics::{KvCall, KvFailure, KvNumbers},
        throttle::Throttle,
    },
    tls,
};

/// Calls in a row without an answer in time, and none answered in between: then the server is taken to be gone.
const STRIKES: u32 = 3;
/// When trying again makes sense.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Each kind of failure is said no more often than this.
const QUIET: Duration = Duration::from_secs(60);

/// Keeps what is on the server from those who can read or write it there.
pub trait Vault: Send + Sync {
    /// Seals what is to be kept by that name. `None` if the crypto library fails.
    fn seal(&self, name: &[u8], plain: &[u8]) -> Option<Vec<u8>>;
    /// Opens what was kept by that name; `None` if that is not what was sealed by it.
    fn open(&self, name: &[u8], sealed: &[u8]) -> Option<Secret<Vec<u8>>>;
    /// A name for what the parts say, the same in all processes.
    fn digest(&self, parts: &[&[u8]]) -> Digest;
}

/// What processes must agree on before they use a server.
#[async_trait]
pub trait Accord: Send + Sync {
    /// Comes to terms over a connection that nobody else uses yet; now and then again over the one in use.
    async fn reach(&self, asking: &mut Asking) -> Result<(), Unfit>;
}

/// A connection, and the beginning of its keys.
pub struct Asking {
    connection: MultiplexedConnection,
    space: Arc<str>,
}

impl Asking {
    /// The key of that name.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.space)
    }

    /// What the server makes of a script.
    ///
    /// # Errors
    /// [`Unfit`]
    pub async fn eval<T: FromRedisValue>(
        &mut self,
        script: &Script,
        key: &str,
        arguments: &[&[u8]],
    ) -> Result<T, Unfit> {
        Ok(script.eval(&mut self.connection, &[key], arguments).await?)
    }
}

/// The server.
pub struct Kv {
    shared: Arc<Shared>,
    phase: watch::Receiver<Phase>,
    _keeper: AbortOnDropHandle<()>,
}

/// What the keeper and those who ask have in common.
struct Shared {
    link: ArcSwapOption<Link>,
    /// By which the next connection is made.
    dialler: ArcSwap<Dialler>,
    space: Arc<str>,
    timeout: Duration,
    replicas: u32,
    numbers: KvNumbers,
    began: Instant,
    said: [Throttle; KvFailure::ALL],
    /// How much later it is than the server says.
    ahead: AtomicU64,
}

/// A connection in use.
struct Link {
    connection: MultiplexedConnection,
    /// Calls without an answer since the last one with.
    strikes: AtomicU32,
    broken: Arc<Notify>,
    _driver: AbortOnDropHandle<()>,
}

/// What is known of the server.
#[derive(Clone, Debug)]
enum Phase {
    Untried,
    Up,
    Down(Arc<Unfit>),
}

impl Kv {
    /// The server of the configuration. Nothing is asked yet; a task begins to.
    ///
    /// # Errors
    /// If TLS with these settings can never work.
    pub fn new(config: &config::Redis, accord: Arc<dyn Accord>, numbers: KvNumbers) -> Result<Self, tls::Unusable> {
        let shared = Arc::new(Shared {
            link: ArcSwapOption::empty(),
            dialler: ArcSwap::from_pointee(Dialler::new(config)?),
            space: format!("{{{}}}:", config.namespace).into(),
            timeout: config.timeout,
            replicas: config.wait_replicas,
            numbers,
            began: Instant::now(),
            said: std::array::from_fn(|_| Throttle::new(QUIET)),
            ahead: AtomicU64::new(0),
        });
        let (tell, phase) = watch::channel(Phase::Untried);
        let keeper = keeper::keep(Arc::clone(&shared), accord, tell);
        Ok(Self { shared, phase, _keeper: AbortOnDropHandle::new(tokio::spawn(keeper)) })
    }

    /// Makes the next connection as somebody else, or by other certificates. One that is there goes on. Settings of a server
    /// elsewhere are not taken up.
    ///
    /// # Errors
    /// As [`Kv::new`].
    pub fn renew(&self, config: &config::Redis) -> Result<(), tls::Unusable> {
        let dialler = Dialler::new(config)?;
        if self.shared.dialler.load().is_at(&dialler) {
            self.shared.dialler.store(Arc::new(dialler));
        }
        Ok(())
    }

    /// Waits for the first word of the server, or that there is none.
    ///
    /// # Errors
    /// [`Unfit`], if it is there and can never be used as it is. A server that cannot be reached may be there later.
    pub async fn met(&self) -> Result<(), Arc<Unfit>> {
        let mut phase = self.phase.clone();
        // Whoever tells lives as long as this.
        let met = phase.wait_for(|phase| !matches!(phase, Phase::Untried)).await;
        match met.as_deref() {
            Ok(Phase::Down(why)) if why.is_lasting() => Err(Arc::clone(why)),
            _ => Ok(()),
        }
    }

    /// Whether the server can be used at the moment.
    pub fn is_connected(&self) -> bool {
        self.shared.link.load().is_some()
    }

    /// Resolves when the server can be used.
    pub async fn is_up(&self) {
        let _ = self.phase.clone().wait_for(|phase| matches!(phase, Phase::Up)).await;
    }

    /// The key of that name.
    pub fn key(&self, kind: &str, name: &Digest) -> String {
        use std::fmt::Write;
        let mut key = String::with_capacity(self.shared.space.len() + kind.len() + 33);
        let _ = write!(key, "{}{kind}:", self.shared.space);
        for byte in name {
            let _ = write!(key, "{byte:02x}");
        }
        key
    }

    /// The key of a kind of which there is one.
    pub fn only(&self, kind: &str) -> String {
        format!("{}{kind}", self.shared.space)
    }

    /// When a call must be answered that begins now, whatever it takes.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.shared.timeout
    }

    /// Counts of what is on the server.
    pub fn numbers(&self) -> &KvNumbers {
        &self.shared.numbers
    }

    /// Tells a time so much later than the server's own: hours in seconds.
    pub fn ahead(&self, by: Duration) {
        self.shared.ahead.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How much later than the server's own time it is, in milliseconds, for scripts.
    pub fn lead(&self) -> u64 {
        self.shared.ahead.load(Ordering::Relaxed)
    }

    /// The server's time, and what is at `key`.
    ///
    /// # Errors
    /// [`Lost`]
    pub async fn read(&self, key: &str, until: Instant) -> Result<(Time, Option<Vec<u8>>), Lost> {
        let mut both = redis::pipe();
        both.cmd("TIME").cmd("GET").arg(key);
        let read = self.ask(KvCall::Read, until, |mut connection| async move {
            let read: ((u64, u64), Option<Vec<u8>>) = both.query_async(&mut connection).await?;
            Ok(read)
        });
        let ((seconds, micros), found) = read.await?;
        Ok((self.time(seconds, micros), found))
    }

    /// What the server makes of a script.
    ///
    /// # Errors
    /// [`Lost`]
    pub async fn eval<T: FromRedisValue + Send>(
        &self,
        call: KvCall,
        until: Instant,
        script: &Script,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<T, Lost> {
        self.ask(call, until, |mut connection| async move { script.eval(&mut connection, keys, arguments).await }).await
    }

    /// Removes keys, as a part of such a call.
    ///
    /// # Errors
    /// [`Lost`]
    pub async fn remove(&self, call: KvCall, keys: &[String]) -> Result<(), Lost> {
        let mut remove = redis::cmd("DEL");
        remove.arg(keys);
        self.ask(call, self.deadline(), |mut connection| async move {
            let _: u32 = remove.query_async(&mut connection).await?;
            Ok(())
        })
        .await
    }

    /// The time that the server told.
    pub fn time(&self, seconds: u64, micros: u64) -> Time {
        Time::from_millis(seconds.saturating_mul(1000).saturating_add(micros / 1000).saturating_add(self.lead()))
    }

    /// Waits until so many of the server's replicas as configured have what was written.
    ///
    /// # Errors
    /// [`Lost`], if they do not have it in time.
    pub async fn is_copied(&self, until: Instant) -> Result<(), Lost> {
        let wanted = self.shared.replicas;
        if wanted == 0 {
            return Ok(());
        }
        let left = until.saturating_duration_since(Instant::now()) / 2;
        let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut wait = redis::cmd("WAIT");
        wait.arg(wanted).arg(left);
        let copies = self.ask(KvCall::Copied, until, |mut connection| async move {
            let copies: u32 = wait.query_async(&mut connection).await?;
            Ok(copies)
        });
        if copies.await? >= wanted {
            return Ok(());
        }
        self.shared.failed(KvFailure::NotCopied, None);
        Err(Lost { sent: true })
    }

    async fn ask<T, F: Future<Output = RedisResult<T>> + Send>(
        &self,
        call: KvCall,
        until: Instant,
        ask: impl FnOnce(MultiplexedConnection) -> F + Send,
    ) -> Result<T, Lost> {
        let shared = &*self.shared;
        let Some(link) = shared.link.load_full() else {
            shared.numbers.failed(KvFailure::Down);
            return Err(Lost { sent: false });
        };
        let begun = Instant::now();
        let answer = timeout_at(until, ask(link.connection.clone())).await;
        shared.numbers.took(call, begun.elapsed());
        let cause = match answer {
            Ok(Ok(answer)) => {
                if link.strikes.load(Ordering::Relaxed) > 0 {
                    link.strikes.store(0, Ordering::Relaxed);
                }
                return Ok(answer);
            }
            Ok(Err(error)) => Cause::of(&error),
            Err(_) => Cause::timeout(),
        };
        if cause.is_strike() && link.strikes.fetch_add(1, Ordering::Relaxed) + 1 >= STRIKES || cause.ends_the_link() {
            link.broken.notify_one();
        }
        shared.failed(cause.kind, cause.code.as_deref());
        Err(Lost { sent: cause.sent })
    }
}

impl Shared {
    /// Counts a failure, and says it if it was not said a moment ago.
    fn failed(&self, kind: KvFailure, code: Option<&str>) {
        self.numbers.failed(kind);
        let throttle = self.said.get(kind as usize);
        if let Some(skipped) = throttle.and_then(|throttle| throttle.pass(self.began.elapsed())) {
            let skipped = Some(skipped).filter(|n| *n > 0);
            tracing::warn!(service = "codes", kind = ?kind, code, skipped, "the server that codes are on failed");
        }
    }
}

impl From<Lost> for Down {
    fn from(lost: Lost) -> Self {
        Self { sent: lost.sent, full: false, retry_after: RETRY_AFTER }
    }
}
