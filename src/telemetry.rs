//! What operators see: log lines, metrics, and the audit trail that feeds both.
//!
//! No name, address, code, token or password is ever here: what the engine reports ([`crate::reset::ports::Event`])
//! holds none, and an account is at most eight hex digits of a keyed digest.

pub mod access;
pub mod audit;
pub mod draw;
mod labels;
pub mod log;
pub mod metrics;
pub mod throttle;
pub mod trace;
