//! Whose request something was done for: what joins one's lines here to those of the proxies around it and of the store.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::{Client, Trace};

/// A request's id, as `X-Request-Id` carries it: the asker's own, where it is harmless, else one that was drawn. It says
/// nothing of anybody, and it proves nothing: anybody can send anybody's.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Bytes);

impl RequestId {
    /// The longest, in bytes.
    pub const LONGEST: usize = 128;

    /// An asker's own. `None` if it is empty, too long, or has anything in it but letters, digits and `._:/+=-`: it goes
    /// into headers, log lines and other programs' searches as it is.
    pub fn parse(text: &str) -> Option<Self> {
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/+=-".contains(&byte);
        let fits = (1..=Self::LONGEST).contains(&text.len()) && text.bytes().all(harmless);
        fits.then(|| Self(Bytes::copy_from_slice(text.as_bytes())))
    }

    /// One that was drawn: a UUID of version 4 (RFC 9562 §5.4), which is always as long.
    pub fn from_random(drawn: [u8; 16]) -> Self {
        let bits = u128::from_be_bytes(drawn) & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
        let mut hex = [0; 32];
        let (pairs, _) = hex.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(bits.to_be_bytes()) {
            *pair = [digit(byte >> 4), digit(byte & 0x0f)];
        }
        let mut text = Vec::with_capacity(36);
        for group in [0..8, 8..12, 12..16, 16..20, 20..32] {
            if !text.is_empty() {
                text.push(b'-');
            }
            text.extend_from_slice(hex.get(group).unwrap_or_default());
        }
        Self(text.into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        // It is ASCII, whichever way it came about.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The same, for a header that shares it.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Whom the limits take them for.
    pub client: Client,
    /// Their `Accept-Language`, which decides the mail's language.
    pub languages: String,
    /// Which request of theirs it is.
    pub request: RequestId,
    /// Its place in a trace, where it has one.
    pub trace: Option<Arc<dyn Trace>>,
}

impl Caller {
    /// Who the engine itself is, when it asks for nobody.
    pub fn nobody() -> Self {
        let request = RequestId::from_random(Default::default());
        Self { client: Client::Unknown, languages: String::new(), request, trace: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_askers_own_id_is_kept_if_it_is_harmless() {
        let longest = "a".repeat(128);
        for text in ["a", "550e8400-e29b-41d4-a716-446655440000", "Root=1-67891233:ab/c+d._=", &longest] {
            assert_eq!(RequestId::parse(text).unwrap().as_str(), text);
        }
        let too_long = "a".repeat(129);
        for text in ["", "a b", "a\"", "a,b", "a\n", "\u{1b}[31m", "ä", "a;b", "<a>", "a{b}", "a@b.example", &too_long]
        {
            assert_eq!(RequestId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_drawn_one_is_a_uuid_of_version_4() {
        let id = RequestId::from_random([0xff; 16]);
        assert_eq!(id.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(RequestId::from_random([0; 16]).as_str(), "00000000-0000-4000-8000-000000000000");
        let drawn = std::array::from_fn(|at| u8::try_from(at * 17).unwrap());
        assert_eq!(RequestId::from_random(drawn).as_str(), "00112233-4455-4677-8899-aabbccddeeff");
        assert_eq!(RequestId::parse(id.as_str()), Some(id));
    }
}
