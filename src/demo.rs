//! The demo: an identity store, a mailbox and a page inside the process.

mod accept;
mod http;
mod page;
pub mod store;
