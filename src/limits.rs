//! The rate limits: GCRA (a leaky bucket as a meter) by the `governor` crate, over a store of our own whose size is
//! bounded. What processes share is counted on the server that their codes are on, by a script of the same algorithm.

mod governor;
mod meter;
mod networks;
mod pressure;
mod server;
mod store;
#[cfg(test)]
mod tests;
mod tiers;

pub use self::{
    governor::{Governor, Kept},
    server::ServerLimits,
};
