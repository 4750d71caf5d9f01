//! The demo: an identity store, a mailbox and a page inside the process.

mod accept;
mod http;
pub mod mailbox;
mod page;
pub mod store;
