//! The token's outside: a JWS with one header and two claims.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, crypto, encode};

use crate::reset::ports::Secret;

/// Signs and verifies with one key.
pub(super) struct Signer {
    /// The header as it stands in every token of this key, encoded, and the dot behind it.
    header: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl Signer {
    /// A signer that marks its tokens with `kid`; `None` if the crypto library does not sign.
    pub(super) fn new(key: &[u8; 32], kid: &[u8; 6]) -> Option<Self> {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(URL_SAFE_NO_PAD.encode(kid));
        let encoding = EncodingKey::from_secret(key);
        // Taken from a token and not spelled here: it is what jsonwebtoken mints, whatever its version.
        let header = encode(&header, &(), &encoding).ok()?.split_inclusive('.').next()?.to_owned();
        Some(Self { header, encoding, decoding: DecodingKey::from_secret(key) })
    }

    /// The token; `None` if the crypto library fails.
    pub(super) fn sign(&self, exp: u64, sealed: &[u8]) -> Option<String> {
        let mut claims = [BEFORE_EXP, &exp.to_string(), BEFORE_STATE].concat();
        claims.reserve_exact(encoded(sealed.len()) + AFTER_STATE.len());
        URL_SAFE_NO_PAD.encode_string(sealed, &mut claims);
        claims.push_str(AFTER_STATE);
        let mut token = String::with_capacity(self.header.len() + encoded(claims.len()) + 1 + SIGNATURE);
        token.push_str(&self.header);
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = crypto::sign(token.as_bytes(), &self.encoding, Algorithm::HS256).ok()?;
        token.push('.');
        token.push_str(&signature);
        Some(token)
    }

    /// `exp` and the sealed state of a token that this key has signed; `None` for anything else.
    pub(super) fn verify(&self, token: &str) -> Option<(u64, Secret<Vec<u8>>)> {
        let (message, signature) = token.rsplit_once('.')?;
        // The header is compared, never interpreted: no `alg`, `crit` or `jku` of a stranger is ever parsed.
        let payload = message.strip_prefix(&self.header)?;
        if !crypto::verify(signature, message.as_bytes(), &self.decoding, Algorithm::HS256).ok()? {
            return None;
        }
        // Nor are the claims: a signature of ours over another spelling (blanks, an array) would be a fault elsewhere; it
        // ends here.
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        let (digits, state) = claims.strip_prefix(BEFORE_EXP)?.split_once(BEFORE_STATE)?;
        let exp = digits.parse().ok().filter(|exp: &u64| exp.to_string() == digits)?;
        let state = state.strip_suffix(AFTER_STATE)?;
        Some((exp, Secret::of(URL_SAFE_NO_PAD.decode(state).ok()?)))
    }
}

// The claims, in the one way in which they are written: `exp`, seconds since the Unix epoch (RFC 7519 §4.1.4), and `s`, the
// sealed state in base64url without padding.
const BEFORE_EXP: &str = r#"{"exp":"#;
const BEFORE_STATE: &str = r#","s":""#;
const AFTER_STATE: &str = r#""}"#;
/// Bytes of an encoded signature.
const SIGNATURE: usize = encoded(32);

/// How long so many bytes are in base64url without padding.
const fn encoded(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}
