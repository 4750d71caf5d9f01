//! How many starts there are whose link may still live: so many to a second of its end, as there are up to millions of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::reset::ports::Time;

/// The rooms that are taken, each until the second after its end.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Rooms {
    /// By the second since the epoch from which on they are free.
    by_end: BTreeMap<u64, usize>,
    taken: usize,
}

impl Rooms {
    /// Takes one, if fewer than `most` are taken.
    pub(super) fn take(&mut self, until: Time, most: usize) -> bool {
        let found = self.taken < most;
        if found {
            self.add(until.millis().div_ceil(1000), 1);
        }
        found
    }

    /// How many are taken.
    pub(super) const fn taken(&self) -> usize {
        self.taken
    }

    /// Frees those that have ended.
    pub(super) fn prune(&mut self, now: Time) {
        while let Some(first) = self.by_end.first_entry().filter(|first| *first.key() <= now.secs()) {
            self.taken = self.taken.saturating_sub(first.remove());
        }
    }

    /// Takes those that another process had taken, as far as fewer than `most` are taken then.
    pub(super) fn go_on(&mut self, kept: Self, most: usize) {
        for (end, count) in kept.by_end {
            self.add(end, count.min(most.saturating_sub(self.taken)));
        }
    }

    fn add(&mut self, end: u64, count: usize) {
        if count > 0 {
            *self.by_end.entry(end).or_default() += count;
            self.taken += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn a_room_is_free_again_when_its_end_is_over_and_not_before() {
        let mut rooms = Rooms::default();
        assert!(rooms.take(at(2000), 2) && rooms.take(at(2001), 2) && !rooms.take(at(9000), 2));
        for (now, taken) in [(1999, 2), (2000, 1), (2999, 1), (3000, 0)] {
            rooms.prune(at(now));
            assert_eq!(rooms.taken(), taken, "{now}");
        }
    }

    #[test]
    fn a_process_that_goes_on_has_no_more_than_its_own_room() {
        let all = || {
            let mut rooms = Rooms::default();
            (1..=5).for_each(|second| assert!(rooms.take(at(second * 1000), 5)));
            rooms
        };
        let mut rooms = Rooms::default();
        rooms.take(at(1000), 4);
        rooms.go_on(all(), 4);
        assert_eq!(rooms.taken(), 4);
        rooms.prune(at(1000));
        assert_eq!(rooms.taken(), 2);
        rooms.prune(at(3000));
        assert_eq!((rooms.taken(), rooms.by_end.len()), (0, 0));
    }
}
