//! TLS on the listeners: what is shown there, whose certificates are taken, and how one takes the place of another while
//! connections are open.

use std::{io, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use rustls::{
    Error, ProtocolVersion, RootCertStore, ServerConfig,
    crypto::{
        CryptoProvider,
        ring::{self, Ticketer},
    },
    pki_types::CertificateDer,
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{certificates::Shown, wire::Bare};
use crate::{
    config,
    reset::ports::Time,
    telemetry::metrics::{Handshake, Metrics},
    tls,
};

/// The protocol that is chosen where a client knows it as well.
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
/// Bytes of an answer that wait, encrypted, for a slow client, beside what the system takes.
const MAX_UNSENT: usize = 16 << 10;
/// When a certificate that is about to end is told of.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Certificates and keys that TLS cannot be set up with, although each of them could be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant is what its text says")]
pub enum TlsError {
    #[error("listen.tls: {0}")]
    Tls(#[from] Error),
    #[error("listen.tls.client_ca: {0}")]
    Clients(#[from] VerifierBuilderError),
}

/// What all listeners with TLS have in common.
#[derive(Debug)]
pub struct ServerTls {
    present: ArcSwap<Present>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Present {
    config: config::ServerTls,
    rustls: Arc<ServerConfig>,
}

/// What a handshake told.
#[derive(Debug)]
pub(crate) struct Secured {
    /// Whether clients are asked for certificates, so that nobody else may tell the upstream of one.
    pub(crate) asks: bool,
    /// Which version is spoken.
    pub(crate) version: &'static str,
    /// The client's certificate, verified, as `Client-Cert` has it (RFC 9440), where the upstream is to be told.
    pub(crate) certificate: Option<HeaderValue>,
}

impl ServerTls {
    /// By a configuration.
    ///
    /// # Errors
    /// If TLS cannot be set up by it.
    pub fn new(config: &config::ServerTls, metrics: Arc<Metrics>, now: Time) -> Result<Self, TlsError> {
        let present = ArcSwap::from_pointee(Present::new(config)?);
        let made = Self { present, metrics };
        made.tell(config, now);
        Ok(made)
    }

    /// Puts another in its place, as a whole or not at all. Connections that are open go on. Nobody resumes a session
    /// of before: who could vouch for a client may have changed.
    ///
    /// # Errors
    /// As [`ServerTls::new`]; then all stays as it was.
    pub fn replace(&self, config: &config::ServerTls, now: Time) -> Result<(), TlsError> {
        if self.present.load().config != *config {
            self.present.store(Arc::new(Present::new(config)?));
            self.tell(config, now);
        }
        Ok(())
    }

    /// Speaks TLS with whoever is at the other end. Whether it is to be HTTP/2, and what else is known then.
    pub(super) async fn shake(&self, bare: Bare) -> io::Result<(Box<TlsStream<Bare>>, bool, Secured)> {
        let present = self.present.load_full();
        let mut stream = Box::new(TlsAcceptor::from(Arc::clone(&present.rustls)).accept(bare).await?);
        let (_, session) = stream.get_mut();
        session.set_buffer_limit(Some(MAX_UNSENT));
        let http2 = session.alpn_protocol() == Some(HTTP2);
        let first = session.peer_certificates().and_then(|chain| chain.first());
        let told = first.filter(|_| present.config.forward_client_cert);
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "unknown",
        };
        let certificate = told.and_then(as_header);
        let secured = Secured { asks: present.config.clients.is_some(), version, certificate };
        Ok((stream, http2, secured))
    }

    /// In the metrics, by the keys of the configuration; and in the log, what ends soon.
    fn tell(&self, config: &config::ServerTls, now: Time) {
        let key = |at: usize| match at.checked_sub(1) {
            None => "listen.tls.certificate".to_owned(),
            Some(at) => format!("listen.tls.additional[{at}].certificate"),
        };
        let mut all: Vec<_> =
            config.pairs.iter().enumerate().filter_map(|(at, pair)| Some((key(at), tls::ends(&pair.chain)?))).collect();
        let roots = config.clients.as_ref().and_then(|clients| tls::ends(&clients.roots));
        all.extend(roots.map(|ends| ("listen.tls.client_ca".to_owned(), ends)));
        self.metrics.doors.certificates(&all, now);
        let soon = i64::try_from(now.after(SOON).secs()).unwrap_or(i64::MAX);
        let late: Vec<_> = all.iter().filter(|(_, ends)| *ends <= soon).map(|(key, _)| key.as_str()).collect();
        if !late.is_empty() {
            tracing::warn!(keys = late.join(", "), "certificates have ended, or will within 14 days");
        }
    }
}

impl Present {
    fn new(config: &config::ServerTls) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = match &config.clients {
            Some(clients) => builder.with_client_cert_verifier(verifier(clients, &provider)?),
            None => builder.with_no_client_auth(),
        };
        let mut rustls = builder.with_cert_resolver(Arc::new(Shown::new(&config.pairs, &provider)?));
        rustls.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        // Sessions are the clients' to keep, sealed by keys that are this generation's own.
        rustls.ticketer = Ticketer::new()?;
        rustls.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { config: config.clone(), rustls: Arc::new(rustls) })
    }
}

fn verifier(
    clients: &config::ClientCerts,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in &clients.roots {
        roots.add(root.clone())?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    Ok(if clients.required { builder } else { builder.allow_unauthenticated() }.build()?)
}

/// RFC 9440 §2.1: a byte sequence of RFC 8941.
fn as_header(certificate: &CertificateDer<'_>) -> Option<HeaderValue> {
    HeaderValue::try_from(format!(":{}:", STANDARD.encode(certificate))).ok()
}

/// Why a handshake failed.
pub(super) fn why(error: &io::Error) -> Handshake {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        None => Handshake::Gone,
        Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => Handshake::Certificate,
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => Handshake::Incompatible,
        Some(Error::AlertReceived(_)) => Handshake::Refused,
        Some(_) => Handshake::Garbage,
    }
}
