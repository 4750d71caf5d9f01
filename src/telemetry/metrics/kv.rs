//! Numbers of the server that codes are on. They are there only where there is such a server.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};

use super::{
    Metrics, MetricsError,
    make::{add, buckets, counter, family, gauge, register},
};
use crate::telemetry::labels::{KV_CALLS, KV_FAILURES, kv_call, kv_failure};

/// From a server next door to the longest that a step may take.
const SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 7.5];

/// What is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvCall {
    /// Reading a record.
    Read,
    /// Writing it, unless it is another by now.
    Write,
    /// Taking room for a start.
    Reserve,
    /// Whether an equal request is at work or answered.
    Repeat,
    /// Keeping its answer.
    Answer,
    /// Spending what is good once, or taking that back.
    Spend,
    /// Charging limits.
    Limit,
    /// Waiting for its replicas.
    Copied,
}

impl KvCall {
    const ALL: usize = KV_CALLS.len();
}

/// Why a call came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvFailure {
    /// There is no connection: it was not asked.
    Down,
    /// It did not answer in time.
    Timeout,
    /// The connection broke.
    Broken,
    /// It has no memory left.
    Full,
    /// It is not the one to write to any more, or not yet.
    Moved,
    /// It answered with another error.
    Refused,
    /// Its answer made no sense.
    Malformed,
    /// Too few of its replicas had it in time.
    NotCopied,
}

impl KvFailure {
    /// How many there are.
    pub const ALL: usize = KV_FAILURES.len();
}

/// The counters, the gauge and the times.
#[derive(Clone, Debug)]
pub struct KvNumbers {
    up: IntGauge,
    connections: IntCounter,
    failures: IntCounterVec,
    times: [Histogram; KvCall::ALL],
    conflicts: IntCounter,
    forged: IntCounter,
    returned: IntCounter,
}

impl KvNumbers {
    fn new(r: &Registry) -> Result<Self, MetricsError> {
        let help = "How long calls of the server that codes are on took";
        let times = HistogramVec::new(buckets("codes_store_call_duration_seconds", help, SECONDS), &["call"])?;
        register(r, &times)?;
        let of = |call| times.get_metric_with_label_values(&[kv_call(call)]);
        let times = [
            of(KvCall::Read)?,
            of(KvCall::Write)?,
            of(KvCall::Reserve)?,
            of(KvCall::Repeat)?,
            of(KvCall::Answer)?,
            of(KvCall::Spend)?,
            of(KvCall::Limit)?,
            of(KvCall::Copied)?,
        ];
        Ok(Self {
            up: gauge(r, "codes_store_up", "Whether the server that codes are on can be used")?,
            connections: counter(r, "codes_store_connections", "Connections made to the server that codes are on")?,
            failures: family(
                r,
                "codes_store_failures",
                "Calls of the server that codes are on that came to nothing",
                &[("why", KV_FAILURES)],
            )?,
            times,
            conflicts: counter(r, "codes_store_conflicts", "Steps done again because another process was faster")?,
            forged: counter(
                r,
                "codes_store_forged",
                "Records and answers there that are not ours, or of another place",
            )?,
            returned: counter(r, "codes_store_returned", "Records there that came back after they had been changed")?,
        })
    }

    /// Tells whether the server can be used, and counts each time that it begins to be.
    pub fn up(&self, up: bool) {
        self.up.set(up.into());
        if up {
            self.connections.inc();
        }
    }

    /// Counts a call that came to nothing.
    pub fn failed(&self, why: KvFailure) {
        add(&self.failures, &[kv_failure(why)]);
    }

    /// Takes note of how long a call took.
    pub fn took(&self, call: KvCall, time: Duration) {
        if let Some(times) = self.times.get(call as usize) {
            times.observe(time.as_secs_f64());
        }
    }

    /// Counts a step that has to be done again.
    pub fn conflicted(&self) {
        self.conflicts.inc();
    }

    /// Counts what somebody else wrote.
    pub fn forged(&self) {
        self.forged.inc();
    }

    /// Counts a record that is older than what was there before.
    pub fn returned(&self) {
        self.returned.inc();
    }
}

impl Metrics {
    /// Numbers of a server that codes are on, for whoever has one; once.
    ///
    /// # Errors
    /// The second time.
    pub fn kv(&self) -> Result<KvNumbers, MetricsError> {
        KvNumbers::new(&self.registry)
    }
}
