//! Identity stores: [`Accounts`](crate::reset::ports::Accounts) over HTTP.
//!
//! Whatever a store answers is untrusted and stays here: what leaves is an account's asked attributes, or the names of
//! the password rules that were broken. Of a failure, only its kind leaves, and that only to the log.

pub mod crest;
mod http;
mod policy;

pub use crest::Crest;

/// Why an identity store cannot be set up. Nothing of it depends on whether the store is reachable.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The program has not said which crypto library TLS uses.
    #[error("no TLS crypto provider is installed")]
    NoCrypto,
    /// The service user's name or password fits into no header.
    #[error("the service user's credentials cannot be sent in a header")]
    Credentials,
    /// The HTTP client cannot be built: with `https`, most likely the system has no root certificates.
    #[error("the HTTP client cannot be built")]
    Client(#[source] reqwest::Error),
}

#[cfg(test)]
mod tests;
