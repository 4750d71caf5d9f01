//! The keys of `[listen]` that bound connections: how many there are, and how long each may take over what.

use std::time::Duration;

use super::{Connections, raw::Section, units};

impl Default for Connections {
    fn default() -> Self {
        Self {
            max: None,
            max_per_client: 1000,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(20),
            min_rate: 256,
            max_lifetime: Duration::from_secs(3600),
            max_requests: 10_000,
        }
    }
}

/// Reads the keys.
pub(super) fn connections(section: &mut Section<'_>) -> Option<Connections> {
    // Without it, what the process may open is known when it starts.
    let is_set = section.has("max_connections");
    let max = section.number("max_connections", 1_000_000, 1..=1_000_000);
    let max_per_client = section.number("max_connections_per_client", 1000, 1..=1_000_000);
    let handshake_timeout = section.or("handshake_timeout", "10s", units::duration_in("100ms"..="5m"));
    let header_timeout = section.or("header_timeout", "10s", units::duration_in("100ms"..="5m"));
    let idle_timeout = section.or("idle_timeout", "60s", units::duration_in("100ms"..="1h"));
    let body_timeout = section.or("body_timeout", "20s", units::duration_in("100ms"..="5m"));
    // What is below cannot be told from nothing: the kernel tells of progress in pieces of some kilobytes.
    let min_rate = section.number("min_rate", 256, 32..=65_536);
    let max_lifetime = section.or("max_lifetime", "1h", units::duration_in("1s"..="24h"));
    let max_requests = section.number("max_requests", 10_000, 1..=1_000_000_000);
    if !is_set {
        section.means("max_connections", None);
    }
    if let (Some(max), Some(per_client)) = (max, max_per_client) {
        // One client can have no more than there are.
        section.means("max_connections_per_client", Some(&per_client.min(max)));
    }
    if let (Some(max), Some(per_client)) = (max, max_per_client)
        && section.has("max_connections_per_client")
        && per_client > max
    {
        section.fault("max_connections_per_client", "must not be more than listen.max_connections");
    }
    let max = usize::try_from(max?).ok()?;
    Some(Connections {
        max: is_set.then_some(max),
        max_per_client: usize::try_from(max_per_client?).ok()?,
        handshake_timeout: handshake_timeout?,
        header_timeout: header_timeout?,
        idle_timeout: idle_timeout?,
        body_timeout: body_timeout?,
        min_rate: min_rate?,
        max_lifetime: max_lifetime?,
        max_requests: max_requests?,
    })
}
