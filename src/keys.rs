//! Seals, opens, MACs and draws, with `jsonwebtoken` for the token's outside and `ring` for everything else.
//!
//! A token is a JWS in compact form (RFC 7515 §3.1), HS256, with the header `{"typ":"JWT","alg":"HS256","kid":"…"}` and
//! the claims `{"exp":…,"s":"…"}`, where `s` is the flow's state, sealed. There is exactly one spelling of a token:
//! whatever is not byte for byte what [`RingKeys`] mints does not open.
//!
//! Keys are derived with HKDF-SHA256 (RFC 5869), one for each purpose, so that no key serves two algorithms. Those of
//! the token come from `token.keys` and change with them; those of the MACs come from another key, which does not.

pub mod estate;
mod hashes;
mod ids;
mod provider;
mod seal;
pub mod shared;
mod sign;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use ring::{
    hkdf, hmac,
    rand::{SecureRandom, SystemRandom},
};

pub use self::{ids::Ids, provider::install_crypto};
use self::{seal::Sealer, sign::Signer};
use crate::{
    config::TokenKey,
    reset::ports::{Digest, Keys, OpenedToken, Purpose, SaltedHash, Secret, Time},
};

/// The longest token that is looked at, in bytes; a longer one is neither opened nor minted.
pub const MAX_TOKEN: usize = 4096;

/// Why there are no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The list of token keys is empty.
    #[error("there is no token key")]
    NoKeys,
    /// Another library in this process has given jsonwebtoken its cryptography.
    #[error("another crypto provider for tokens is installed")]
    Provider,
    /// The crypto library cannot derive, sign or draw.
    #[error("the crypto library failed")]
    Crypto,
}

/// 256 bits from the system's generator; `None` if it fails.
pub fn random_key() -> Option<Secret<[u8; 32]>> {
    let mut key = Secret::of([0; 32]);
    SystemRandom::new().fill(key.expose_mut()).ok()?;
    Some(key)
}

/// [`Keys`] over `ring` and `jsonwebtoken`.
pub struct RingKeys {
    tokens: Vec<TokenKeys>,
    ids: Arc<Ids>,
    random: SystemRandom,
}

/// What one of the configured token keys gives.
struct TokenKeys {
    signer: Signer,
    sealer: Sealer,
}

impl RingKeys {
    /// Keys for tokens from `token_keys`, the first of which seals while all of them open; for MACs from `ids`, which
    /// should stay the same while token keys come and go: limits and records are found by these MACs.
    ///
    /// Installs the process's cryptography, as [`install_crypto`] does.
    pub fn new(token_keys: &[TokenKey], ids: &[u8; 32]) -> Result<Self, KeysError> {
        Self::with(token_keys, Arc::new(Ids::new(ids)?))
    }

    /// The same, where others have a say in the key for MACs.
    pub fn with(token_keys: &[TokenKey], ids: Arc<Ids>) -> Result<Self, KeysError> {
        if !install_crypto() {
            return Err(KeysError::Provider);
        }
        let tokens = token_keys.iter().map(TokenKeys::derive).collect::<Option<Vec<_>>>().ok_or(KeysError::Crypto)?;
        if tokens.is_empty() {
            return Err(KeysError::NoKeys);
        }
        Ok(Self { tokens, ids, random: SystemRandom::new() })
    }
}

impl std::fmt::Debug for RingKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RingKeys(..)")
    }
}

#[async_trait]
impl Keys for RingKeys {
    /// `None` also for a state so long that the token would be over [`MAX_TOKEN`]. A token's length depends on the
    /// state's length and nothing else (until the year 2286, when `exp` grows by a digit).
    fn seal(&self, state: &[u8], expires: Time) -> Option<String> {
        let key = self.tokens.first()?;
        // Rounded up: a token never ends before the time that was asked for.
        let exp = expires.millis().div_ceil(1000);
        let sealed = key.sealer.seal(state, exp, &self.random)?;
        key.signer.sign(exp, &sealed).filter(|token| token.len() <= MAX_TOKEN)
    }

    fn open(&self, token: &str) -> Option<OpenedToken> {
        // Before any work, so that garbage costs little.
        if token.len() > MAX_TOKEN {
            return None;
        }
        self.tokens.iter().find_map(|key| {
            let (exp, mut sealed) = key.signer.verify(token)?;
            let id = seal::name(sealed.expose())?;
            key.sealer.open(&mut sealed, exp)?;
            Some(OpenedToken { state: sealed, expires: Time::from_millis(exp.saturating_mul(1000)), id })
        })
    }

    fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> Digest {
        self.ids.mac(purpose, parts)
    }

    fn random(&self) -> Option<[u8; 16]> {
        let mut drawn = [0; 16];
        self.random.fill(&mut drawn).ok()?;
        Some(drawn)
    }

    async fn all_match(&self, texts: Vec<(SaltedHash, Secret)>) -> bool {
        hashes::all_match(texts).await
    }
}

impl TokenKeys {
    fn derive(key: &TokenKey) -> Option<Self> {
        let master = master(key.0.expose());
        let mut kid = [0; 6];
        derive(&master, "resetgate token kid v1", &mut kid)?;
        let signer = Signer::new(secret(&master, "resetgate token sign v1")?.expose(), &kid)?;
        let sealer = Sealer::new(secret(&master, "resetgate token seal v1")?);
        Some(Self { signer, sealer })
    }
}

/// HMAC-SHA256 of the parts, cut to 128 bits (RFC 2104 §5).
fn cut(key: &hmac::Key, parts: &[&[u8]]) -> Digest {
    let mut mac = hmac::Context::with_key(key);
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    let mut digest = [0; 16];
    for (to, from) in digest.iter_mut().zip(mac.sign().as_ref()) {
        *to = *from;
    }
    digest
}

/// A master key is random already, so it is extracted with RFC 5869's default salt.
fn master(key: &[u8; 32]) -> hkdf::Prk {
    hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(key)
}

fn secret(master: &hkdf::Prk, purpose: &str) -> Option<Secret<[u8; 32]>> {
    let mut key = Secret::of([0; 32]);
    derive(master, purpose, key.expose_mut())?;
    Some(key)
}

fn derive(master: &hkdf::Prk, purpose: &str, out: &mut [u8]) -> Option<()> {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    master.expand(&[purpose.as_bytes()], Length(out.len())).ok()?.fill(out).ok()
}
