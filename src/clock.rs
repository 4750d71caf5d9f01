//! The time.
#![allow(clippy::disallowed_methods, reason = "the one place that asks the system")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use crate::reset::ports::{Clock, Time};

/// The wall clock as it stood at start, plus what a monotonic clock has counted since: a wall clock that is set back
/// while the program runs prolongs no flow, and one that is set forward ends none. Time that the machine spends
/// suspended is not counted.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
    epoch: Duration,
}

impl SystemClock {
    /// A clock that starts now.
    pub fn new() -> Self {
        // A machine that thinks it is before 1970 gets 1970: its tokens end, but nothing else depends on the year.
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), epoch }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::from_millis(0).after(self.epoch.saturating_add(self.started.elapsed()))
    }

    /// When it returns depends on `at` alone, and not on when in its millisecond it was called: what an answer waits for
    /// must not tell how long the work before it took.
    async fn until(&self, at: Time) {
        let since_start = Duration::from_millis(at.millis()).saturating_sub(self.epoch);
        match self.started.checked_add(since_start) {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            // Beyond the end of time.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn r11_starts_at_the_wall_clock_and_never_goes_back() {
        let clock = SystemClock::new();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let now = clock.now();
        assert!(now.millis().abs_diff(wall) < 5_000);
        assert!(clock.now() >= now);
    }

    #[tokio::test]
    async fn until_returns_at_that_time_and_not_before() {
        let clock = SystemClock::new();
        clock.until(Time::from_millis(0)).await;
        let at = clock.now().after(Duration::from_millis(3));
        clock.until(at).await;
        assert!(clock.now() >= at);
    }
}
