//! The outbox of a process without mail: there is always room in it, and nothing in there.

use async_trait::async_trait;

use crate::reset::ports::{Full, Job, Outbox, Share, Slot, Time};

/// It.
pub(super) struct Nothing;

#[async_trait]
impl Outbox for Nothing {
    fn deliverable(&self, _: &str) -> bool {
        false
    }

    fn reserve(&self, _: Share) -> Result<Box<dyn Slot>, Full> {
        Ok(Box::new(Self))
    }

    fn taken(&self) -> usize {
        0
    }

    async fn drained(&self) {}
}

impl Slot for Nothing {
    fn send(self: Box<Self>, _: Job) {}

    fn decoy(self: Box<Self>, _: Time) {}
}
