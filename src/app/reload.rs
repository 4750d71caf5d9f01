//! What can change while it runs: a checked configuration becomes a new generation, which takes the place of the present
//! one as a whole or not at all. Flows, budgets, answers for repeats, connections and sockets outlive it.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tokio::{sync::Mutex, time::sleep};
use tokio_util::task::TaskTracker;

use super::{
    StartError,
    codes::Codes,
    errands,
    estate::{self, Estate, Names},
    policy, settings,
};
use crate::{
    after::{self, After, Seen},
    captcha,
    config::{Config, Effective},
    flows::memory,
    identity::Crest,
    keys::RingKeys,
    limits::{self, Governor},
    listen::ServerTls,
    mail,
    proxy::Generation,
    reset::{
        Engine, Ports,
        ports::{About, Clock, Event, Events, Limits, Outbox},
    },
    serve::handover::Legacy,
    telemetry::{
        audit::{Keys, Trail},
        draw, log,
        metrics::Metrics,
        trace::Tracer,
    },
};

/// How often is looked whether anybody still has to do with a generation that is over.
const LOOK: Duration = Duration::from_millis(100);

/// What outlives a generation.
pub(super) struct Lasting {
    pub(super) names: Names,
    /// What hashes names, as in the audit trail.
    pub(super) audit_names: Arc<Keys>,
    /// Which flows were acted upon when their password was set.
    pub(super) seen: Arc<Seen>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) events: Arc<dyn Events>,
    pub(super) trail: Trail,
    pub(super) metrics: Arc<Metrics>,
    /// How many connections may be open: what the configuration says, or what the system grants.
    pub(super) connections: usize,
    /// Where spans go, if anywhere.
    pub(super) tracer: Option<Arc<Tracer>>,
    /// Replaced in place: what is open goes on by the one before.
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) codes: Arc<Codes>,
    /// Outboxes of generations that are over, until their last mail is.
    pub(super) leaving: TaskTracker,
}

/// The parts of a generation that others look at as well.
pub(super) struct Present {
    pub(super) config: Arc<Config>,
    /// What really counts of it.
    pub(super) effective: Effective,
    pub(super) governor: Arc<Governor>,
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) after: Arc<After>,
    /// There as long as a step is at work by it.
    engine: Weak<Engine>,
    pub(super) accounts: Arc<Crest>,
    keys: Arc<RingKeys>,
}

/// Makes generations, and knows the present one.
pub struct Reloader {
    pub(super) lasting: Lasting,
    /// What it was started by: of what takes a restart, this is what runs.
    started: Arc<Config>,
    pub(super) present: ArcSwap<Present>,
    pub(super) generation: Arc<ArcSwap<Generation>>,
    /// One at a time.
    turn: Mutex<()>,
    number: AtomicU64,
}

impl Reloader {
    /// The first generation.
    pub(super) async fn start(config: Config, lasting: Lasting) -> Result<Self, StartError> {
        let (present, generation) = make(config, &lasting, None).await?;
        Ok(Self {
            lasting,
            started: Arc::clone(&present.config),
            present: ArcSwap::from_pointee(present),
            generation: Arc::new(ArcSwap::from_pointee(generation)),
            turn: Mutex::default(),
            number: AtomicU64::new(1),
        })
    }

    /// Puts a configuration in the place of the present one. What of it needs a restart stays as it runs, and is named
    /// each time for as long as it is to be something else.
    ///
    /// # Errors
    /// If something cannot be set up by it; then all stays as it was.
    pub async fn reload(&self, config: Config) -> Result<Vec<&'static str>, StartError> {
        let _turn = self.turn.lock().await;
        let before = self.present.load_full();
        let (mut present, generation) = make(config, &self.lasting, Some(&before)).await?;
        let changed = fixed(&self.started, &present.config).into_iter().filter(|(_, same)| !same);
        let stays: Vec<_> = changed.map(|(name, _)| name).collect();
        for key in stays.iter().flat_map(|name| named(name)) {
            present.effective.keep(key, &self.started.effective);
        }
        self.lasting.codes.renew(&present.config)?;
        if let (Some(tls), Some(config)) = (&self.lasting.tls, &present.config.listen.tls) {
            tls.replace(config, self.lasting.clock.now())?;
        }
        self.present.store(Arc::new(present));
        self.generation.store(Arc::new(generation));
        let (outbox, after) = (Arc::clone(&before.outbox), Arc::clone(&before.after));
        let engine = Weak::clone(&before.engine);
        self.lasting.leaving.spawn(async move {
            // A step that began with it has a mail to send yet.
            while engine.strong_count() > 0 {
                sleep(LOOK).await;
            }
            // It has mails of its own to send.
            after.drained().await;
            outbox.drained().await;
        });
        self.number.fetch_add(1, Ordering::Relaxed);
        Ok(stays)
    }

    /// The same, told to the log and counted. Whether it was done.
    pub(super) async fn attempt(&self, config: Config) -> bool {
        let outcome = self.reload(config).await;
        let done = outcome.is_ok();
        self.note(done);
        match outcome {
            Ok(stays) if stays.is_empty() => tracing::info!("reloaded"),
            Ok(stays) => tracing::warn!(keys = stays.join(", "), "reloaded, but for keys that need a restart"),
            Err(error) => tracing::error!(error = log::with_causes(&error), "not reloaded"),
        }
        done
    }

    /// Takes note, for the audit trail and the numbers.
    pub(super) fn note(&self, done: bool) {
        let event = if done { Event::Reloaded } else { Event::ReloadFailed };
        self.lasting.events.record(event, &About::default());
        self.lasting.metrics.reloaded(done, self.lasting.clock.now());
    }

    /// Goes on with what another process left.
    pub(super) fn inherit(&self, flows: memory::Kept, limits: &limits::Kept) {
        self.lasting.codes.go_on(flows);
        self.present.load_full().governor.go_on(limits);
    }

    /// How many generations there were.
    pub fn generations(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// Resolves when no mail is left, and nothing else that is to be done later, of whatever generation.
    pub(super) async fn mail_is_out(&self) {
        let present = self.present.load_full();
        present.after.drained().await;
        present.outbox.drained().await;
        self.lasting.leaving.close();
        self.lasting.leaving.wait().await;
    }
}

#[async_trait]
impl Legacy for Reloader {
    fn names(&self) -> Option<Vec<u8>> {
        estate::seal_names(&self.present.load().config.token.keys, &self.lasting.names)
    }

    fn estate(&self) -> Option<Vec<u8>> {
        let present = self.present.load_full();
        let (flows, limits) = (self.lasting.codes.keep(), present.governor.keep());
        estate::seal(&present.config.token.keys, &self.lasting.names, flows, limits)
    }

    async fn go_on(&self, sealed: &[u8]) {
        match estate::open(&self.present.load().config.token.keys, sealed) {
            Some(Estate { flows, limits, .. }) => self.inherit(flows, &limits),
            None => tracing::warn!("the former process has other token keys: open resets end"),
        }
    }
}

async fn make(
    mut config: Config,
    lasting: &Lasting,
    before: Option<&Present>,
) -> Result<(Present, Generation), StartError> {
    let Lasting { names, clock, events, metrics, codes, .. } = lasting;
    // A key that was drawn at start is not drawn again.
    let keys = match before.filter(|before| before.config.token.ephemeral && config.token.ephemeral) {
        Some(before) => Arc::clone(&before.keys),
        None => Arc::new(codes.keys(&config, names)?),
    };
    let governor = match before {
        Some(before) if before.config.limits == config.limits => Arc::clone(&before.governor),
        before => {
            let fresh = Governor::new(&config.limits, clock, events, names.hash.expose());
            if let Some(before) = before {
                fresh.go_on(&before.governor.keep());
            }
            Arc::new(fresh)
        }
    };
    let limits: Arc<dyn Limits> = codes.limits(&config, &governor, events);
    config.mail.capacity = config.outbox_places();
    config.mail.later = config.later_places();
    let digits = config.codes.digits.is_some();
    let accounts = Arc::new(Crest::new(&config.identity, Arc::clone(clock), Arc::clone(metrics))?);
    let service = errands::service(&accounts, &config.reset.process);
    let (limited, timed, noted) = (Arc::clone(&limits), Arc::clone(clock), Arc::clone(events));
    let outbox = match config.reset.process.email() {
        Some(email) => mail::start(&config.mail, email, digits, service, limited, timed, noted)?,
        None => mail::notices_alone(&config.mail, limited, timed, noted)?,
    };
    let (passwords, page) = policy::policy(&config, &accounts, clock, metrics)?;
    let query = errands::query(&config.reset.process).ok_or(StartError::NoQuery)?;
    let world = after::World {
        outbox: Arc::clone(&outbox),
        mail: query.mail_field.clone(),
        store: errands::store(&accounts, query.resource.clone()),
        names: Arc::clone(&lasting.audit_names),
        seen: Arc::clone(&lasting.seen),
        clock: Arc::clone(clock),
        events: Arc::clone(events),
        metrics: Arc::clone(metrics),
        random: || u64::from_ne_bytes(draw::bytes()),
    };
    let after = Arc::new(After::new(&config.after, world)?);
    let challenge = config.captcha.as_ref().map(|config| captcha::start(config, keys.clone(), metrics));
    let challenge = challenge.transpose().map_err(StartError::Captcha)?;
    let ports = Ports {
        accounts: accounts.clone(),
        flows: codes.flows(),
        repeats: codes.repeats(),
        limits: Arc::clone(&limits),
        outbox: Arc::clone(&outbox),
        passwords,
        aftermath: after.clone(),
        keys: keys.clone(),
        clock: Arc::clone(clock),
        events: Arc::clone(events),
        challenge,
    };
    let engine = Arc::new(Engine::new(&config.reset.process, settings(&config), ports).await);
    let at_work = Arc::downgrade(&engine);
    let mut generation = Generation::start(&config, engine, limits, metrics).await?;
    generation.policy = page;
    generation.tracer = lasting.tracer.clone();
    let effective = config.effective.clone();
    let config = Arc::new(config);
    Ok((Present { config, effective, governor, outbox, after, engine: at_work, accounts, keys }, generation))
}

/// What a reload does not change, and whether it is to stay as it runs: the keys of the configuration.
fn fixed(running: &Config, now: &Config) -> Vec<(&'static str, bool)> {
    vec![
        ("listen.addresses", running.listen.addresses == now.listen.addresses),
        ("listen: the bounds of connections", running.listen.connections == now.listen.connections),
        ("admin.address", running.admin.address == now.admin.address),
        ("codes: where they are kept", running.codes.store.stays(&now.codes.store)),
        ("codes.tries", running.codes.tries == now.codes.tries),
        ("codes.refused", running.codes.refused == now.codes.refused),
        ("codes.capacity", running.codes.capacity == now.codes.capacity),
        ("codes.state_file", running.codes.state_file == now.codes.state_file),
        ("reset.repeat_window", running.reset.repeat_window == now.reset.repeat_window),
        ("reset.mail_gap", running.reset.mail_gap == now.reset.mail_gap),
        ("reset.max_in_flight", running.reset.max_in_flight == now.reset.max_in_flight),
        ("upstream.pool_size", running.upstream.pool_size == now.upstream.pool_size),
        ("log.format", running.log.format == now.log.format),
        ("tracing", running.tracing == now.tracing),
        ("log.hash_key", running.audit.same_key(&now.audit)),
        ("audit.to", running.audit.to == now.audit.to),
        ("drain.linger and drain.within", running.drain == now.drain),
        ("reload.watch", running.watch == now.watch),
        ("upgrade.folder", running.upgrade == now.upgrade),
    ]
}

/// What is called that.
fn named(name: &'static str) -> Vec<&'static str> {
    match name {
        "tracing" => vec!["tracing", "tracing.tls"],
        "listen: the bounds of connections" => vec![
            "listen.max_connections",
            "listen.max_connections_per_client",
            "listen.handshake_timeout",
            "listen.header_timeout",
            "listen.idle_timeout",
            "listen.body_timeout",
            "listen.min_rate",
            "listen.max_lifetime",
            "listen.max_requests",
        ],
        "codes: where they are kept" => vec![
            "codes.store",
            "codes.database",
            "codes.namespace",
            "codes.connect_timeout",
            "codes.timeout",
            "codes.wait_replicas",
        ],
        several => several.split(" and ").collect(),
    }
}
