//! Why something is counted that is none of the engine's events.

use super::Metrics;

/// Why `[edge]` refuses a request whose path is not the reset's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Its path is not to be reached.
    Path,
    /// It asks for another method than its own.
    MethodOverride,
    /// It signs in as somebody who must not come this way.
    User,
}

/// Which limit of connections was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    /// That of one client.
    Client,
    /// That of all.
    Total,
}

/// Over what a client took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// Sending a head.
    Head,
    /// Sending a body.
    Body,
    /// Taking an answer.
    Answer,
}

/// What a breaker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaking {
    /// Calls go through.
    Closed,
    /// One call at a time looks whether the others may go through again.
    HalfOpen,
    /// No call goes through.
    Open,
}

impl Metrics {
    /// Tells what the identity store's breaker does, and counts each time that it opens.
    pub fn breaker(&self, now: Breaking) {
        self.breaker.set(match now {
            Breaking::Closed => 0,
            Breaking::HalfOpen => 1,
            Breaking::Open => 2,
        });
        if now == Breaking::Open {
            self.breaker_opened.inc();
        }
    }

    /// Counts a call that the breaker kept from the identity store.
    pub fn breaker_refused(&self) {
        self.breaker_refused.inc();
    }
}
