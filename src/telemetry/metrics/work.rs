//! Numbers of the work behind a reset: steps of flows, calls to the identity store, and mails on their way.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounterVec, Registry};

use super::{
    Metrics, MetricsError,
    make::{add, buckets, family, histogram, register},
    requests::{CALL_SECONDS, STEP_SECONDS},
};
use crate::{
    reset::ports::Went,
    telemetry::labels::{CALL_FAILURES, CALLS, WENT, call, call_failure, went},
};

/// The stages that there are; "none" is a step that no stage gets to see, for its token or its body is no good.
pub const STAGES: &[&str] = &[
    "none",
    "parameters",
    "captcha",
    "userQuery",
    "validateActiveAccount",
    "emailValidation",
    "kbaSecurityAnswerVerificationStage",
    "resetStage",
];
/// From what a relay next door takes to the longest life of a link.
const MAIL_SECONDS: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0];

/// What a call to the identity store is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityCall {
    /// A look-up.
    Find,
    /// Reading one account again.
    Read,
    /// Setting a password.
    Patch,
    /// Sending a letter by its own mail service.
    Mail,
    /// Asking for its password policy.
    Policy,
    /// Ending an account's sessions.
    Revoke,
}

/// How one failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// Too many calls were under way for too long.
    Busy,
    /// The breaker is open: nobody was asked.
    Open,
    /// There is no access token to ask with.
    Token,
    /// The request could not be made.
    Request,
    /// No connection came about.
    Connect,
    /// The deadline passed.
    Timeout,
    /// The connection broke.
    Lost,
    /// The answer was too long.
    TooLong,
    /// The status says no.
    Status,
    /// The answer is not what the store's protocol says.
    Malformed,
}

impl IdentityCall {
    /// How many there are.
    pub const ALL: usize = CALLS.len();

    /// As in metrics and in the log.
    pub const fn as_str(self) -> &'static str {
        call(self)
    }
}

impl CallFailure {
    /// Its name, as metrics have it.
    pub const fn as_str(self) -> &'static str {
        call_failure(self)
    }

    /// How many there are.
    pub const ALL: usize = CALL_FAILURES.len();
}

/// The counters and histograms.
#[derive(Debug)]
pub(super) struct Work {
    steps: IntCounterVec,
    step_times: HistogramVec,
    calls: [Histogram; IdentityCall::ALL],
    call_failures: IntCounterVec,
    deliveries: Histogram,
}

impl Work {
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let r = registry;
        let help = "Steps of flows, by the stage that they were for and what came of them";
        let steps = family(r, "reset_steps", help, &[("stage", STAGES), ("outcome", WENT)])?;
        let help = "How long steps of flows took, the wait for the answer floor included; to the millisecond";
        let step_times = HistogramVec::new(buckets("reset_step_duration_seconds", help, STEP_SECONDS), &["stage"])?;
        register(r, &step_times)?;
        for stage in STAGES {
            step_times.get_metric_with_label_values(&[stage])?;
        }
        let help = "How long calls to the identity store took, the wait for their turn and the answer's body included";
        let calls = HistogramVec::new(buckets("identity_call_duration_seconds", help, CALL_SECONDS), &["call"])?;
        register(r, &calls)?;
        let of = |what| calls.get_metric_with_label_values(&[call(what)]);
        let calls = [
            of(IdentityCall::Find)?,
            of(IdentityCall::Read)?,
            of(IdentityCall::Patch)?,
            of(IdentityCall::Mail)?,
            of(IdentityCall::Policy)?,
            of(IdentityCall::Revoke)?,
        ];
        let help = "Calls to the identity store that failed";
        let kinds = [("call", CALLS), ("kind", CALL_FAILURES)];
        let call_failures = family(r, "identity_call_failures", help, &kinds)?;
        let help = "How long mails took from when they were queued until the relay took them";
        let deliveries = histogram(r, "mail_delivery_duration_seconds", help, MAIL_SECONDS)?;
        Ok(Self { steps, step_times, calls, call_failures, deliveries })
    }
}

impl Metrics {
    /// Counts a step of a flow; `stage` is one of [`STAGES`].
    pub fn stepped(&self, stage: &str, how: Went, took: Duration) {
        let stage = STAGES.iter().find(|known| **known == stage).copied().unwrap_or("none");
        add(&self.work.steps, &[stage, went(how)]);
        if let Ok(times) = self.work.step_times.get_metric_with_label_values(&[stage]) {
            times.observe(took.as_secs_f64());
        }
    }

    /// Counts a call to the identity store.
    pub fn called(&self, what: IdentityCall, failed: Option<CallFailure>, took: Duration) {
        let [find, read, patch, mail, policy, revoke] = &self.work.calls;
        let times = match what {
            IdentityCall::Find => find,
            IdentityCall::Read => read,
            IdentityCall::Patch => patch,
            IdentityCall::Mail => mail,
            IdentityCall::Policy => policy,
            IdentityCall::Revoke => revoke,
        };
        times.observe(took.as_secs_f64());
        if let Some(how) = failed {
            add(&self.work.call_failures, &[call(what), call_failure(how)]);
        }
    }

    /// Counts how long a mail took that a relay has taken.
    pub fn mail_taken(&self, after: Duration) {
        self.work.deliveries.observe(after.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::tests::value;

    #[test]
    fn work_is_counted_by_what_it_is() {
        let metrics = Metrics::new(crate::reset::ports::Time::from_millis(0)).unwrap();
        let lines = metrics.render().lines().count();
        metrics.stepped("userQuery", Went::Passed, Duration::from_millis(250));
        metrics.stepped("a stage that is not listed", Went::Refused, Duration::ZERO);
        metrics.called(IdentityCall::Find, None, Duration::from_millis(7));
        metrics.called(IdentityCall::Patch, Some(CallFailure::Timeout), Duration::from_secs(5));
        metrics.mail_taken(Duration::from_secs(1));
        let text = metrics.render();
        for (series, expected) in [
            ("reset_steps_total{outcome=\"passed\",stage=\"userQuery\"}", "1"),
            ("reset_steps_total{outcome=\"refused\",stage=\"none\"}", "1"),
            ("reset_step_duration_seconds_bucket{stage=\"userQuery\",le=\"0.2\"}", "0"),
            ("reset_step_duration_seconds_bucket{stage=\"userQuery\",le=\"0.3\"}", "1"),
            ("identity_call_duration_seconds_count{call=\"find\"}", "1"),
            ("identity_call_duration_seconds_bucket{call=\"patch\",le=\"5\"}", "1"),
            ("identity_call_failures_total{call=\"patch\",kind=\"timeout\"}", "1"),
            ("identity_call_failures_total{call=\"find\",kind=\"timeout\"}", "0"),
            ("mail_delivery_duration_seconds_sum", "1"),
        ] {
            assert_eq!(value(&text, series), expected, "{series}");
        }
        assert_eq!(text.lines().count(), lines, "every series is there from the start");
    }
}
