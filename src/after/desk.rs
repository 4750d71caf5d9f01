//! What is to be called waits here: a bounded number of tasks, each with one call to one target, tried again and again.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

use super::{Outcome, Target, Told, What, World};
use crate::reset::ports::{Digest, Done, Event, Reason, Time};

/// So much may wait.
pub(super) const MOST: usize = 10_000;
/// So many calls to one target are under way at a time.
const HANDS: usize = 4;
/// Waits between attempts: doubled each time, up to the second.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// How long is waited for somebody to find out what the store did.
const UNCERTAIN: Duration = Duration::from_secs(300);

/// What all tasks share.
pub(super) struct Desk {
    lifetime: Duration,
    targets: Vec<(Box<dyn Target>, Semaphore)>,
    notice: Option<Told>,
    world: World,
    room: Arc<Semaphore>,
    tasks: Mutex<JoinSet<()>>,
    waiting: watch::Sender<usize>,
    leaving: watch::Sender<bool>,
}

/// A task's right to wait, for as long as it does.
struct Place(Arc<Desk>, #[allow(dead_code, reason = "given back when dropped")] OwnedSemaphorePermit);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl Desk {
    pub(super) fn new(
        lifetime: Duration,
        targets: Vec<Box<dyn Target>>,
        notice: Option<Told>,
        world: World,
    ) -> Arc<Self> {
        Arc::new(Self {
            lifetime,
            targets: targets.into_iter().map(|target| (target, Semaphore::new(HANDS))).collect(),
            notice,
            world,
            room: Arc::new(Semaphore::new(MOST)),
            tasks: Mutex::default(),
            waiting: watch::Sender::new(0),
            leaving: watch::Sender::new(false),
        })
    }

    pub(super) fn waiting(&self) -> usize {
        *self.waiting.borrow()
    }

    pub(super) async fn drained(&self) {
        self.leaving.send_replace(true);
        // Fails only without a sender, and this is one.
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting == 0).await;
    }

    pub(super) fn abort(&self) {
        self.tasks.lock().abort_all();
    }

    /// A password was set, or may have been.
    pub(super) fn take(desk: &Arc<Self>, done: Done) {
        if done.certain {
            return Self::follow(desk, &Arc::new(done));
        }
        let Some(place) = Self::place(desk) else { return Self::follow(desk, &Arc::new(done)) };
        let of = Arc::clone(desk);
        Self::spawn(desk, async move {
            let mut leaving = of.leaving.subscribe();
            tokio::select! {
                () = of.world.clock.until(done.at.after(UNCERTAIN)) => {}
                _ = leaving.wait_for(|leaving| *leaving) => {}
            }
            Self::follow(&of, &Arc::new(done));
            drop(place);
        });
    }

    /// Does all of it, if nobody has.
    fn follow(desk: &Arc<Self>, done: &Arc<Done>) {
        if !desk.world.seen.first(done.source.flow) {
            return;
        }
        let until = done.at.after(desk.lifetime);
        if let Some(told) = &desk.notice {
            let outbox = &*desk.world.outbox;
            for to in told.addresses(done, outbox) {
                outbox.notify(told.notice(done, to, until));
            }
        }
        for (index, (target, _)) in desk.targets.iter().enumerate() {
            match Self::place(desk) {
                Some(place) => {
                    let (of, done) = (Arc::clone(desk), Arc::clone(done));
                    Self::spawn(desk, async move {
                        of.pursue(index, &done, until).await;
                        drop(place);
                    });
                }
                None => desk.dropped(target.what(), done, Reason::Word("full")),
            }
        }
    }

    fn place(desk: &Arc<Self>) -> Option<Place> {
        let permit = Arc::clone(&desk.room).try_acquire_owned().ok()?;
        desk.waiting.send_modify(|count| *count = count.saturating_add(1));
        Some(Place(Arc::clone(desk), permit))
    }

    fn spawn(desk: &Self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = desk.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work);
    }

    /// Calls one target until that is done, makes no sense any more, or is too late.
    async fn pursue(&self, index: usize, done: &Done, until: Time) {
        let Some((target, hands)) = self.targets.get(index) else { return };
        let (what, clock) = (target.what(), &self.world.clock);
        let mut attempts = 0;
        loop {
            let outcome = {
                let Ok(_hand) = hands.acquire().await else { return };
                if clock.now() >= until {
                    return self.dropped(what, done, Reason::Word("expired"));
                }
                target.call(done, clock.now()).await
            };
            let reason = match outcome {
                Outcome::Done => {
                    return self.record(Event::AfterDone { what, account: done.account }, done, Reason::None);
                }
                Outcome::Refused(reason) => return self.dropped(what, done, reason),
                Outcome::Failed(reason) => reason,
            };
            let next = clock.now().after(backoff(attempts, (self.world.random)()));
            attempts = attempts.saturating_add(1);
            if next >= until {
                return self.dropped(what, done, reason);
            }
            self.record(Event::AfterDelayed { what, account: done.account }, done, reason);
            clock.until(next).await;
        }
    }

    fn dropped(&self, what: What, done: &Done, reason: Reason<'_>) {
        let account: Digest = done.account;
        self.record(Event::AfterDropped { what, account }, done, reason);
    }

    fn record(&self, event: Event, done: &Done, reason: Reason<'_>) {
        self.world.events.record(event, &done.source.about(reason));
    }
}

/// 1 s, 2 s, 4 s … 5 min, less up to a quarter, so that what failed together does not come back together.
fn backoff(attempts: u32, random: u64) -> Duration {
    let full = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempts)).min(LONGEST_WAIT);
    let thousandths = u32::try_from(random % 251).unwrap_or_default();
    full - full / 1000 * thousandths
}
