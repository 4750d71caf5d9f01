//! Whether a text is the one that a store keeps as a salted hash.

use std::num::NonZeroU32;

use ring::{digest, pbkdf2};
use subtle::ConstantTimeEq;

use crate::reset::ports::{Hashing, SaltedHash, Secret, Sha};

/// Whether every text is the one that was hashed. It takes as long whichever is not.
pub(super) async fn all_match(texts: Vec<(SaltedHash, Secret)>) -> bool {
    if texts.iter().all(|(hash, _)| matches!(hash.by, Hashing::Once(_))) {
        return look_at_all(&texts);
    }
    // Slow on purpose: others are served meanwhile.
    tokio::task::spawn_blocking(move || look_at_all(&texts)).await.unwrap_or(false)
}

fn look_at_all(texts: &[(SaltedHash, Secret)]) -> bool {
    texts.iter().fold(true, |all, (hash, text)| all & matches(hash, text.expose()))
}

fn matches(hash: &SaltedHash, text: &str) -> bool {
    match hash.by {
        Hashing::Once(sha) => {
            // IDM's own hashes are of as many bytes as the text has UTF-16 units, so of a text with other letters than ASCII
            // they are of its beginning. Whoever gave such an answer has no other hash.
            let idms = text.as_bytes().get(..text.encode_utf16().count()).unwrap_or(text.as_bytes());
            is_of(hash, sha, text.as_bytes()) | is_of(hash, sha, idms)
        }
        Hashing::Pbkdf2 { hmac, iterations } => NonZeroU32::new(iterations).is_some_and(|iterations| {
            let by = match hmac {
                Sha::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
                Sha::Sha384 => pbkdf2::PBKDF2_HMAC_SHA384,
                Sha::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
            };
            pbkdf2::verify(by, iterations, hash.salt.expose(), text.as_bytes(), hash.digest.expose()).is_ok()
        }),
    }
}

fn is_of(hash: &SaltedHash, sha: Sha, text: &[u8]) -> bool {
    let mut context = digest::Context::new(match sha {
        Sha::Sha256 => &digest::SHA256,
        Sha::Sha384 => &digest::SHA384,
        Sha::Sha512 => &digest::SHA512,
    });
    context.update(text);
    context.update(hash.salt.expose());
    context.finish().as_ref().ct_eq(hash.digest.expose()).into()
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::*;

    /// `data` as IDM stores it, and how much of it is the digest.
    fn hash(by: Hashing, data: &str, digest: usize) -> SaltedHash {
        let bytes = STANDARD.decode(data).unwrap();
        let (digest, salt) = bytes.split_at(digest);
        SaltedHash { by, digest: Secret::of(digest.to_vec()), salt: Secret::of(salt.to_vec()) }
    }

    async fn is(hash: SaltedHash, text: &str) -> bool {
        all_match(vec![(hash, Secret::new(text))]).await
    }

    #[tokio::test]
    async fn only_the_text_that_was_hashed_matches() {
        // Made with Python's hashlib, salt after the text.
        let cases = [
            (Hashing::Once(Sha::Sha256), 32, SHA256),
            (Hashing::Once(Sha::Sha384), 48, SHA384),
            (Hashing::Once(Sha::Sha512), 64, SHA512),
            (Hashing::Pbkdf2 { hmac: Sha::Sha256, iterations: 1000 }, 16, PBKDF2),
        ];
        for (by, digest, data) in cases {
            assert!(is(hash(by, data, digest), "rex").await, "{by:?}");
            for other in ["Rex", "rex ", "re", ""] {
                assert!(!is(hash(by, data, digest), other).await, "{by:?} {other}");
            }
        }
    }

    #[tokio::test]
    async fn all_have_to_match() {
        let right = || (hash(Hashing::Once(Sha::Sha256), SHA256, 32), Secret::new("rex"));
        let wrong = || (hash(Hashing::Once(Sha::Sha256), SHA256, 32), Secret::new("max"));
        assert!(all_match(vec![right(), right()]).await);
        assert!(!all_match(vec![right(), wrong()]).await);
        assert!(!all_match(vec![wrong(), right()]).await);
    }

    #[tokio::test]
    async fn letters_beyond_ascii_match_whichever_way_they_were_hashed() {
        for data in [WHOLE, BEGINNING] {
            assert!(is(hash(Hashing::Once(Sha::Sha256), data, 32), "zoë müller").await);
            assert!(!is(hash(Hashing::Once(Sha::Sha256), data, 32), "zoë mülle").await);
        }
    }

    const SHA256: &str = "QPwWYo+CLhllSA6cWyFFyJ9Rb1nwGJgA/yRqtjwb+lgAAQIDBAUGBwgJCgsMDQ4P";
    const SHA384: &str = "KQQw17x8+V1J9h779KaNp+fA8UULiBeFdRPlj0BVJRkBOvQARl3Z8ONnoB4oAOrUAAECAwQFBgcICQoLDA0ODw==";
    const SHA512: &str =
        "BgX7p/zW1rqxITxKhKrpV83/0ERvWS5VA85i/VsIOrQqUxZ5I8CQasxp0+xLs0nfDe9l9lrGWvbRL5jQaJ85PQABAgMEBQYHCAkKCwwNDg8=";
    const PBKDF2: &str = "uRR3aHDnFc3Sns0UCeamLwABAgMEBQYHCAkKCwwNDg8=";
    /// Of "zoë müller" in UTF-8.
    const WHOLE: &str = "s9dG7IvGBrjTeIYk4wQx3XsOd5fs8nYAB3KrPK45xFAAAQIDBAUGBwgJCgsMDQ4P";
    /// Of as many of its bytes as it has letters.
    const BEGINNING: &str = "YtFlYJ0oG6theZyzmh4d3AxaRF86mxPUrLfhttpupRQAAQIDBAUGBwgJCgsMDQ4P";
}
