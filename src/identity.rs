//! Identity stores: [`Accounts`](crate::reset::ports::Accounts) over HTTP.
//!
//! Whatever a store answers is untrusted and stays here: what leaves is an account's asked attributes, or the names of
//! the password rules that were broken. Of a failure, only its kind leaves, and that only to the log.

mod breaker;
mod calls;
mod connect;
mod credentials;
pub mod crest;
mod failure;
mod health;
mod http;
mod oauth2;
mod policy;

pub use crest::{Crest, Question, Seen, Unanswered};
pub use health::{Health, Outcome};

use crate::tls;

/// Why an identity store cannot be set up. Nothing of it depends on whether the store is reachable.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The service user's name, password or token fits into no header.
    #[error("the service user's credentials cannot be sent in a header")]
    Credentials,
    /// The URL of the store or of its token endpoint cannot be asked.
    #[error("the URL cannot be asked")]
    Url,
    /// TLS with these settings can never work.
    #[error(transparent)]
    Tls(#[from] tls::Unusable),
}

#[cfg(test)]
mod tests;
