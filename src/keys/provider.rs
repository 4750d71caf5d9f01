//! The cryptography that other crates of this process use: `ring`, and nothing else.

use std::sync::OnceLock;

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result},
};
use ring::hmac;
use signature::{Error, Signer, Verifier};

/// Gives rustls and jsonwebtoken their cryptography. To be called first of all: both look for it on first use, and
/// jsonwebtoken without it panics. Calling it again does nothing.
///
/// Returns whether tokens are in our hands, that is, whether no other provider was installed before.
pub fn install_crypto() -> bool {
    static OURS: OnceLock<bool> = OnceLock::new();
    *OURS.get_or_init(|| {
        // Fails only if there is one already. Whoever installed it chose it; only ring is compiled in.
        let _ = rustls::crypto::ring::default_provider().install_default();
        PROVIDER.install_default().is_ok()
    })
}

/// HMAC-SHA256 is all that a token of ours needs; every other algorithm is refused, and JWKs are not read at all.
static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory: signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };

struct Hs256(hmac::Key);

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    check(*algorithm, key.family())?;
    Ok(Box::new(Hs256(hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()))))
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    check(*algorithm, key.family())?;
    Ok(Box::new(Hs256(hmac::Key::new(hmac::HMAC_SHA256, key.try_get_as_bytes()?))))
}

fn check(algorithm: Algorithm, family: AlgorithmFamily) -> Result<()> {
    if algorithm != Algorithm::HS256 {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    if family != AlgorithmFamily::Hmac {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    Ok(())
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        Ok(hmac::sign(&self.0, message).as_ref().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        // In constant time, as ring promises.
        hmac::verify(&self.0, message, signature).map_err(|_| Error::new())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hs256_with_an_hmac_key_is_served() {
        let hmac = (EncodingKey::from_secret(&[7; 32]), DecodingKey::from_secret(&[7; 32]));
        assert!(signer(&Algorithm::HS256, &hmac.0).is_ok());
        assert!(verifier(&Algorithm::HS256, &hmac.1).is_ok());
        for other in [Algorithm::HS384, Algorithm::HS512, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
            assert!(signer(&other, &hmac.0).is_err());
            assert!(verifier(&other, &hmac.1).is_err());
        }
        assert!(signer(&Algorithm::HS256, &EncodingKey::from_rsa_der(&[7; 32])).is_err());
        assert!(verifier(&Algorithm::HS256, &DecodingKey::from_rsa_der(&[7; 32])).is_err());
    }

    #[test]
    fn installing_twice_is_installing_once() {
        assert!(install_crypto());
        assert!(install_crypto());
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }
}
