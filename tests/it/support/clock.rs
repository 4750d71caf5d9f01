//! A clock that moves only when told.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use resetgate::reset::ports::{Clock, Time};
use tokio::{sync::watch, time::interval};
use tokio_util::task::AbortOnDropHandle;

pub(crate) struct ManualClock(watch::Sender<Time>);

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Time::from_millis(1_800_000_000_000)))
    }

    /// Moves it as time passes, too, so that an answer's floor comes: as long as this is kept.
    pub(crate) fn ticking(self: &Arc<Self>) -> AbortOnDropHandle<()> {
        let clock = Arc::clone(self);
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut beat = interval(Duration::from_millis(1));
            loop {
                beat.tick().await;
                clock.forward(Duration::from_millis(1));
            }
        }))
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
