//! An authority of one's own, and servers that show its certificates.

use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use ring::digest::{SHA256, digest};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

/// A certificate and its key.
pub(crate) struct Shown {
    pub(crate) certificate: Certificate,
    pub(crate) key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Its own certificate, as PEM.
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A certificate for that name or address.
    pub(crate) fn certify(&self, name: &str) -> Shown {
        self.certify_until(name, 4096)
    }

    /// One that ends with that year's first day.
    pub(crate) fn certify_until(&self, name: &str, year: i32) -> Shown {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        // Else it would have its authority's, and be taken for one that vouches for itself.
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.not_after = date_time_ymd(year, 1, 1);
        Shown { certificate: params.signed_by(&key, &self.issuer).unwrap(), key }
    }
}

impl Shown {
    /// One that vouches for itself.
    pub(crate) fn own(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Self { certificate: made.cert, key: made.signing_key }
    }

    /// `sha256:…`
    pub(crate) fn pin(&self) -> String {
        let digest = digest(&SHA256, self.certificate.der());
        format!("sha256:{}", digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    /// A server that shows it, and lets in only those whom `clients` vouches for, if that is some.
    pub(crate) fn serve(&self, clients: Option<&Authority>) -> TlsAcceptor {
        let config = ServerConfig::builder();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.certificate.der().clone()).unwrap();
                config.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
            }
        };
        let key = PrivateKeyDer::from_pem_slice(self.key.serialize_pem().as_bytes()).unwrap();
        let config = config.with_single_cert(vec![self.certificate.der().clone()], key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}
