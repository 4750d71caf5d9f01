//! Numbers for Prometheus, in its text format.
//!
//! Every label's values are a closed set, and every series is there from the start, at zero; what must be asked for is at
//! -1 until it is known.

mod causes;
mod doors;
mod endpoints;

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, PullingGauge, Registry, TextEncoder, core::Collector,
};

pub use self::causes::{Breaking, Cap, Denial, Slow};
pub use self::doors::{Announcement, Doors, Handshake};
pub use self::endpoints::{Backend, EndpointStates, Failure};
use super::labels::{
    CAPS, DENIALS, LANES, PACES, REASONS, RULES, SERVICES, cap, denial, lane, rule, service, slow, why,
};
use crate::reset::ports::{Event, Time};

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// A metric that Prometheus does not take: a name that is malformed or there already.
#[derive(Debug, thiserror::Error)]
#[error("metric: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

const MAIL: &[&str] = &["queued", "joined", "sent", "delayed", "dropped"];
const FULL: &[&str] = &["outbox", "codes", "submits", "look_ups", "limiter_keys"];
const SHOWN: &[&str] = &["right", "wrong"];
const CHANGES: &[&str] = &["set", "refused", "unknown"];
/// The upstream's own self-service processes that are looked for.
pub const UPSTREAM_PROCESSES: [&str; 3] = ["reset", "username", "registration"];
/// What is told of a process of which nothing is known.
const UNKNOWN: i64 = -1;
const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// What became of a reload.
const RELOADS: &[&str] = &["done", "failed"];

/// Everything that is counted, in a registry of its own.
#[derive(Debug)]
pub struct Metrics {
    /// Of what comes before a connection's first request.
    pub doors: Doors,
    registry: Registry,
    limited: IntCounterVec,
    observed: IntCounterVec,
    near: IntCounterVec,
    decoyed: IntCounterVec,
    mail: IntCounterVec,
    full: IntCounterVec,
    codes: IntCounterVec,
    passwords: IntCounterVec,
    links: IntCounter,
    floors: IntCounter,
    services: IntCounterVec,
    broken: IntCounter,
    panics: IntCounter,
    hearsay: IntCounter,
    disguised: IntCounter,
    malformed: IntCounter,
    denied: IntCounterVec,
    connections: IntGauge,
    evicted: IntCounterVec,
    refused: IntCounterVec,
    slow: IntCounterVec,
    reloads: IntCounterVec,
    breaker: IntGauge,
    breaker_opened: IntCounter,
    breaker_refused: IntCounter,
    upstream_failures: IntCounter,
    upstream_processes: IntGaugeVec,
    endpoints: endpoints::Endpoints,
    answered: Classes,
    passed: Classes,
}

impl Metrics {
    /// All at zero. `started` is when the process did.
    pub fn new(started: Time) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let r = &registry;
        let made = Self {
            doors: Doors::new(r)?,
            limited: family(r, "limited_requests", "Requests that a limit refused", &[("rule", RULES)])?,
            observed: family(r, "limit_observed", "Requests that an observed limit would refuse", &[("rule", RULES)])?,
            near: family(r, "limit_near", "Requests after which a limit was four fifths used up", &[("rule", RULES)])?,
            decoyed: family(r, "decoyed_starts", "User queries that went on without an account", &[("why", REASONS)])?,
            mail: family(r, "mail_messages", "Mails, and starts that joined one", &[("outcome", MAIL)])?,
            full: family(r, "full_refusals", "Requests refused for want of room", &[("what", FULL)])?,
            codes: family(r, "code_attempts", "Codes shown", &[("lane", LANES), ("outcome", SHOWN)])?,
            passwords: family(r, "password_changes", "Passwords sent to the identity store", &[("outcome", CHANGES)])?,
            links: counter(r, "link_refusals", "Links whose account was changed or removed since")?,
            floors: counter(r, "floor_misses", "Look-ups that took longer than the answer floor")?,
            services: family(
                r,
                "service_failures",
                "Times that a service did not do its work",
                &[("service", SERVICES)],
            )?,
            broken: counter(r, "broken_states", "States of the engine that should never be")?,
            panics: counter(r, "panic_answers", "Requests that ended in a panic")?,
            hearsay: counter(
                r,
                "untrusted_forwarding_headers",
                "Requests of peers that may not say who the client is, and do",
            )?,
            disguised: counter(r, "disguised_targets", "Targets refused that look like the reset path to some reader")?,
            malformed: counter(r, "malformed_requests", "Requests refused that readers could disagree on")?,
            denied: family(r, "denied_requests", "Requests refused by [edge]", &[("why", DENIALS)])?,
            connections: gauge(r, "open_connections", "Clients' connections that are open")?,
            evicted: family(
                r,
                "evicted_connections",
                "Connections closed for another while they waited for a request",
                &[("cap", CAPS)],
            )?,
            refused: family(
                r,
                "refused_connections",
                "Connections, or streams of HTTP/2, that there was no room for",
                &[("cap", CAPS)],
            )?,
            slow: family(
                r,
                "slow_connections",
                "Connections closed because their client was too slow",
                &[("at", PACES)],
            )?,
            reloads: family(r, "reloads", "Configurations taken up, or not", &[("outcome", RELOADS)])?,
            breaker: gauge(
                r,
                "identity_breaker",
                "Whether the identity store is asked: 0, 1 now and then, 2 not at all",
            )?,
            breaker_opened: counter(
                r,
                "identity_breaker_opened",
                "Times that the identity store was found to be down",
            )?,
            breaker_refused: counter(r, "identity_breaker_refusals", "Calls not made because it is down")?,
            upstream_failures: counter(r, "upstream_failures", "Requests that the upstream failed")?,
            upstream_processes: processes(r)?,
            endpoints: endpoints::Endpoints::new(r)?,
            answered: Classes::new(r, "reset_requests", "Requests answered on the reset path")?,
            passed: Classes::new(r, "passed_requests", "Requests passed to the upstream")?,
            registry,
        };
        made.constant("start_time_seconds", "When the process started, in seconds since the Unix epoch", started)?;
        Ok(made)
    }

    fn constant(&self, name: &str, help: &str, started: Time) -> Result<(), MetricsError> {
        let start = IntGauge::with_opts(opts(name, help))?;
        start.set(i64::try_from(started.secs()).unwrap_or(i64::MAX));
        let build = opts("build_info", "Always 1; the version is in the label")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        let build = IntGauge::with_opts(build)?;
        build.set(1);
        register(&self.registry, &start)?;
        register(&self.registry, &build)
    }

    /// Adds `resetgate_<name>`, read whenever somebody looks; `read` must not block.
    pub fn gauge(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Result<(), MetricsError> {
        let gauge = PullingGauge::new(format!("resetgate_{name}"), help, Box::new(read))?;
        Ok(self.registry.register(Box::new(gauge))?)
    }

    /// Adds `resetgate_<name>`, what of something bounded is in use, and `resetgate_<name>_capacity`, its bound.
    pub fn bounded(
        &self,
        name: &str,
        help: &str,
        capacity: usize,
        read: impl Fn() -> usize + Send + Sync + 'static,
    ) -> Result<(), MetricsError> {
        self.gauge(name, help, move || read() as f64)?;
        self.gauge(&format!("{name}_capacity"), &format!("{help}: the most"), move || capacity as f64)
    }

    /// Counts an answer of ours on the reset path.
    pub fn answered(&self, status: u16) {
        self.answered.count(status);
    }

    /// Counts an answer of the upstream, or ours where there was none.
    pub fn passed(&self, status: u16) {
        self.passed.count(status);
    }

    /// Counts a panic that was caught.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// Counts a forwarding header of a peer that is not to be believed.
    pub fn hearsay(&self) {
        self.hearsay.inc();
    }

    /// Counts a target that somebody could take for the reset path, though it is not spelled like it.
    pub fn disguised(&self) {
        self.disguised.inc();
    }

    /// Counts a request that readers could disagree on.
    pub fn malformed(&self) {
        self.malformed.inc();
    }

    /// Counts a request that `[edge]` keeps from the upstream.
    pub fn denied(&self, why: Denial) {
        add(&self.denied, &[denial(why)]);
    }

    /// Tells how many connections of clients are open.
    pub fn connections(&self, open: usize) {
        self.connections.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// Counts a connection that went for another.
    pub fn connection_evicted(&self, at: Cap) {
        add(&self.evicted, &[cap(at)]);
    }

    /// Counts a connection that was not let in.
    pub fn connection_refused(&self, at: Cap) {
        add(&self.refused, &[cap(at)]);
    }

    /// Counts a connection whose client was waited for too long.
    pub fn connection_was_slow(&self, at: Slow) {
        add(&self.slow, &[slow(at)]);
    }

    /// A configuration was taken up, or not.
    pub fn reloaded(&self, done: bool) {
        add(&self.reloads, &[if done { "done" } else { "failed" }]);
    }

    /// Tells what the identity store's breaker does, and counts each time that it opens.
    pub fn breaker(&self, now: Breaking) {
        self.breaker.set(match now {
            Breaking::Closed => 0,
            Breaking::HalfOpen => 1,
            Breaking::Open => 2,
        });
        if now == Breaking::Open {
            self.breaker_opened.inc();
        }
    }

    /// Counts a call that the breaker kept from the identity store.
    pub fn breaker_refused(&self) {
        self.breaker_refused.inc();
    }

    /// Counts a request that could not be passed on, or not to its end, for the upstream's fault.
    pub fn upstream_failed(&self) {
        self.upstream_failures.inc();
    }

    /// Tells whether one of [`UPSTREAM_PROCESSES`] answers strangers; `None` if the upstream did not say.
    pub fn upstream_process(&self, name: &'static str, open: Option<bool>) {
        if let Ok(gauge) = self.upstream_processes.get_metric_with_label_values(&[name]) {
            gauge.set(open.map_or(UNKNOWN, i64::from));
        }
    }

    /// Counts what the engine and its adapters report.
    pub fn count(&self, event: Event) {
        match event {
            Event::Limited { rule: of } => add(&self.limited, &[rule(of)]),
            Event::LimitObserved { rule: of } => add(&self.observed, &[rule(of)]),
            Event::LimitNear { rule: of } => add(&self.near, &[rule(of)]),
            Event::Decoyed { why: for_this } => add(&self.decoyed, &[why(for_this)]),
            Event::MailQueued { .. } => add(&self.mail, &["queued"]),
            Event::MailJoined { .. } => add(&self.mail, &["joined"]),
            Event::MailSent { .. } => add(&self.mail, &["sent"]),
            Event::MailDelayed { .. } => add(&self.mail, &["delayed"]),
            Event::MailDropped { .. } => add(&self.mail, &["dropped"]),
            Event::OutboxFull => add(&self.full, &["outbox"]),
            Event::CodesFull => add(&self.full, &["codes"]),
            Event::SubmitsFull => add(&self.full, &["submits"]),
            Event::LookUpsFull => add(&self.full, &["look_ups"]),
            Event::KeysFull => add(&self.full, &["limiter_keys"]),
            Event::CodeRight { lane: of, .. } => add(&self.codes, &[lane(of), "right"]),
            Event::CodeWrong { lane: of, .. } => add(&self.codes, &[lane(of), "wrong"]),
            Event::PasswordRefused { .. } => add(&self.passwords, &["refused"]),
            Event::PasswordSet { .. } => add(&self.passwords, &["set"]),
            Event::OutcomeUnknown { .. } => add(&self.passwords, &["unknown"]),
            Event::LinkInvalid { .. } => self.links.inc(),
            Event::FloorMissed => self.floors.inc(),
            Event::ServiceDown { service: of } => add(&self.services, &[service(of)]),
            Event::Broken { .. } => self.broken.inc(),
        }
    }

    /// All of it, as Prometheus reads it (text format 0.0.4).
    pub fn render(&self) -> String {
        self.endpoints.refresh();
        let mut text = String::new();
        // Fails on a metric without samples, of which there is none here; what was written before it still stands.
        let _ = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text);
        text
    }
}

/// One counter a class of status, without a look-up: these are on the way of every request.
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

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("resetgate_{name}"), help)
}

fn register(registry: &Registry, metric: &(impl Collector + Clone + 'static)) -> Result<(), MetricsError> {
    Ok(registry.register(Box::new(metric.clone()))?)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, MetricsError> {
    let made = IntCounter::with_opts(opts(&format!("{name}_total"), help))?;
    register(registry, &made)?;
    Ok(made)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
    let made = IntGauge::with_opts(opts(name, help))?;
    register(registry, &made)?;
    Ok(made)
}

/// A counter with labels, each of which takes the values listed.
fn family(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[(&str, &[&str])],
) -> Result<IntCounterVec, MetricsError> {
    let names: Vec<_> = labels.iter().map(|(name, _)| *name).collect();
    let made = IntCounterVec::new(opts(&format!("{name}_total"), help), &names)?;
    register(registry, &made)?;
    let mut series = vec![Vec::new()];
    for (_, values) in labels {
        series = series.iter().flat_map(|so_far| values.iter().map(move |v| [so_far, &[*v][..]].concat())).collect();
    }
    for values in series {
        made.get_metric_with_label_values(&values)?;
    }
    Ok(made)
}

fn processes(registry: &Registry) -> Result<IntGaugeVec, MetricsError> {
    let help = "Whether the upstream's own process let strangers in when last asked: 1, 0, or -1 if it is not known";
    let made = IntGaugeVec::new(opts("upstream_process_open", help), &["process"])?;
    register(registry, &made)?;
    for name in UPSTREAM_PROCESSES {
        made.get_metric_with_label_values(&[name])?.set(UNKNOWN);
    }
    Ok(made)
}

fn add(family: &IntCounterVec, values: &[&str]) {
    // Fails only on a wrong number of labels. A count lost is better than a request.
    if let Ok(counter) = family.get_metric_with_label_values(values) {
        counter.inc();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::reset::ports::{Decoy, Lane, Rule, Service};

    /// One of each kind, with the series that it counts in.
    pub(in crate::telemetry) fn one_of_each() -> Vec<(Event, &'static str)> {
        let account = [0xab; 16];
        vec![
            (Event::Limited { rule: Rule::StartTotal }, "limited_requests_total{rule=\"start_total\"}"),
            (Event::LimitObserved { rule: Rule::Client }, "limit_observed_total{rule=\"client\"}"),
            (Event::LimitNear { rule: Rule::MailTotal }, "limit_near_total{rule=\"mail_total\"}"),
            (Event::Decoyed { why: Decoy::LookUpFailed }, "decoyed_starts_total{why=\"look_up_failed\"}"),
            (Event::MailQueued { account }, "mail_messages_total{outcome=\"queued\"}"),
            (Event::MailJoined { account }, "mail_messages_total{outcome=\"joined\"}"),
            (Event::MailSent { account }, "mail_messages_total{outcome=\"sent\"}"),
            (Event::MailDelayed { account }, "mail_messages_total{outcome=\"delayed\"}"),
            (Event::MailDropped { account }, "mail_messages_total{outcome=\"dropped\"}"),
            (Event::OutboxFull, "full_refusals_total{what=\"outbox\"}"),
            (Event::CodesFull, "full_refusals_total{what=\"codes\"}"),
            (Event::SubmitsFull, "full_refusals_total{what=\"submits\"}"),
            (Event::KeysFull, "full_refusals_total{what=\"limiter_keys\"}"),
            (Event::LookUpsFull, "full_refusals_total{what=\"look_ups\"}"),
            (Event::CodeRight { account, lane: Lane::Link }, "code_attempts_total{lane=\"link\",outcome=\"right\"}"),
            (Event::CodeWrong { account, lane: Lane::Asker }, "code_attempts_total{lane=\"asker\",outcome=\"wrong\"}"),
            (Event::PasswordRefused { account }, "password_changes_total{outcome=\"refused\"}"),
            (Event::PasswordSet { account }, "password_changes_total{outcome=\"set\"}"),
            (Event::OutcomeUnknown { account }, "password_changes_total{outcome=\"unknown\"}"),
            (Event::LinkInvalid { account }, "link_refusals_total"),
            (Event::FloorMissed, "floor_misses_total"),
            (Event::ServiceDown { service: Service::Codes }, "service_failures_total{service=\"codes\"}"),
            (Event::Broken { what: "test" }, "broken_states_total"),
        ]
    }

    fn value(text: &str, series: &str) -> String {
        let start = format!("resetgate_{series} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&start))
            .unwrap_or_else(|| panic!("{series}:\n{text}"))
            .to_owned()
    }

    #[test]
    fn each_event_counts_in_its_own_series() {
        let metrics = Metrics::new(Time::from_millis(5_900)).unwrap();
        let before = metrics.render();
        for (_, series) in one_of_each() {
            assert_eq!(value(&before, series), "0");
        }
        for (event, series) in one_of_each() {
            metrics.count(event);
            assert_eq!(value(&metrics.render(), series), "1");
        }
        let ones = metrics.render().lines().filter(|l| l.ends_with(" 1") && l.contains("_total")).count();
        assert_eq!(ones, one_of_each().len());
        assert_eq!(before.lines().count(), metrics.render().lines().count());
    }

    #[test]
    fn requests_count_by_class() {
        let metrics = Metrics::new(Time::from_millis(5_900)).unwrap();
        for status in [0, 99, 100, 200, 204, 302, 404, 429, 503, 600, u16::MAX] {
            metrics.answered(status);
        }
        metrics.passed(200);
        metrics.panicked();
        metrics.denied(Denial::MethodOverride);
        metrics.upstream_process("username", Some(true));
        metrics.upstream_process("registration", Some(false));
        metrics.connections(7);
        metrics.connection_evicted(Cap::Client);
        metrics.connection_refused(Cap::Total);
        metrics.connection_was_slow(Slow::Body);
        let text = metrics.render();
        let counted = CLASSES.map(|class| value(&text, &format!("reset_requests_total{{status=\"{class}\"}}")));
        assert_eq!(counted, ["4", "1", "2", "1", "2", "1"]);
        assert_eq!(value(&text, "passed_requests_total{status=\"2xx\"}"), "1");
        assert_eq!(value(&text, "panic_answers_total"), "1");
        assert_eq!(value(&text, "denied_requests_total{why=\"method_override\"}"), "1");
        assert_eq!(value(&text, "open_connections"), "7");
        assert_eq!(value(&text, "evicted_connections_total{cap=\"client\"}"), "1");
        assert_eq!(value(&text, "refused_connections_total{cap=\"total\"}"), "1");
        assert_eq!(value(&text, "slow_connections_total{at=\"body\"}"), "1");
        let open = UPSTREAM_PROCESSES.map(|name| value(&text, &format!("upstream_process_open{{process=\"{name}\"}}")));
        assert_eq!(open, ["-1", "1", "0"]);
        assert_eq!(value(&text, "start_time_seconds"), "5");
        assert_eq!(value(&text, concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")), "1");
    }

    #[test]
    fn gauges_are_read_when_looked_at_and_named_once() {
        let metrics = Metrics::new(Time::from_millis(0)).unwrap();
        let depth = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(3));
        let read = std::sync::Arc::clone(&depth);
        metrics
            .gauge("outbox_depth", "Mails waiting", move || read.load(std::sync::atomic::Ordering::Relaxed).into())
            .unwrap();
        assert_eq!(value(&metrics.render(), "outbox_depth"), "3");
        depth.store(4, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(value(&metrics.render(), "outbox_depth"), "4");
        assert!(metrics.gauge("outbox_depth", "Again", || 0.0).is_err());
        assert!(metrics.gauge("not a name", "Bad", || 0.0).is_err());
    }
}
