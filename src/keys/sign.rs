//! The token's outside: a JWS with one header and two claims.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use crate::reset::ports::Secret;

/// Signs and verifies with one key.
pub(super) struct Signer {
    header: Header,
    /// The header as it stands in every token of this key, encoded.
    segment: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

/// The members in the order in which they are written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    /// Seconds since the Unix epoch (RFC 7519 §4.1.4).
    exp: u64,
    /// The sealed state, base64url without padding.
    s: String,
}

impl Signer {
    /// A signer that marks its tokens with `kid`; `None` if the crypto library does not sign.
    pub(super) fn new(key: &[u8; 32], kid: &[u8; 6]) -> Option<Self> {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(URL_SAFE_NO_PAD.encode(kid));
        let encoding = EncodingKey::from_secret(key);
        // Taken from a token and not spelled here: it is what jsonwebtoken mints, whatever its version.
        let segment = encode(&header, &(), &encoding).ok()?.split('.').next()?.to_owned();
        let mut validation = Validation::new(Algorithm::HS256);
        // Times are judged by the caller, against its own clock.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        Some(Self { header, segment, encoding, decoding: DecodingKey::from_secret(key), validation })
    }

    /// The token; `None` if the crypto library fails.
    pub(super) fn sign(&self, exp: u64, sealed: &[u8]) -> Option<String> {
        encode(&self.header, &Claims { exp, s: URL_SAFE_NO_PAD.encode(sealed) }, &self.encoding).ok()
    }

    /// `exp` and the sealed state of a token that this key has signed; `None` for anything else.
    pub(super) fn verify(&self, token: &str) -> Option<(u64, Secret<Vec<u8>>)> {
        // The header is compared, never interpreted: no `alg`, `crit` or `jku` of a stranger is ever parsed.
        let payload = token.strip_prefix(&self.segment)?.strip_prefix('.')?.split('.').next()?;
        let claims: Claims = decode(token, &self.decoding, &self.validation).ok()?.claims;
        // A signature of ours over another spelling (blanks, an array) would be a fault elsewhere; it ends here.
        if serde_json::to_vec(&claims).map(|json| URL_SAFE_NO_PAD.encode(json)).ok()? != payload {
            return None;
        }
        Some((claims.exp, Secret::of(URL_SAFE_NO_PAD.decode(&claims.s).ok()?)))
    }
}
