//! The token's inside: state that only we can read.
//!
//! Strangers drive how many tokens are sealed, so a 96-bit random nonce under one key would be too narrow in the long
//! run. Each token has a key of its own instead, from a 256-bit random salt; its one nonce may then be fixed.

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf,
    rand::{SecureRandom, SystemRandom},
};

use crate::reset::ports::{Digest, Secret};

const SALT: usize = 32;
const TAG: usize = 16;

/// Seals and opens with one key.
pub(super) struct Sealer(Secret<[u8; 32]>);

impl Sealer {
    pub(super) const fn new(key: Secret<[u8; 32]>) -> Self {
        Self(key)
    }

    /// Salt, ciphertext, tag; readable only together with the same `exp`. `None` if the crypto library fails.
    pub(super) fn seal(&self, state: &[u8], exp: u64, random: &SystemRandom) -> Option<Vec<u8>> {
        self.seal_as(state, &exp.to_be_bytes(), random)
    }

    /// The same, readable only together with the same name.
    pub(super) fn seal_as(&self, state: &[u8], name: &[u8], random: &SystemRandom) -> Option<Vec<u8>> {
        let mut salt = [0; SALT];
        random.fill(&mut salt).ok()?;
        // One allocation, so that no copy of the plaintext stays behind in a buffer that was too small.
        let mut sealed = Vec::with_capacity(SALT + state.len() + TAG);
        sealed.extend_from_slice(&salt);
        sealed.extend_from_slice(state);
        let plain = sealed.get_mut(SALT..)?;
        let tag = self.subkey(&salt)?.seal_in_place_separate_tag(nonce(), Aad::from(name), plain).ok()?;
        sealed.extend_from_slice(tag.as_ref());
        Some(sealed)
    }

    /// Turns `sealed` into the state; `None`, and `sealed` then worthless, if it is not ours.
    pub(super) fn open(&self, sealed: &mut Secret<Vec<u8>>, exp: u64) -> Option<()> {
        self.open_as(sealed, &exp.to_be_bytes())
    }

    /// The same of what was sealed with a name.
    pub(super) fn open_as(&self, sealed: &mut Secret<Vec<u8>>, name: &[u8]) -> Option<()> {
        let sealed = sealed.expose_mut();
        let key = self.subkey(sealed.get(..SALT)?)?;
        let state = key.open_within(nonce(), Aad::from(name), sealed, SALT..).ok()?.len();
        sealed.truncate(state);
        Some(())
    }

    fn subkey(&self, salt: &[u8]) -> Option<LessSafeKey> {
        let drawn = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(self.0.expose());
        let key = UnboundKey::from(drawn.expand(&[b"resetgate token state v1"], &AES_256_GCM).ok()?);
        Some(LessSafeKey::new(key))
    }
}

/// Tells what was sealed from all else that ever was: its salt does, which nobody else chooses.
pub(super) fn name(sealed: &[u8]) -> Option<Digest> {
    sealed.first_chunk().copied()
}

/// Fixed: a subkey seals once.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}
