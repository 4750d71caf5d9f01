//! Identity stores: [`Accounts`](crate::reset::ports::Accounts) over HTTP.
//!
//! Whatever a store answers is untrusted and stays here: what leaves is an account's asked attributes, or the names of
//! the password rules that were broken. Of a failure, only its kind leaves, and that only to the log.

mod breaker;
mod calls;
mod credentials;
pub mod crest;
mod health;
mod oauth2;
mod policy;

pub use crest::{Action, Crest, Question, Seen, Unanswered};
pub use health::{Health, Outcome};

use crate::outbound;

/// Why an identity store cannot be set up. Nothing of it depends on whether the store is reachable.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The service user's name, password or token fits into no header.
    #[error("the service user's credentials cannot be sent in a header")]
    Credentials,
    /// The URL of the store or of its token endpoint can never be asked.
    #[error(transparent)]
    Service(#[from] outbound::Unusable),
}

#[cfg(test)]
mod tests;
