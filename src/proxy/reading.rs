//! Whether *any* reader on the way could take a path for the protected one.
//!
//! The upstream, its container and whatever stands between decode, cut, trim and resolve paths in ways and orders of
//! their own. This module does not guess theirs: it follows all of them at once. Each segment may be read as it
//! stands, cut at `;` NUL `?` `#`, decoded (and then split anew), or folded by Unicode's compatibility rules, again and
//! again; a small automaton notes how much of the protected path the segments read so far could be.
//!
//! It errs towards claiming, but only for paths that hold the protected segments in order after decoding.

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::{CodePointSetData, props::DefaultIgnorableCodePoint};

/// Decodings and foldings that are followed one inside another.
const DEPTH: u8 = 10;
/// Bytes looked at for each byte of the path, before it is taken for an attack on this very function.
const EFFORT: usize = 32;
/// Protected segments that are told apart; a longer protected path is guarded from there on down.
const WORDS: usize = 8;

/// How many of them can have been read: none of them, or up to all.
const COUNTS: usize = WORDS + 1;

/// The protected path's segments.
#[derive(Debug)]
pub(super) struct Guard {
    words: Vec<Vec<u8>>,
    /// Not what lies below.
    alone: bool,
}

impl Guard {
    /// Guards `path` and everything below it.
    pub(super) fn new(path: &str) -> Self {
        let words = path.split('/').filter(|word| !word.is_empty()).take(WORDS);
        Self { words: words.map(|word| word.to_ascii_lowercase().into_bytes()).collect(), alone: false }
    }

    /// Guards `path`, of eight segments at most, and nothing below it.
    pub(super) fn alone(path: &str) -> Self {
        Self { alone: true, ..Self::new(path) }
    }

    /// Whether one reading of `path` (a request target's path, as it came) is the protected path or, unless that is
    /// guarded alone, lies below it.
    pub(super) fn claims(&self, path: &[u8]) -> bool {
        !self.is_plainly_another(path) && self.is_in_some_reading(path)
    }

    /// Whether nothing in it has to be decoded or folded, and one of the words is nowhere in it: most paths are so, and
    /// need no reader.
    fn is_plainly_another(&self, path: &[u8]) -> bool {
        path.iter().all(|byte| matches!(byte, b'!'..=b'~') && *byte != b'%')
            && self.words.iter().any(|word| !holds(path, word))
    }

    fn is_in_some_reading(&self, path: &[u8]) -> bool {
        let effort = path.len().saturating_mul(EFFORT).saturating_add(1024);
        let mut reader = Reader { words: &self.words, alone: self.alone, effort };
        if reader.whole(path) {
            return true;
        }
        // A target that begins with two slashes has an authority, in the eyes of a reader of relative references.
        let Some(rest) = path.strip_prefix(b"//") else { return false };
        let Some(slash) = rest.iter().position(|byte| *byte == b'/') else { return false };
        reader.whole(rest.get(slash..).unwrap_or_default())
    }
}

/// How far the segments read so far could have come.
#[derive(Clone, Copy)]
struct Progress {
    /// At `i`: the least number of foreign segments on top of the first `i` protected ones; `NEVER` if that cannot be.
    /// The least is enough: a `..` may also be read as nothing, so fewer are never worse.
    foreign: [u32; COUNTS],
    /// Some reading has them all; if the path is guarded alone, that reading has nothing else.
    claimed: bool,
}

const NEVER: u32 = u32::MAX;

impl Progress {
    const NOWHERE: Self = Self { foreign: [NEVER; COUNTS], claimed: false };
    const START: Self = {
        let mut foreign = [NEVER; COUNTS];
        let [first, ..] = &mut foreign;
        *first = 0;
        Self { foreign, claimed: false }
    };

    /// Either reading.
    fn or(mut self, other: Self) -> Self {
        for (mine, theirs) in self.foreign.iter_mut().zip(other.foreign) {
            *mine = (*mine).min(theirs);
        }
        self.claimed |= other.claimed;
        self
    }

    /// After one more segment, read as it stands.
    fn then(self, segment: &[u8], words: &[Vec<u8>], alone: bool) -> Self {
        let text = trim(segment, is_blank);
        let bare = text.iter().rposition(|byte| !is_blank(*byte) && *byte != b'.').map_or(0, |last| last + 1);
        let bare = text.get(..bare).unwrap_or_default();
        if !bare.is_empty() {
            self.word(bare, words, alone)
        } else if text.starts_with(b"..") {
            self.up()
        } else {
            self
        }
    }

    fn up(mut self) -> Self {
        let before = self.foreign;
        let above = before.iter().skip(1).chain([&NEVER]);
        for (foreign, above) in self.foreign.iter_mut().zip(above) {
            *foreign = match *foreign {
                _ if *above == 0 => 0,
                NEVER => NEVER,
                some => some.saturating_sub(1),
            };
        }
        self
    }

    fn word(self, text: &[u8], words: &[Vec<u8>], alone: bool) -> Self {
        let mut next = Self { claimed: self.claimed, ..Self::NOWHERE };
        for (i, foreign) in self.foreign.iter().enumerate().take(words.len() + 1) {
            if *foreign == 0 && words.get(i).is_some_and(|word| text.eq_ignore_ascii_case(word)) {
                match next.foreign.get_mut(i + 1) {
                    Some(after) if alone || i + 1 < words.len() => *after = 0,
                    _ => next.claimed = true,
                }
            } else if let Some(same) = next.foreign.get_mut(i) {
                *same = (*same).min(foreign.saturating_add(1));
            }
        }
        next
    }

    /// If the path ends here.
    fn end(mut self, words: &[Vec<u8>]) -> Self {
        self.claimed |= self.foreign.get(words.len()) == Some(&0);
        self
    }
}

struct Reader<'a> {
    words: &'a [Vec<u8>],
    alone: bool,
    effort: usize,
}

impl Reader<'_> {
    fn whole(&mut self, path: &[u8]) -> bool {
        self.split(path, Progress::START, 0).end(self.words).claimed
    }

    fn split(&mut self, text: &[u8], from: Progress, depth: u8) -> Progress {
        let (mut at, mut ended) = (from, Progress::NOWHERE);
        for piece in text.split(|byte| matches!(byte, b'/' | b'\\')) {
            // To a reader in C, a decoded NUL ends more than this piece. What lies below the path is guarded with it, and
            // is so however it ends; a path that is guarded alone might be all that is left.
            let ends = |byte: &u8| match byte {
                0 | b'?' | b'#' => depth > 0,
                other => self.alone && ends_a_segment(*other),
            };
            if let Some(end) = piece.iter().position(ends) {
                let end = self.read(piece.get(..end).unwrap_or_default(), at, depth);
                ended = ended.or(end.end(self.words));
            }
            at = self.read(piece, at, depth);
            if at.claimed {
                return at;
            }
        }
        at.or(ended)
    }

    fn read(&mut self, piece: &[u8], from: Progress, depth: u8) -> Progress {
        let Some(left) = self.effort.checked_sub(piece.len() + 1) else {
            return Progress { claimed: true, ..from };
        };
        self.effort = left;
        let mut all = from.then(piece, self.words, self.alone);
        if !piece.iter().any(|byte| *byte == b'%' || ends_a_segment(*byte) || !byte.is_ascii()) {
            return all;
        }
        if let Some(end) = piece.iter().position(|byte| ends_a_segment(*byte)) {
            all = all.or(self.read(piece.get(..end).unwrap_or_default(), from, depth));
        }
        if let Some(start) = broken_escape(piece).filter(|_| depth == 0) {
            // Whatever a reader makes of it: any word that begins like this.
            for word in self.words.iter().filter(|word| begins(word, start)) {
                all = all.or(from.word(word, self.words, self.alone));
            }
        }
        if depth < DEPTH {
            for text in [decode(piece), fold(piece)].into_iter().flatten() {
                all = all.or(self.split(&text, from, depth + 1));
                for short in [shorten(&text, false), shorten(&text, true)].into_iter().flatten() {
                    all = all.or(self.split(&short, from, depth + 1));
                }
            }
        }
        all
    }
}

/// Whether that word, in lower case, is anywhere in it.
fn holds(path: &[u8], word: &[u8]) -> bool {
    let Some(first) = word.first() else { return true };
    let mut starts = path.iter().enumerate().filter(|(_, byte)| byte.eq_ignore_ascii_case(first));
    starts.any(|(at, _)| path.get(at..at + word.len()).is_some_and(|text| text.eq_ignore_ascii_case(word)))
}

/// Where some reader stops: parameters, and all that has no place in a path (RFC 3986 §3.3).
const fn ends_a_segment(byte: u8) -> bool {
    byte <= b' ' || matches!(byte, b';' | b'?' | b'#' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x7f)
}

/// What stands before a `%` that begins no escape; `None` if every one does.
fn broken_escape(piece: &[u8]) -> Option<&[u8]> {
    let mut rest = piece;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let tail = rest.get(at + 1..).unwrap_or_default();
        let wide = tail.strip_prefix(b"u").or(tail.strip_prefix(b"U"));
        if hex(tail, 2).is_none() && wide.and_then(|wide| hex(wide, 4)).is_none() {
            return piece.get(..piece.len() - tail.len() - 1);
        }
        rest = tail;
    }
    None
}

fn begins(word: &[u8], start: &[u8]) -> bool {
    word.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

/// Blanks and controls, and the blank of forms.
const fn is_blank(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f || byte == b'+'
}

/// Without the bytes around it that `is_blank`.
pub(super) fn trim(mut text: &[u8], is_blank: impl Fn(u8) -> bool) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

/// One level of `%XX` and `%uXXXX` undone; `None` if there is none.
fn decode(piece: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(piece.len());
    let mut rest = piece;
    let mut found = false;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            out.push(*first);
        } else if let Some((value, tail)) = hex(tail, 2) {
            out.push(u8::try_from(value).unwrap_or_default());
            (rest, found) = (tail, true);
        } else if let Some((value, tail)) = tail.strip_prefix(b"u").or(tail.strip_prefix(b"U")).and_then(|t| hex(t, 4))
        {
            push_char(&mut out, value);
            (rest, found) = (tail, true);
        } else {
            out.push(b'%');
        }
    }
    found.then_some(out)
}

fn hex(text: &[u8], digits: usize) -> Option<(u32, &[u8])> {
    let (head, tail) = text.split_at_checked(digits)?;
    let value = head.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))?;
    Some((value, tail))
}

fn push_char(out: &mut Vec<u8>, value: u32) {
    let char = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Over-long UTF-8, read as a naive decoder does: `c0 ae` is a dot. A `careless` one does not look at the top bits of
/// the bytes after the first: `c0 2f` is a slash to it. `None` if there is none.
fn shorten(text: &[u8], careless: bool) -> Option<Vec<u8>> {
    if !text.iter().any(|byte| *byte >= 0xc0) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [lead, tail @ ..] = rest {
        rest = tail;
        match long(*lead, tail, careless) {
            Some((value, tail)) => {
                push_char(&mut out, value);
                rest = tail;
            }
            None => out.push(*lead),
        }
    }
    (out != text).then_some(out)
}

/// The value of an over-long sequence; `None` if it is not one.
fn long(lead: u8, tail: &[u8], careless: bool) -> Option<(u32, &[u8])> {
    let (count, bits, least) = match lead {
        0xc0 | 0xc1 => (1, lead & 0x1f, 0x80),
        0xe0 => (2, 0, 0x800),
        0xf0 => (3, 0, 0x1_0000),
        0xf8 => (4, 0, 0x20_0000),
        0xfc => (5, 0, 0x400_0000),
        _ => return None,
    };
    let (following, rest) = tail.split_at_checked(count)?;
    let continues = |byte: &u8| byte & 0xc0 == 0x80 || careless;
    if !following.iter().all(continues) {
        return None;
    }
    let value = following.iter().fold(u32::from(bits), |value, byte| value << 6 | u32::from(byte & 0x3f));
    (value < least).then_some((value, rest))
}

/// What a reader makes of it that folds full-width letters and drops what cannot be seen; `None` if that is the same.
pub(super) fn fold(piece: &[u8]) -> Option<Vec<u8>> {
    if piece.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return None;
    }
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    let seen = |char: &char| !char.is_control() && !ignorable.contains(*char);
    let mut folded = Vec::with_capacity(piece.len());
    for chunk in piece.utf8_chunks() {
        let text: String = chunk.valid().chars().filter(seen).collect();
        let normal = ComposingNormalizerBorrowed::new_nfkc().normalize(&text);
        // By way of the upper case, so that a dotless i is an i and a long s is an s. A dotted capital I has a lower case
        // of two characters, or is an i to those who give each one character.
        let plain = |char| if char == '\u{130}' { 'i' } else { char };
        let upper = normal.chars().map(plain).flat_map(char::to_uppercase);
        let chars = upper.flat_map(char::to_lowercase).filter(seen).map(slash);
        chars.for_each(|char| folded.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()));
        // Half a character may be completed by what is decoded next.
        folded.extend_from_slice(chunk.invalid());
    }
    (folded != piece).then_some(folded)
}

/// Slashes that only a "best fit" conversion takes for one.
const fn slash(char: char) -> char {
    match char {
        '\u{2044}' | '\u{2215}' | '\u{29f8}' => '/',
        '\u{2216}' | '\u{29f5}' | '\u{29f9}' => '\\',
        other => other,
    }
}

#[cfg(test)]
pub(super) mod tests;
