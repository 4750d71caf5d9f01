//! TLS to the upstream, which is Pingora's own: its pool keeps no connection that somebody else has made. Whom to believe
//! is told with each peer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use pingora::{
    protocols::tls::CaType,
    upstreams::peer::HttpPeer,
    utils::tls::{CertKey, WrappedX509, parse_x509},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::fingerprint;
use crate::{
    config::ClientTls,
    endpoints::Address,
    tls::{self, HTTP1, Unusable},
};

/// A certificate whose key nobody has. Pingora builds a verifier out of roots even where it is told to use none of it, as
/// it is beside a pin, and there may be none on this machine.
const NOBODY: &[u8] = include_bytes!("nobody.der");

/// The settings, as Pingora takes them, and as rustls does.
pub(super) struct Tls {
    /// The one certificate that the server may have.
    pub(super) pin: Option<[u8; 32]>,
    name: String,
    roots: Option<Arc<CaType>>,
    pair: Option<Arc<CertKey>>,
    /// Of all this: a connection by other settings is another.
    key: u64,
    own: (Arc<ClientConfig>, ServerName<'static>),
}

impl Tls {
    /// Those of a server that the URL calls `host`.
    ///
    /// # Errors
    /// [`Unusable`]
    pub(super) fn new(config: &ClientTls, host: &str) -> Result<Self, Unusable> {
        let own = (tls::client(config, &[HTTP1])?, tls::name(config, host).ok_or(Unusable::Name)?);
        // Its reader of certificates panics at what another accepts.
        let read = || {
            let wrap = |der: &[u8]| WrappedX509::new(der.to_vec(), parse_x509);
            let roots: Option<Vec<_>> = match (&config.roots, config.pin) {
                (_, Some(_)) => Some(vec![wrap(NOBODY)]),
                (roots, None) => roots.as_ref().map(|roots| roots.iter().map(|root| wrap(root)).collect()),
            };
            let pair = config.pair.as_ref().map(|pair| {
                let chain = pair.chain.iter().map(|certificate| certificate.to_vec()).collect();
                Arc::new(CertKey::new(chain, pair.key.secret_der().to_vec()))
            });
            (roots.map(Into::into), pair)
        };
        let (roots, pair) = catch_unwind(AssertUnwindSafe(read)).map_err(|_| Unusable::Certificate)?;
        let chain = config.pair.as_ref().map(|pair| pair.chain.iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>());
        let issuers = config.roots.as_ref().map(|roots| roots.iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>());
        Ok(Self {
            pin: config.pin,
            name: config.server_name.clone().unwrap_or_else(|| host.to_owned()),
            roots,
            pair,
            key: fingerprint((issuers, &config.server_name, chain, config.pin)),
            own,
        })
    }

    /// Makes it a peer by these settings.
    pub(super) fn dress(&self, peer: &mut HttpPeer) {
        peer.sni.clone_from(&self.name);
        peer.client_cert_key.clone_from(&self.pair);
        peer.group_key = self.key;
        peer.options.ca.clone_from(&self.roots);
        // Whoever sets a pin asks for that one certificate, and the gate does before anything is sent. That the server has
        // its key is proven all the same.
        peer.options.verify_cert = self.pin.is_none();
    }

    /// Which setting a handshake's failure points at; nothing if there is none.
    pub(super) async fn explain(&self, address: &Address, within: Duration) -> Option<&'static str> {
        let (config, name) = &self.own;
        let connector = TlsConnector::from(Arc::clone(config));
        let failure = timeout(within, async {
            match address {
                Address::Tcp(address) => {
                    connector.connect(name.clone(), TcpStream::connect(address).await?).await.err()
                }
                Address::Unix(path) => connector.connect(name.clone(), UnixStream::connect(path).await?).await.err(),
            }
            .map_or(Ok(()), Err)
        });
        tls::explain(&failure.await.ok()?.err()?)
    }
}
