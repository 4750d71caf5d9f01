//! Whether a request signs in as somebody who must not come this way, in any spelling that some reader undoes.
//!
//! IDM reads the name from `X-OpenIDM-Username`, as it stands or in the encoding of RFC 5987 §3.2 (which RFC 8187 keeps),
//! and from HTTP Basic; other servers of its family read the encoded words of RFC 2047. As with paths, nothing is guessed: each reading is followed, and one that means a denied name is
//! enough. It errs towards denying, but only for what no name looks like.

mod base64;
mod words;

use http::HeaderMap;

use self::base64::{FOR_URLS, Padding, STANDARD};
use super::{
    headers::is_twin,
    reading::{self, fold},
};

/// Encodings that are followed one inside another.
const DEPTH: u8 = 8;
/// The longest name that is looked at, in bytes.
const MAX_NAME: usize = 1 << 10;
/// Bytes of names that are looked at for one request, before it is taken for an attack on this very function.
const EFFORT: usize = 64 << 10;
/// The charsets of RFC 5987 and what they are also called: ASCII is ASCII in them. In another one, `%` can stand for
/// any letter.
const CHARSETS: [&str; 8] =
    ["utf-8", "utf8", "iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "us-ascii", "windows-1252"];

/// Names that are denied.
#[derive(Debug)]
pub(super) struct Users(Vec<String>);

impl Users {
    /// The names are ASCII; their case does not matter.
    pub(super) fn new(names: &[String]) -> Self {
        Self(names.to_vec())
    }

    /// Whether one reading of these headers is one of the names.
    pub(super) fn sign_in(&self, headers: &HeaderMap) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let mut reader = Reader { names: &self.0, effort: EFFORT };
        headers.iter().any(|(name, value)| {
            if is_twin(name.as_str(), "x-openidm-username") {
                parts(value.as_bytes()).any(|text| reader.means_one(text, DEPTH))
            } else if is_twin(name.as_str(), "authorization") {
                parts(value.as_bytes()).any(|text| reader.basic(text))
            } else {
                false
            }
        })
    }
}

struct Reader<'a> {
    names: &'a [String],
    effort: usize,
}

impl Reader<'_> {
    /// Whether a text is, or could be decoded to, one of the names.
    fn means_one(&mut self, text: &[u8], depth: u8) -> bool {
        let text = trim(text);
        let Some(left) = self.effort.checked_sub(text.len()) else { return true };
        self.effort = left;
        if text.len() > MAX_NAME || self.names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(text)) {
            return true;
        }
        let extended = extended(text);
        // What such a charset makes of it cannot be told, and no client of IDM's uses one.
        if extended.is_some_and(|(charset, value)| !is_known(charset) && value.contains(&b'%')) {
            return true;
        }
        let mut others: Vec<Vec<u8>> = extended.map(|(_, value)| value.to_vec()).into_iter().collect();
        let Ok(words) = words::decode(text, is_known) else { return true };
        others.extend([words, decode(text), fold(text), unquote(text), blanks(text)].into_iter().flatten());
        match depth.checked_sub(1) {
            Some(depth) => others.iter().any(|other| self.means_one(other, depth)),
            // So many encodings, one inside another, are no name; apostrophes are not uncommon in one.
            None => text.contains(&b'%'),
        }
    }

    /// Credentials of RFC 7617. Decoders differ in what they skip, and in what padding in the middle does.
    fn basic(&mut self, credentials: &[u8]) -> bool {
        let credentials = trim(credentials);
        let Some((scheme, rest)) = credentials.split_at_checked(5) else { return false };
        let blank = rest.first().is_some_and(|byte| *byte <= b' ');
        if !blank || !scheme.eq_ignore_ascii_case(b"basic") {
            return false;
        }
        let alphabets = [&[STANDARD][..], &[FOR_URLS], &[STANDARD, FOR_URLS]];
        let paddings = [Padding::Skipped, Padding::Zero, Padding::Ends];
        let mut names: Vec<_> = alphabets
            .iter()
            .flat_map(|alphabets| paddings.map(|padding| base64::decode(rest, alphabets, padding, b':')))
            .collect();
        // All the same, but for credentials that are made to be read in several ways.
        names.dedup();
        names.iter().any(|name| self.means_one(name, DEPTH))
    }
}

/// A header's value, and what stands between its commas: some join lines with them.
fn parts(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let several = value.contains(&b',');
    std::iter::once(value).chain(value.split(|byte| *byte == b',').filter(move |_| several))
}

/// `charset'language'value` → charset and value.
fn extended(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = text.splitn(3, |byte| *byte == b'\'');
    let charset = parts.next()?;
    parts.next()?;
    Some((charset, parts.next()?))
}

fn is_known(charset: &[u8]) -> bool {
    let charset = trim(charset);
    charset.is_empty() || CHARSETS.iter().any(|known| charset.eq_ignore_ascii_case(known.as_bytes()))
}

/// `%XX` undone; `None` if there is none.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let decoded: Vec<u8> = percent_encoding::percent_decode(text).collect();
    (decoded.len() < text.len()).then_some(decoded)
}

/// A quoted string's text (RFC 9110 §5.6.4); `None` if it is none.
fn unquote(text: &[u8]) -> Option<Vec<u8>> {
    let inner = text.strip_prefix(b"\"")?;
    let inner = inner.strip_suffix(b"\"").unwrap_or(inner);
    Some(inner.iter().copied().filter(|byte| *byte != b'\\').collect())
}

/// With the blanks of forms; `None` if there are none.
fn blanks(text: &[u8]) -> Option<Vec<u8>> {
    let blank = |byte: &u8| if *byte == b'+' { b' ' } else { *byte };
    text.contains(&b'+').then(|| text.iter().map(blank).collect())
}

/// Without blanks and controls around it.
fn trim(text: &[u8]) -> &[u8] {
    reading::trim(text, |byte| byte <= b' ' || byte == 0x7f)
}

#[cfg(test)]
mod tests;
