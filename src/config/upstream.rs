//! `[upstream]`: where every other path goes.

use std::{net::SocketAddr, time::Duration};

use super::{
    Address, At, Listen, PathPattern,
    edge::pattern,
    endpoints::{Endpoints, Place, endpoints},
    raw::Section,
    secret::Surroundings,
    units,
};

/// `[upstream]`
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Where it is. The URL has no path.
    pub endpoints: Endpoints,
    /// `try_timeout`: how long one server may be silent that was sent a request.
    pub try_timeout: Duration,
    /// `total_timeout`: until an answer begins, whatever was tried; at least as long as one try.
    pub total_timeout: Duration,
    /// `idle_timeout`: how long a connection is kept for the next request.
    pub idle_timeout: Duration,
    /// `pool_size`: how many are kept.
    pub pool_size: usize,
    /// `websocket`: the paths on which a client may go over to WebSocket.
    pub websocket: Vec<PathPattern>,
    /// `websocket_idle_timeout`: how long nothing may come through one, either way.
    pub websocket_idle_timeout: Duration,
}

/// Reads the section.
pub(super) fn upstream(
    mut section: Section<'_>,
    listen: Option<&Listen>,
    around: &Surroundings<'_>,
) -> Option<Upstream> {
    let endpoints = endpoints(&mut section, units::server_url, around);
    if let (Some(endpoints), Some(listen)) = (&endpoints, listen) {
        const RULE: &str = "must not be one of listen.addresses: every request would go round until nothing is left";
        for (index, place) in endpoints.addresses.iter().enumerate() {
            if !listen.addresses.iter().any(|address| is_at(address, place)) {
                continue;
            }
            match section.has("addresses") {
                true => section.item_fault("addresses", index, RULE),
                false => section.fault("url", RULE),
            }
        }
    }
    let try_timeout = section.or("try_timeout", "60s", units::duration_in("50ms"..="10m"));
    let total_timeout = section.or("total_timeout", "90s", units::duration_in("50ms"..="30m"));
    if let (Some(one), Some(all)) = (try_timeout, total_timeout)
        && all < one
    {
        let key = if section.has("total_timeout") { "total_timeout" } else { "try_timeout" };
        section.fault(key, "must leave total_timeout at least as long as try_timeout");
    }
    let idle_timeout = section.or("idle_timeout", "20s", units::duration_in("100ms"..="1h"));
    let pool_size = section.number("pool_size", 256, 1..=65_536);
    let websocket = section.list("websocket", &[], pattern);
    let websocket_idle_timeout = section.or("websocket_idle_timeout", "5m", units::duration_in("100ms"..="24h"));
    section.finish();
    Some(Upstream {
        endpoints: endpoints?,
        try_timeout: try_timeout?,
        total_timeout: total_timeout?,
        idle_timeout: idle_timeout?,
        pool_size: usize::try_from(pool_size?).ok()?,
        websocket: websocket?,
        websocket_idle_timeout: websocket_idle_timeout?,
    })
}

/// Whether a place is the very address that is listened on.
fn is_at(address: &Address, place: &Place) -> bool {
    match (place, &address.at) {
        (Place::Ip(to), _) => address.tcp().is_some_and(|here| leads_to(*to, here)),
        (Place::Unix(to), At::Unix(here)) => to == here,
        (Place::Unix(_) | Place::Name(..), _) => false,
    }
}

fn leads_to(to: SocketAddr, here: SocketAddr) -> bool {
    let same = to.ip() == here.ip() || (to.ip().is_loopback() && here.ip().is_unspecified());
    here.port() != 0 && to.port() == here.port() && same
}
