//! The gate, and Pingora around it.

use std::{num::NonZeroUsize, sync::Arc, thread::available_parallelism};

use pingora::{
    apps::HttpServerOptions,
    proxy::{HttpProxy, http_proxy},
    server::configuration::ServerConf,
};

use super::{StartError, admission::Admission};
use crate::{
    config::Config,
    proxy::{Gate, Passing, rooted, roots},
    telemetry::metrics::Metrics,
};

/// How often a passed request may be sent: to three addresses, and on one kept connection that was just being closed.
const MAX_TRIES: usize = 4;

/// Who is given requests.
#[derive(Clone)]
pub(super) struct Front {
    /// Answers those that it takes.
    pub(super) gate: Arc<Gate>,
    /// Does with every other one what the gate says.
    pub(super) proxy: Arc<HttpProxy<Passing>>,
    /// Says when those of the proxy begin.
    pub(super) admission: Arc<Admission>,
}

impl Front {
    pub(super) fn new(gate: Gate, config: &Config, metrics: Arc<Metrics>) -> Result<Self, StartError> {
        let gate = Arc::new(gate);
        let proxy = Arc::new(proxy(Passing(Arc::clone(&gate)), config)?);
        Ok(Self { gate, proxy, admission: Arc::new(Admission::new(metrics)) })
    }
}

/// Pingora around the gate, with its options.
fn proxy(gate: Passing, config: &Config) -> Result<HttpProxy<Passing>, StartError> {
    let pool = config.upstream.pool_size;
    let processors = available_parallelism().map_or(1, NonZeroUsize::get);
    // It keeps so many connections for each of its threads.
    let threads = if pool.is_multiple_of(processors) { processors } else { 1 };
    let conf = Arc::new(ServerConf {
        threads,
        upstream_keepalive_pool_size: pool / threads,
        max_retries: MAX_TRIES,
        ca_file: roots(),
        ..ServerConf::default()
    });
    let mut proxy = rooted(|| http_proxy(&conf, gate))?;
    let mut options = HttpServerOptions::default();
    // It counts those that come after the first.
    options.keepalive_request_limit = Some(config.listen.connections.max_requests.saturating_sub(1));
    proxy.server_options = Some(options);
    Ok(proxy)
}
