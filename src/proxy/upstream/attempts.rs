//! One request on its way to the upstream: where it has been, and how long it may still go on.

use std::time::Duration;

use tokio::time::Instant;

use crate::endpoints::{Endpoint, Failure};

/// Tries for one request, each at another address.
const MAX_TRIES: usize = 3;
/// How much longer than the silence of the upstream its whole answer's head is waited for: the one is told apart from
/// the other by which comes first.
const SLACK: Duration = Duration::from_millis(100);

/// The tries of one request.
#[derive(Default)]
pub(in crate::proxy) struct Attempts {
    /// Whether the client may go over to WebSocket with it.
    pub(in crate::proxy) websocket: bool,
    /// Whether it has: what comes and goes is nobody's HTTP any more.
    pub(in crate::proxy) tunnels: bool,
    /// Whether an answer has begun.
    pub(in crate::proxy) answered: bool,
    /// Since when the upstream is waited for: the first try, or the end of the request's body.
    began: Option<Instant>,
    at: Option<Endpoint>,
    tried: Vec<Endpoint>,
    silence: Duration,
    due: Option<Instant>,
    count: u32,
    took: Option<Duration>,
}

impl Attempts {
    /// How much of `total` is left when a try begins.
    pub(super) fn begin(&mut self, now: Instant, total: Duration) -> Duration {
        total.saturating_sub(now.duration_since(*self.began.get_or_insert(now)))
    }

    /// Where this try goes, and how long it may be silent there.
    pub(super) fn goes_to(&mut self, endpoint: Endpoint, silence: Duration) {
        (self.at, self.silence, self.due) = (Some(endpoint), silence, None);
        self.count += 1;
    }

    /// To be told when the request is sent: when its answer must begin, if it went to the upstream.
    pub(in crate::proxy) fn is_sent(&mut self, now: Instant) -> Option<Instant> {
        self.at.as_ref()?;
        // How long a client takes for its body is its own affair.
        if self.tried.is_empty() {
            self.began = Some(now);
        }
        let due = now + self.silence + SLACK;
        self.due = Some(due);
        self.due
    }

    /// Whether all of the request has been sent.
    pub(in crate::proxy) const fn is_sent_whole(&self) -> bool {
        self.due.is_some()
    }

    /// Whether the answer should have begun by now.
    pub(in crate::proxy) fn is_overdue(&self, now: Instant) -> bool {
        !self.answered && self.due.is_some_and(|due| due <= now)
    }

    /// When the upstream was first asked.
    pub(in crate::proxy) const fn first(&self) -> Option<Instant> {
        self.began
    }

    /// How often it was sent, or was to be.
    pub(in crate::proxy) const fn count(&self) -> u32 {
        self.count
    }

    /// How long the upstream was waited for, once it answers.
    pub(in crate::proxy) const fn took(&self) -> Option<Duration> {
        self.took
    }

    /// To be told when an answer begins.
    pub(in crate::proxy) fn begins_to_be_answered(&mut self, now: Instant) {
        self.answered = true;
        self.took = self.began.map(|began| now.duration_since(began));
        if let Some(at) = &self.at {
            at.answered();
        }
    }

    /// To be told when this try failed.
    pub(in crate::proxy) fn failed(&mut self, how: Failure) {
        if let Some(at) = &self.at {
            at.failed(how);
            self.tried.push(at.clone());
        }
    }

    /// Where the present try goes.
    pub(in crate::proxy) fn at(&self) -> Option<&Endpoint> {
        self.at.as_ref()
    }

    pub(super) fn tried(&self) -> &[Endpoint] {
        &self.tried
    }

    pub(super) fn has_tries_left(&self, now: Instant, total: Duration) -> bool {
        self.tried.len() < MAX_TRIES && self.began.is_none_or(|began| now.duration_since(began) < total)
    }
}
