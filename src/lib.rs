//! resetgate: a reverse proxy that puts a safe password reset in front of an identity store that it does not own.
//!
//! It answers `/openidm/selfservice/reset` itself, running the reset stage machine in its own process, and ends a flow by
//! sending the new password to the identity store as a `PATCH`. Every other path passes through to the upstream.
//!
//! # Tenets, in order. When two pull apart, the earlier wins
//!
//! 1. **Nothing is given away.** An answer says the same, in the same time and size, whether or not an account exists.
//! 2. **A real user gets in.** A double click, a reload, a second device, a mail scanner, a retrying browser never break
//!    a reset, and nothing that a stranger sends can lock a real user out.
//! 3. **The wire is IDM's.** An existing client, and an existing `selfservice-reset.json`, work unchanged.
//! 4. **Fast and small.** Close to what Pingora itself can do; memory bounded under any load.
//!
//! # Map
//!
//! ```text
//! client ─▶ listen ─▶ proxy ──(any other path)──▶ upstream
//!                       │ the reset path
//!                       ▼
//!                     reset      token ▸ stage ▸ token; knows no server, mail library, cache or crypto library
//!                       │ through the traits in reset::ports
//!        ┌────────┬─────┴───┬────────┬─────────┐
//!     identity   mail     flows    limits     keys
//!       CREST    SMTP      Redis  governor  jsonwebtoken
//! ```
//!
//! [`cli`] reads the command line, [`config`] the files, [`app`] puts concrete adapters together and is the only one to
//! name them, [`serve`] runs the result, [`admin`] lets operators look in, [`telemetry`] tells them what happens.
//! [`endpoints`] knows where a service is and which of its addresses are well, [`tls`] is the client's side of TLS; both
//! are for whatever connects to a service; [`outbound`] asks those that speak HTTP. [`policy`] says which passwords are
//! good enough, and tells clients. [`otlp`] takes spans to a collector. [`memory`] keeps memory off the disk and small,
//! [`supervisor`] tells systemd how it goes, [`demo`] surrounds the gate with a store, a mailbox and a page.
//!
//! # Who may import whom
//!
//! `reset` imports nothing else of the crate; `config` sees its process file and its type for secrets. `identity`,
//! `mail`, `flows`, `limits`, `policy`, `captcha` and `keys` see its ports and not each other. `tls`, `endpoints` and `outbound` see `config`
//! and `telemetry`, and serve them and the server. Pingora's types stop at `serve`, `listen`, `proxy` and `admin`. A test reads
//! every path in the source and fails on a breach: `tests/it/layers.rs`.
//!
//! # Where a change lands
//!
//! | change | touch |
//! |---|---|
//! | a new stage | `reset/stages/<name>.rs` with its settings, one line in `reset/stages.rs`, a story in `tests/it` |
//! | a new identity store, mail transport, code store | one file in its folder, one arm in its root, a config variant |
//! | a new outside service for a stage | a trait in `reset/ports.rs`, an adapter, one line in `app.rs` |
//! | a change of the wire | `reset/wire.rs`, and the bodies in `tests` |
//! | a Pingora upgrade | `serve`, `listen`, `proxy`, `admin` only |
#![forbid(unsafe_code)]

pub mod admin;
pub mod after;
pub mod app;
pub mod captcha;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod endpoints;
pub mod flows;
pub mod identity;
pub mod keys;
pub mod kv;
pub mod limits;
pub mod listen;
pub mod mail;
pub mod memory;
pub mod otlp;
pub mod outbound;
pub mod policy;
pub mod proxy;
pub mod reset;
pub mod serve;
pub mod supervisor;
pub mod telemetry;
pub mod tls;
