//! How sending goes: what decoys are modelled on, and what a full outbox says about coming back.

use std::time::Duration;

use super::Trouble;
use crate::reset::ports::Time;

/// What an attempt is taken to last before the first one.
const GUESS: Duration = Duration::from_millis(100);

/// The outcome of the last real attempt, and how long recent ones took.
pub(super) struct Health {
    /// Of real attempts, in a row.
    failures: u32,
    well_takes: Duration,
    ill_takes: Duration,
    paced_until: Time,
}

impl Default for Health {
    fn default() -> Self {
        Self { failures: 0, well_takes: GUESS, ill_takes: GUESS, paced_until: Time::from_millis(0) }
    }
}

impl Health {
    /// Whether the last real attempt failed.
    pub(super) const fn is_ill(&self) -> bool {
        self.failures > 0
    }

    /// How many real attempts have failed since things were well.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// How long an attempt takes these days.
    pub(super) const fn takes(&self) -> Duration {
        if self.is_ill() { self.ill_takes } else { self.well_takes }
    }

    /// An attempt went well.
    pub(super) fn well(&mut self, took: Duration) {
        self.recovered();
        self.well_takes = blended(self.well_takes, took);
    }

    /// An attempt failed. Said aloud once an illness: a relay that is down fails many mails many times.
    pub(super) fn ill(&mut self, took: Duration, trouble: Trouble) {
        if self.is_ill() {
            tracing::debug!(class = trouble.class, code = trouble.code, "mail still cannot be sent");
        } else {
            tracing::warn!(class = trouble.class, code = trouble.code, "mail cannot be sent; trying again");
        }
        self.failures = self.failures.saturating_add(1);
        self.ill_takes = blended(self.ill_takes, took);
    }

    /// Sending is possible again.
    pub(super) fn recovered(&mut self) {
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!("mail can be sent again");
        }
    }

    /// The pace allows nothing before that time.
    pub(super) const fn paced(&mut self, until: Time) {
        self.paced_until = until;
    }

    /// When the pace allows the next mail, as far as is known.
    pub(super) const fn paced_until(&self) -> Time {
        self.paced_until
    }
}

/// A moving average, a quarter of it the newest.
fn blended(average: Duration, newest: Duration) -> Duration {
    (average * 3 + newest) / 4
}
