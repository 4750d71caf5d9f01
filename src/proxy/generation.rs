//! What of the gate comes from the configuration and is made anew with it. A request ends by the generation that it began
//! with.

use std::{
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use pingora::prelude::fast_timeout::set_fast_timeout_to_tokio_threshold;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{
    client::Clients, edge::Edge, origin::Origins, probe::Probe, route::Router, shape::Shapes, upstream::Upstream,
};
use crate::{
    config::{Config, Log, Messages},
    reset::{
        Engine,
        ports::{Limits, PolicyPage},
    },
    telemetry::{metrics::Metrics, trace::Tracer},
    tls::Unusable,
};

/// How long to wait for the upstream's addresses before requests are accepted.
const FIRST_LOOK_UP: Duration = Duration::from_secs(2);

/// What lasts longer, in whole seconds, is timed by Tokio and not by Pingora, which keeps a timer until it would ring,
/// although what it bounds is mostly over at once, and wakes a hundred times a second to look for one that does.
const PINGORAS_TIMERS: Duration = Duration::ZERO;

/// The system's root certificates cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot load the system's root certificates (see SSL_CERT_FILE and SSL_CERT_DIR)")]
pub struct NoRoots;

/// A generation whose TLS to the upstream cannot be set up.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant is what its text says")]
pub enum NoTls {
    #[error(transparent)]
    Roots(#[from] NoRoots),
    #[error("upstream: {0}")]
    Upstream(#[from] Unusable),
}

/// One generation. What it does in the background ends with it.
pub struct Generation {
    pub(super) router: Router,
    pub(super) clients: Clients,
    pub(super) origins: Origins,
    pub(super) edge: Edge,
    pub(super) engine: Arc<Engine>,
    pub(super) limits: Arc<dyn Limits>,
    /// Where clients ask for the password policy, if they do here.
    pub(crate) policy: Option<Arc<dyn PolicyPage>>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) shapes: Shapes,
    /// Where spans go, if anywhere.
    pub(crate) tracer: Option<Arc<Tracer>>,
    pub(super) messages: Messages,
    pub(super) log: Log,
    _probe: AbortOnDropHandle<()>,
}

impl Generation {
    /// That of a configuration, with an engine and limits of the same one. A name server that is down delays it a little
    /// and prevents nothing.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub async fn start(
        config: &Config,
        engine: Arc<Engine>,
        limits: Arc<dyn Limits>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, NoTls> {
        set_fast_timeout_to_tokio_threshold(Some(PINGORAS_TIMERS));
        let upstream = Arc::new(Upstream::new(&config.upstream, metrics)?);
        let probe = rooted(|| Probe::new(config, Arc::clone(&upstream), Arc::clone(metrics)))?;
        let _ = timeout(FIRST_LOOK_UP, upstream.looked_up()).await;
        let probe = AbortOnDropHandle::new(tokio::spawn(probe.watch()));
        let edge = Edge::new(&config.edge);
        let tells = config.listen.tls.as_ref().is_some_and(|tls| tls.forward_client_cert);
        let edge = if tells { edge.telling_of_certificates() } else { edge };
        Ok(Self {
            router: Router::new(&config.reset.path)
                .telling_policy_at(config.policy.path.as_deref())
                .denying(&config.edge.deny),
            clients: Clients::new(&config.listen, Arc::clone(metrics)),
            origins: Origins::new(&config.reset.cors_origins),
            edge,
            engine,
            limits,
            policy: None,
            upstream,
            shapes: Shapes::new(&config.reset.path),
            tracer: None,
            messages: config.reset.messages.clone(),
            log: config.log,
            _probe: probe,
        })
    }

    /// Whether a peer at that address may speak for others, or one on a Unix socket.
    pub(crate) fn trusts(&self, peer: Option<IpAddr>) -> bool {
        self.clients.trusts_peer(peer)
    }
}

/// Where Pingora is to look for roots. It panics where the system has none, although only an upstream under TLS without
/// roots of its own needs any, which [`Upstream::new`] has seen to.
pub(crate) fn roots() -> Option<String> {
    let none = rustls_native_certs::load_native_certs().certs.is_empty();
    none.then(|| "/dev/null".to_owned())
}

/// Pingora panics where it cannot read the system's roots.
pub(crate) fn rooted<T>(make: impl FnOnce() -> T) -> Result<T, NoRoots> {
    catch_unwind(AssertUnwindSafe(make)).map_err(|_| NoRoots)
}
