//! Of services that are connected to: which of their addresses are up, and how they fail. The addresses are the
//! configuration's, or a name server's, and bounded.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Registry};

use super::{Metrics, MetricsError, add, counter, family, opts, register};
use crate::telemetry::labels::{BACKENDS, FAILURES, backend, failure};

/// A service that has addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Where other paths go.
    Upstream,
    /// Where accounts are.
    Identity,
}

impl Backend {
    /// As in metrics and in the log.
    pub const fn name(self) -> &'static str {
        backend(self)
    }
}

/// How an address, or the way to it, failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A name has no address.
    LookUp,
    /// It cannot be connected to.
    Connect,
    /// It did not take a connection in time.
    ConnectTimeout,
    /// The handshake of TLS failed.
    Tls,
    /// It did not answer in time.
    Silent,
    /// It ended a connection before its answer, or what it said is no answer.
    Broken,
    /// A check did not pass.
    Check,
}

/// Says each address of a service, and whether it is up.
pub type EndpointStates = dyn Fn(&mut dyn FnMut(String, bool)) + Send + Sync;

/// The metrics themselves.
pub(super) struct Endpoints {
    up: IntGaugeVec,
    failures: IntCounterVec,
    changes: IntCounterVec,
    retries: IntCounter,
    /// In the order in which they came: of a service's several, the last one that lives is the present one.
    shown: Mutex<Vec<(Backend, Weak<EndpointStates>)>>,
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints").finish_non_exhaustive()
    }
}

impl Endpoints {
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let help = "Whether requests go to this address of a service: 1, or 0 while it is left alone";
        let up = IntGaugeVec::new(opts("endpoint_up", help), &["service", "address"])?;
        register(registry, &up)?;
        let help = "Failures of a service's addresses, and of looking them up";
        let failures = family(registry, "endpoint_failures", help, &[("service", BACKENDS), ("kind", FAILURES)])?;
        let help = "Times that an address began to be left alone, or to be used again";
        let to = &["down", "up"];
        let changes = family(registry, "endpoint_changes", help, &[("service", BACKENDS), ("to", to)])?;
        let retries = counter(registry, "upstream_retries", "Requests that were tried once more, at another address")?;
        Ok(Self { up, failures, changes, retries, shown: Mutex::default() })
    }

    /// Asks how all are now.
    pub(super) fn refresh(&self) {
        let mut shown = self.shown.lock();
        shown.retain(|(_, states)| states.strong_count() > 0);
        self.up.reset();
        for at in [Backend::Upstream, Backend::Identity] {
            let states =
                shown.iter().rev().filter(|(service, _)| *service == at).find_map(|(_, states)| states.upgrade());
            if let Some(states) = states {
                states(&mut |address, up| {
                    if let Ok(gauge) = self.up.get_metric_with_label_values(&[at.name(), &address]) {
                        gauge.set(up.into());
                    }
                });
            }
        }
    }
}

impl Metrics {
    /// Shows a service's addresses as long as the other end lives, in place of those that were shown before.
    pub fn show_endpoints(&self, service: Backend, states: &Arc<EndpointStates>) {
        self.endpoints.shown.lock().push((service, Arc::downgrade(states)));
    }

    /// Counts a failure of an address.
    pub fn endpoint_failed(&self, service: Backend, how: Failure) {
        add(&self.endpoints.failures, &[backend(service), failure(how)]);
    }

    /// Counts an address that is used again, or left alone.
    pub fn endpoint_changed(&self, service: Backend, up: bool) {
        add(&self.endpoints.changes, &[backend(service), if up { "up" } else { "down" }]);
    }

    /// Counts a request that is tried once more.
    pub fn upstream_retried(&self) {
        self.endpoints.retries.inc();
    }
}
