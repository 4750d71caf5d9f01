//! The outbox of a process without mail: there is always room in it, and no letter in there but notices.

use std::sync::Arc;

use async_trait::async_trait;

use super::{letter, outbox::Postbox};
use crate::reset::ports::{Full, Job, Notice, Outbox, Share, Slot, Time};

/// It, with what notices go by, if anything.
pub(super) struct Nothing(pub(super) Option<Arc<Postbox>>);

/// A place in it.
struct Nowhere;

#[async_trait]
impl Outbox for Nothing {
    fn deliverable(&self, address: &str) -> bool {
        self.0.is_some() && letter::address(address).is_some()
    }

    fn reserve(&self, _: Share) -> Result<Box<dyn Slot>, Full> {
        Ok(Box::new(Nowhere))
    }

    fn notify(&self, notice: Notice) {
        if let Some(postbox) = &self.0 {
            postbox.notify(notice);
        }
    }

    fn taken(&self) -> usize {
        0
    }

    async fn drained(&self) {
        if let Some(postbox) = &self.0 {
            postbox.drained().await;
        }
    }
}

impl Slot for Nowhere {
    fn send(self: Box<Self>, _: Job) {}

    fn decoy(self: Box<Self>, _: Time) {}
}
