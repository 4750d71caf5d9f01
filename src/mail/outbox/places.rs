//! The places of the outbox, and who may have which.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::reset::ports::Share;

/// A fixed number of places.
pub(super) struct Places {
    taken: AtomicUsize,
    capacity: usize,
    /// As many are not only for first starts.
    later: usize,
}

impl Places {
    pub(super) fn new(capacity: usize, later: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), capacity, later })
    }

    /// A place, if one is left for that share.
    pub(super) fn take(places: &Arc<Self>, share: Share) -> Option<Place> {
        let most = match share {
            Share::First => places.capacity,
            Share::Later => places.later,
        };
        let more = |taken: usize| (taken < most).then_some(taken + 1);
        places.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Place { places: Arc::clone(places), share })
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// One place, free again when this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    /// Whose it is.
    pub(super) share: Share,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
