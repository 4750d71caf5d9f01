//! What came of it all.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use super::Ask;
use crate::support::answer::Answer;

/// Failures that are told; all are counted.
const TOLD: usize = 300;

#[derive(Default)]
pub(crate) struct Tally {
    /// Told to whoever waits.
    done: watch::Sender<Done>,
    /// Of those who keep them.
    connections: AtomicU64,
    retries: Mutex<BTreeMap<String, u64>>,
    crossed: AtomicU64,
    told_to_close: AtomicU64,
    failed: AtomicU64,
    statuses: Mutex<BTreeMap<u16, u64>>,
    failures: Mutex<Vec<String>>,
}

/// How far it is.
#[derive(Clone, Copy, Default)]
struct Done {
    /// Requests that are on their way, or were.
    asked: u64,
    /// Answers that were right.
    answered: u64,
    /// Whole flows.
    walks: u64,
}

/// The sums.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) answered: u64,
    /// Whole flows, each with its mail, to a new password.
    pub(crate) walks: u64,
    /// Of those who keep them.
    pub(crate) connections: u64,
    /// Requests that were sent again since their connection was closed, or its streams were refused, while the first
    /// was on its way: what HTTP asks of a client (RFC 9112 §9.3.1, RFC 9113 §8.7).
    pub(crate) retries: BTreeMap<String, u64>,
    /// Streams of HTTP/2 that were sent again since the word that no more are taken was on its way (RFC 9113 §6.8). The
    /// server gives them a round trip; the client's `h2` answers its ping before it sends what is still to be sent.
    pub(crate) crossed: u64,
    /// Of those who keep them: answers, or connections of HTTP/2, that said that no more was to come.
    pub(crate) told_to_close: u64,
    pub(crate) failed: u64,
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) failures: Vec<String>,
}

impl Tally {
    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn retries(&self, why: String) {
        *self.retries.lock().unwrap().entry(why).or_default() += 1;
        self.asks_again();
    }

    pub(super) fn crossed(&self) {
        self.crossed.fetch_add(1, Ordering::Relaxed);
        self.asks_again();
    }

    /// What is sent twice is one request.
    fn asks_again(&self) {
        self.done.send_modify(|done| done.asked -= 1);
    }

    pub(super) fn is_told_to_close(&self) {
        self.told_to_close.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn told_to_close(&self) -> u64 {
        self.told_to_close.load(Ordering::Relaxed)
    }

    pub(super) fn walked(&self) {
        self.done.send_modify(|done| done.walks += 1);
    }

    pub(super) fn fails(&self, ask: &str, why: impl fmt::Display) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap();
        if failures.len() < TOLD {
            failures.push(format!("{ask}: {why}"));
        }
        drop(failures);
        // Whoever waits for more is not to wait in vain.
        self.done.send_modify(|_| ());
    }

    /// The answer, if it is right.
    pub(super) fn judge(&self, ask: &Ask, answer: Answer) -> Option<Answer> {
        *self.statuses.lock().unwrap().entry(answer.status).or_default() += 1;
        if ask.right.contains(&answer.status) {
            self.done.send_modify(|done| done.answered += 1);
            Some(answer)
        } else {
            self.fails(&ask.target, format!("{} {}", answer.status, answer.body));
            None
        }
    }

    pub(super) fn asks(&self) {
        self.done.send_modify(|done| done.asked += 1);
    }

    pub(super) async fn asked(&self, requests: u64) {
        self.until(|done| done.asked >= requests).await;
    }

    pub(super) async fn more(&self, requests: u64) {
        let from = self.done.borrow().answered;
        self.until(|done| done.answered >= from + requests).await;
    }

    pub(super) async fn more_walks(&self, walks: u64) {
        let from = self.done.borrow().walks;
        self.until(|done| done.walks >= from + walks).await;
    }

    async fn until(&self, enough: impl Fn(Done) -> bool) {
        let over = |done: &Done| enough(*done) || self.failed.load(Ordering::Relaxed) > 0;
        self.done.subscribe().wait_for(over).await.unwrap();
        self.report().has_no_failure();
    }

    pub(super) fn report(&self) -> Report {
        let Done { answered, walks, .. } = *self.done.borrow();
        Report {
            answered,
            walks,
            connections: self.connections.load(Ordering::Relaxed),
            retries: self.retries.lock().unwrap().clone(),
            crossed: self.crossed.load(Ordering::Relaxed),
            told_to_close: self.told_to_close(),
            failed: self.failed.load(Ordering::Relaxed),
            statuses: self.statuses.lock().unwrap().clone(),
            failures: self.failures.lock().unwrap().clone(),
        }
    }
}

impl Report {
    pub(crate) fn has_no_failure(&self) {
        assert!(self.failed == 0, "{self:#?}");
    }
}
