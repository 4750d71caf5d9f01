//! Numbers of the services outside that are asked over HTTP, beside the identity store.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, Registry};

use super::{
    CallFailure, Metrics, MetricsError,
    make::{add, buckets, family, register},
    requests::CALL_SECONDS,
};
use crate::telemetry::labels::{CALL_FAILURES, OUTBOUND, call_failure, outbound};

/// Which of them is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// Whether a captcha was solved.
    Captcha,
    /// How often a password was in somebody's breach.
    Breach,
    /// Who wants to hear that a password was set.
    Webhook,
    /// Who ends an account's sessions.
    Revocation,
}

impl Outbound {
    /// As in metrics and in the log.
    pub const fn as_str(self) -> &'static str {
        outbound(self)
    }
}

/// The times and the failures.
#[derive(Debug)]
pub(super) struct Calls {
    times: HistogramVec,
    failures: IntCounterVec,
}

impl Calls {
    pub(super) fn new(r: &Registry) -> Result<Self, MetricsError> {
        let help = "How long calls to other services took, the wait for their turn and the answer's body included";
        let times = HistogramVec::new(buckets("outbound_call_duration_seconds", help, CALL_SECONDS), &["service"])?;
        register(r, &times)?;
        for service in OUTBOUND {
            times.get_metric_with_label_values(&[service])?;
        }
        let kinds = [("service", OUTBOUND), ("kind", CALL_FAILURES)];
        let failures = family(r, "outbound_call_failures", "Calls to other services that failed", &kinds)?;
        Ok(Self { times, failures })
    }
}

impl Metrics {
    /// Counts a call to another service.
    pub fn called_out(&self, whom: Outbound, failed: Option<CallFailure>, took: Duration) {
        if let Ok(times) = self.outbound.times.get_metric_with_label_values(&[outbound(whom)]) {
            times.observe(took.as_secs_f64());
        }
        if let Some(how) = failed {
            add(&self.outbound.failures, &[outbound(whom), call_failure(how)]);
        }
    }
}
