//! The certificates that the listeners show, and which of them to whom.

use std::sync::Arc;

use rustls::{
    Error,
    client::verify_server_name,
    crypto::CryptoProvider,
    pki_types::ServerName,
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::config::Pair;

/// All of them. The first is shown to whoever asks for no name, or for one that none of them has.
#[derive(Debug)]
pub(super) struct Shown(Vec<Arc<CertifiedKey>>);

impl Shown {
    pub(super) fn new(pairs: &[Pair], provider: &CryptoProvider) -> Result<Self, Error> {
        let key = |pair: &Pair| CertifiedKey::from_der(pair.chain.clone(), pair.key.clone_key(), provider);
        pairs.iter().map(|pair| key(pair).map(Arc::new)).collect::<Result<_, _>>().map(Self)
    }

    fn of(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = ServerName::try_from(name).ok()?;
        let is_its = |key: &&Arc<CertifiedKey>| {
            let certificate = key.cert.first().and_then(|der| ParsedCertificate::try_from(der).ok());
            certificate.is_some_and(|certificate| verify_server_name(&certificate, &name).is_ok())
        };
        self.0.iter().find(is_its)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello.server_name().and_then(|name| self.of(name)).or_else(|| self.0.first()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn pair(names: &[&str], year: i32) -> Pair {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let chain = vec![params.self_signed(&key).unwrap().der().clone()];
        Pair { chain, key: key.serialize_der().try_into().unwrap() }
    }

    #[test]
    fn who_asks_for_a_name_is_shown_that() {
        let pairs = [pair(&["a.example"], 2030), pair(&["*.b.example", "b.example"], 2030)];
        let shown = Shown::new(&pairs, &rustls::crypto::ring::default_provider()).unwrap();
        let of = |name| shown.of(name).map(|key| key.cert == pairs[1].chain);
        assert_eq!(of("a.example"), Some(false));
        assert_eq!(of("b.example"), Some(true));
        assert_eq!(of("x.B.example"), Some(true));
        assert_eq!(of("x.y.b.example"), None);
        assert_eq!(of("no name"), None);
    }
}
