//! Numbers for Prometheus, in its text format.
//!
//! Every label's values are a closed set, and every series is there from the start, at zero; what must be asked for is at
//! -1 until it is known.

mod causes;
mod doors;
mod endpoints;
mod kv;
mod make;
mod outbound;
mod process;
mod read;
mod requests;
#[cfg(test)]
pub(crate) mod tests;
mod work;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder};

pub use self::causes::{Breaking, Cap, Denial, Slow};
pub use self::doors::{Announcement, Doors, Handshake};
pub use self::endpoints::{Backend, EndpointStates, Failure};
pub use self::kv::{KvCall, KvFailure, KvNumbers};
use self::make::{add, counter, family, gauge, opts, register};
pub use self::outbound::Outbound;
pub(crate) use self::process::processor_time;
pub use self::requests::{Asked, Requests, UnderWay};
pub use self::work::{CallFailure, IdentityCall, STAGES};
use super::labels::{
    AFTER, CAPS, DENIALS, LANES, PACES, REASONS, RULES, SERVICES, after, cap, denial, lane, rule, service, slow, why,
};
use crate::reset::ports::{Event, Time};

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A metric that Prometheus does not take: a name that is malformed or there already.
#[derive(Debug, thiserror::Error)]
#[error("metric: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

const MAIL: &[&str] = &["queued", "joined", "sent", "delayed", "dropped"];
const FULL: &[&str] = &["outbox", "codes", "submits", "look_ups", "limiter_keys", "marks"];
const CAPTCHAS: &[&str] = &["solved", "refused", "spent"];
const SHOWN: &[&str] = &["right", "wrong"];
const ANSWERED: &[&str] = &["right", "wrong", "locked"];
const AFTER_HELP: &str = "What was done because a password was set";
const AFTER_ENDS: &[&str] = &["done", "delayed", "dropped"];
const CHANGES: &[&str] = &["set", "refused", "unknown"];
/// The upstream's own self-service processes that are looked for.
pub const UPSTREAM_PROCESSES: [&str; 3] = ["reset", "username", "registration"];
/// What is told of a process of which nothing is known.
const UNKNOWN: i64 = -1;

/// What became of a reload.
const RELOADS: &[&str] = &["done", "failed"];

/// Everything that is counted, in a registry of its own.
#[derive(Debug)]
pub struct Metrics {
    /// Of what comes before a connection's first request.
    pub doors: Doors,
    /// Of requests.
    pub requests: Requests,
    work: work::Work,
    outbound: outbound::Calls,
    registry: Registry,
    limited: IntCounterVec,
    observed: IntCounterVec,
    near: IntCounterVec,
    decoyed: IntCounterVec,
    mail: IntCounterVec,
    full: IntCounterVec,
    captchas: IntCounterVec,
    codes: IntCounterVec,
    kba: IntCounterVec,
    kba_unusable: IntCounter,
    passwords: IntCounterVec,
    after: IntCounterVec,
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
    pub(super) audit_written: IntCounter,
    pub(super) audit_dropped: IntCounter,
    endpoints: endpoints::Endpoints,
    accepted: IntCounter,
    reload_done: IntGauge,
    reload_time: IntGauge,
}

impl Metrics {
    /// All at zero. `started` is when the process did.
    pub fn new(started: Time) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let r = &registry;
        let made = Self {
            doors: Doors::new(r)?,
            requests: Requests::new(r)?,
            work: work::Work::new(r)?,
            outbound: outbound::Calls::new(r)?,
            limited: family(r, "limited_requests", "Requests that a limit refused", &[("rule", RULES)])?,
            observed: family(r, "limit_observed", "Requests that an observed limit would refuse", &[("rule", RULES)])?,
            near: family(r, "limit_near", "Requests after which a limit was four fifths used up", &[("rule", RULES)])?,
            decoyed: family(r, "decoyed_starts", "User queries that went on without an account", &[("why", REASONS)])?,
            mail: family(r, "mail_messages", "Mails, and starts that joined one", &[("outcome", MAIL)])?,
            full: family(r, "full_refusals", "Requests refused for want of room", &[("what", FULL)])?,
            captchas: family(r, "captchas", "Captchas answered, and answers used again", &[("outcome", CAPTCHAS)])?,
            codes: family(r, "code_attempts", "Codes shown", &[("lane", LANES), ("outcome", SHOWN)])?,
            kba: family(r, "kba_attempts", "Answers to security questions", &[("outcome", ANSWERED)])?,
            kba_unusable: counter(r, "kba_unusable_questions", "Security questions of accounts that cannot be asked")?,
            passwords: family(r, "password_changes", "Passwords sent to the identity store", &[("outcome", CHANGES)])?,
            after: family(r, "after_password", AFTER_HELP, &[("what", AFTER), ("outcome", AFTER_ENDS)])?,
            links: counter(r, "link_refusals", "Links whose account was changed or removed since")?,
            floors: counter(r, "floor_misses", "Look-ups that took longer than the answer floor")?,
            services: family(
                r,
                "service_failures",
                "Times that a service did not do its work",
                &[("service", SERVICES)],
            )?,
            broken: counter(r, "broken_states", "States of the engine that should never be")?,
            audit_written: counter(r, "audit_written", "Lines of the audit trail")?,
            audit_dropped: counter(
                r,
                "audit_dropped",
                "Records that are not in the audit trail: nobody took them in time",
            )?,
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
            accepted: counter(r, "accepted_connections", "Clients' connections that were let in")?,
            reload_done: gauge(
                r,
                "config_last_reload_successful",
                "Whether the last reload took up its configuration",
            )?,
            reload_time: gauge(
                r,
                "config_last_reload_success_timestamp_seconds",
                "When a configuration was last taken up, in seconds since the Unix epoch",
            )?,
            registry,
        };
        made.reload_done.set(1);
        made.reload_time.set(i64::try_from(started.secs()).unwrap_or(i64::MAX));
        process::process(&made.registry, started)?;
        made.build()?;
        Ok(made)
    }

    fn build(&self) -> Result<(), MetricsError> {
        // Whoever packages it may say what it was built from.
        let revision = option_env!("RESETGATE_REVISION").unwrap_or("unknown");
        let build = opts("build_info", "Always 1; what runs is in the labels")
            .const_label("version", env!("CARGO_PKG_VERSION"))
            .const_label("revision", revision);
        let build = IntGauge::with_opts(build)?;
        build.set(1);
        register(&self.registry, &build)
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

    /// Counts a connection that is let in.
    pub fn connection_accepted(&self) {
        self.accepted.inc();
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
    pub fn reloaded(&self, done: bool, now: Time) {
        add(&self.reloads, &[if done { "done" } else { "failed" }]);
        self.reload_done.set(done.into());
        if done {
            self.reload_time.set(i64::try_from(now.secs()).unwrap_or(i64::MAX));
        }
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

    /// Counts a line of the audit trail.
    pub fn audit_written(&self) {
        self.audit_written.inc();
    }

    /// Counts records that were not written to it.
    pub fn audit_dropped(&self, count: u64) {
        self.audit_dropped.inc_by(count);
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
            Event::MarksFull => add(&self.full, &["marks"]),
            Event::CaptchaSolved => add(&self.captchas, &["solved"]),
            Event::CaptchaRefused => add(&self.captchas, &["refused"]),
            Event::CaptchaSpent => add(&self.captchas, &["spent"]),
            Event::CodeRight { lane: of, .. } => add(&self.codes, &[lane(of), "right"]),
            Event::CodeWrong { lane: of, .. } => add(&self.codes, &[lane(of), "wrong"]),
            Event::KbaRight { .. } => add(&self.kba, &["right"]),
            Event::KbaWrong { .. } => add(&self.kba, &["wrong"]),
            Event::KbaLocked { .. } => add(&self.kba, &["locked"]),
            Event::KbaUnusable { .. } => self.kba_unusable.inc(),
            Event::PasswordRefused { .. } => add(&self.passwords, &["refused"]),
            Event::PasswordSet { .. } => add(&self.passwords, &["set"]),
            Event::OutcomeUnknown { .. } => add(&self.passwords, &["unknown"]),
            Event::AfterDone { what, .. } => add(&self.after, &[after(what), "done"]),
            Event::AfterDelayed { what, .. } => add(&self.after, &[after(what), "delayed"]),
            Event::AfterDropped { what, .. } => add(&self.after, &[after(what), "dropped"]),
            Event::LinkInvalid { .. } => self.links.inc(),
            Event::FloorMissed => self.floors.inc(),
            Event::ServiceDown { service: of } => add(&self.services, &[service(of)]),
            Event::Broken { .. } => self.broken.inc(),
            // Counted elsewhere, or by what comes of them.
            Event::Started
            | Event::Revealed { .. }
            | Event::TokenRefused
            | Event::FlowDead { .. }
            | Event::PasswordHeld { .. }
            | Event::PasswordNotSent { .. }
            | Event::Disguised
            | Event::Denied
            | Event::Reloaded
            | Event::ReloadFailed => {}
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

fn processes(registry: &Registry) -> Result<IntGaugeVec, MetricsError> {
    let help = "Whether the upstream's own process let strangers in when last asked: 1, 0, or -1 if it is not known";
    let made = IntGaugeVec::new(opts("upstream_process_open", help), &["process"])?;
    register(registry, &made)?;
    for name in UPSTREAM_PROCESSES {
        made.get_metric_with_label_values(&[name])?.set(UNKNOWN);
    }
    Ok(made)
}
