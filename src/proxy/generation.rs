//! What of the gate comes from the configuration and is made anew with it. A request ends by the generation that it began
//! with.

use std::sync::Arc;

use super::{client::Clients, edge::Edge, origin::Origins, route::Router, upstream::Upstream};
use crate::{config::Config, reset::Engine, telemetry::metrics::Metrics};

/// One generation.
pub(crate) struct Generation {
    pub(super) router: Router,
    pub(super) clients: Clients,
    pub(super) origins: Origins,
    pub(super) edge: Edge,
    pub(super) engine: Arc<Engine>,
    pub(super) upstream: Arc<Upstream>,
}

impl Generation {
    /// That of a configuration, with an engine of the same one.
    pub(crate) fn new(config: &Config, engine: Arc<Engine>, upstream: Arc<Upstream>, metrics: &Arc<Metrics>) -> Self {
        Self {
            router: Router::new(&config.reset.path).denying(&config.edge.deny),
            clients: Clients::new(&config.listen, Arc::clone(metrics)),
            origins: Origins::new(&config.reset.cors_origins),
            edge: Edge::new(&config.edge),
            engine,
            upstream,
        }
    }
}
