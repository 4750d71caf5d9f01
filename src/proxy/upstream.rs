//! Where passed requests go: one upstream, whose name is resolved beside the requests.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::RwLock;
use pingora::{Error, ErrorType, prelude::HttpPeer, upstreams::peer::HttpUpstreamRequestPolicy};
use url::{Host, Url};

use crate::config;

/// How often a name that resolves is asked for again, and one that does not.
const FRESH: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(1);
const LOOK_UP: Duration = Duration::from_secs(5);

/// The upstream. It starts without an address where its name does not resolve, and finds one when it does.
pub struct Upstream {
    name: String,
    port: u16,
    tls: bool,
    addresses: RwLock<Vec<SocketAddr>>,
    next: AtomicUsize,
}

impl Upstream {
    /// The upstream of that URL, not resolved yet unless it is an address.
    pub fn new(config: &config::Upstream) -> Self {
        let url: &Url = &config.url;
        let port = url.port_or_known_default().unwrap_or(80);
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::from(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::from(address)),
            Some(Host::Domain(_)) | None => None,
        };
        Self {
            name: url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port,
            tls: url.scheme() == "https",
            addresses: RwLock::new(address.map(|address| SocketAddr::new(address, port)).into_iter().collect()),
            next: AtomicUsize::new(0),
        }
    }

    /// Keeps the addresses fresh, for ever. A look-up that fails keeps the ones it had.
    pub async fn resolve(&self) {
        if self.name.parse::<IpAddr>().is_ok() {
            return;
        }
        let mut failed = false;
        loop {
            let found = tokio::time::timeout(LOOK_UP, tokio::net::lookup_host((self.name.as_str(), self.port))).await;
            let found: Vec<_> = found.ok().and_then(Result::ok).into_iter().flatten().collect();
            if found.is_empty() && !failed {
                tracing::warn!("the upstream's name does not resolve");
            }
            failed = found.is_empty();
            if !failed {
                *self.addresses.write() = found;
            }
            tokio::time::sleep(if failed { RETRY } else { FRESH }).await;
        }
    }

    /// The next address, with every timeout set: pingora's own defaults wait for ever.
    pub(super) fn peer(&self) -> pingora::Result<Box<HttpPeer>> {
        let address = {
            let addresses = self.addresses.read();
            let index = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(addresses.len());
            index.and_then(|index| addresses.get(index).copied())
        };
        let Some(address) = address else {
            let unresolved = Error::explain(ErrorType::ConnectNoRoute, "the upstream's name does not resolve");
            return Err(unresolved.into_up());
        };
        #[expect(clippy::disallowed_methods, reason = "given an address, it resolves nothing")]
        let mut peer = HttpPeer::new(address, self.tls, self.name.clone());
        let options = &mut peer.options;
        options.connection_timeout = Some(Duration::from_secs(2));
        options.total_connection_timeout = Some(Duration::from_secs(4));
        options.read_timeout = Some(Duration::from_secs(60));
        options.write_timeout = Some(Duration::from_secs(30));
        // Shorter than Jetty's own 30 s, so that a request seldom meets a connection that is being closed.
        options.idle_timeout = Some(Duration::from_secs(20));
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        Ok(Box::new(peer))
    }
}
