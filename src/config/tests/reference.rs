//! Every key of `conf/resetgate.toml`, as it is written there, changed to what cannot be: each is named, with its file,
//! its line and what it may be. What is in the reference is read from it, so a new key is tried as soon as it is told.

use super::Folder;

const REFERENCE: &str = include_str!("../../../conf/resetgate.toml");

/// A key of the reference, or a section.
#[derive(Debug)]
struct Entry {
    /// Counted from 1.
    line: usize,
    /// How many lines its value takes.
    lines: usize,
    /// As faults name it: `listen.tls.additional[0].key`.
    name: String,
    /// The last part of it.
    key: String,
    /// As written, without what is said of it.
    value: String,
    /// What is said of it.
    told: String,
}

/// Where the line says that a section begins: its name as faults have it, and whether it stands behind a `#`.
fn header(line: &str) -> Option<(String, bool)> {
    let bare = line.strip_prefix("# ").unwrap_or(line);
    let (name, rest) = match bare.strip_prefix("[[") {
        Some(list) => list.split_once("]]").map(|(name, rest)| (format!("{name}[0]"), rest))?,
        None => bare.strip_prefix('[')?.split_once(']').map(|(name, rest)| (name.to_owned(), rest))?,
    };
    let rest = rest.trim_start();
    (rest.is_empty() || rest.starts_with('#')).then(|| (name, line.starts_with('#')))
}

fn key(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix("# ").unwrap_or(line).split_once(" = ")?;
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    plain.then_some((name, value))
}

/// The value at the beginning of a text: up to what is said of it.
fn value(text: &str) -> &str {
    let mut quoted = false;
    let end = text.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        !quoted && *c == '#'
    });
    text[..end.map_or(text.len(), |(at, _)| at)].trim_end()
}

fn entries() -> Vec<Entry> {
    let mut found = Vec::new();
    let mut section = String::new();
    let mut lines = REFERENCE.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        if let Some((name, _)) = header(line) {
            section = name;
        }
        let Some((key, text)) = key(line) else { continue };
        let mut told = text.to_owned();
        let mut value = value(text).to_owned();
        let mut count = 1;
        while value.starts_with('[') && !value.ends_with(']') {
            value += lines.next().unwrap().1;
            count += 1;
        }
        while let Some((_, more)) = lines.next_if(|(_, line)| line.starts_with("   ") && line.trim().starts_with("# "))
        {
            told += more.trim().trim_start_matches('#');
        }
        found.push(Entry {
            line: at + 1,
            lines: count,
            name: format!("{section}.{key}"),
            key: key.to_owned(),
            value,
            told,
        });
    }
    found
}

/// The reference with that in the place of an entry. Of a section that is behind a `#` all keys are there then.
fn with(entry: &Entry, key: &str, value: &str, kind: Option<&str>) -> String {
    let mut section = (String::new(), false);
    let mut lines = Vec::new();
    let own = entry.name.rsplit_once('.').unwrap().0;
    for (at, line) in REFERENCE.lines().enumerate() {
        if let Some(found) = header(line) {
            section = found;
        }
        // `a.b[0]` is of no use without `a`.
        let meant = section.1 && (own == section.0 || own.starts_with(&section.0));
        let is_setting = header(line).is_some() || super::reference::key(line).is_some();
        lines.push(match kind {
            _ if at + 1 == entry.line => format!("{key} = {value}"),
            _ if (entry.line..entry.line + entry.lines).contains(&(at + 1)) => String::new(),
            Some(kind) if own == section.0 && line.starts_with("kind = ") => format!("kind = \"{kind}\""),
            _ if meant && is_setting => line.strip_prefix("# ").unwrap_or(line).to_owned(),
            _ => line.to_owned(),
        });
    }
    lines.join("\n")
}

/// What it cannot be, by what it is.
fn wrong(value: &str) -> Vec<&'static str> {
    const NONSENSE: &str = r#""no such thing \u0007 ✗""#;
    let text = value.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match (value, text) {
        ("true" | "false", _) => vec!["\"true\"", "1", "[]"],
        (_, Some(text)) if duration(text) => vec!["5", "\"5\"", "\"999999h\"", "\"-1s\"", "\"\"", NONSENSE],
        (_, Some(text)) if text.split_once('/').is_some_and(|(count, period)| number(count) && duration(period)) => {
            vec!["5", "\"5\"", "\"5/1y\"", "\"x/1m\"", "\"-1/1m\"", "\"\"", NONSENSE]
        }
        (_, Some(_)) => vec!["5", "true", "[\"x\"]", "\"\"", NONSENSE],
        _ if value.starts_with('[') => vec!["5", "\"x\"", "[5]", "[\"\"]", r#"["no such thing \u0007 ✗"]"#],
        _ if value.contains('.') && value.parse::<f64>().is_ok() => {
            vec!["\"0.5\"", "-0.1", "1.5", "7", "nan", "inf", "true", "[]"]
        }
        _ if number(value) => vec!["\"5\"", "-1", "1.5", "4_294_967_295", "99_999_999_999_999_999_999", "[]"],
        _ => panic!("what is {value}?"),
    }
}

fn number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
}

fn duration(text: &str) -> bool {
    text.find(|c: char| !c.is_ascii_digit()).is_some_and(|at| at > 0 && ["ms", "s", "m", "h"].contains(&&text[at..]))
}

/// The end of the range that is told of a number or a duration: of "10ms to 30s", `30s`.
fn told_end(entry: &Entry) -> Option<String> {
    let text = entry.value.trim_matches('"');
    let like: fn(&str) -> bool = match () {
        () if number(text) => number,
        () if duration(text) => duration,
        () => return None,
    };
    let ends = entry.told.split(" to ").skip(1).filter_map(|rest| rest.split([' ', ';', '.', ',', ')', ':']).next());
    ends.filter(|end| like(end)).last().map(|end| end.replace('_', ""))
}

/// Of those that the section may be of, the kind that has the key.
fn kind(folder: &Folder, entry: &Entry) -> Option<Option<&'static str>> {
    let kinds = [None, Some("openidm"), Some("basic"), Some("bearer"), Some("oauth2")];
    kinds.into_iter().find(|kind| {
        let told = folder.load(&with(entry, &entry.key, &entry.value, *kind)).err().unwrap_or_default();
        let stranger = format!("x.toml:{}: {}: is not a key", entry.line, entry.name);
        !told.iter().any(|fault| fault.starts_with(&stranger))
    })
}

#[test]
fn a_wrong_value_of_any_key_is_named() {
    let folder = Folder::new();
    let mut missed = Vec::new();
    let mut tried = 0;
    for entry in &entries() {
        let Some(kind) = kind(&folder, entry) else {
            missed.push(format!("{}: {} is not a key of any kind", entry.line, entry.name));
            continue;
        };
        for value in wrong(&entry.value) {
            tried += 1;
            let faults = folder.load(&with(entry, &entry.key, value, kind)).err().unwrap_or_default();
            let place = format!("x.toml:{}: {}", entry.line, entry.name);
            let names = |fault: &&String| {
                let rest = fault.strip_prefix(&place).unwrap_or_default();
                let rule = rest.split_once(": ").map(|(_, rule)| rule).unwrap_or_default();
                rest.starts_with([':', '[', ' ']) && rule.contains("must ")
            };
            if !faults.iter().any(|fault| names(&fault)) {
                missed.push(format!("{}: {} = {value}: {faults:#?}", entry.line, entry.name));
            }
        }
    }
    assert!(missed.is_empty(), "{} of {tried} are not named:\n{}", missed.len(), missed.join("\n"));
    assert!(tried > 500, "{tried}");
}

/// How far a value may go is told where it is explained, and again to whoever goes too far.
#[test]
fn a_range_is_what_the_reference_says() {
    let folder = Folder::new();
    let mut ranges = 0;
    for entry in &entries() {
        let Some(end) = told_end(entry) else { continue };
        ranges += 1;
        let beyond = if number(&end) { "4_294_967_295" } else { "\"999999h\"" };
        let kind = kind(&folder, entry).unwrap();
        let faults = folder.load(&with(entry, &entry.key, beyond, kind)).expect_err(&entry.name);
        let own: Vec<_> = faults.iter().filter(|fault| fault.contains(&entry.name)).collect();
        assert!(own.iter().any(|fault| fault.ends_with(&format!(" to {end}"))), "{}: {end}: {own:#?}", entry.name);
    }
    assert!(ranges > 30, "{ranges}");
}

#[test]
fn a_misspelt_key_is_named_with_those_that_there_are() {
    let folder = Folder::new();
    for entry in &entries() {
        let kind = kind(&folder, entry).unwrap();
        let misspelt = format!("{}x", entry.key);
        let faults = folder.load(&with(entry, &misspelt, &entry.value, kind)).err().unwrap_or_default();
        let place = format!("x.toml:{}: {}x: is not a key of [", entry.line, entry.name);
        let named =
            faults.iter().find(|fault| fault.starts_with(&place)).unwrap_or_else(|| panic!("{place} {faults:#?}"));
        let known = named.split_once("; there are ").unwrap().1;
        assert!(known.split(", ").any(|known| known == entry.key), "{named}");
    }
}

/// A section's name is a key of what it is in.
#[test]
fn a_misspelt_section_and_what_is_none_are_named() {
    let folder = Folder::new();
    let names: Vec<_> = REFERENCE.lines().enumerate().filter_map(|(at, line)| Some((at, header(line)?.0))).collect();
    for (at, name) in names {
        let (own, name) = (name.contains("[0]"), name.replace("[0]", ""));
        let (parent, key) = name.rsplit_once('.').unwrap_or(("", &name));
        let brackets = |name: &str| if own { format!("[[{name}]]") } else { format!("[{name}]") };
        let text: Vec<_> = REFERENCE.lines().collect();
        let (before, after) = (text[..at].join("\n"), text[at + 1..].join("\n"));

        let faults = folder.faults(&format!("{before}\n{}\n{after}", brackets(&format!("{name}x"))));
        let place = format!("x.toml:{}: {name}x: is not a key", at + 1);
        // Which there are may depend on what kind the section above it is of.
        assert!(
            faults.iter().any(|fault| fault.starts_with(&place) && fault.contains("; there are ")),
            "{place} {faults:#?}"
        );

        let kind = if parent == "identity.auth" { "kind = \"oauth2\"\n" } else { "" };
        let header = if parent.is_empty() { String::new() } else { format!("[{parent}]\n{kind}") };
        let faults = folder.faults(&format!("{header}{key} = 5"));
        let place = format!("x.toml:{}: {name} = ", 1 + header.lines().count());
        assert!(
            faults.iter().any(|fault| fault.starts_with(&place) && fault.contains("must be a ")),
            "{place} {faults:#?}"
        );
    }
}
