//! Certificates, keys and roots of TLS: PEM files, read and judged when the configuration is, so that whoever holds one
//! of these types can use it.

use std::fmt;

use rustls::{
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use url::Url;

use super::{
    Secret,
    raw::Section,
    secret::{EXPOSED, Surroundings},
};

/// A certificate and its key: what a server or a client shows of itself.
#[derive(PartialEq, Eq)]
pub struct Pair {
    /// Whose it is first, then who vouches for it.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key, which is the first certificate's.
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Pair {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// The certificates alone.
impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// `[….tls]` of a service that is connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// `ca`: who may vouch for the server, in place of the system's roots. Never empty.
    pub roots: Option<Vec<CertificateDer<'static>>>,
    /// `server_name`: the name that its certificate must have, in place of the URL's host.
    pub server_name: Option<String>,
    /// `certificate` and `key`: what is shown to a server that asks.
    pub pair: Option<Pair>,
    /// `pin`: the SHA-256 of the one certificate (DER) that the server may show. Names, roots and dates count for
    /// nothing then; that the server has the certificate's key is still proven.
    pub pin: Option<[u8; 32]>,
}

/// Reads `[….tls]`; `used` is whether anything is connected to by TLS, which a URL of `scheme` would say.
pub(super) fn client_tls(
    mut section: Section<'_>,
    used: bool,
    scheme: &str,
    around: &Surroundings<'_>,
) -> Option<ClientTls> {
    let roots = section.optional("ca", |text| certificates(&around.read(text)?));
    let server_name = section.optional("server_name", |text| {
        rustls::pki_types::ServerName::try_from(text.to_owned())
            .map(|_| text.to_owned())
            .map_err(|_| "must be a host name or an address, without a port".to_owned())
    });
    let pair = pair(&mut section, around);
    let pin = section.optional("pin", pin);
    for key in ["ca", "server_name"] {
        if section.has("pin") && section.has(key) {
            section.fault(key, "means nothing beside pin, which names the one certificate");
        }
    }
    for key in ["ca", "server_name", "certificate", "key", "pin"] {
        if !used && section.has(key) {
            section.fault(key, &format!("means nothing without TLS: use {scheme} URL"));
        }
    }
    section.finish();
    Some(ClientTls { roots: roots?, server_name: server_name?, pair: pair?, pin: pin? })
}

/// Says where the URL's host is no name that a server can be asked for by TLS, and no other name is given.
pub(super) fn check_name(section: &Section<'_>, key: &str, url: Option<&Url>, tls: Option<&ClientTls>) {
    let host = url.filter(|url| url.scheme() == "https").and_then(Url::host_str).unwrap_or("localhost");
    check_host(section, key, host, tls);
}

/// The same of a host that is connected to by TLS.
pub(super) fn check_host(section: &Section<'_>, key: &str, host: &str, tls: Option<&ClientTls>) {
    let is_name = rustls::pki_types::ServerName::try_from(host.trim_matches(['[', ']'])).is_ok();
    if !is_name && tls.is_some_and(|tls| tls.server_name.is_none()) {
        section.fault(key, "must have a host that a certificate can be for: labels of 63 characters at most");
    }
}

/// Reads `certificate` and `key`, which come together or not at all.
#[allow(clippy::option_option, reason = "missing and wrong are two things")]
pub(super) fn pair(section: &mut Section<'_>, around: &Surroundings<'_>) -> Option<Option<Pair>> {
    section.hide("key");
    let chain = section.optional("certificate", |text| certificates(&around.read(text)?));
    let found = section.optional("key", |text| {
        let found = around.secret(text)?;
        Ok((key(&found.text)?, found.exposed))
    });
    match (section.has("certificate"), section.has("key")) {
        (true, false) => section.fault("certificate", "must come with a key beside it"),
        (false, true) => section.fault("key", "must come with a certificate beside it"),
        _ => {}
    }
    let (chain, found) = (chain?, found?);
    if found.as_ref().is_some_and(|(_, exposed)| *exposed) {
        section.warn("key", EXPOSED);
    }
    let Some((chain, (key, _))) = chain.zip(found) else { return Some(None) };
    match matches(&chain, &key) {
        Ok(()) => Some(Some(Pair { chain, key })),
        Err(rule) => {
            section.fault("key", rule);
            None
        }
    }
}

/// The certificates of a PEM file, at least one, each of which can be read.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    const RULE: &str = "must name a PEM file of certificates";
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|_| RULE)?;
    if found.is_empty() || found.iter().any(|der| rustls::server::ParsedCertificate::try_from(der).is_err()) {
        return Err(RULE.to_owned());
    }
    Ok(found)
}

fn key(pem: &Secret) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem.expose().as_bytes())
        .map_err(|_| "must lead to a PEM private key (PKCS#8, SEC1 or PKCS#1), not encrypted".to_owned())
}

fn matches(chain: &[CertificateDer<'static>], key: &PrivateKeyDer<'static>) -> Result<(), &'static str> {
    let signer = any_supported_type(key).map_err(|_| "must lead to an RSA, ECDSA (P-256, P-384) or Ed25519 key")?;
    match CertifiedKey::new(chain.to_vec(), signer).keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(()),
        Err(_) => Err("must be the key of the certificate beside it"),
    }
}

/// `sha256:` and 64 hexadecimal digits, colons between them or not.
fn pin(text: &str) -> Result<[u8; 32], String> {
    const RULE: &str = "must be sha256: and the 64 hexadecimal digits of the certificate's fingerprint, as \
                        `openssl x509 -noout -fingerprint -sha256` prints it";
    let digits = text.strip_prefix("sha256:").ok_or(RULE)?.chars().filter(|c| *c != ':');
    let digits: Vec<u32> = digits.map(|digit| digit.to_digit(16)).collect::<Option<_>>().ok_or(RULE)?;
    let (mut pin, mut pairs) = ([0; 32], digits.chunks_exact(2));
    if digits.len() != 2 * pin.len() {
        return Err(RULE.to_owned());
    }
    for (byte, pair) in pin.iter_mut().zip(&mut pairs) {
        *byte = pair.iter().fold(0, |byte, digit| (byte << 4) | u8::try_from(*digit).unwrap_or_default());
    }
    Ok(pin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_fingerprints() {
        let digits = "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff";
        let pinned = pin(&format!("sha256:{digits}")).unwrap();
        assert_eq!(pinned[..3], [0x00, 0x11, 0x22]);
        let colons: Vec<&str> = (0..32).map(|at| &digits[2 * at..2 * at + 2]).collect();
        assert_eq!(pin(&format!("sha256:{}", colons.join(":"))), Ok(pinned));
        for wrong in ["", digits, "sha1:00", "sha256:", &format!("sha256:{}", &digits[1..]), "sha256:zz"] {
            assert!(pin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_must_be_its_certificates() {
        let [one, other] =
            ["a.example", "b.example"].map(|name| rcgen::generate_simple_self_signed([name.into()]).unwrap());
        let chain = certificates(&one.cert.pem()).unwrap();
        let own = key(&Secret::new(one.signing_key.serialize_pem())).unwrap();
        let others = key(&Secret::new(other.signing_key.serialize_pem())).unwrap();
        assert_eq!(matches(&chain, &own), Ok(()));
        assert!(matches(&chain, &others).unwrap_err().contains("key of the certificate"));
        assert!(certificates(&one.signing_key.serialize_pem()).is_err());
        assert!(certificates("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
        assert!(key(&Secret::new(one.cert.pem())).is_err());
    }
}
