//! Encoded words (RFC 2047): `=?charset?B|Q?text?=`, anywhere in a text.

use super::{
    MAX_NAME,
    base64::{self, Padding, STANDARD},
    decode as percent_decode,
};

/// A charset in which the text could mean anything.
pub(super) struct Unreadable;

/// The text with its encoded words decoded; `None` if it has none. White space between two of them is not part of it.
pub(super) fn decode(text: &[u8], is_known: impl Fn(&[u8]) -> bool) -> Result<Option<Vec<u8>>, Unreadable> {
    let (mut out, mut rest, mut found) = (Vec::new(), text, false);
    while let Some((before, word, after)) = next(rest) {
        if !is_known(word.charset) {
            return Err(Unreadable);
        }
        if !(found && before.iter().all(u8::is_ascii_whitespace)) {
            out.extend_from_slice(before);
        }
        out.extend(word.text());
        (rest, found) = (after, true);
        if out.len() > MAX_NAME {
            break;
        }
    }
    out.extend_from_slice(rest);
    Ok(found.then_some(out))
}

struct Word<'a> {
    charset: &'a [u8],
    encoding: u8,
    encoded: &'a [u8],
}

/// What stands before the first encoded word, the word, and what follows.
fn next(text: &[u8]) -> Option<(&[u8], Word<'_>, &[u8])> {
    let mut from = 0;
    loop {
        let rest = text.get(from..)?;
        let at = from + find(rest, b"=?")?;
        let before = text.get(..at)?;
        let mut parts = text.get(at + 2..)?.splitn(3, |byte| *byte == b'?');
        if let (Some(charset), Some([encoding @ (b'b' | b'B' | b'q' | b'Q')]), Some(tail)) =
            (parts.next(), parts.next(), parts.next())
            && let Some(end) = find(tail, b"?=")
            && let (Some(encoded), Some(after)) = (tail.get(..end), tail.get(end + 2..))
        {
            // RFC 2231 §5: a language may follow the charset.
            let charset = charset.split(|byte| *byte == b'*').next().unwrap_or_default();
            return Some((before, Word { charset, encoding: *encoding, encoded }, after));
        }
        from = at + 2;
    }
}

impl Word<'_> {
    fn text(&self) -> Vec<u8> {
        if self.encoding.eq_ignore_ascii_case(&b'b') {
            return base64::decode(self.encoded, &[STANDARD], Padding::Skipped, 0);
        }
        let escapes: Vec<u8> = self
            .encoded
            .iter()
            .map(|byte| match byte {
                b'=' => b'%',
                b'_' => b' ',
                other => *other,
            })
            .collect();
        percent_decode(&escapes).unwrap_or(escapes)
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
