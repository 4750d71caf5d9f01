//! The one place that names concrete adapters: a checked configuration becomes a running server.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    clock::SystemClock,
    config::{Address, Config},
    flows::{
        memory::{MemoryFlows, Rules},
        repeats::MemoryRepeats,
    },
    identity::{self, Crest},
    keys::{self, KeysError, RingKeys},
    limits::{self, Governor},
    mail,
    reset::{
        Engine, Ports, Settings,
        ports::{Clock, Events, Limits},
    },
    serve::{self, Bound, Ended, Parts},
    telemetry::{
        audit::Recorder,
        log,
        metrics::{Metrics, MetricsError},
    },
};

/// How often ended codes are forgotten.
const TIDY_FLOWS: Duration = Duration::from_secs(1);
/// How often limits forget clients that have not come for a while.
const TIDY_LIMITS: Duration = Duration::from_secs(60);

/// Why a start failed with a configuration that holds.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant is what its text says")]
pub enum StartError {
    #[error("cannot start the tokens' cryptography")]
    Keys(#[from] KeysError),
    #[error("the process has no stage that mails a code")]
    NoMailStage,
    #[error("cannot start mail")]
    Mail(#[from] mail::StartError),
    #[error("cannot start the identity store's client")]
    Identity(#[from] identity::Unusable),
    #[error("cannot start metrics")]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    Serve(#[from] serve::StartError),
}

/// A server that has bound its addresses and serves when [`App::run`].
pub struct App {
    config: Config,
    bound: Bound,
    parts: Parts,
    tidying: tokio::task::JoinSet<()>,
}

impl App {
    /// Puts everything together and binds. Nothing outside is asked: it starts although upstream, store, mail server
    /// or DNS are down. To be called inside the runtime.
    ///
    /// # Errors
    /// [`StartError`], before anything is served.
    pub async fn start(mut config: Config) -> Result<Self, StartError> {
        let system = SystemClock::new();
        let clock: Arc<dyn Clock> = Arc::new(system);
        // Records and limits live in this process, so the key that names them may as well.
        let ids = keys::random_key().ok_or(KeysError::Crypto)?;
        let hash_key = keys::random_key().ok_or(KeysError::Crypto)?;
        let keys = Arc::new(RingKeys::new(&config.token.keys, ids.expose())?);
        let metrics = Arc::new(Metrics::new(clock.now())?);
        let events: Arc<dyn Events> = Arc::new(Recorder::new(Arc::clone(&metrics), Arc::clone(&clock)));
        let governor =
            Arc::new(Governor::new(&config.limits, &clock, &events, hash_key.expose(), limits::DEFAULT_CAPACITY));
        let limits: Arc<dyn Limits> = governor.clone();
        let rules = Rules { tries: config.codes.tries, mail_gap: config.reset.mail_gap };
        let flows = Arc::new(MemoryFlows::new(config.codes.capacity, rules, Arc::clone(&clock)));
        config.mail.capacity = config.outbox_places();
        let email = config.reset.process.email().ok_or(StartError::NoMailStage)?;
        let digits = config.codes.digits.is_some();
        let outbox =
            mail::start(&config.mail, email, digits, Arc::clone(&limits), Arc::clone(&clock), Arc::clone(&events))?;
        gauges(&metrics, &flows, &governor)?;
        let tidying = tidy(Arc::clone(&flows), governor);

        let ports = Ports {
            accounts: Arc::new(Crest::new(&config.identity)?),
            flows,
            repeats: Arc::new(MemoryRepeats::new(config.reset.repeat_window)),
            limits: Arc::clone(&limits),
            outbox: Arc::clone(&outbox),
            keys,
            clock,
            events: Arc::clone(&events),
        };
        let settings = Settings {
            link_lifetime: config.reset.link_lifetime,
            token_expiry: config.reset.process.token_expiry,
            answer_floor: config.reset.answer_floor,
            digits: config.codes.digits,
            crest_ids: config.reset.crest_ids,
            reveal_unknown_accounts: config.reset.reveal_unknown_accounts,
        };
        let engine = Arc::new(Engine::new(&config.reset.process, settings, ports).await);
        let bound = serve::bind(&config.listen, &config.admin)?;
        Ok(Self { config, bound, parts: Parts { engine, limits, events, outbox, metrics }, tidying })
    }

    /// Where requests come in.
    pub fn addresses(&self) -> Vec<Address> {
        self.bound.addresses()
    }

    /// Where operators look.
    pub const fn admin_address(&self) -> SocketAddr {
        self.bound.admin_address()
    }

    /// Serves until `drain` resolves, then finishes what runs; `cut` ends it at any moment.
    ///
    /// # Errors
    /// [`StartError::Serve`] if serving cannot begin.
    pub async fn run(
        self,
        drain: impl Future<Output = ()>,
        cut: impl Future<Output = ()>,
    ) -> Result<Ended, StartError> {
        // Named, so that it lives until the end.
        let _tidying = self.tidying;
        Ok(serve::run(self.bound, &self.config, self.parts, drain, cut).await?)
    }
}

fn gauges(metrics: &Metrics, flows: &Arc<MemoryFlows>, governor: &Arc<Governor>) -> Result<(), MetricsError> {
    let (flows, of_starts, governor) = (Arc::clone(flows), Arc::clone(flows), Arc::clone(governor));
    metrics.gauge("live_code_accounts", "Accounts with live codes", move || flows.live() as f64)?;
    metrics.gauge("log_lines_dropped", "Log lines that nobody took in time", || log::dropped() as f64)?;
    let help = "User queries whose link may still live, whoever they asked for: codes.capacity is for these";
    metrics.gauge("live_starts", help, move || of_starts.starts() as f64)?;
    metrics.gauge("limiter_keys", "Clients and accounts that limits remember", move || governor.len() as f64)
}

fn tidy(flows: Arc<MemoryFlows>, governor: Arc<Governor>) -> tokio::task::JoinSet<()> {
    let mut tidying = tokio::task::JoinSet::new();
    tidying.spawn(async move {
        loop {
            tokio::time::sleep(TIDY_FLOWS).await;
            flows.tidy().await;
        }
    });
    tidying.spawn(async move {
        loop {
            tokio::time::sleep(TIDY_LIMITS).await;
            governor.tidy();
        }
    });
    tidying
}
