//! The outbox: a bounded number of places, one worker that takes what is due in its turn, and a few hands that carry.
//!
//! Mails of clients' first starts go before those of later ones, and have three quarters of the places to themselves: who
//! has many starts to spend can neither fill it nor make others wait.
//!
//! A decoy takes a place, waits its turn behind the mails before it, stays for as long as recent mails did, and backs
//! off while mails fail. So how full the outbox is, and how fast it empties, tells nothing of who exists. It takes
//! neither of the pace nor a hand (but to find out, where no mail does, whether the relay is back): strangers make decoys
//! at will, and no mail may wait for them.

mod counted;
mod health;
mod jitter;
mod matter;
mod places;
mod queue;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::{AbortHandle, JoinSet},
};

pub(super) use self::jitter::random;
use self::{
    counted::Counted,
    health::Health,
    jitter::{LONGEST_WAIT, backoff},
    matter::{Became, Matter},
    places::{Place, Places},
    queue::{Entry, Letter, Queue, What},
};
use super::{Carrier, Outcome, Trouble, letter, letter::Letters, notices::Notices};
use crate::reset::ports::{
    Clock, Decision, Errand, Events, Full, Job, LimitKey, Limits, Notice, Outbox, Reason, Rule, Share, Slot, Time,
};

/// So many letters are carried at once.
const HANDS: usize = 4;

/// So often may a letter be sent whose fate is unknown; the next attempt is as late as after so many more.
const MOST_UNKNOWN: u32 = 3;
const LONG_BEFORE: u32 = 4;

/// So many notices may wait. Nobody makes one who has not set a password.
const NOTICES: usize = 10_000;

/// What a pace that denies without a time is taken to mean; also the least that anyone is told to wait.
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// Everything that the outbox needs from outside.
pub(super) struct World {
    /// None where no link is ever mailed.
    pub(super) letters: Option<Letters>,
    pub(super) notices: Notices,
    pub(super) carrier: Box<dyn Carrier>,
    pub(super) limits: Arc<dyn Limits>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) events: Arc<dyn Events>,
    /// 64 random bits, for jitter and names.
    pub(super) random: fn() -> u64,
}

/// The outbox. Its worker ends with it.
pub(super) struct Postbox {
    desk: Arc<Desk>,
    worker: AbortHandle,
}

impl Postbox {
    pub(super) fn start(world: World, capacity: usize, later: usize) -> Self {
        let desk = Arc::new(Desk {
            world,
            places: Places::new(capacity, later),
            notices: Places::new(NOTICES, NOTICES),
            hands: Arc::new(Semaphore::new(HANDS)),
            queue: Mutex::default(),
            bell: Notify::new(),
            real: watch::Sender::new(0),
            health: Mutex::default(),
        });
        let worker = tokio::spawn(Arc::clone(&desk).work()).abort_handle();
        Self { desk, worker }
    }
}

impl Drop for Postbox {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

#[async_trait]
impl Outbox for Postbox {
    fn deliverable(&self, address: &str) -> bool {
        letter::address(address).is_some()
    }

    fn reserve(&self, share: Share) -> Result<Box<dyn Slot>, Full> {
        match Places::take(&self.desk.places, share) {
            Some(place) => Ok(Box::new(Reserved { desk: Arc::clone(&self.desk), place })),
            None => Err(Full { retry_after: self.desk.retry_after() }),
        }
    }

    fn notify(&self, notice: Notice) {
        let desk = &self.desk;
        let Some(place) = Places::take(&desk.notices, Share::First) else {
            let matter = Matter::Notice(notice);
            let about = matter.source().about(Reason::Word("full"));
            return desk.world.events.record(matter.became(Became::Dropped), &about);
        };
        let until = notice.until;
        desk.post(Matter::Notice(notice), until, place);
    }

    fn taken(&self) -> usize {
        self.desk.places.taken()
    }

    fn failures(&self) -> u32 {
        self.desk.health.lock().failures()
    }

    async fn drained(&self) {
        // Fails only without a sender, and the desk is one.
        let _ = self.desk.real.subscribe().wait_for(|real| *real == 0).await;
    }
}

struct Reserved {
    desk: Arc<Desk>,
    place: Place,
}

impl Slot for Reserved {
    fn send(self: Box<Self>, job: Job) {
        let until = job.until;
        self.desk.post(Matter::Link(job), until, self.place);
    }

    fn decoy(self: Box<Self>, until: Time) {
        self.desk.enter(What::Decoy, until, self.place);
    }
}

/// What the outbox, its slots, its worker and its hands share.
struct Desk {
    world: World,
    /// An entry keeps its place until it is done with, so these bound the queue.
    places: Arc<Places>,
    notices: Arc<Places>,
    hands: Arc<Semaphore>,
    queue: Mutex<Queue>,
    /// Rings when something is put into the queue.
    bell: Notify,
    /// How many real mails are here, waiting or under way.
    real: watch::Sender<usize>,
    health: Mutex<Health>,
}

impl Desk {
    fn post(&self, matter: Matter, until: Time, place: Place) {
        // Nothing of the time: how long the mail waited is nobody's business.
        let id = format!("{:016x}{:016x}", (self.world.random)(), (self.world.random)());
        let (queued, counted) = (self.world.clock.now(), Counted::new(&self.real));
        self.enter(What::Letter(Box::new(Letter { matter, queued, id, _counted: counted })), until, place);
    }

    fn enter(&self, what: What, until: Time, place: Place) {
        let now = self.world.clock.now();
        self.put(Entry { due: now, until, attempts: 0, unknown: 0, what, place });
    }

    fn put(&self, entry: Entry) {
        self.queue.lock().put(entry);
        self.bell.notify_one();
    }

    fn retry_after(&self) -> Duration {
        let health = self.health.lock();
        if health.is_ill() { LONGEST_WAIT } else { health.paced_until().since(self.world.clock.now()).max(LEAST_WAIT) }
    }

    /// The worker. Dropping it ends the attempts under way, too.
    async fn work(self: Arc<Self>) {
        let mut attempts = JoinSet::new();
        loop {
            let entry = self.next().await;
            while attempts.try_join_next().is_some() {}
            if matches!(entry.what, What::Decoy) {
                let desk = Arc::clone(&self);
                attempts.spawn(async move { desk.attempt(entry).await });
                continue;
            }
            // The hand first: the pace is for what leaves now, not for what then waits for a hand.
            let Ok(hand) = Arc::clone(&self.hands).acquire_owned().await else { return };
            if self.pace(entry.until).await {
                let desk = Arc::clone(&self);
                attempts.spawn(async move {
                    desk.attempt(entry).await;
                    drop(hand);
                });
            } else {
                self.give_up(&entry);
            }
        }
    }

    /// The entry that has been due the longest, as soon as one is.
    async fn next(&self) -> Entry {
        loop {
            self.clear_dead();
            let due = {
                let mut queue = self.queue.lock();
                if let Some(entry) = queue.take(self.world.clock.now()) {
                    return entry;
                }
                queue.next_due()
            };
            let rung = self.bell.notified();
            match due {
                None => rung.await,
                Some(due) => tokio::select! {
                    () = rung => {}
                    () = self.rest(due) => {}
                },
            }
        }
    }

    /// Waits for the pace; false if that took until the link's end.
    async fn pace(&self, until: Time) -> bool {
        loop {
            let now = self.world.clock.now();
            if now >= until {
                return false;
            }
            match self.world.limits.charge(Rule::MailTotal, LimitKey::Everyone).await {
                Decision::Allowed => return true,
                Decision::Denied { retry_after, .. } => {
                    let wait = if retry_after.as_millis() == 0 { LEAST_WAIT } else { retry_after };
                    let again = now.after(wait);
                    self.health.lock().paced(again);
                    self.rest(again.min(until)).await;
                }
            }
        }
    }

    /// Waits, and meanwhile frees the places of those whose link dies in the queue.
    async fn rest(&self, at: Time) {
        loop {
            self.clear_dead();
            if self.world.clock.now() >= at {
                return;
            }
            let wake = self.queue.lock().first_end().map_or(at, |end| end.min(at));
            self.world.clock.until(wake).await;
        }
    }

    fn clear_dead(&self) {
        let dead = self.queue.lock().take_dead(self.world.clock.now());
        for entry in dead {
            self.give_up(&entry);
        }
    }

    async fn attempt(&self, entry: Entry) {
        match &entry.what {
            What::Letter(letter) => match self.follow(letter).await {
                Outcome::Taken => {
                    if matches!(letter.matter, Matter::Link(_)) {
                        self.world.events.mail_left(self.world.clock.now().since(letter.queued));
                    }
                    self.note(letter, Became::Sent, Reason::None);
                }
                Outcome::Refused(trouble) => self.drop_letter(letter, trouble),
                Outcome::Failed(trouble) => self.again(entry, trouble),
                Outcome::Unknown(trouble) if entry.unknown + 1 >= MOST_UNKNOWN => self.drop_letter(letter, trouble),
                Outcome::Unknown(trouble) => {
                    // It may well be there: its reader has time to see it before another comes.
                    let attempts = entry.attempts.saturating_add(LONG_BEFORE);
                    self.again(Entry { unknown: entry.unknown + 1, attempts, ..entry }, trouble);
                }
            },
            What::Decoy => {
                if self.pretend().await {
                    self.again(entry, Trouble::new("decoy"));
                }
            }
        }
    }

    /// Carries it, as a part of what its asker did.
    async fn follow(&self, letter: &Letter) -> Outcome {
        let span = letter.matter.trace().map(|trace| trace.begin(Errand::Mail));
        let outcome = self.carry(letter).await;
        if let Some(span) = span {
            span.end(
                None,
                match &outcome {
                    Outcome::Taken => None,
                    Outcome::Refused(trouble) | Outcome::Failed(trouble) | Outcome::Unknown(trouble) => {
                        Some(trouble.class)
                    }
                },
            );
        }
        outcome
    }

    async fn carry(&self, letter: &Letter) -> Outcome {
        let begun = self.world.clock.now();
        let written = match &letter.matter {
            Matter::Link(job) => match &self.world.letters {
                Some(letters) => letters.write(job, begun, &letter.id),
                None => Err(letter::Unwritable),
            },
            Matter::Notice(notice) => self.world.notices.write(notice, begun, &letter.id),
        };
        let Ok(message) = written else {
            return Outcome::Refused(Trouble::new("letter"));
        };
        let outcome = self.world.carrier.carry(&message).await;
        let took = self.world.clock.now().since(begun);
        let mut health = self.health.lock();
        match &outcome {
            // Who refuses one mail for good is in good health.
            Outcome::Taken | Outcome::Refused(_) => health.well(took),
            Outcome::Failed(trouble) | Outcome::Unknown(trouble) => health.ill(took, *trouble),
        }
        outcome
    }

    /// Does with a decoy what would be done with a mail now; true if that would have failed.
    async fn pretend(&self) -> bool {
        let (ill, done) = {
            let health = self.health.lock();
            let now = self.world.clock.now();
            (health.is_ill(), health.paced_until().max(now).after(health.takes()))
        };
        // No real mail may be left that could find out that things are well again.
        match Arc::clone(&self.hands).try_acquire_owned() {
            Ok(_hand) if ill && *self.real.borrow() == 0 => {
                if self.world.carrier.probe().await.is_ok() {
                    self.health.lock().recovered();
                }
            }
            _ => self.world.clock.until(done).await,
        }
        self.health.lock().is_ill()
    }

    /// Puts an entry back that failed, unless its link dies before the next attempt.
    fn again(&self, mut entry: Entry, trouble: Trouble) {
        entry.due = self.world.clock.now().after(backoff(entry.attempts, (self.world.random)()));
        entry.attempts = entry.attempts.saturating_add(1);
        if entry.due >= entry.until {
            return self.give_up(&entry);
        }
        // Before another can take it up: what happens to it is recorded in the order in which it happens.
        if let What::Letter(letter) = &entry.what {
            self.note(letter, Became::Delayed, trouble.reason());
        }
        self.put(entry);
    }

    fn give_up(&self, entry: &Entry) {
        if let What::Letter(letter) = &entry.what {
            self.drop_letter(letter, Trouble::new("expired"));
        }
    }

    fn drop_letter(&self, letter: &Letter, trouble: Trouble) {
        tracing::warn!(class = trouble.class, code = trouble.code, "a mail is given up");
        self.note(letter, Became::Dropped, trouble.reason());
    }

    fn note(&self, letter: &Letter, became: Became, reason: Reason<'_>) {
        self.world.events.record(letter.matter.became(became), &letter.matter.source().about(reason));
    }
}

#[cfg(test)]
mod tests;
