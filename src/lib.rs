//! resetgate: a reverse proxy that puts a safe password reset in front of an identity store that it does not own.
#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod flows;
pub mod identity;
pub mod keys;
pub mod limits;
pub mod listen;
pub mod mail;
pub mod proxy;
pub mod reset;
pub mod serve;
pub mod telemetry;
