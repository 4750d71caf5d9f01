//! The program as it is run: spawned, spoken to over sockets, ended by signals. One binary; each module is one subject.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs
)]

mod access;
mod attacks;
mod audit;
mod browser;
mod canaries;
mod commands;
mod demo;
mod deploy;
mod doctor;
mod listen;
mod load;
mod logs;
mod mail;
mod memory;
mod metrics;
mod nginx;
mod promises;
mod reload;
mod replicas;
mod sidecar;
mod start;
mod stop;
mod supervisor;
mod support;
mod upgrade;
mod web_client;
