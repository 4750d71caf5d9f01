//! Certificates that were shown: whose fingerprint, and until when.

use std::sync::Arc;

use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a server showed in a handshake: its own certificate first.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<Mutex<Vec<CertificateDer<'static>>>>);

impl Shown {
    pub(super) fn place(&self) -> Arc<Mutex<Vec<CertificateDer<'static>>>> {
        Arc::clone(&self.0)
    }

    /// The fingerprint of the server's own certificate, as `tls.pin` has it; `None` before it has shown one.
    pub fn pin(&self) -> Option<String> {
        let digest = digest(&SHA256, self.0.lock().first()?);
        let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Some(format!("sha256:{digits}"))
    }

    /// When the first of them ends.
    pub fn ends(&self) -> Option<i64> {
        ends(&self.0.lock())
    }
}

/// When the first of them ends, in seconds since the Unix epoch; `None` if there is none that says so.
pub fn ends(chain: &[CertificateDer<'_>]) -> Option<i64> {
    let end = |der: &CertificateDer<'_>| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(certificate.validity().not_after.timestamp())
    };
    chain.iter().filter_map(end).min()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn a_chain_ends_with_the_first_of_it() {
        let chain: Vec<_> = [2031, 2030, 2032].map(certificate).into();
        assert_eq!(ends(&chain), Some(1_893_456_000));
        assert_eq!(ends(&[]), None);
    }
}
