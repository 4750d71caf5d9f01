//! Which translation an asker gets, from `Accept-Language` (RFC 9110, looked up as in RFC 4647), and the few sentences
//! that the letters say in words of our own.

use std::cmp::Reverse;

/// A longer header is treated as malformed: no browser sends one, and the work per mail stays small.
const MAX_BYTES: usize = 256;
/// As many list elements, empty ones included.
const MAX_ENTRIES: usize = 32;

/// The translation for an asker with that `Accept-Language`; `None` only if there are no translations.
///
/// For each range in the order of its weight: the very tag, then its parents, then any translation with the same
/// primary language. A parent that the header itself names waits for its own turn, with its own weight. `*`, no match
/// at all and a malformed header all give the first translation of the file. `en_GB` and `en-GB` are the same tag.
pub fn choose<'a, T>(translations: &'a [(String, T)], accept_language: &str) -> Option<&'a (String, T)> {
    let first = translations.first();
    let Some(ranges) = ranges(accept_language) else { return first };
    for range in ranges.iter().filter(|range| range.weight > 0) {
        if range.tag == "*" {
            return first;
        }
        if let Some(found) = look_up(translations, range.tag, &ranges) {
            return Some(found);
        }
    }
    first
}

/// "This link works for so many minutes", in the language of that tag, else in English.
pub(super) fn lifetime(tag: &str, minutes: u64) -> String {
    let (before, one, many, after) = match primary(tag).to_ascii_lowercase().as_str() {
        "de" => ("Dieser Link gilt noch ", "Minute", "Minuten", "."),
        "fr" => ("Ce lien est valable pendant ", "minute", "minutes", "."),
        "es" => ("Este enlace es válido durante ", "minuto", "minutos", "."),
        "it" => ("Questo link è valido per ", "minuto", "minuti", "."),
        "nl" => ("Deze link is nog ", "minuut", "minuten", " geldig."),
        "pt" => ("Este link é válido por ", "minuto", "minutos", "."),
        _ => ("This link works for ", "minute", "minutes", "."),
    };
    let unit = if minutes == 1 { one } else { many };
    format!("{before}{minutes} {unit}{after}")
}

/// "Or enter this code", likewise.
pub(super) fn typed(tag: &str, code: &str) -> String {
    let before = match primary(tag).to_ascii_lowercase().as_str() {
        "de" => "Oder geben Sie diesen Code ein: ",
        "fr" => "Ou saisissez ce code\u{a0}: ",
        "es" => "O introduzca este código: ",
        "it" => "Oppure inserisca questo codice: ",
        "nl" => "Of voer deze code in: ",
        "pt" => "Ou introduza este código: ",
        _ => "Or enter this code: ",
    };
    format!("{before}{code}")
}

/// "This link is for that account", likewise.
pub(super) fn account(tag: &str, name: &str) -> String {
    let before = match primary(tag).to_ascii_lowercase().as_str() {
        "de" => "Dieser Link ist für das Konto ",
        "fr" => "Ce lien est pour le compte ",
        "es" => "Este enlace es para la cuenta ",
        "it" => "Questo link è per l'account ",
        "nl" => "Deze link is voor het account ",
        "pt" => "Este link é para a conta ",
        _ => "This link is for the account ",
    };
    format!("{before}{name}.")
}

struct Range<'a> {
    tag: &'a str,
    /// In thousandths.
    weight: u16,
}

/// The header's ranges, heaviest first; `None` if it is malformed.
fn ranges(header: &str) -> Option<Vec<Range<'_>>> {
    if header.len() > MAX_BYTES {
        return None;
    }
    let mut ranges = Vec::new();
    for (index, element) in header.split(',').enumerate() {
        if index >= MAX_ENTRIES {
            return None;
        }
        let element = blank_trimmed(element);
        if element.is_empty() {
            continue;
        }
        let (tag, weight) = match element.split_once(';') {
            Some((tag, rest)) => (blank_trimmed(tag), weight(blank_trimmed(rest))?),
            None => (element, 1000),
        };
        if !is_range(tag) {
            return None;
        }
        ranges.push(Range { tag, weight });
    }
    ranges.sort_by_key(|range| Reverse(range.weight));
    Some(ranges)
}

fn blank_trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// `q=0.8` in thousandths.
fn weight(parameter: &str) -> Option<u16> {
    let value = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))?;
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

fn is_range(tag: &str) -> bool {
    tag == "*"
        || tag.split(['-', '_']).enumerate().all(|(index, part)| {
            (1..=8).contains(&part.len())
                && part.bytes().all(|byte| byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit()))
        })
}

fn look_up<'a, T>(translations: &'a [(String, T)], tag: &str, asked: &[Range<'_>]) -> Option<&'a (String, T)> {
    let mut wanted = tag;
    loop {
        if let Some(found) = translations.iter().find(|(tag, _)| same(tag, wanted)) {
            return Some(found);
        }
        match parent(wanted) {
            Some(parent) if asked.iter().any(|range| same(range.tag, parent)) => return None,
            Some(parent) => wanted = parent,
            None => break,
        }
    }
    translations.iter().find(|(other, _)| same(primary(other), primary(tag)))
}

/// `zh-Hant-TW` → `zh-Hant`; a single letter that introduces what was cut off goes with it.
fn parent(tag: &str) -> Option<&str> {
    let (parent, _) = tag.rsplit_once(['-', '_'])?;
    match parent.rsplit_once(['-', '_']) {
        Some((grandparent, single)) if single.len() == 1 => Some(grandparent),
        _ => Some(parent),
    }
}

fn primary(tag: &str) -> &str {
    tag.split(['-', '_']).next().unwrap_or(tag)
}

fn same(one: &str, other: &str) -> bool {
    fn plain(byte: u8) -> u8 {
        if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
    }
    one.len() == other.len() && one.bytes().map(plain).eq(other.bytes().map(plain))
}

#[cfg(test)]
mod tests;
