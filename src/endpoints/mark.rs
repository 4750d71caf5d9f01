//! What is known of one address's health. Pure: time is a parameter.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Health;

/// How long an address is left alone when it begins to fail: doubled with each try that fails, up to the second.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// The health of one address: by requests, and by checks.
#[derive(Debug, Default)]
pub(super) struct Mark {
    /// Requests that failed in a row.
    failures: u32,
    /// Since requests made it so.
    pause: Option<Pause>,
    /// Checks that failed in a row, and, while `unfit`, that did not.
    checks_failed: u32,
    checks_passed: u32,
    /// Checks say that it is not to be used.
    unfit: bool,
}

#[derive(Debug)]
struct Pause {
    lasts: Duration,
    until: Instant,
    /// Whether a request is trying it.
    trying: bool,
}

/// What became of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is to be used again.
    Up,
    /// It is to be left alone.
    Down,
}

impl Mark {
    /// Whether it is to be used like any other.
    pub(super) const fn is_up(&self) -> bool {
        self.pause.is_none() && !self.unfit
    }

    /// Whether there is nothing to remember.
    pub(super) const fn is_clean(&self) -> bool {
        self.is_up() && self.failures == 0 && self.checks_failed == 0
    }

    /// Whether a request may go there: always if it is up, else one when the pause is over. If nothing is heard of that one,
    /// another may after the same time.
    pub(super) fn may_try(&mut self, now: Instant) -> bool {
        if self.unfit {
            return false;
        }
        let Some(pause) = &mut self.pause else { return true };
        let due = pause.until <= now;
        if due {
            pause.until = now + pause.lasts;
            pause.trying = true;
        }
        due
    }

    /// A request was answered.
    pub(super) fn answered(&mut self) -> Option<Change> {
        let was_up = self.is_up();
        self.failures = 0;
        self.pause = None;
        (!was_up && self.is_up()).then_some(Change::Up)
    }

    /// A request failed, which counts as much as `weight`; at `limit` in a row it is left alone.
    pub(super) fn failed(&mut self, weight: u32, limit: u32, now: Instant) -> Option<Change> {
        self.failures = self.failures.saturating_add(weight);
        if self.failures < limit {
            return None;
        }
        let was_up = self.is_up();
        let lasts = match &self.pause {
            None => FIRST_PAUSE,
            Some(pause) if pause.trying => (pause.lasts * 2).min(LAST_PAUSE),
            // The many that were under way when it began to fail, or those sent there because none is well.
            Some(_) => return None,
        };
        self.pause = Some(Pause { lasts, until: now + lasts, trying: false });
        was_up.then_some(Change::Down)
    }

    /// A check was passed, or not.
    pub(super) fn checked(&mut self, well: bool, rules: &Health) -> Option<Change> {
        let was_up = self.is_up();
        if well {
            self.checks_failed = 0;
            self.checks_passed = if was_up { 0 } else { self.checks_passed.saturating_add(1) };
            if !was_up && self.checks_passed >= rules.healthy {
                *self = Self::default();
            }
        } else {
            self.checks_passed = 0;
            self.checks_failed = self.checks_failed.saturating_add(1);
            self.unfit |= self.checks_failed >= rules.unhealthy;
        }
        match (was_up, self.is_up()) {
            (true, false) => Some(Change::Down),
            (false, true) => Some(Change::Up),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Health {
        Health { path: None, interval: Duration::ZERO, timeout: Duration::ZERO, healthy: 2, unhealthy: 3 }
    }

    #[tokio::test]
    async fn an_address_that_fails_is_tried_by_one_request_at_a_time_and_less_and_less_often() {
        let (mut mark, mut now) = (Mark::default(), Instant::now());
        assert!(mark.may_try(now));
        assert_eq!([1, 1].map(|weight| mark.failed(weight, 3, now)), [None, None]);
        assert_eq!(mark.answered(), None, "an answer in between begins the count anew");
        assert_eq!([1, 1].map(|weight| mark.failed(weight, 3, now)), [None, None]);
        assert_eq!(mark.failed(1, 3, now), Some(Change::Down));
        assert_eq!(mark.failed(3, 3, now), None, "one that was under way");
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let began = now;
            while !mark.may_try(now) {
                now += Duration::from_millis(500);
            }
            assert!(!mark.may_try(now), "only one");
            pauses.push((now - began).as_secs());
            assert_eq!(mark.failed(1, 3, now), None);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        now += LAST_PAUSE;
        assert!(mark.may_try(now));
        assert_eq!((mark.answered(), mark.is_clean()), (Some(Change::Up), true));
        assert_eq!(mark.failed(3, 3, now), Some(Change::Down));
        now += FIRST_PAUSE;
        assert!(mark.may_try(now), "it begins anew");
        now += FIRST_PAUSE;
        assert!(mark.may_try(now), "nothing was heard of the one that tried");
    }

    #[tokio::test]
    async fn checks_take_an_address_out_and_bring_it_back() {
        let (mut mark, now, rules) = (Mark::default(), Instant::now(), rules());
        assert_eq!([false, false, true, false, false].map(|well| mark.checked(well, &rules)), [None; 5]);
        assert_eq!(mark.checked(false, &rules), Some(Change::Down));
        assert!(!mark.may_try(now + LAST_PAUSE * 2), "no request goes where a check does not pass");
        assert_eq!([true, false, true].map(|well| mark.checked(well, &rules)), [None; 3]);
        assert_eq!(mark.checked(true, &rules), Some(Change::Up));
        assert!(mark.is_clean() && mark.may_try(now));
        // What requests took out, checks bring back before its pause is over.
        assert_eq!(mark.failed(3, 3, now), Some(Change::Down));
        assert_eq!([true, true].map(|well| mark.checked(well, &rules)), [None, Some(Change::Up)]);
        assert!(mark.may_try(now));
        // An answer does not outweigh checks.
        assert_eq!([false; 3].map(|well| mark.checked(well, &rules)), [None, None, Some(Change::Down)]);
        assert_eq!((mark.answered(), mark.is_up()), (None, false));
    }
}
