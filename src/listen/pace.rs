//! How fast a client is while it is waited for, as a credit of time: waiting spends it, each byte earns its part of a
//! second, and it is never more than at first, so that nobody lives long on what was fast before. Time in which the client
//! is not waited for, because the upstream is slow or we are, costs it nothing.

use std::time::Duration;

use tokio::time::Instant;

/// The credit, at first and at most.
pub(super) const GRACE: Duration = Duration::from_secs(30);
/// Bytes of progress that the kernel may keep to itself when it sends, see [`super::socket`].
pub(super) const UNSEEN: u32 = 16 << 10;

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes per second.
    rate: u32,
    most: Duration,
    /// As it was at `since`.
    credit: Duration,
    since: Option<Instant>,
    /// The longest wait for a single byte.
    silence: Option<Duration>,
    /// When the present silence began.
    quiet: Option<Instant>,
}

impl Pace {
    /// For bytes that are to come, at so many a second, and none of them after a silence so long.
    pub(super) fn of_body(rate: u32, silence: Duration) -> Self {
        Self { silence: Some(silence), ..Self::new(rate, GRACE) }
    }

    /// For bytes that are to be taken. That they are shows in pieces of [`UNSEEN`], so that the credit must last for one.
    pub(super) fn of_answer(rate: u32) -> Self {
        Self::new(rate, GRACE.max(time_of(u64::from(UNSEEN), rate)))
    }

    fn new(rate: u32, most: Duration) -> Self {
        Self { rate, most, credit: most, since: None, silence: None, quiet: None }
    }

    /// Bytes moved. How long they were waited for.
    pub(super) fn moved(&mut self, bytes: usize, now: Instant) -> Duration {
        self.spend(now);
        self.since = None;
        self.credit = self.most.min(self.credit + time_of(bytes as u64, self.rate));
        self.quiet.take().map_or(Duration::ZERO, |quiet| now.saturating_duration_since(quiet))
    }

    /// None moved, and the client is waited for. Until when it may be; `None` if it is too slow.
    pub(super) fn waits(&mut self, now: Instant) -> Option<Instant> {
        self.spend(now);
        self.since = Some(now);
        let quiet = *self.quiet.get_or_insert(now);
        let until = now + self.credit;
        let until = self.silence.map_or(until, |silence| until.min(quiet + silence));
        (until > now).then_some(until)
    }

    fn spend(&mut self, now: Instant) {
        let waited = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.credit = self.credit.saturating_sub(waited);
    }
}

/// What so many bytes take at so many a second.
pub(super) fn time_of(bytes: u64, rate: u32) -> Duration {
    Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / u64::from(rate.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(20);
    const SECOND: Duration = Duration::from_secs(1);

    /// How many seconds somebody may go on who brings so many bytes after each wait; `None` for ever.
    fn lasts(mut pace: Pace, bytes: usize, each: Duration) -> Option<u64> {
        let start = Instant::now();
        let (mut now, mut next) = (start, start + each);
        while now - start < Duration::from_secs(3600) {
            let Some(until) = pace.waits(now) else { return Some((now - start).as_secs()) };
            now = until.min(next);
            if now == next {
                assert_eq!(pace.moved(bytes, now), each);
                next += each;
            }
        }
        None
    }

    #[test]
    fn who_is_fast_enough_goes_on() {
        assert_eq!(lasts(Pace::of_body(256, SILENCE), 256, SECOND), None);
        assert_eq!(lasts(Pace::of_body(256, SILENCE), 1460, SECOND * 5), None);
        assert_eq!(lasts(Pace::of_body(256, SILENCE), 128, SECOND), Some(59));
        assert_eq!(lasts(Pace::of_body(256, SILENCE), 1, SECOND), Some(30));
        // A silence is one although much came before.
        assert_eq!(lasts(Pace::of_body(256, SILENCE), 1 << 20, SECOND * 21), Some(20));
        assert_eq!(lasts(Pace::of_answer(256), 16 << 10, SECOND * 63), None);
        assert_eq!(lasts(Pace::of_answer(256), 0, SECOND), Some(64));
        assert_eq!(lasts(Pace::of_answer(65_536), 0, SECOND), Some(30));
    }

    #[test]
    fn what_was_fast_before_is_used_up() {
        let mut pace = Pace::of_body(256, SILENCE);
        pace.moved(1 << 30, Instant::now());
        assert_eq!(lasts(pace, 1, SECOND), Some(30));
    }

    #[test]
    fn time_that_nobody_waits_is_not_counted() {
        let (mut pace, mut now) = (Pace::of_body(256, SILENCE), Instant::now());
        for _ in 0..1000 {
            assert!(pace.waits(now).is_some());
            now += SECOND / 100;
            pace.moved(8, now);
            // The upstream takes its time.
            now += SECOND * 60;
        }
    }
}
