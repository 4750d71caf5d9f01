//! Texts that a store keeps as salted hashes.

use super::Secret;

/// A text as a store keeps it.
pub struct SaltedHash {
    /// How it was made.
    pub by: Hashing,
    /// What came of it; of PBKDF2, as many bytes as the store keeps.
    pub digest: Secret<Vec<u8>>,
    /// What was put to the text.
    pub salt: Secret<Vec<u8>>,
}

/// How a text is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashing {
    /// Once, with the salt after the text.
    Once(Sha),
    /// PBKDF2 (RFC 8018) with HMAC.
    Pbkdf2 {
        /// Of which hash.
        hmac: Sha,
        /// How often.
        iterations: u32,
    },
}

/// A hash of the SHA-2 family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the hash of that name")]
pub enum Sha {
    Sha256,
    Sha384,
    Sha512,
}

impl Sha {
    /// By the name that Java gives it.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "SHA-256" => Self::Sha256,
            "SHA-384" => Self::Sha384,
            "SHA-512" => Self::Sha512,
            _ => return None,
        })
    }

    /// How long it is, in bytes.
    pub const fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}
