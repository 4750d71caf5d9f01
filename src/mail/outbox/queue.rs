//! What waits in the outbox, in the order in which it is to go: first starts before notices, these before later
//! starts, and of each kind what has been due the longest.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use super::{Counted, matter::Matter, places::Place};
use crate::reset::ports::{Share, Time};

/// A mail or a decoy, with its place.
pub(super) struct Entry {
    /// When its next attempt may be: for a new one, when it came.
    pub(super) due: Time,
    /// The link's end.
    pub(super) until: Time,
    /// How many attempts failed.
    pub(super) attempts: u32,
    /// How many of them nobody knows the end of.
    pub(super) unknown: u32,
    pub(super) what: What,
    /// Freed with the entry.
    pub(super) place: Place,
}

/// Which of the two it is.
pub(super) enum What {
    Letter(Box<Letter>),
    Decoy,
}

/// A mail to be written and sent.
pub(super) struct Letter {
    pub(super) matter: Matter,
    /// When it was put into the outbox.
    pub(super) queued: Time,
    /// Its name, the same at every attempt.
    pub(super) id: String,
    pub(super) _counted: Counted,
}

type Heap = BinaryHeap<Reverse<Numbered>>;

/// The entries by the time they are due, those of the same time as they came. It holds no more than there are places.
#[derive(Default)]
pub(super) struct Queue {
    first: Heap,
    notices: Heap,
    later: Heap,
    puts: u64,
    /// No entry's link ends before this; `None` if that is not known to be so of any time.
    first_end: Option<Time>,
}

impl Queue {
    pub(super) fn put(&mut self, entry: Entry) {
        self.puts = self.puts.wrapping_add(1);
        self.first_end = Some(self.first_end.map_or(entry.until, |first| first.min(entry.until)));
        let heap = match (&entry.what, entry.place.share) {
            (What::Letter(letter), _) if matches!(letter.matter, Matter::Notice(_)) => &mut self.notices,
            (_, Share::First) => &mut self.first,
            (_, Share::Later) => &mut self.later,
        };
        heap.push(Reverse(Numbered { number: self.puts, entry }));
    }

    /// The entry whose turn it is.
    pub(super) fn take(&mut self, now: Time) -> Option<Entry> {
        let is_due = |heap: &Heap| due(heap).is_some_and(|due| due <= now);
        let heap = [&mut self.first, &mut self.notices, &mut self.later].into_iter().find(|heap| is_due(heap))?;
        heap.pop().map(|Reverse(numbered)| numbered.entry)
    }

    /// When the next entry is due.
    pub(super) fn next_due(&self) -> Option<Time> {
        [&self.first, &self.notices, &self.later].into_iter().filter_map(due).min()
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
        let mut all_dead = Vec::new();
        self.first_end = None;
        for heap in [&mut self.first, &mut self.notices, &mut self.later] {
            let (dead, live): (Vec<_>, Vec<_>) =
                heap.drain().map(|Reverse(numbered)| numbered).partition(|numbered| numbered.entry.until <= now);
            let end = live.iter().map(|numbered| numbered.entry.until).min();
            self.first_end = self.first_end.into_iter().chain(end).min();
            *heap = live.into_iter().map(Reverse).collect();
            all_dead.extend(dead.into_iter().map(|numbered| numbered.entry));
        }
        all_dead
    }
}

/// When its next entry is due.
fn due(heap: &Heap) -> Option<Time> {
    heap.peek().map(|Reverse(numbered)| numbered.entry.due)
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
