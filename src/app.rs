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
    limits::Governor,
    mail,
    proxy::InFlight,
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

/// How often ended codes are forgotten, and answers kept for repeats give their room back.
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
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_by(config, Arc::new(SystemClock::new())).await
    }

    /// The same by a clock of the caller's, which limits, codes, mail and tokens go by. Connections and calls do not.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start_by(mut config: Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        // Records and limits live in this process, so the key that names them may as well.
        let ids = keys::random_key().ok_or(KeysError::Crypto)?;
        let hash_key = keys::random_key().ok_or(KeysError::Crypto)?;
        let keys = Arc::new(RingKeys::new(&config.token.keys, ids.expose())?);
        let metrics = Arc::new(Metrics::new(clock.now())?);
        let events: Arc<dyn Events> = Arc::new(Recorder::new(Arc::clone(&metrics), Arc::clone(&clock)));
        let governor = Arc::new(Governor::new(&config.limits, &clock, &events, hash_key.expose()));
        let limits: Arc<dyn Limits> = governor.clone();
        let rules = Rules::of(&config);
        let flows = Arc::new(MemoryFlows::new(config.codes.capacity, rules, Arc::clone(&clock)));
        config.mail.capacity = config.outbox_places();
        config.mail.later = config.later_places();
        let email = config.reset.process.email().ok_or(StartError::NoMailStage)?;
        let digits = config.codes.digits.is_some();
        let outbox =
            mail::start(&config.mail, email, digits, Arc::clone(&limits), Arc::clone(&clock), Arc::clone(&events))?;
        let accounts = Arc::new(Crest::new(&config.identity)?);
        let repeats = Arc::new(MemoryRepeats::new(config.reset.repeat_window));
        let in_flight = Arc::new(InFlight::new(config.reset.max_in_flight));

        let gauge = |name, help, capacity, read| metrics.bounded(name, help, capacity, read);
        let help = "User queries whose link may still live, whoever they asked for";
        gauge("live_starts", help, config.codes.capacity, {
            let flows = Arc::clone(&flows);
            Box::new(move || flows.starts()) as Box<dyn Fn() -> usize + Send + Sync>
        })?;
        gauge("limiter_keys", "Clients and accounts that limits remember", governor.capacity(), {
            let governor = Arc::clone(&governor);
            Box::new(move || governor.len())
        })?;
        gauge("repeat_bytes", "Bytes of answers kept for repeats", repeats.capacity(), {
            let repeats = Arc::clone(&repeats);
            Box::new(move || repeats.bytes())
        })?;
        gauge("outbox_places", "Places in the outbox that mails have, or starts without one", config.mail.capacity, {
            let outbox = Arc::clone(&outbox);
            Box::new(move || outbox.taken())
        })?;
        gauge("submits_in_flight", "Steps of flows at work", in_flight.capacity(), {
            let in_flight = Arc::clone(&in_flight);
            Box::new(move || in_flight.taken())
        })?;
        gauge("look_ups_in_flight", "Calls to the identity store under way", config.identity.max_concurrent, {
            let accounts = Arc::clone(&accounts);
            Box::new(move || accounts.under_way())
        })?;
        let live = Arc::clone(&flows);
        metrics.gauge("live_code_accounts", "Accounts with live codes", move || live.live() as f64)?;
        metrics.gauge("log_lines_dropped", "Log lines that nobody took in time", || log::dropped() as f64)?;
        let tidying = tidy(Arc::clone(&flows), Arc::clone(&repeats), governor);

        let ports = Ports {
            accounts,
            flows,
            repeats,
            limits: Arc::clone(&limits),
            outbox: Arc::clone(&outbox),
            keys,
            clock,
            events: Arc::clone(&events),
        };
        let engine = Arc::new(Engine::new(&config.reset.process, settings(&config), ports).await);
        let bound = serve::bind(&config.listen, &config.admin)?;
        Ok(Self { config, bound, parts: Parts { engine, limits, events, in_flight, outbox, metrics }, tidying })
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

/// What the engine itself needs of the configuration.
pub const fn settings(config: &Config) -> Settings {
    Settings {
        link_lifetime: config.reset.link_lifetime,
        token_expiry: config.reset.process.token_expiry,
        answer_floor: config.reset.answer_floor,
        digits: config.codes.digits,
        crest_ids: config.reset.crest_ids,
        reveal_unknown_accounts: config.reset.reveal_unknown_accounts,
    }
}

fn tidy(flows: Arc<MemoryFlows>, repeats: Arc<MemoryRepeats>, governor: Arc<Governor>) -> tokio::task::JoinSet<()> {
    let mut tidying = tokio::task::JoinSet::new();
    tidying.spawn(async move {
        loop {
            tokio::time::sleep(TIDY_FLOWS).await;
            flows.tidy().await;
            repeats.tidy().await;
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
