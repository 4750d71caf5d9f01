//! The rate limits: GCRA (a leaky bucket as a meter) by the `governor` crate, over a store of our own whose size is
//! bounded.

mod governor;
mod meter;
mod networks;
mod store;
#[cfg(test)]
mod tests;
mod tiers;

pub use self::governor::{Governor, Kept};
