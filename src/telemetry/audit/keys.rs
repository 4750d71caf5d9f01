//! The keys of a trail: one hashes names, one vouches for lines.

use ring::{digest, hkdf, hmac};

use crate::reset::ports::Secret;

/// The hash of a line, which the next one holds.
pub(super) type Link = [u8; 32];

/// What a trail's names are hashed and its lines are vouched for with.
pub struct Keys {
    names: hmac::Key,
    /// None: lines are chained by a hash that anybody can compute.
    chain: Option<hmac::Key>,
    /// Tells one key from another.
    id: Option<String>,
}

/// The crypto library does not derive keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the crypto library failed")]
pub struct NoKeys;

impl Keys {
    /// Those of `log.hash_key`: whoever has it can look for a name and tell whether a line was changed.
    ///
    /// # Errors
    /// [`NoKeys`]
    pub fn lasting(key: &Secret<[u8; 32]>) -> Result<Self, NoKeys> {
        let master = master(key);
        let id = hmac::sign(&derive(&master, "resetgate audit key id v1")?, b"");
        let id = hex(id.as_ref().get(..4).unwrap_or_default());
        let chain = Some(derive(&master, "resetgate audit chain v1")?);
        Ok(Self { names: derive(&master, "resetgate audit names v1")?, chain, id: Some(id) })
    }

    /// Those of a key that nobody will have when the process has ended: names can be told apart until then, and lines are
    /// chained by SHA-256.
    ///
    /// # Errors
    /// [`NoKeys`]
    pub fn passing(key: &Secret<[u8; 32]>) -> Result<Self, NoKeys> {
        Ok(Self { names: derive(&master(key), "resetgate audit names v1")?, chain: None, id: None })
    }

    /// Of no use but to check a chain that nobody vouches for.
    ///
    /// # Errors
    /// [`NoKeys`]
    pub fn none() -> Result<Self, NoKeys> {
        Self::passing(&Secret::of([0; 32]))
    }

    /// The key's own name; none if it passes.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// A name, an address or an id as it stands in the trail: 128 bits of a MAC. Without regard to case, as people type
    /// them and most stores compare them.
    pub fn name(&self, text: &str) -> String {
        let folded = Secret::new(text.trim().to_lowercase());
        hex(hmac::sign(&self.names, folded.expose().as_bytes()).as_ref().get(..16).unwrap_or_default())
    }

    /// What vouches for a line: all of it but its hash.
    pub(super) fn link(&self, line: &[u8]) -> Link {
        let mut link = [0; 32];
        let digest = match &self.chain {
            Some(key) => hmac::sign(key, line).as_ref().to_vec(),
            None => digest::digest(&digest::SHA256, line).as_ref().to_vec(),
        };
        for (to, from) in link.iter_mut().zip(digest) {
            *to = from;
        }
        link
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A master key is random already, so it is extracted with RFC 5869's default salt.
fn master(key: &Secret<[u8; 32]>) -> hkdf::Prk {
    hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(key.expose())
}

fn derive(master: &hkdf::Prk, purpose: &str) -> Result<hmac::Key, NoKeys> {
    Ok(master.expand(&[purpose.as_bytes()], hmac::HMAC_SHA256).map_err(|_| NoKeys)?.into())
}

/// Lower-case digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A link from its digits, of which there is one spelling.
pub(super) fn unhex(text: &str) -> Option<Link> {
    let mut link = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (to, pair) in link.iter_mut().zip(digits.chunks_exact(2)) {
        *to = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hashed_by_key_without_regard_to_case_and_blanks() {
        let [a, b] = [1, 2].map(|byte| Keys::lasting(&Secret::of([byte; 32])).unwrap());
        assert_eq!(a.name(" BJensen@Example.com "), a.name("bjensen@example.com"));
        assert_ne!(a.name("bjensen"), a.name("bjensen2"));
        assert_ne!(a.name("bjensen"), b.name("bjensen"));
        assert_ne!(a.id(), b.id());
        assert_eq!(a.name("bjensen").len(), 32);
        assert_ne!(a.link(b"line"), b.link(b"line"));
    }

    #[test]
    fn a_passing_key_leaves_a_chain_that_anybody_can_check() {
        let [a, b] = [1, 2].map(|byte| Keys::passing(&Secret::of([byte; 32])).unwrap());
        assert_ne!(a.name("bjensen"), b.name("bjensen"));
        assert_eq!(a.link(b"line"), b.link(b"line"));
        assert_eq!(a.link(b"line"), Keys::none().unwrap().link(b"line"));
        assert_eq!(unhex(&hex(&a.link(b"line"))), Some(a.link(b"line")));
        assert_eq!((unhex("00"), unhex(&"0G".repeat(32)), unhex(&"AA".repeat(32))), (None, None, None));
    }
}
