//! Stories over the whole pipeline, one binary. Each module is one subject; `support` is what they share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod admin;
mod answers;
mod audit;
mod bounds;
mod connections;
mod decoys;
mod digits;
mod edge;
mod engine_errors;
mod flow;
mod flows_contract;
mod h2;
mod http_edges;
mod lanes;
mod layers;
mod limits;
mod mail;
mod metrics;
mod panics;
mod passing;
mod password;
mod paths;
mod proxied;
mod repeats;
mod request_ids;
mod separation;
mod siege;
mod store;
mod support;
mod tls;
mod uniform;
mod upstream_tls;
mod upstreams;
mod walks;
mod websocket;
