//! When a request that is passed on begins. What one needs while it is under way is some 25 KB, and a processor has to fetch
//! that anew, from far away, each time it comes back to it, if more of them are under way than its own cache holds: with 256
//! it took half as long again over each. So while all workers are busy, few requests are under way, and the others wait for
//! their turn with nothing in hand. Nobody waits while a worker has time to spare: a slow upstream holds up only those that
//! it has to answer.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, SemaphorePermit},
    time::{Instant, sleep},
};

use crate::telemetry::metrics::{Metrics, processor_time};

/// Requests under way, for each worker, before others wait.
const EACH: usize = 32;
/// How long the process is watched to tell whether it has time to spare.
const SPAN: Duration = Duration::from_millis(10);
/// In about how many spans whoever waits begins, whatever those do that are under way.
const SPANS: usize = 32;
/// The part of its workers' time, in hundredths, that a busy process takes.
const BUSY: u32 = 90;

/// Says which requests begin.
pub(super) struct Admission {
    /// Those that are free.
    places: Semaphore,
    waiting: AtomicUsize,
    /// Told when one waits and none has before.
    queue: Notify,
    state: Mutex<State>,
    workers: u32,
    /// The processor time that this process has taken so far.
    taken: fn() -> Duration,
    metrics: Arc<Metrics>,
}

struct State {
    /// The present span's.
    number: u64,
    since: Instant,
    /// What the process had taken by then; of the first span, nothing, so that what it took to start counts as of that.
    taken: Duration,
    /// Whether there was time to spare in the last one.
    spare: bool,
    /// Places taken in this span and held.
    held: usize,
    /// The same of the last one.
    before: usize,
    /// Places that are one too many.
    surplus: usize,
}

/// A request's, from its begin to its end. Who holds one from one span to the next but one waits for the upstream or for the
/// client: another has it then.
pub(super) struct Place<'a> {
    admission: &'a Admission,
    permit: Option<SemaphorePermit<'a>>,
    span: u64,
}

impl Admission {
    /// For the workers of the present runtime.
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self::of(Handle::current().metrics().num_workers(), processor_time, metrics)
    }

    fn of(workers: usize, taken: fn() -> Duration, metrics: Arc<Metrics>) -> Self {
        let since = Instant::now();
        let state = State { number: 0, since, taken: Duration::ZERO, spare: true, held: 0, before: 0, surplus: 0 };
        Self {
            places: Semaphore::new(EACH.saturating_mul(workers).min(Semaphore::MAX_PERMITS / 2)),
            waiting: AtomicUsize::new(0),
            queue: Notify::new(),
            state: Mutex::new(state),
            workers: u32::try_from(workers).unwrap_or(u32::MAX),
            taken,
            metrics,
        }
    }

    /// Resolves when a request may begin.
    pub(super) async fn admit(&self) -> Place<'_> {
        let permit = match self.places.try_acquire() {
            Ok(permit) => Some(permit),
            Err(_) if self.has_time_to_spare() => None,
            Err(_) => {
                self.metrics.requests.queued();
                let _waits = Waits::in_queue(self);
                self.places.acquire().await.ok()
            }
        };
        let mut state = self.state.lock();
        state.held += usize::from(permit.is_some());
        Place { admission: self, permit, span: state.number }
    }

    /// Ends the spans in which somebody waits, so that none waits only for others that take long. To be run for as long as
    /// any are admitted.
    pub(super) async fn watch(&self) {
        loop {
            self.queue.notified().await;
            while self.waiting.load(Ordering::Relaxed) > 0 {
                sleep(SPAN).await;
                self.has_time_to_spare();
            }
        }
    }

    /// Whether there is some, or was in the last span. Ends the present one, if it is time.
    fn has_time_to_spare(&self) -> bool {
        let mut state = self.state.lock();
        let now = Instant::now();
        let span = now.saturating_duration_since(state.since);
        if span >= SPAN {
            let taken = (self.taken)();
            state.spare = taken.saturating_sub(state.taken) < span * self.workers * BUSY / 100;
            (state.number, state.since, state.taken) = (state.number + 1, now, taken);
            let waiting = self.waiting.load(Ordering::Relaxed);
            let wanted = if state.spare { waiting } else { waiting / SPANS };
            self.places.add_permits(state.next(wanted));
        }
        state.spare
    }
}

impl State {
    /// Begins the next span. How many places there are for others: of those that hold theirs for too long, and so many for
    /// `wanted` at least.
    fn next(&mut self, wanted: usize) -> usize {
        let late = mem::replace(&mut self.before, mem::take(&mut self.held));
        let back = late.saturating_sub(self.surplus);
        self.surplus = self.surplus.saturating_sub(late);
        let more = wanted.saturating_sub(back);
        self.surplus += more;
        back + more
    }

    /// Takes a place back that was taken in that span. Whether somebody else may have it.
    fn ends(&mut self, span: u64) -> bool {
        match self.number - span {
            0 => self.held -= 1,
            1 => self.before -= 1,
            _ => return false,
        }
        let surplus = self.surplus > 0;
        self.surplus -= usize::from(surplus);
        !surplus
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take()
            && !self.admission.state.lock().ends(self.span)
        {
            permit.forget();
        }
    }
}

/// Somebody who waits.
struct Waits<'a>(&'a Admission);

impl<'a> Waits<'a> {
    fn in_queue(admission: &'a Admission) -> Self {
        if admission.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            admission.queue.notify_one();
        }
        Self(admission)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
