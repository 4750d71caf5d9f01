//! Numbers of requests: which way they went, what they were answered, and how long that took. They are on the way of every
//! request: each is a handle of its own, and nothing is looked up.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntGauge, IntGaugeVec, Registry};

use super::{
    MetricsError,
    make::{buckets, counter, family, histogram, opts, register},
};

const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];
const ROUTES: [&str; 2] = ["reset", "passed"];
const ASKED: [&str; 4] = ["read", "submit", "preflight", "refused"];

/// Up to what a client waits, with a border on either side of the usual answer floor's (250 ms) first four multiples.
pub(super) const STEP_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.1, 2.1, 5.1, 10.1, 20.1];
/// From what a server in the same rack takes to the longest that one is waited for.
pub(super) const CALL_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// What a request to the reset path asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// The first requirements.
    Read,
    /// A step of a flow.
    Submit,
    /// Whether a page of another site may ask.
    Preflight,
    /// Something that the engine does not get to see.
    #[default]
    Refused,
}

/// A request under way, until this is dropped.
#[derive(Debug)]
pub struct UnderWay(IntGauge);

impl UnderWay {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The counters, gauges and histograms.
#[derive(Debug)]
pub struct Requests {
    reset: IntGauge,
    passing: IntGauge,
    queued: IntCounter,
    answered: Classes,
    policy: Classes,
    passed: Classes,
    refused: Classes,
    answers: [Histogram; 4],
    passages: Histogram,
    first_bytes: Histogram,
}

impl Requests {
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let r = registry;
        let help = "Requests that are being answered or passed on";
        let under_way = IntGaugeVec::new(opts("requests_in_flight", help), &["route"])?;
        register(r, &under_way)?;
        let [reset, passing] = ROUTES.map(|route| under_way.get_metric_with_label_values(&[route]));
        let help = "How long requests on the reset path took, from their head to the end of their answer";
        let answers = HistogramVec::new(buckets("reset_request_duration_seconds", help, STEP_SECONDS), &["kind"])?;
        register(r, &answers)?;
        let [read, submit, preflight, refused] = ASKED.map(|kind| answers.get_metric_with_label_values(&[kind]));
        let help = "How long passed requests took, from their head to the end of their answer";
        let passages = histogram(r, "passed_request_duration_seconds", help, CALL_SECONDS)?;
        let help = "How long the upstream took to begin an answer, connecting and further tries included; from the end of \
                    the request's body on";
        let first_bytes = histogram(r, "upstream_first_byte_seconds", help, CALL_SECONDS)?;
        Ok(Self {
            reset: reset?,
            passing: passing?,
            queued: counter(r, "queued_requests", "Requests that waited for their turn, for all workers were busy")?,
            answered: Classes::new(r, "reset_requests", "Requests answered on the reset path")?,
            policy: Classes::new(r, "policy_requests", "Requests for the password policy that are answered here")?,
            passed: Classes::new(r, "passed_requests", "Requests passed to the upstream")?,
            refused: Classes::new(r, "refused_requests", "Requests that were neither, for they were refused before")?,
            answers: [read?, submit?, preflight?, refused?],
            passages,
            first_bytes,
        })
    }

    /// A request to the reset path, as long as it lives.
    pub fn answering(&self) -> UnderWay {
        UnderWay::new(&self.reset)
    }

    /// A request to the upstream, as long as it lives.
    pub fn passing(&self) -> UnderWay {
        UnderWay::new(&self.passing)
    }

    /// Counts one that waits before anything is done with it.
    pub fn queued(&self) {
        self.queued.inc();
    }

    /// Counts an answer of ours on the reset path.
    pub fn answered(&self, status: u16, asked: Asked, took: Duration) {
        self.answered.count(status);
        let [read, submit, preflight, refused] = &self.answers;
        let answers = match asked {
            Asked::Read => read,
            Asked::Submit => submit,
            Asked::Preflight => preflight,
            Asked::Refused => refused,
        };
        answers.observe(took.as_secs_f64());
    }

    /// Counts an answer of ours on the path of the password policy.
    pub fn told_policy(&self, status: u16) {
        self.policy.count(status);
    }

    /// Counts an answer of the upstream, or ours where there was none. A tunnel's time is no request's.
    pub fn passed(&self, status: u16, took: Option<Duration>) {
        self.passed.count(status);
        if let Some(took) = took {
            self.passages.observe(took.as_secs_f64());
        }
    }

    /// Counts an answer to what is for neither.
    pub fn refused(&self, status: u16) {
        self.refused.count(status);
    }

    /// Counts how long the upstream was waited for.
    pub fn first_byte(&self, took: Duration) {
        self.first_bytes.observe(took.as_secs_f64());
    }
}

/// One counter a class of status, without a look-up.
#[derive(Debug)]
struct Classes([IntCounter; 6]);

impl Classes {
    fn new(registry: &Registry, name: &str, help: &str) -> Result<Self, MetricsError> {
        let all = family(registry, name, help, &[("status", &CLASSES)])?;
        let [other, c1, c2, c3, c4, c5] = CLASSES.map(|class| all.get_metric_with_label_values(&[class]));
        Ok(Self([other?, c1?, c2?, c3?, c4?, c5?]))
    }

    fn count(&self, status: u16) {
        let [other, ..] = &self.0;
        self.0.get(usize::from(status / 100)).unwrap_or(other).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{Metrics, tests::value};

    #[test]
    fn requests_count_by_class_and_time() {
        let metrics = Metrics::new(crate::reset::ports::Time::from_millis(0)).unwrap();
        let requests = &metrics.requests;
        for status in [0, 99, 100, 200, 204, 302, 404, 429, 503, 600, u16::MAX] {
            requests.answered(status, Asked::Submit, Duration::from_millis(252));
        }
        requests.passed(200, Some(Duration::from_millis(1)));
        requests.passed(101, None);
        requests.refused(404);
        requests.first_byte(Duration::from_micros(700));
        let (one, other) = (requests.answering(), requests.passing());
        let text = metrics.render();
        let counted = CLASSES.map(|class| value(&text, &format!("reset_requests_total{{status=\"{class}\"}}")));
        assert_eq!(counted, ["4", "1", "2", "1", "2", "1"]);
        for (series, expected) in [
            ("passed_requests_total{status=\"2xx\"}", "1"),
            ("passed_requests_total{status=\"1xx\"}", "1"),
            ("refused_requests_total{status=\"4xx\"}", "1"),
            ("reset_request_duration_seconds_bucket{kind=\"submit\",le=\"0.2\"}", "0"),
            ("reset_request_duration_seconds_bucket{kind=\"submit\",le=\"0.3\"}", "11"),
            ("reset_request_duration_seconds_count{kind=\"read\"}", "0"),
            ("passed_request_duration_seconds_bucket{le=\"0.0005\"}", "0"),
            ("passed_request_duration_seconds_bucket{le=\"0.001\"}", "1"),
            ("passed_request_duration_seconds_count", "1"),
            ("upstream_first_byte_seconds_sum", "0.0007"),
            ("requests_in_flight{route=\"reset\"}", "1"),
            ("requests_in_flight{route=\"passed\"}", "1"),
        ] {
            assert_eq!(value(&text, series), expected, "{series}");
        }
        drop((one, other));
        assert_eq!(value(&metrics.render(), "requests_in_flight{route=\"reset\"}"), "0");
    }
}
