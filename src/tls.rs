//! TLS towards a service that is connected to: whom to believe, what to show, and which setting a failure points at.
//!
//! A certificate is always judged: by those who vouch for it, its dates and its name, or as the one that is pinned.
//! There is no way to do without.

mod hint;
mod shown;
mod verify;

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::ServerName,
};

use self::verify::{Named, Pinned, Watched};
pub use self::{
    hint::{explain, explain_relay, is_of_tls, refused},
    shown::{Shown, ends},
};
use crate::config::ClientTls;

/// HTTP/1.1 in ALPN.
pub const HTTP1: &[u8] = b"http/1.1";
/// HTTP/2 in ALPN.
pub const HTTP2: &[u8] = b"h2";

/// Why no service can be connected to by TLS with these settings.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant is what its text says")]
pub enum Unusable {
    #[error("the system has no root certificates: install them (Debian: ca-certificates), or set tls.ca or tls.pin")]
    NoRoots,
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    #[error("the certificates of tls.ca cannot vouch for anybody")]
    Roots(#[from] rustls::client::VerifierBuilderError),
    #[error("tls.server_name is no name")]
    Name,
    #[error("a certificate of tls.ca or tls.certificate is beyond the TLS library")]
    Certificate,
}

/// The settings as rustls wants them, for connections that speak one of `alpn`, best first. Only for services that are
/// connected to by TLS: a machine need not have root certificates for the others. The system's roots are read each time.
///
/// # Errors
/// [`Unusable`]. Nothing of it depends on the service.
pub fn client(tls: &ClientTls, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, Unusable> {
    judged_by(|judge| judge, tls, alpn)
}

/// The same, and a place where the certificates of the last handshake are, whether or not they are believed.
///
/// # Errors
/// As [`client`].
pub fn watched(tls: &ClientTls, alpn: &[&[u8]]) -> Result<(Arc<ClientConfig>, Shown), Unusable> {
    let shown = Shown::default();
    let config = judged_by(|judge| Arc::new(Watched::new(judge, shown.place())), tls, alpn)?;
    Ok((config, shown))
}

fn judged_by(
    by: impl FnOnce(Arc<dyn ServerCertVerifier>) -> Arc<dyn ServerCertVerifier>,
    tls: &ClientTls,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, Unusable> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous() // as rustls calls every verifier but its own: ours stand in front of that one, or pin
        .with_custom_certificate_verifier(by(verifier(tls, &provider)?));
    let mut config = match &tls.pair {
        Some(pair) => config.with_client_auth_cert(pair.chain.clone(), pair.key.clone_key())?,
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The name to ask a server for, which is at `host` of a URL: `tls.server_name`, or else that. `None` if it is no name.
pub fn name(tls: &ClientTls, host: &str) -> Option<ServerName<'static>> {
    let name = tls.server_name.as_deref().unwrap_or(host);
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    ServerName::try_from(bare.to_owned()).ok()
}

fn verifier(tls: &ClientTls, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Unusable> {
    if let Some(pin) = tls.pin {
        return Ok(Arc::new(Pinned::new(pin, provider)));
    }
    let mut roots = RootCertStore::empty();
    match &tls.roots {
        Some(own) => {
            for root in own {
                roots.add(root.clone())?;
            }
        }
        // Some of a system's many roots may be beyond webpki, and are no reason to do without the others.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(Unusable::NoRoots);
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build()?;
    Ok(match &tls.server_name {
        Some(name) => {
            let name = ServerName::try_from(name.clone()).map_err(|_| Unusable::Name)?;
            Arc::new(Named::new(name, chain))
        }
        None => chain,
    })
}

#[cfg(test)]
mod tests;
