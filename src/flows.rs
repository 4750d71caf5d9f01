//! The code cache: where live flows are, and what equal requests were answered. Adapters of [`crate::reset::ports::Flows`]
//! and [`crate::reset::ports::Repeats`].

pub mod memory;
mod packed;
mod record;
pub mod redis;
pub mod repeats;
mod spent;
