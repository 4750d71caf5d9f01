//! A clock that moves only when told.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;

use crate::reset::ports::{Clock, Time};

pub(super) struct Manual(Mutex<Time>);

impl Manual {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Time::from_millis(1_800_000_000_000))))
    }

    pub(super) fn forward(&self, span: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.after(span);
    }
}

#[async_trait]
impl Clock for Manual {
    fn now(&self) -> Time {
        *self.0.lock().unwrap()
    }

    async fn until(&self, _: Time) {
        std::future::pending().await
    }
}
