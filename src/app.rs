//! The one place that names concrete adapters: a checked configuration becomes a running server.

mod codes;
mod errands;
mod estate;
mod inside;
mod policy;
mod reload;
mod trail;
mod watch;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio_util::task::TaskTracker;

use self::{
    codes::Codes,
    estate::{Estate, Names, StateFile},
    reload::{Lasting, Present},
};
pub use self::{
    estate::StateError,
    reload::Reloader,
    watch::{Environment, watch},
};
use crate::{
    admin::Inside,
    after::{self, After, Seen},
    clock::SystemClock,
    config::{Address, Config},
    identity,
    keys::KeysError,
    kv::Unfit,
    listen::{ServerTls, TlsError},
    mail, memory, otlp, outbound,
    proxy::{InFlight, NoTls},
    reset::{
        Settings,
        ports::{Clock, Events},
    },
    serve::{
        self, Bound, Ended, Parts,
        handover::{HandoverError, Heir, Legacy},
    },
    supervisor::Supervisor,
    telemetry::{
        audit::{NoTrail, Recorder},
        log,
        metrics::{Metrics, MetricsError},
    },
    tls,
};

/// How often ended codes are forgotten, and answers kept for repeats give their room back.
const TIDY_FLOWS: Duration = Duration::from_secs(1);
/// How long the last spans may take.
const FLUSH: Duration = Duration::from_secs(2);
/// How often limits forget clients that have not come for a while.
const TIDY_LIMITS: Duration = Duration::from_secs(60);

/// Why a start failed with a configuration that holds.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant is what its text says")]
pub enum StartError {
    #[error("cannot start the tokens' cryptography")]
    Keys(#[from] KeysError),
    #[error("the process has no stage that finds an account")]
    NoQuery,
    #[error("cannot start mail")]
    Mail(#[from] mail::StartError),
    #[error("cannot set up what follows when a password is set")]
    After(#[from] after::StartError),
    #[error("cannot start the identity store's client")]
    Identity(#[from] identity::Unusable),
    #[error("cannot set up codes.store")]
    Codes(#[source] tls::Unusable),
    #[error("the server of codes.store {0}")]
    Unfit(Arc<Unfit>),
    #[error("cannot set up policy.breach: {0}")]
    Breach(#[source] outbound::Unusable),
    #[error("cannot start the captcha service's client: {0}")]
    Captcha(#[source] outbound::Unusable),
    #[error("cannot start metrics")]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    Listen(#[from] TlsError),
    #[error(transparent)]
    Upstream(#[from] NoTls),
    #[error("tracing: {0}")]
    Tracing(#[from] tls::Unusable),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Audit(#[from] NoTrail),
    #[error(transparent)]
    Handover(#[from] HandoverError),
    #[error(transparent)]
    Serve(#[from] serve::StartError),
}

/// A server that has bound its addresses and serves when [`App::run`].
pub struct App {
    bound: Bound,
    reloader: Arc<Reloader>,
    exporter: Option<otlp::Exporter>,
    in_flight: Arc<InFlight>,
    state_file: Option<StateFile>,
    supervisor: Arc<Supervisor>,
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
    pub async fn start_by(config: Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        Self::start_from(config, clock, None).await
    }

    /// The same in the place of the process that runs, which goes on until this one serves.
    ///
    /// # Errors
    /// As [`App::start`], and if there is no such process, or it hands nothing over. It goes on then.
    pub async fn take_over(config: Config) -> Result<Self, StartError> {
        let heir = Heir::meet(config.upgrade.as_deref()).await?;
        Self::start_from(config, Arc::new(SystemClock::new()), Some(heir)).await
    }

    async fn start_from(config: Config, clock: Arc<dyn Clock>, heir: Option<Heir>) -> Result<Self, StartError> {
        let keys = &config.token.keys;
        let state_file = config.codes.state_file.as_deref().map(StateFile::new).transpose()?;
        let (names, left) = match (&heir, &state_file) {
            (Some(heir), _) => (estate::open_names(keys, heir.names()), None),
            (None, Some(file)) => file
                .read(keys)?
                .map_or((None, None), |Estate { names, flows, limits }| (Some(names), Some((flows, limits)))),
            (None, None) => (None, None),
        };
        let names = names.map_or_else(Names::draw, Ok)?;
        let now = clock.now();
        let metrics = Arc::new(Metrics::new(now)?);
        let tls = config.listen.tls.as_ref().map(|tls| ServerTls::new(tls, Arc::clone(&metrics), now)).transpose()?;
        let tls = tls.map(Arc::new);
        let bound = serve::bind(&config.listen, &config.admin, heir)?;
        let (tracer, exporter) = otlp::start(&config.tracing, now)?.unzip();
        let trail = trail::start(&config.audit, &names, &clock, &metrics)?;
        let events: Arc<dyn Events> = Arc::new(Recorder::new(Arc::clone(&metrics), Arc::clone(&clock), trail.clone()));
        let codes = Arc::new(Codes::start(&config, &clock, &events, &metrics).await?);
        let connections = bound.connections();
        let leaving = TaskTracker::new();
        let (audit_names, seen) = (Arc::new(trail::keys(&config.audit, &names)?), Arc::new(Seen::default()));
        let lasting = Lasting {
            names,
            audit_names,
            seen,
            events,
            trail,
            tracer,
            connections,
            codes,
            leaving,
            tls,
            metrics,
            clock,
        };
        let in_flight = Arc::new(InFlight::new(config.reset.max_in_flight));
        let reloader = Arc::new(Reloader::start(config, lasting).await?);
        if let Some((flows, limits)) = left {
            reloader.inherit(flows, &limits);
        }
        gauges(&reloader, &in_flight)?;
        inside::show(&reloader)?;
        state_file.as_ref().map_or(Ok(()), StateFile::forget)?;
        let tidying = tidy(&reloader);
        Ok(Self { bound, reloader, exporter, in_flight, state_file, supervisor: Arc::default(), tidying })
    }

    /// Where requests come in.
    pub fn addresses(&self) -> Vec<Address> {
        self.bound.addresses()
    }

    /// Where operators look.
    pub const fn admin_address(&self) -> SocketAddr {
        self.bound.admin_address()
    }

    /// What changes it while it runs.
    pub fn reloader(&self) -> Arc<Reloader> {
        Arc::clone(&self.reloader)
    }

    /// Has somebody told when it serves and when it ends.
    #[must_use]
    pub fn supervised(self, supervisor: Arc<Supervisor>) -> Self {
        Self { supervisor, ..self }
    }

    /// Serves until `drain` resolves, then finishes what runs; `cut` ends it at any moment. Then it leaves to the next
    /// process what is to be left.
    ///
    /// # Errors
    /// [`StartError::Serve`] if serving cannot begin, [`StartError::State`] if it ended and nothing could be left.
    pub async fn run(
        self,
        drain: impl Future<Output = ()>,
        cut: impl Future<Output = ()>,
    ) -> Result<Ended, StartError> {
        let Self { bound, reloader, exporter, in_flight, state_file, supervisor, tidying } = self;
        let mail = Arc::clone(&reloader);
        let parts = Parts {
            generation: Arc::clone(&reloader.generation),
            events: Arc::clone(&reloader.lasting.events),
            in_flight,
            tls: reloader.lasting.tls.clone(),
            metrics: Arc::clone(&reloader.lasting.metrics),
            legacy: Arc::clone(&reloader) as Arc<dyn Legacy>,
            inside: Arc::clone(&reloader) as Arc<dyn Inside>,
            supervisor,
            mail_is_out: Box::pin(async move { mail.mail_is_out().await }),
        };
        // Not all of the first generation, which is to go when it is over.
        let config = Arc::clone(&reloader.present.load().config);
        let trail = reloader.lasting.trail.clone();
        let ended = serve::run(bound, &config, parts, drain, cut).await?;
        trail.end().await;
        if let Some(exporter) = exporter.filter(|_| ended != Ended::Cut) {
            exporter.finish(FLUSH).await;
        }
        drop(tidying);
        if let Some(file) = state_file.filter(|_| ended != Ended::HandedOver) {
            file.leave(&reloader.estate().ok_or(KeysError::Crypto)?)?;
        }
        Ok(ended)
    }
}

/// What is full, and how full it may be.
fn gauges(reloader: &Arc<Reloader>, in_flight: &Arc<InFlight>) -> Result<(), MetricsError> {
    let Lasting { metrics, codes, connections, .. } = &reloader.lasting;
    let most = *connections;
    metrics.gauge("open_connections_capacity", "Clients' connections that are open: the most", move || most as f64)?;
    let starts = Arc::clone(codes);
    let most = codes.capacity();
    metrics.bounded(
        "live_starts",
        "User queries whose link may still live, whoever they asked for",
        move || most,
        move || starts.starts(),
    )?;
    let answers = Arc::clone(codes);
    let most = codes.answers().capacity();
    metrics.bounded(
        "repeat_bytes",
        "Bytes of answers kept for repeats",
        move || most,
        move || answers.answers().bytes(),
    )?;
    let seats = Arc::clone(in_flight);
    let most = in_flight.capacity();
    metrics.bounded("submits_in_flight", "Steps of flows at work", move || most, move || seats.taken())?;
    // The rest may be given other bounds by a reload.
    let present = |read: fn(&Present) -> usize| {
        let of = Arc::clone(reloader);
        move || read(&of.present.load())
    };
    metrics.bounded(
        "limiter_keys",
        "Clients and accounts that limits remember",
        present(|now| now.governor.capacity()),
        present(|now| now.governor.len()),
    )?;
    metrics.bounded(
        "outbox_places",
        "Places in the outbox that mails have, or starts without one",
        present(|now| now.config.mail.capacity),
        present(|now| now.outbox.taken()),
    )?;
    metrics.bounded(
        "after_password_waiting",
        "Calls that wait to be made because a password was set",
        After::capacity,
        present(|now| now.after.waiting()),
    )?;
    metrics.bounded(
        "look_ups_in_flight",
        "Calls to the identity store under way",
        present(|now| now.config.identity.max_concurrent),
        present(|now| now.accounts.under_way()),
    )?;
    let live = Arc::clone(codes);
    metrics.gauge("live_code_accounts", "Accounts with live codes", move || live.live() as f64)?;
    metrics.counter("log_lines_dropped", "Log lines that nobody took in time", || log::dropped() as f64)?;
    let tracer = reloader.lasting.tracer.clone();
    let dropped = move || tracer.as_ref().map_or(0.0, |tracer| tracer.dropped() as f64);
    metrics.counter("trace_spans_dropped", "Spans that the collector did not get", dropped)?;
    let of = Arc::clone(reloader);
    metrics.gauge("config_generation", "Configurations that were put to use", move || of.generations() as f64)
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
        captcha_under_pressure: matches!(&config.captcha, Some(captcha) if captcha.under_pressure),
        case_sensitive: config.reset.case_sensitive,
        each_of_a_mailbox: config.reset.each_of_a_mailbox,
    }
}

fn tidy(reloader: &Arc<Reloader>) -> tokio::task::JoinSet<()> {
    let mut tidying = tokio::task::JoinSet::new();
    let codes = Arc::clone(&reloader.lasting.codes);
    tidying.spawn(async move {
        loop {
            tokio::time::sleep(TIDY_FLOWS).await;
            codes.tidy();
            memory::give_back();
        }
    });
    let of = Arc::clone(reloader);
    tidying.spawn(async move {
        loop {
            tokio::time::sleep(TIDY_LIMITS).await;
            of.present.load_full().governor.tidy();
        }
    });
    tidying
}
