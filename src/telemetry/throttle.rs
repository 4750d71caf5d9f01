//! How often something is said that may happen a thousand times a second.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Lets one through, then none until it has been quiet for long enough.
#[derive(Debug)]
pub struct Throttle {
    quiet: Duration,
    /// When the last one went through, in milliseconds; 0 for never.
    last: AtomicU64,
    skipped: AtomicU64,
}

impl Throttle {
    /// A throttle that lets one through in so long.
    pub const fn new(quiet: Duration) -> Self {
        Self { quiet, last: AtomicU64::new(0), skipped: AtomicU64::new(0) }
    }

    /// How many were held back since the last one, if this one may pass. `now` is from any beginning.
    pub fn pass(&self, now: Duration) -> Option<u64> {
        let [quiet, now] = [self.quiet, now].map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let due = |last: u64| (last == 0 || now.saturating_sub(last) >= quiet).then_some(now.max(1));
        if self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok() {
            return Some(self.skipped.swap(0, Ordering::Relaxed));
        }
        self.skipped.fetch_add(1, Ordering::Relaxed);
        None
    }
}
