//! Runs the engine's work apart from the request that asked for it: a deadline or a vanished client ends the waiting,
//! never the work, and a panic is one answer, not a lost connection.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::InFlight;
use crate::{
    reset::{
        Caller, Engine,
        ports::{Event, Events},
        wire::Reply,
    },
    telemetry::metrics::Metrics,
};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// When to come back after that, or after finding every seat taken.
const COME_BACK: Duration = Duration::from_secs(5);

/// Where submits are handed in.
pub(super) struct Desk {
    metrics: Arc<Metrics>,
    events: Arc<dyn Events>,
    seats: Arc<InFlight>,
    work: TaskTracker,
}

impl Desk {
    pub(super) fn new(metrics: Arc<Metrics>, events: Arc<dyn Events>, seats: Arc<InFlight>, work: TaskTracker) -> Self {
        Self { metrics, events, seats, work }
    }

    /// Has the engine do a step and waits for its answer, up to a point.
    pub(super) async fn submit(&self, engine: &Arc<Engine>, body: Bytes, caller: Caller) -> Reply {
        let Some(seat) = InFlight::take(&self.seats, caller.client) else {
            self.events.record(Event::SubmitsFull);
            return unavailable();
        };
        let (engine, metrics) = (Arc::clone(engine), Arc::clone(&self.metrics));
        let work = self.work.spawn(async move {
            let _seat = seat;
            let reply = AssertUnwindSafe(engine.submit(body, caller)).catch_unwind().await;
            reply.unwrap_or_else(|_| panicked(&metrics))
        });
        match timeout(PATIENCE, work).await {
            Ok(Ok(reply)) => reply,
            // The runtime is going down.
            Ok(Err(_)) | Err(_) => unavailable(),
        }
    }
}

/// The answer after a panic.
pub(super) fn panicked(metrics: &Metrics) -> Reply {
    metrics.panicked();
    Reply::error(500, "Internal Server Error")
}

fn unavailable() -> Reply {
    Reply::retry(503, "The service is busy, try again later", COME_BACK)
}
