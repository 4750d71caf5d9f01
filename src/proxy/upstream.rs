//! Where passed requests go: addresses that a background task keeps fresh, so that no request waits for a name server
//! and a name server's failure stops nothing that worked before.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::RwLock;
use pingora::{
    protocols::{TcpKeepalive, l4::socket::SocketAddr as PeerAddress},
    upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy, PeerOptions, Scheme},
};
use tokio::{net::lookup_host, time::sleep};
use url::{Host, Url};

/// How long a name's addresses are used before they are asked for again.
const FRESH: Duration = Duration::from_secs(30);
/// How long to wait after a failed look-up.
const RETRY: Duration = Duration::from_secs(2);

/// The upstream.
pub(crate) struct Upstream {
    /// Host and port to look up; `None` if the URL has an address.
    name: Option<(String, u16)>,
    addresses: RwLock<Vec<SocketAddr>>,
    /// The address to use is this one, counted around. It moves on when one cannot be connected to.
    preferred: AtomicUsize,
    template: HttpPeer,
}

impl Upstream {
    /// The upstream of that URL, `http` or `https`. Nothing is looked up yet.
    pub(crate) fn new(url: &Url) -> Self {
        let port = url.port_or_known_default().unwrap_or(80);
        let (name, address) = match url.host() {
            Some(Host::Ipv4(ip)) => (None, Some(SocketAddr::new(ip.into(), port))),
            Some(Host::Ipv6(ip)) => (None, Some(SocketAddr::new(ip.into(), port))),
            Some(Host::Domain(name)) => (Some((name.to_owned(), port)), None),
            None => (None, None),
        };
        let sni = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        Self {
            name,
            addresses: RwLock::new(address.into_iter().collect()),
            preferred: AtomicUsize::new(0),
            template: template(url.scheme() == "https", sni),
        }
    }

    /// A peer to connect to; `None` while no address is known.
    pub(super) fn peer(&self) -> Option<HttpPeer> {
        let addresses = self.addresses.read();
        let at = self.preferred.load(Ordering::Relaxed).checked_rem(addresses.len())?;
        let address = *addresses.get(at)?;
        let mut peer = self.template.clone();
        peer._address = PeerAddress::Inet(address);
        Some(peer)
    }

    /// Takes note that an address could not be connected to. Whether there is another. Only the preferred one's failure
    /// moves on: else the second of two requests that failed at the same address would move everybody back to it.
    pub(super) fn move_on(&self, failed: Option<&SocketAddr>) -> bool {
        let addresses = self.addresses.read();
        let at = self.preferred.load(Ordering::Relaxed);
        let preferred = at.checked_rem(addresses.len()).and_then(|at| addresses.get(at));
        if preferred == failed {
            // Somebody else may have moved on already.
            let _ = self.preferred.compare_exchange(at, at.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
        }
        addresses.len() > 1
    }

    /// Looks the name up once. Whether addresses are known now.
    pub(crate) async fn resolve(&self) -> bool {
        let Some((name, port)) = &self.name else { return !self.addresses.read().is_empty() };
        match lookup_host((name.as_str(), *port)).await {
            Ok(found) => {
                let found: Vec<_> = found.collect();
                if !found.is_empty() {
                    self.replace(found);
                    return true;
                }
                tracing::warn!("the upstream's name has no address");
            }
            Err(error) => tracing::warn!(%error, "the upstream's name cannot be looked up"),
        }
        false
    }

    /// Takes fresh addresses. A name server may give the same ones in another order: the one in use stays in use.
    fn replace(&self, found: Vec<SocketAddr>) {
        let mut addresses = self.addresses.write();
        let at = self.preferred.load(Ordering::Relaxed);
        let preferred = at.checked_rem(addresses.len()).and_then(|at| addresses.get(at));
        let stays = preferred.and_then(|preferred| found.iter().position(|address| address == preferred));
        self.preferred.store(stays.unwrap_or_default(), Ordering::Relaxed);
        *addresses = found;
    }

    /// Keeps the addresses fresh for ever.
    pub(crate) async fn keep_fresh(&self) {
        if self.name.is_none() {
            return std::future::pending().await;
        }
        loop {
            let found = self.resolve().await;
            sleep(if found { FRESH } else { RETRY }).await;
        }
    }
}

/// Every bound that Pingora leaves open is set here.
fn template(tls: bool, sni: String) -> HttpPeer {
    let mut options = PeerOptions::new();
    options.connection_timeout = Some(Duration::from_secs(2));
    options.total_connection_timeout = Some(Duration::from_secs(4));
    // IDM takes its time over reports and reconciliations.
    options.read_timeout = Some(Duration::from_secs(60));
    options.write_timeout = Some(Duration::from_secs(10));
    // Below the 30 s after which Jetty, under IDM, closes: else a request meets a connection that is just going away.
    options.idle_timeout = Some(Duration::from_secs(20));
    options.tcp_keepalive = Some(TcpKeepalive {
        idle: Duration::from_secs(30),
        interval: Duration::from_secs(10),
        count: 3,
        #[cfg(target_os = "linux")]
        user_timeout: Duration::ZERO,
    });
    options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    HttpPeer {
        _address: PeerAddress::Inet(SocketAddr::from(([0, 0, 0, 0], 0))),
        scheme: Scheme::from_tls_bool(tls),
        sni,
        proxy: None,
        client_cert_key: None,
        group_key: 0,
        options,
    }
}

#[cfg(test)]
mod tests;
