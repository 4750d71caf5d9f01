//! A clock that moves only when told.

use std::time::Duration;

use async_trait::async_trait;
use resetgate::reset::ports::{Clock, Time};
use tokio::sync::watch;

pub(crate) struct ManualClock(watch::Sender<Time>);

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Time::from_millis(1_800_000_000_000)))
    }

    pub(crate) fn forward(&self, span: Duration) {
        self.0.send_modify(|now| *now = now.after(span));
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Time {
        *self.0.borrow()
    }

    async fn until(&self, at: Time) {
        let _ = self.0.subscribe().wait_for(|now| *now >= at).await;
    }
}
