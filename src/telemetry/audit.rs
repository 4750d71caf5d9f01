//! The audit trail: what happened, to whom, and why, in a stream of its own, one JSON object a line; and, of what asks an
//! operator to do something, a line in the log; and one count for each [`Event`].
//!
//! The lines are those of [`Line`], in the order of its fields, and then `hash`. Names, addresses and ids are keyed hashes
//! in it ([`Keys::name`]), and nothing else of what people typed is: no code, token or password. Each line holds the hash of
//! the one before it, so that [`Verify`] finds out what was changed, removed or put in between, and [`Find`] shows what
//! happened to somebody.

mod entry;
mod explain;
mod find;
mod keys;
mod line;
mod reader;
mod sink;
mod trail;
mod verify;
mod words;
mod writer;

use std::{sync::Arc, time::Duration};

use tracing::Level;

use self::entry::Entry;
pub use self::{
    explain::explain,
    find::{Find, Found},
    keys::{Keys, NoKeys},
    line::{Line, time},
    sink::To,
    trail::{NoTrail, Trail},
    verify::{Finding, Verified, Verify},
};
use super::{
    labels::{RULES, SERVICES, service, why},
    metrics::Metrics,
    throttle::Throttle,
};
use crate::reset::ports::{About, Clock, Decoy, Digest, Event, Events, Went};

/// The target of the lines in the log, for filters.
pub const TARGET: &str = "resetgate::audit";

/// What a stranger can cause at will is written no more often than this; it is always counted.
const QUIET: Duration = Duration::from_secs(1);
/// What asks an operator to do something is a warning, and one in a minute is enough.
const ALARM: Duration = Duration::from_secs(60);

/// [`Events`] as lines of the trail, lines of the log, and counts.
///
/// What a stranger can cause at will, other than by starts, codes and passwords, which the limits bound, is written at most
/// once a second each (a rule, a service, a reason to refuse); the next line says how many were `skipped` before it.
pub struct Recorder {
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    trail: Trail,
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
    look_ups_told: Throttle,
    tokens: Throttle,
    disguised: Throttle,
    denied: Throttle,
}

impl Recorder {
    /// A recorder that counts in `metrics`; `clock` says when a second is over.
    pub fn new(metrics: Arc<Metrics>, clock: Arc<dyn Clock>, trail: Trail) -> Self {
        let gates = |of: &[&str]| of.iter().map(|_| Throttle::new(QUIET)).collect();
        Self {
            metrics,
            clock,
            trail,
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
            look_ups_told: Throttle::new(ALARM),
            tokens: Throttle::new(QUIET),
            disguised: Throttle::new(QUIET),
            denied: Throttle::new(QUIET),
        }
    }

    /// How often that is written.
    fn throttle(&self, event: Event) -> Option<&Throttle> {
        match event {
            Event::Limited { rule } => self.limited.get(rule as usize),
            Event::LimitObserved { rule } => self.observed.get(rule as usize),
            Event::LimitNear { rule } => self.near.get(rule as usize),
            Event::ServiceDown { service } => self.services.get(service as usize),
            Event::OutboxFull => Some(&self.outbox),
            Event::CodesFull => Some(&self.codes),
            Event::FloorMissed => Some(&self.floors),
            Event::SubmitsFull => Some(&self.submits),
            Event::KeysFull => Some(&self.keys),
            Event::LookUpsFull => Some(&self.full_look_ups),
            Event::TokenRefused => Some(&self.tokens),
            Event::Disguised => Some(&self.disguised),
            Event::Denied => Some(&self.denied),
            _ => None,
        }
    }
}

impl Events for Recorder {
    fn record(&self, event: Event, about: &About<'_>) {
        self.metrics.count(event);
        let at = self.clock.now();
        let now = Duration::from_millis(at.millis());
        let skipped = self.throttle(event).map_or(Some(0), |throttle| throttle.pass(now));
        let untold = match event {
            // The trail has each of them.
            Event::Decoyed { why: Decoy::LookUpFailed } => self.look_ups_told.pass(now),
            _ => skipped,
        };
        if let (Some(untold), Some(told)) = (untold, Told::of(event)) {
            Told { skipped: Some(untold).filter(|n| *n > 0), ..told }.write();
        }
        if let Some(skipped) = skipped.filter(|_| self.trail.is_on()) {
            self.trail.note(Entry::new(at, event, about, skipped));
        }
    }

    /// Counted only: what is worth a line is an event of its own.
    fn step(&self, stage: &'static str, went: Went, took: Duration) {
        self.metrics.stepped(stage, went, took);
    }

    fn mail_left(&self, after: Duration) {
        self.metrics.mail_taken(after);
    }
}

/// What the log is told of an event.
struct Told {
    level: Level,
    event: &'static str,
    account: Option<String>,
    why: Option<&'static str>,
    service: Option<&'static str>,
    what: Option<&'static str>,
    skipped: Option<u64>,
}

impl Told {
    const fn new(level: Level, event: &'static str) -> Self {
        let (account, why, service, what, skipped) = (None, None, None, None, None);
        Self { level, event, account, why, service, what, skipped }
    }

    fn about(event: Event, account: Digest) -> Self {
        // Enough to follow one account through a log, too little to be looked up with.
        let account = keys::hex(account.get(..4).unwrap_or_default());
        Self { account: Some(account), ..Self::new(Level::WARN, words::name(event)) }
    }

    /// Nothing, if all is as it should be.
    fn of(event: Event) -> Option<Self> {
        let warning = Self::new(Level::WARN, words::name(event));
        Some(match event {
            Event::Decoyed { why: reason @ Decoy::LookUpFailed } => Self { why: Some(why(reason)), ..warning },
            // Somebody waits for it in vain.
            Event::AfterDropped { account, .. }
            | Event::MailDropped { account }
            | Event::LinkInvalid { account }
            | Event::OutcomeUnknown { account } => Self::about(event, account),
            Event::FloorMissed => {
                let what = "look-ups outlast reset.answer_floor, and how long they take shows: raise it";
                Self { what: Some(what), ..warning }
            }
            Event::ServiceDown { service: of } => Self { service: Some(service(of)), ..warning },
            Event::Broken { what } => Self { what: Some(what), level: Level::ERROR, ..warning },
            _ => return None,
        })
    }

    fn write(self) {
        let Self { level, event, account, why, service, what, skipped } = self;
        let account = account.as_deref();
        // A level is part of a macro's call site: one site each.
        macro_rules! at {
            ($level:expr) => {
                tracing::event!(target: TARGET, $level, event, account, why, service, what, skipped)
            };
        }
        match level {
            Level::ERROR => at!(Level::ERROR),
            _ => at!(Level::WARN),
        }
    }
}

#[cfg(test)]
mod tests;
