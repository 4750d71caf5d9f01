//! The places of the outbox, and who may have which.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::reset::ports::Share;

/// Later starts may have one place in so many.
const LATER: usize = 4;

/// A fixed number of places.
pub(super) struct Places {
    taken: AtomicUsize,
    capacity: usize,
}

impl Places {
    pub(super) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), capacity })
    }

    /// A place, if one is left for that share.
    pub(super) fn take(places: &Arc<Self>, share: Share) -> Option<Place> {
        let most = match share {
            Share::First => places.capacity,
            Share::Later => places.capacity.div_ceil(LATER),
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
