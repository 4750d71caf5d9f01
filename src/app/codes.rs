//! Where codes are, and with them all that processes share: in this one's memory, or on a server.

use std::sync::Arc;

use super::{StartError, estate::Names};
use crate::{
    config::{Config, Store},
    flows::{
        memory::{self, MemoryFlows, Rules},
        redis::{RedisFlows, repeats::RedisRepeats},
        repeats::MemoryRepeats,
    },
    keys::{KeysError, RingKeys, shared::Shared},
    kv::Kv,
    limits::{Governor, ServerLimits},
    reset::ports::{Clock, Events, Flows, Limits, Repeats},
    telemetry::metrics::Metrics,
};

/// They outlive a generation.
pub(super) enum Codes {
    Memory { flows: Arc<MemoryFlows>, repeats: Arc<MemoryRepeats> },
    Server(Server),
}

/// What is there where there is a server.
pub(super) struct Server {
    kv: Arc<Kv>,
    shared: Arc<Shared>,
    flows: Arc<RedisFlows>,
    repeats: Arc<RedisRepeats>,
}

impl Codes {
    /// As configured. A server that cannot be reached may come later; one that is there and must not be used is an error.
    pub(super) async fn start(
        config: &Config,
        clock: &Arc<dyn Clock>,
        events: &Arc<dyn Events>,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let (capacity, rules, window) = (config.codes.capacity, Rules::of(config), config.reset.repeat_window);
        let settings = match &config.codes.store {
            Store::Memory => {
                let flows = Arc::new(MemoryFlows::new(capacity, rules, Arc::clone(clock)));
                return Ok(Self::Memory { flows, repeats: Arc::new(MemoryRepeats::new(window)) });
            }
            Store::Redis(settings) => settings,
        };
        let shared = Arc::new(Shared::new(&config.token.keys)?);
        let kv = Arc::new(Kv::new(settings, Arc::clone(&shared) as _, metrics.kv()?).map_err(StartError::Codes)?);
        kv.met().await.map_err(StartError::Unfit)?;
        let vault = || shared.ids();
        let flows = RedisFlows::new(Arc::clone(&kv), vault(), capacity, rules, Arc::clone(clock));
        let repeats = RedisRepeats::new(Arc::clone(&kv), vault(), window, Arc::clone(events));
        Ok(Self::Server(Server { kv, shared, flows: Arc::new(flows), repeats: Arc::new(repeats) }))
    }

    pub(super) fn flows(&self) -> Arc<dyn Flows> {
        match self {
            Self::Memory { flows, .. } => flows.clone(),
            Self::Server(server) => server.flows.clone(),
        }
    }

    pub(super) fn repeats(&self) -> Arc<dyn Repeats> {
        match self {
            Self::Memory { repeats, .. } => repeats.clone(),
            Self::Server(server) => server.repeats.clone(),
        }
    }

    /// The keys of a generation: by what this process names accounts, or by what all do.
    pub(super) fn keys(&self, config: &Config, names: &Names) -> Result<RingKeys, KeysError> {
        let token_keys = &config.token.keys;
        match self {
            Self::Memory { .. } => RingKeys::new(token_keys, names.ids.expose()),
            Self::Server(server) => RingKeys::with(token_keys, server.shared.ids()),
        }
    }

    /// The limits of a generation.
    pub(super) fn limits(&self, config: &Config, own: &Arc<Governor>, events: &Arc<dyn Events>) -> Arc<dyn Limits> {
        match self {
            Self::Server(Server { kv, shared, .. }) if config.limits.shared => {
                let (kv, ids) = (Arc::clone(kv), shared.ids());
                Arc::new(ServerLimits::new(Arc::clone(own), kv, ids, Arc::clone(events)))
            }
            _ => own.clone(),
        }
    }

    /// Takes up what of the server's settings, and of the token keys that seal what is there, may change while it is in use.
    pub(super) fn renew(&self, config: &Config) -> Result<(), StartError> {
        let Self::Server(server) = self else { return Ok(()) };
        if let Store::Redis(settings) = &config.codes.store {
            server.kv.renew(settings).map_err(StartError::Codes)?;
        }
        Ok(server.shared.reseal(&config.token.keys)?)
    }

    /// What goes over to another process; nothing of what is on a server.
    pub(super) fn keep(&self) -> memory::Kept {
        match self {
            Self::Memory { flows, .. } => flows.keep(),
            Self::Server(_) => memory::Kept::default(),
        }
    }

    /// Goes on with it.
    pub(super) fn go_on(&self, kept: memory::Kept) {
        if let Self::Memory { flows, .. } = self {
            flows.go_on(kept);
        }
    }

    /// Starts whose link may still live.
    pub(super) fn starts(&self) -> usize {
        match self {
            Self::Memory { flows, .. } => flows.starts(),
            Self::Server(server) => server.flows.starts(),
        }
    }

    /// The most of them.
    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Memory { flows, .. } => flows.capacity(),
            Self::Server(server) => server.flows.capacity(),
        }
    }

    /// Whether codes can be asked for at the moment.
    pub(super) fn is_up(&self) -> bool {
        match self {
            Self::Memory { .. } => true,
            Self::Server(server) => server.kv.is_connected(),
        }
    }

    /// Accounts with live codes in this process's memory.
    pub(super) fn live(&self) -> u64 {
        match self {
            Self::Memory { flows, .. } => flows.live(),
            Self::Server(_) => 0,
        }
    }

    /// Answers that this process keeps for repeats.
    pub(super) fn answers(&self) -> &MemoryRepeats {
        match self {
            Self::Memory { repeats, .. } => repeats,
            Self::Server(server) => server.repeats.own(),
        }
    }

    /// Forgets what has ended; to be called every few seconds.
    pub(super) fn tidy(&self) {
        if let Self::Memory { flows, .. } = self {
            flows.tidy();
        }
        self.answers().tidy();
    }
}
