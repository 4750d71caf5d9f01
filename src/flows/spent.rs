//! What was spent, in this process's memory: marks that are kept until their time, and never more of them than fit.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use crate::reset::ports::{Digest, Spent, Time};

/// Marks, each with its end.
#[derive(Default)]
pub(super) struct Marks {
    until: HashMap<Digest, Time>,
    /// The same by their ends, with those that were taken back: no more of these than of all that were put in and are not over.
    ends: BinaryHeap<Reverse<(Time, Digest)>>,
}

impl Marks {
    /// Puts a mark in, where there are fewer than `most`.
    pub(super) fn spend(&mut self, mark: Digest, until: Time, now: Time, most: usize) -> Spent {
        self.prune(now);
        if self.until.contains_key(&mark) {
            return Spent::Before;
        }
        // What was taken back takes room as well, so that giving and taking fills nothing.
        if self.ends.len() >= most {
            return Spent::Full;
        }
        self.until.insert(mark, until);
        self.ends.push(Reverse((until, mark)));
        Spent::Now
    }

    /// Takes it out.
    pub(super) fn unspend(&mut self, mark: &Digest) {
        self.until.remove(mark);
    }

    /// All that are there.
    pub(super) fn all(&self) -> Vec<(Digest, Time)> {
        self.until.iter().map(|(mark, until)| (*mark, *until)).collect()
    }

    fn prune(&mut self, now: Time) {
        while self.ends.peek().is_some_and(|Reverse((until, _))| *until <= now) {
            // A mark that was taken back and put in again has a later end, or the same one.
            if let Some(Reverse((_, mark))) = self.ends.pop()
                && self.until.get(&mark).is_some_and(|until| *until <= now)
            {
                self.until.remove(&mark);
            }
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
    fn a_mark_is_spent_once_until_its_end() {
        let mut marks = Marks::default();
        assert_eq!(marks.spend([1; 16], at(10), at(0), 2), Spent::Now);
        assert_eq!(marks.spend([1; 16], at(20), at(9), 2), Spent::Before);
        assert_eq!(marks.spend([1; 16], at(20), at(10), 2), Spent::Now);
        assert_eq!(marks.all(), [([1; 16], at(20))]);
    }

    #[test]
    fn there_is_never_more_than_fits_also_of_what_is_taken_back() {
        let mut marks = Marks::default();
        for round in 0..10 {
            let spent = marks.spend([1; 16], at(10), at(0), 3);
            assert_eq!(spent, if round < 3 { Spent::Now } else { Spent::Full });
            marks.unspend(&[1; 16]);
        }
        assert_eq!(marks.spend([2; 16], at(20), at(10), 3), Spent::Now);
        assert_eq!((marks.ends.len(), marks.until.len()), (1, 1));
    }
}
