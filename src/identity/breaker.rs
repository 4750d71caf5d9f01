//! When a store is down, nobody waits for it to say so again.
//!
//! After some failures in a row the next call first asks about nobody in particular. Only if that fails as well is the
//! store taken to be down, for a while, and for everyone: one account that it fails on can never close it to others,
//! and whether it is closed says nothing of any account. After the while one call asks about nobody again, and the
//! others are still refused until that has gone well.

use std::{collections::hash_map::RandomState, hash::BuildHasher, sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{
    config,
    reset::ports::Time,
    telemetry::metrics::{Breaking, Metrics},
};

/// The longest that nothing is asked.
const LONGEST: Duration = Duration::from_secs(30);

/// The breaker of one store.
pub(super) struct Breaker {
    settings: config::Breaker,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In a row.
    failures: u32,
    open: Option<Open>,
    /// Somebody asks about nobody.
    looking: bool,
}

#[derive(Clone, Copy)]
struct Open {
    until: Time,
    spell: Duration,
}

/// Whether a call may be made.
pub(super) enum Admission<'b> {
    /// It may.
    Go,
    /// It is to ask about nobody first.
    Look(Look<'b>),
    /// It may not.
    No,
}

impl Breaker {
    /// Closed: calls go through.
    pub(super) fn new(settings: config::Breaker, metrics: Arc<Metrics>) -> Self {
        metrics.breaker(Breaking::Closed);
        Self { settings, metrics, state: Mutex::default() }
    }

    /// Whether a call may be made now.
    pub(super) fn admit(&self, now: Time) -> Admission<'_> {
        let Some(most) = self.settings.failures else { return Admission::Go };
        let mut state = self.state.lock();
        match state.open {
            None if state.failures < most || state.looking => Admission::Go,
            Some(open) if now < open.until || state.looking => {
                self.metrics.breaker_refused();
                Admission::No
            }
            open => {
                state.looking = true;
                if open.is_some() {
                    self.metrics.breaker(Breaking::HalfOpen);
                }
                Admission::Look(Look { breaker: self, told: false })
            }
        }
    }

    /// What came of a call that was made.
    pub(super) fn note(&self, failed: bool) {
        let mut state = self.state.lock();
        // While it is open, only a look counts: a call that began before says nothing new.
        if state.open.is_none() {
            state.failures = if failed { state.failures.saturating_add(1) } else { 0 };
        }
    }

    /// What it does now.
    pub(super) fn state(&self) -> Breaking {
        let state = self.state.lock();
        match state.open {
            None => Breaking::Closed,
            Some(_) if state.looking => Breaking::HalfOpen,
            Some(_) => Breaking::Open,
        }
    }

    fn close(&self) {
        let mut state = self.state.lock();
        let was_open = state.open.is_some();
        *state = State::default();
        self.metrics.breaker(Breaking::Closed);
        drop(state);
        if was_open {
            tracing::info!("the identity store answers again");
        }
    }

    fn open(&self, now: Time) {
        let mut state = self.state.lock();
        // Somebody has been answered since: it was the look that failed by chance.
        if state.open.is_none() && self.settings.failures.is_some_and(|most| state.failures < most) {
            state.looking = false;
            return;
        }
        let was_open = state.open.is_some();
        let spell = state.open.map_or(self.settings.open, |open| (open.spell * 2).min(LONGEST.max(self.settings.open)));
        *state = State { open: Some(Open { until: now.after(jittered(spell)), spell }), ..State::default() };
        self.metrics.breaker(Breaking::Open);
        drop(state);
        if !was_open {
            tracing::error!(
                "the identity store is down: it is left alone for a while, and resets are refused to everybody"
            );
        }
    }
}

/// The right to ask about nobody, and the duty to tell what came of it.
pub(super) struct Look<'b> {
    breaker: &'b Breaker,
    told: bool,
}

impl Look<'_> {
    /// Whether the store answered; `None` if it could not be asked, which says nothing of it.
    pub(super) fn tell(mut self, well: Option<bool>, now: Time) {
        match well {
            Some(true) => self.breaker.close(),
            Some(false) => self.breaker.open(now),
            None => return,
        }
        self.told = true;
    }
}

/// Whoever gives up leaves the look to the next.
impl Drop for Look<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.breaker.state.lock().looking = false;
        }
    }
}

/// Between nine and eleven tenths of it, so that many gates do not come back at once.
fn jittered(spell: Duration) -> Duration {
    let drawn = RandomState::new().hash_one(()) % 201;
    spell * (900 + u32::try_from(drawn).unwrap_or_default()) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker(failures: u32) -> (Breaker, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new(Time::from_millis(0)).unwrap());
        let settings = config::Breaker { failures: Some(failures).filter(|n| *n > 0), open: 5 * SECOND };
        (Breaker::new(settings, Arc::clone(&metrics)), metrics)
    }

    fn at(seconds: u32) -> Time {
        Time::from_millis(0).after(SECOND * seconds)
    }

    fn look(breaker: &Breaker, now: Time) -> Look<'_> {
        match breaker.admit(now) {
            Admission::Look(look) => look,
            Admission::Go => panic!("goes"),
            Admission::No => panic!("is refused"),
        }
    }

    fn goes(breaker: &Breaker, now: Time) -> bool {
        matches!(breaker.admit(now), Admission::Go)
    }

    fn refused(breaker: &Breaker, now: Time) -> bool {
        matches!(breaker.admit(now), Admission::No)
    }

    fn shown(metrics: &Metrics) -> [String; 3] {
        ["identity_breaker", "identity_breaker_opened_total", "identity_breaker_refusals_total"].map(|name| {
            let text = metrics.render();
            let start = format!("resetgate_{name} ");
            text.lines().find_map(|line| line.strip_prefix(&start)).unwrap().to_owned()
        })
    }

    #[test]
    fn only_a_failed_look_opens_it() {
        let (breaker, metrics) = breaker(3);
        for failed in [true, true, false, true, true] {
            assert!(goes(&breaker, at(0)));
            breaker.note(failed);
        }
        assert!(goes(&breaker, at(0)), "never three in a row");
        breaker.note(true);
        let asking = look(&breaker, at(0));
        assert!(goes(&breaker, at(0)), "nobody waits for the look");
        asking.tell(Some(true), at(0));
        assert!(goes(&breaker, at(0)), "the failures were of some account");
        assert_eq!(shown(&metrics), ["0", "0", "0"]);

        (0..3).for_each(|_| breaker.note(true));
        look(&breaker, at(1)).tell(Some(false), at(1));
        assert_eq!(shown(&metrics), ["2", "1", "0"]);
        assert!(refused(&breaker, at(1)) && refused(&breaker, at(5)));
        assert_eq!(shown(&metrics), ["2", "1", "2"]);
    }

    #[test]
    fn a_look_that_fails_while_others_are_answered_opens_nothing() {
        let (breaker, metrics) = breaker(2);
        (0..2).for_each(|_| breaker.note(true));
        let asking = look(&breaker, at(0));
        breaker.note(false);
        asking.tell(Some(false), at(0));
        assert!(goes(&breaker, at(0)));
        assert_eq!(shown(&metrics), ["0", "0", "0"]);
        (0..2).for_each(|_| breaker.note(true));
        look(&breaker, at(0)).tell(Some(false), at(0));
        assert!(refused(&breaker, at(0)));
    }

    #[test]
    fn one_at_a_time_looks_whether_it_is_back() {
        let (breaker, metrics) = breaker(1);
        breaker.note(true);
        look(&breaker, at(0)).tell(Some(false), at(0));
        breaker.note(false);
        assert!(refused(&breaker, at(1)), "a call from before says nothing");

        let asking = look(&breaker, at(6));
        assert!(refused(&breaker, at(6)), "the others wait");
        assert_eq!(shown(&metrics)[0], "1");
        drop(asking);
        look(&breaker, at(6)).tell(None, at(6));
        look(&breaker, at(6)).tell(Some(false), at(6));
        assert!(refused(&breaker, at(14)), "twice as long: 10 s, less a tenth");
        look(&breaker, at(18)).tell(Some(true), at(18));
        assert!(goes(&breaker, at(18)));
        assert_eq!(shown(&metrics)[..2], ["0", "2"]);
    }

    #[test]
    fn it_is_open_for_longer_each_time_and_not_for_ever() {
        let (breaker, _) = breaker(1);
        breaker.note(true);
        let mut now = at(0);
        let mut spells = Vec::new();
        for _ in 0..6 {
            look(&breaker, now).tell(Some(false), now);
            let wait = breaker.state.lock().open.unwrap().until.since(now);
            assert!(refused(&breaker, now));
            spells.push(wait);
            now = now.after(wait);
        }
        for (spell, nominal) in spells.iter().zip([5, 10, 20, 30, 30, 30]) {
            let nominal = SECOND * nominal;
            assert!(*spell >= nominal * 9 / 10 && *spell <= nominal * 11 / 10, "{spells:?}");
        }
    }

    #[test]
    fn none_at_all_is_never() {
        let (breaker, _) = breaker(0);
        (0..1000).for_each(|_| breaker.note(true));
        assert!(goes(&breaker, at(0)));
    }
}
