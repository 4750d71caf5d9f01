//! The audit trail: one log line and one count for each [`Event`].

use std::{sync::Arc, time::Duration};

use tracing::Level;

use super::{
    labels::{RULES, SERVICES, lane, rule, service, why},
    metrics::Metrics,
    throttle::Throttle,
};
use crate::reset::ports::{Clock, Decoy, Digest, Event, Events, Went};

/// The target of the trail's lines, for filters.
pub const TARGET: &str = "resetgate::audit";

/// What a stranger can cause at will is written no more often than this; it is always counted.
const QUIET: Duration = Duration::from_secs(1);
/// What asks an operator to do something is a warning, and one in a minute is enough.
const ALARM: Duration = Duration::from_secs(60);

/// [`Events`] as log lines and counts.
///
/// Limits that refuse, or would, or nearly did, whatever is full and services that are down are written at most once a
/// second each (a rule, a service), look-ups that outlast the answer floor or fail at most once a minute; the next line
/// says how many were `skipped` before it.
pub struct Recorder {
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    limited: Vec<Throttle>,
    observed: Vec<Throttle>,
    near: Vec<Throttle>,
    services: Vec<Throttle>,
    outbox: Throttle,
    codes: Throttle,
    floors: Throttle,
    submits: Throttle,
    keys: Throttle,
    full_look_ups: Throttle,
    look_ups: Throttle,
}

impl Recorder {
    /// A recorder that counts in `metrics`; `clock` says when a second is over.
    pub fn new(metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        let gates = |of: &[&str]| of.iter().map(|_| Throttle::new(QUIET)).collect();
        Self {
            metrics,
            clock,
            limited: gates(RULES),
            observed: gates(RULES),
            near: gates(RULES),
            services: gates(SERVICES),
            outbox: Throttle::new(QUIET),
            codes: Throttle::new(QUIET),
            floors: Throttle::new(ALARM),
            submits: Throttle::new(QUIET),
            keys: Throttle::new(QUIET),
            full_look_ups: Throttle::new(QUIET),
            look_ups: Throttle::new(ALARM),
        }
    }

    fn throttle(&self, event: Event) -> Option<&Throttle> {
        match event {
            Event::Limited { rule } => self.limited.get(rule as usize),
            Event::LimitObserved { rule } => self.observed.get(rule as usize),
            Event::LimitNear { rule } => self.near.get(rule as usize),
            Event::ServiceDown { service } => self.services.get(service as usize),
            Event::OutboxFull => Some(&self.outbox),
            Event::CodesFull => Some(&self.codes),
            Event::FloorMissed => Some(&self.floors),
            Event::Decoyed { why: Decoy::LookUpFailed } => Some(&self.look_ups),
            Event::SubmitsFull => Some(&self.submits),
            Event::KeysFull => Some(&self.keys),
            Event::LookUpsFull => Some(&self.full_look_ups),
            _ => None,
        }
    }
}

impl Events for Recorder {
    /// Counted only: what is worth a line is an event of its own.
    fn step(&self, stage: &'static str, went: Went, took: Duration) {
        self.metrics.stepped(stage, went, took);
    }

    fn mail_left(&self, after: Duration) {
        self.metrics.mail_taken(after);
    }

    fn record(&self, event: Event) {
        self.metrics.count(event);
        let skipped = match self.throttle(event) {
            None => 0,
            Some(throttle) => match throttle.pass(Duration::from_millis(self.clock.now().millis())) {
                Some(skipped) => skipped,
                None => return,
            },
        };
        Line { skipped: Some(skipped).filter(|n| *n > 0), ..Line::of(event) }.write();
    }
}

/// What is written of an event.
struct Line {
    level: Level,
    event: &'static str,
    account: Option<String>,
    rule: Option<&'static str>,
    why: Option<&'static str>,
    lane: Option<&'static str>,
    service: Option<&'static str>,
    what: Option<&'static str>,
    skipped: Option<u64>,
}

impl Line {
    const fn new(level: Level, event: &'static str) -> Self {
        let (account, rule, why, lane, service, what, skipped) = (None, None, None, None, None, None, None);
        Self { level, event, account, rule, why, lane, service, what, skipped }
    }

    fn about(level: Level, event: &'static str, account: Digest) -> Self {
        // Enough to follow one account through a log, too little to be looked up with.
        let account = account.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Self { account: Some(account), ..Self::new(level, event) }
    }

    fn of(event: Event) -> Self {
        use Level as L;
        match event {
            Event::Limited { rule: of } => Self { rule: Some(rule(of)), ..Self::new(L::INFO, "limited") },
            Event::LimitObserved { rule: of } => Self { rule: Some(rule(of)), ..Self::new(L::INFO, "limit_observed") },
            Event::LimitNear { rule: of } => Self { rule: Some(rule(of)), ..Self::new(L::INFO, "limit_near") },
            Event::Decoyed { why: reason } => {
                let level = if reason == Decoy::LookUpFailed { L::WARN } else { L::INFO };
                Self { why: Some(why(reason)), ..Self::new(level, "decoyed") }
            }
            Event::MailQueued { account } => Self::about(L::INFO, "mail_queued", account),
            Event::MailJoined { account } => Self::about(L::INFO, "mail_joined", account),
            Event::MailSent { account } => Self::about(L::INFO, "mail_sent", account),
            Event::MailDelayed { account } => Self::about(L::INFO, "mail_delayed", account),
            // Somebody waits for it in vain.
            Event::MailDropped { account } => Self::about(L::WARN, "mail_dropped", account),
            Event::OutboxFull => Self::new(L::INFO, "outbox_full"),
            Event::CodesFull => Self::new(L::INFO, "codes_full"),
            Event::KeysFull => Self::new(L::INFO, "limiter_keys_full"),
            Event::SubmitsFull => Self::new(L::INFO, "submits_full"),
            Event::LookUpsFull => Self::new(L::INFO, "look_ups_full"),
            Event::CodeRight { account, lane: of } => {
                Self { lane: Some(lane(of)), ..Self::about(L::INFO, "code_right", account) }
            }
            Event::CodeWrong { account, lane: of } => {
                Self { lane: Some(lane(of)), ..Self::about(L::INFO, "code_wrong", account) }
            }
            Event::PasswordRefused { account } => Self::about(L::INFO, "password_refused", account),
            Event::PasswordSet { account } => Self::about(L::INFO, "password_set", account),
            Event::LinkInvalid { account } => Self::about(L::WARN, "link_invalid", account),
            Event::OutcomeUnknown { account } => Self::about(L::WARN, "outcome_unknown", account),
            Event::FloorMissed => {
                let what = "look-ups outlast reset.answer_floor, and how long they take shows: raise it";
                Self { what: Some(what), ..Self::new(L::WARN, "floor_missed") }
            }
            Event::ServiceDown { service: of } => {
                Self { service: Some(service(of)), ..Self::new(L::WARN, "service_down") }
            }
            Event::Broken { what } => Self { what: Some(what), ..Self::new(L::ERROR, "broken") },
        }
    }

    fn write(self) {
        let Self { level, event, account, rule, why, lane, service, what, skipped } = self;
        let account = account.as_deref();
        // A level is part of a macro's call site: one site each.
        macro_rules! at {
            ($level:expr) => {
                tracing::event!(target: TARGET, $level, event, account, rule, why, lane, service, what, skipped)
            };
        }
        match level {
            Level::ERROR => at!(Level::ERROR),
            Level::WARN => at!(Level::WARN),
            _ => at!(Level::INFO),
        }
    }
}

#[cfg(test)]
mod tests;
