//! Runs the engine's work apart from the request that asked for it: a deadline or a vanished client ends the waiting,
//! never the work, and a panic is one answer, not a lost connection.

use std::{future::poll_fn, panic::AssertUnwindSafe, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::{sync::watch, time::timeout};
use tokio_util::task::TaskTracker;

use super::{InFlight, Steps};
use crate::{
    reset::{
        Caller, Engine,
        ports::{About, Event, Events},
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
    steps: watch::Receiver<Steps>,
    seats: Arc<InFlight>,
    work: TaskTracker,
}

impl Desk {
    pub(super) fn new(
        metrics: Arc<Metrics>,
        events: Arc<dyn Events>,
        steps: watch::Receiver<Steps>,
        seats: Arc<InFlight>,
        work: TaskTracker,
    ) -> Self {
        Self { metrics, events, steps, seats, work }
    }

    /// Has the engine do a step and waits for its answer, up to a point. `None` if steps are not run here any more.
    pub(super) async fn submit(&self, engine: &Arc<Engine>, body: Bytes, caller: Caller) -> Option<Reply> {
        let Some(seat) = InFlight::take(&self.seats, caller.client) else {
            let Caller { client, request, .. } = &caller;
            let about = About { request: Some(request), client: Some(*client), ..About::default() };
            self.events.record(Event::SubmitsFull, &about);
            return Some(unavailable());
        };
        let (engine, metrics) = (Arc::clone(engine), Arc::clone(&self.metrics));
        let work = async move {
            let _seat = seat;
            let reply = AssertUnwindSafe(engine.submit(body, caller)).catch_unwind().await;
            reply.unwrap_or_else(|_| panicked(&metrics))
        };
        // Whoever takes the steps away waits for this, and then for what has begun.
        let begun = matches!(*self.steps.borrow(), Steps::Here).then(|| self.work.token())?;
        let mut work = Box::pin(work);
        // Most steps wait for nothing; a task of its own is for the others.
        if let Poll::Ready(reply) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
            return Some(reply);
        }
        let work = self.work.spawn(work);
        drop(begun);
        Some(match timeout(PATIENCE, work).await {
            Ok(Ok(reply)) => reply,
            // The runtime is going down.
            Ok(Err(_)) | Err(_) => unavailable(),
        })
    }
}

/// The answer after a panic.
pub(super) fn panicked(metrics: &Metrics) -> Reply {
    metrics.panicked();
    Reply::error(500, "Internal Server Error")
}

pub(super) fn unavailable() -> Reply {
    Reply::retry(503, "The service is busy, try again later", COME_BACK)
}
