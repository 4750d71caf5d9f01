//! Where passed requests go: one of the upstream's addresses, by a connection that Pingora makes or has kept.

mod attempts;
mod tls;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    os::unix::net::SocketAddr as UnixAddress,
    sync::Arc,
    time::Duration,
};

use pingora::{
    Error, ErrorType,
    protocols::{Digest, TcpKeepalive, l4::socket::SocketAddr as PeerAddress},
    upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy, PeerOptions, Scheme},
};
use tokio::time::Instant;

pub(super) use self::attempts::Attempts;
use self::tls::Tls;
use crate::{
    config::{self, PathPattern},
    endpoints::{Address, Backend, Endpoint, Endpoints},
    telemetry::metrics::Metrics,
    tls::Unusable,
};

/// How much longer a silence is waited out for a WebSocket by the upstream's side than by the client's, which is the one
/// that knows of both.
const SLACK: Duration = Duration::from_secs(5);

/// The upstream.
pub(crate) struct Upstream {
    endpoints: Endpoints,
    template: HttpPeer,
    tls: Option<Tls>,
    try_timeout: Duration,
    total_timeout: Duration,
    websocket: Vec<PathPattern>,
    websocket_idle: Duration,
}

impl Upstream {
    /// The upstream of that configuration. Names are being looked up from now on.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub(crate) fn new(config: &config::Upstream, metrics: &Arc<Metrics>) -> Result<Self, Unusable> {
        let tls = config.endpoints.tls.as_ref().map(|own| Tls::new(own, config.endpoints.host())).transpose()?;
        Ok(Self {
            endpoints: Endpoints::new(Backend::Upstream, &config.endpoints, metrics)?,
            template: template(config, tls.as_ref()),
            tls,
            try_timeout: config.try_timeout,
            total_timeout: config.total_timeout,
            websocket: config.websocket.clone(),
            websocket_idle: config.websocket_idle_timeout,
        })
    }

    /// Resolves when its names have been looked up once.
    pub(crate) async fn looked_up(&self) {
        self.endpoints.looked_up().await;
    }

    /// The next address to try for a request.
    ///
    /// # Errors
    /// If none is known, or there is no time left.
    pub(super) fn peer(&self, attempts: &mut Attempts, now: Instant) -> pingora::Result<Box<HttpPeer>> {
        let left = attempts.begin(now, self.total_timeout);
        if left.is_zero() {
            return Err(Error::explain(ErrorType::ReadTimedout, "no time is left for another try").into_up());
        }
        let Some((endpoint, mut peer)) = self.connectable(attempts.tried()) else {
            return Err(Error::explain(ErrorType::ConnectNoRoute, "no address of the upstream is known").into_up());
        };
        let silence = self.try_timeout.min(left);
        let options = &mut peer.options;
        for bound in [&mut options.connection_timeout, &mut options.total_connection_timeout] {
            *bound = bound.map(|bound| bound.min(left));
        }
        options.read_timeout = Some(silence);
        if attempts.websocket {
            options.http_upstream_request_policy = HttpUpstreamRequestPolicy::standard();
            // The client's connection bounds both the wait for an answer and the silence of a tunnel.
            options.read_timeout = Some(self.websocket_idle.max(silence) + SLACK);
        }
        attempts.goes_to(endpoint, silence);
        Ok(peer)
    }

    /// A peer to connect to, for a question of our own.
    pub(super) fn any_peer(&self) -> Option<Box<HttpPeer>> {
        self.connectable(&[]).map(|(_, peer)| peer)
    }

    fn connectable(&self, tried: &[Endpoint]) -> Option<(Endpoint, Box<HttpPeer>)> {
        let endpoint = self.endpoints.pick(tried).or_else(|| self.endpoints.pick(&[]))?;
        let mut peer = Box::new(self.template.clone());
        peer._address = match endpoint.address() {
            Address::Tcp(address) => PeerAddress::Inet(*address),
            Address::Unix(path) => PeerAddress::Unix(UnixAddress::from_pathname(path).ok()?),
        };
        Some((endpoint, peer))
    }

    /// Whether a request that failed may be tried at yet another address.
    pub(super) fn has_another(&self, attempts: &Attempts) -> bool {
        attempts.has_tries_left(Instant::now(), self.total_timeout) && self.endpoints.has_another(attempts.tried())
    }

    /// Whether who answers a new connection is who should: where a certificate is pinned, Pingora takes any.
    pub(super) fn recognises(&self, digest: Option<&Digest>) -> bool {
        let Some(pin) = self.tls.as_ref().and_then(|tls| tls.pin) else { return true };
        let shown = digest.and_then(|digest| digest.ssl_digest.as_ref());
        shown.is_some_and(|shown| shown.cert_digest == pin)
    }

    /// The setting that a handshake's failure points at, asked by a handshake of our own: Pingora does not tell.
    pub(super) async fn explain(&self, endpoint: &Endpoint) -> Option<&'static str> {
        let within = self.template.options.connection_timeout?;
        self.tls.as_ref()?.explain(endpoint.address(), within).await
    }

    /// Whether a client may go over to WebSocket there. Only what reads in one way is on the list.
    pub(super) fn takes_websocket(&self, target: &[u8]) -> bool {
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        self.websocket.iter().any(|pattern| is_within(pattern, path))
    }

    /// How long nothing may come through a WebSocket.
    pub(super) const fn websocket_idle(&self) -> Duration {
        self.websocket_idle
    }
}

fn is_within(pattern: &PathPattern, path: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._~-".contains(byte);
    let segment = |segment: &[u8]| !matches!(segment, b"" | b"." | b"..") && segment.iter().all(plain);
    match path.strip_prefix(pattern.path.as_bytes()) {
        Some(b"") => true,
        Some([b'/', below @ ..]) => pattern.below && below.split(|byte| *byte == b'/').all(segment),
        _ => false,
    }
}

/// Every bound that Pingora leaves open is set here.
fn template(config: &config::Upstream, tls: Option<&Tls>) -> HttpPeer {
    let mut options = PeerOptions::new();
    options.connection_timeout = Some(config.endpoints.connect_timeout);
    options.total_connection_timeout = Some(config.endpoints.connect_timeout);
    options.read_timeout = Some(config.try_timeout);
    options.write_timeout = Some(Duration::from_secs(10));
    // Below the 30 s after which Jetty, under IDM, closes: else a request meets a connection that is just going away.
    options.idle_timeout = Some(config.idle_timeout);
    options.tcp_keepalive = Some(TcpKeepalive {
        idle: Duration::from_secs(30),
        interval: Duration::from_secs(10),
        count: 3,
        #[cfg(target_os = "linux")]
        user_timeout: Duration::ZERO,
    });
    options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    let mut peer = HttpPeer {
        _address: PeerAddress::Inet(SocketAddr::from(([0, 0, 0, 0], 0))),
        scheme: Scheme::from_tls_bool(tls.is_some()),
        sni: String::new(),
        proxy: None,
        client_cert_key: None,
        group_key: 0,
        options,
    };
    if let Some(tls) = tls {
        tls.dress(&mut peer);
    }
    peer
}

/// What tells connections apart that Pingora would take for one another.
fn fingerprint(parts: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
