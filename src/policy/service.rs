//! The identity store's own policy, asked as the service user.
//!
//! Somebody who types asks several times a second, and a stranger may as often as they like. So few are asked at a time
//! that resets hardly wait for them, few wait, and whoever is one too many is told to come back.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::reset::ports::{Caller, Clock, Down, PolicyFailure, PolicyRule, Secret, Time};

/// Of all calls to the store, so many may be about its policy: one in eight, but no more than eight.
const PART: usize = 8;
/// For each of them, so many may wait, and how long.
const WAITING: usize = 4;
const PATIENCE: Duration = Duration::from_secs(1);
/// When to come back.
const COME_BACK: Duration = Duration::from_secs(2);

/// A store's policy for passwords.
#[async_trait]
pub trait Store: Send + Sync {
    /// Its rules.
    async fn rules(&self, caller: &Caller) -> Result<Vec<PolicyRule>, Down>;
    /// Those that a password breaks.
    async fn broken(&self, password: &Secret, caller: &Caller) -> Result<Vec<PolicyFailure>, Down>;
}

/// Asks it, within bounds.
pub(super) struct Service {
    store: Arc<dyn Store>,
    turns: Semaphore,
    queue: Semaphore,
    known: Mutex<Option<Known>>,
    cache: Duration,
    clock: Arc<dyn Clock>,
}

/// What it said of its rules, and for how long that counts.
struct Known {
    rules: Arc<Vec<PolicyRule>>,
    until: Time,
}

impl Service {
    pub(super) fn new(store: Arc<dyn Store>, calls: usize, cache: Duration, clock: Arc<dyn Clock>) -> Self {
        let turns = (calls / PART).clamp(1, PART);
        let queue = Semaphore::new(turns * (1 + WAITING));
        Self { store, turns: Semaphore::new(turns), queue, known: Mutex::default(), cache, clock }
    }

    pub(super) async fn rules(&self, caller: &Caller) -> Result<Arc<Vec<PolicyRule>>, Down> {
        if let Some(rules) = self.known() {
            return Ok(rules);
        }
        let _turn = self.turn().await?;
        // Whoever had the turn before may have asked.
        if let Some(rules) = self.known() {
            return Ok(rules);
        }
        let rules = Arc::new(self.store.rules(caller).await?);
        let until = self.clock.now().after(self.cache);
        *self.known.lock() = Some(Known { rules: Arc::clone(&rules), until });
        Ok(rules)
    }

    pub(super) async fn broken(&self, password: &Secret, caller: &Caller) -> Result<Vec<PolicyFailure>, Down> {
        let _turn = self.turn().await?;
        self.store.broken(password, caller).await
    }

    fn known(&self) -> Option<Arc<Vec<PolicyRule>>> {
        let known = self.known.lock();
        known.as_ref().filter(|known| self.clock.now() < known.until).map(|known| Arc::clone(&known.rules))
    }

    async fn turn(&self) -> Result<(SemaphorePermit<'_>, SemaphorePermit<'_>), Down> {
        let full = Down { sent: false, full: true, retry_after: COME_BACK };
        let waiting = self.queue.try_acquire().map_err(|_| full)?;
        match timeout(PATIENCE, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok((turn, waiting)),
            Ok(Err(_)) | Err(_) => Err(full),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;
    use crate::clock::SystemClock;

    /// A store that answers when it is told to.
    #[derive(Default)]
    struct Slow {
        asked: Mutex<usize>,
        go: Notify,
        fails: bool,
    }

    #[async_trait]
    impl Store for Slow {
        async fn rules(&self, _: &Caller) -> Result<Vec<PolicyRule>, Down> {
            *self.asked.lock() += 1;
            if self.fails { Err(Down { sent: true, full: false, retry_after: COME_BACK }) } else { Ok(Vec::new()) }
        }

        async fn broken(&self, _: &Secret, _: &Caller) -> Result<Vec<PolicyFailure>, Down> {
            *self.asked.lock() += 1;
            self.go.notified().await;
            Ok(Vec::new())
        }
    }

    fn service(store: &Arc<Slow>, calls: usize) -> Service {
        let store: Arc<dyn Store> = store.clone();
        Service::new(store, calls, Duration::from_secs(60), Arc::new(SystemClock::new()))
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_asked_at_a_time_so_many_wait_a_second_and_the_rest_is_told_at_once() {
        let store = Arc::new(Slow::default());
        let service = Arc::new(service(&store, 16));
        let all: Vec<_> = (0..20)
            .map(|_| {
                let service = Arc::clone(&service);
                tokio::spawn(async move { service.broken(&Secret::new("x"), &Caller::nobody()).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(*store.asked.lock(), 2, "an eighth of sixteen");
        assert_eq!(all.iter().filter(|one| one.is_finished()).count(), 10, "two are asked, and eight wait");
        tokio::time::sleep(PATIENCE).await;
        assert_eq!(all.iter().filter(|one| one.is_finished()).count(), 18);
        store.go.notify_waiters();
        let refused = join_all(all).await.into_iter().filter(|one| one.as_ref().unwrap().is_err()).count();
        assert_eq!((refused, *store.asked.lock()), (18, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn rules_are_asked_for_once_in_a_while_and_a_failure_is_not_kept() {
        let store = Arc::new(Slow::default());
        let service_ = service(&store, 256);
        let caller = Caller::nobody();
        for _ in 0..3 {
            service_.rules(&caller).await.unwrap();
        }
        assert_eq!(*store.asked.lock(), 1);
        *service_.known.lock() = None;
        service_.rules(&caller).await.unwrap();
        assert_eq!(*store.asked.lock(), 2);
        let store = Arc::new(Slow { fails: true, ..Slow::default() });
        let service_ = service(&store, 256);
        for _ in 0..2 {
            service_.rules(&caller).await.unwrap_err();
        }
        assert_eq!(*store.asked.lock(), 2);
    }
}
