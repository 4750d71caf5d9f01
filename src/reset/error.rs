//! How a request ends without an answer of its stage.

use std::{borrow::Cow, sync::LazyLock, time::Duration};

use super::{ports::Policy, wire::Reply};

/// Why a stage, or the way to it, stops. All texts are constants of ours or of the process file: clients show them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The client's mistake, or a token or code that is no good: 400.
    Bad(Cow<'static, str>),
    /// The same for every failure after the user query, real or decoy: 400.
    InvalidCode,
    /// A limit: 429, and what may be told of it.
    TooMany(Duration, Option<Policy>),
    /// A service is down or full: 503.
    Unavailable(Duration),
}

impl Stop {
    /// 400 with a constant text.
    pub const fn bad(message: &'static str) -> Self {
        Self::Bad(Cow::Borrowed(message))
    }

    /// The answer.
    pub fn reply(&self) -> Reply {
        match self {
            Self::Bad(message) => Reply::error(400, message),
            Self::InvalidCode => INVALID_CODE.clone(),
            Self::TooMany(wait, policy) => Reply::too_many(*wait, *policy),
            Self::Unavailable(wait) => Reply::retry(503, "The service is not available, try again later", *wait),
        }
    }
}

/// Told to whoever guesses, which may be very often, and kept for repeats each time.
static INVALID_CODE: LazyLock<Reply> = LazyLock::new(|| Reply::error(400, "Invalid code"));
