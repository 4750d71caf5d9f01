//! The password policy: what clients are told of it as somebody types, and rules of the gate's own, which hold before the
//! identity store is sent a password.
//!
//! What is typed is nobody's but the judge's: it is in no log, no metric and no cache, and the breach service never hears
//! of it, only of a hash's first twenty bits, and that only of a password that is about to be set.

mod breach;
mod local;
mod page;
mod service;
pub mod trial;

pub use self::{local::Local, page::Page, service::Store};
