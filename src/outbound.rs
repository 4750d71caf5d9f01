//! Services outside that speak HTTP/1.1: connections, and calls that are bounded in every way. No redirect is followed, no
//! proxy of the environment asked, and no connection shared between services.
//!
//! [`Client`] is for a service that is asked now and then; the identity store, which is asked all the time, is built from
//! the same parts in [`crate::identity`].

mod client;
mod connect;
mod failure;
mod http;

pub use self::{
    client::{Client, Whole},
    connect::Connector,
    failure::{Failure, Kind},
    http::{Answer, Bounds, Http, Outgoing},
};
pub use crate::telemetry::metrics::Outbound as Name;
use crate::tls;

/// Why a service can never be asked. Nothing of it depends on whether it can be reached.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Its URL cannot be asked.
    #[error("the URL cannot be asked")]
    Url,
    /// TLS with these settings can never work.
    #[error(transparent)]
    Tls(#[from] tls::Unusable),
}
