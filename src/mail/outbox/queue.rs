//! What waits in the outbox, in the order in which it is due.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use tokio::sync::OwnedSemaphorePermit;

use super::Counted;
use crate::reset::ports::{Job, Time};

/// A mail or a decoy, with its place.
pub(super) struct Entry {
    /// When its next attempt may be: for a new one, when it came.
    pub(super) due: Time,
    /// The link's end.
    pub(super) until: Time,
    /// How many attempts failed.
    pub(super) attempts: u32,
    pub(super) what: What,
    /// Freed with the entry.
    pub(super) _place: OwnedSemaphorePermit,
}

/// Which of the two it is.
pub(super) enum What {
    Letter(Box<Letter>),
    Decoy,
}

/// A mail to be written and sent.
pub(super) struct Letter {
    pub(super) job: Job,
    /// Its name, the same at every attempt.
    pub(super) id: String,
    pub(super) _counted: Counted,
}

/// The entries by the time they are due, those of the same time as they came. It holds no more than there are places.
#[derive(Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<Numbered>>,
    puts: u64,
    /// No entry's link ends before this; `None` if that is not known to be so of any time.
    first_end: Option<Time>,
}

impl Queue {
    pub(super) fn put(&mut self, entry: Entry) {
        self.puts = self.puts.wrapping_add(1);
        self.first_end = Some(self.first_end.map_or(entry.until, |first| first.min(entry.until)));
        self.heap.push(Reverse(Numbered { number: self.puts, entry }));
    }

    /// The entry that has been due the longest.
    pub(super) fn take(&mut self, now: Time) -> Option<Entry> {
        if self.next_due()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(numbered)| numbered.entry)
    }

    /// When the next entry is due.
    pub(super) fn next_due(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse(numbered)| numbered.entry.due)
    }

    /// A time before which no entry's link ends.
    pub(super) fn first_end(&self) -> Option<Time> {
        self.first_end
    }

    /// Those whose link is dead. Looks through the whole queue only when one may be.
    pub(super) fn take_dead(&mut self, now: Time) -> Vec<Entry> {
        if self.first_end.is_none_or(|first| first > now) {
            return Vec::new();
        }
        let (dead, live): (Vec<_>, Vec<_>) =
            self.heap.drain().partition(|Reverse(numbered)| numbered.entry.until <= now);
        self.first_end = live.iter().map(|Reverse(numbered)| numbered.entry.until).min();
        self.heap = live.into();
        dead.into_iter().map(|Reverse(numbered)| numbered.entry).collect()
    }
}

struct Numbered {
    number: u64,
    entry: Entry,
}

impl Ord for Numbered {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.entry.due, self.number).cmp(&(other.entry.due, other.number))
    }
}

impl PartialOrd for Numbered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Numbered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Numbered {}
