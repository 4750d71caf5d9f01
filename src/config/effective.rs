//! What a configuration comes to, key by key: as it is written, or by default. It is put down where each key is read, so
//! none can be missing, and shown as TOML that is a configuration again.
//!
//! It is made of what the file says, where secrets never are: of these, it has only where they come from. Of the process
//! file, which may hold some, it has what is known to be none.

mod process;

use std::fmt::Write;

use toml::Value;

/// Stands for what is not shown.
const HIDDEN: &str = "***";

/// All keys that were read, with their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    tables: Vec<Table>,
    process: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    /// Dotted, with its number where it is one of several: `limits.override[0]`.
    name: String,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    key: &'static str,
    /// As TOML; none, if nothing is set and nothing is the default.
    value: Option<String>,
    /// What the file has in its place, if it takes a restart.
    in_file: Option<String>,
    /// What counts where nothing is set.
    comes_to: Option<usize>,
}

/// A value that can be put down.
pub(super) trait Shown {
    /// As TOML, without what may be a secret.
    fn shown(&self) -> String;
}

impl Shown for str {
    fn shown(&self) -> String {
        Value::String(harmless(self)).to_string()
    }
}

impl Shown for bool {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for u32 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for [&str] {
    fn shown(&self) -> String {
        let items: Vec<_> = self.iter().map(|item| item.shown()).collect();
        format!("[{}]", items.join(", "))
    }
}

impl Effective {
    /// A table begins.
    pub(super) fn table(&mut self, name: String) {
        if name.is_empty() || self.tables.iter().any(|table| table.name == name) {
            return;
        }
        // What is in one of several tables is the last one's of them that stands before it.
        let one = name.rsplit_once("].").map(|(one, _)| format!("{one}]"));
        let last = one.and_then(|one| self.tables.iter().rposition(|table| table.name.starts_with(&one)));
        let at = last.map_or(self.tables.len(), |last| last + 1);
        self.tables.insert(at, Table { name, entries: Vec::new() });
    }

    /// What a key comes to: `None` is nothing.
    pub(super) fn set(&mut self, table: &str, key: &'static str, value: Option<String>) {
        let Some(table) = self.tables.iter_mut().find(|known| known.name == table) else { return };
        match table.entries.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => entry.value = value,
            None => table.entries.push(Entry { key, value, in_file: None, comes_to: None }),
        }
    }

    /// The process file's text, as far as it can be shown.
    pub(super) fn process(&mut self, text: &str) {
        self.process = process::shown(text);
    }

    /// Goes on with what `running` has for a key, or for all keys of a table: what is in the file takes a restart.
    pub fn keep(&mut self, key: &str, running: &Self) {
        for table in &mut self.tables {
            let Some(before) = running.tables.iter().find(|before| before.name == table.name) else { continue };
            for entry in &mut table.entries {
                let is_it = key == table.name || key.strip_prefix(&table.name) == Some(&format!(".{}", entry.key));
                let before = before.entries.iter().find(|before| before.key == entry.key);
                if let Some(before) = before.filter(|before| is_it && before.value != entry.value) {
                    let now = std::mem::replace(&mut entry.value, before.value.clone());
                    entry.in_file = Some(now.unwrap_or_else(|| "not set".to_owned()));
                }
            }
        }
    }

    /// What a key comes to that is not set, for that is known only when it runs.
    pub fn comes_to(&mut self, key: &str, value: usize) {
        for table in &mut self.tables {
            for entry in table.entries.iter_mut().filter(|entry| entry.value.is_none()) {
                if key.strip_prefix(&table.name) == Some(&format!(".{}", entry.key)) {
                    entry.comes_to = Some(value);
                }
            }
        }
    }

    /// As TOML, the keys in the order of the reference. Keys that have no value are comments, as is the process file.
    pub fn toml(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            let Table { name, entries } = table;
            let bare: String =
                name.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect();
            let _ = match name.ends_with(']') {
                true => writeln!(text, "\n[[{bare}]]"),
                false => writeln!(text, "\n[{bare}]"),
            };
            for Entry { key, value, in_file, comes_to } in entries {
                let waits = in_file.as_ref().map(|new| format!(" # after a restart: {new}")).unwrap_or_default();
                let _ = match value {
                    Some(value) => writeln!(text, "{key} = {value}{waits}"),
                    None => match comes_to {
                        Some(comes_to) => writeln!(text, "# {key}: not set, which comes to {comes_to}{waits}"),
                        None => writeln!(text, "# {key}: not set{waits}"),
                    },
                };
            }
        }
        if !self.process.is_empty() {
            let _ = writeln!(text, "\n# The process file (reset.process):");
            for line in self.process.lines() {
                let _ = writeln!(text, "# {line}");
            }
        }
        text
    }
}

/// A text without what a URL may hold of secrets: a user and a password, a query.
fn harmless(text: &str) -> String {
    text.split_inclusive(char::is_whitespace)
        .map(|word| {
            let bare = word.trim_end();
            harmless_word(bare) + word.get(bare.len()..).unwrap_or_default()
        })
        .collect()
}

fn harmless_word(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let (place, fragment) = rest.split_once('#').map_or((rest, None), |(place, fragment)| (place, Some(fragment)));
    let (place, query) = place.split_once('?').map_or((place, ""), |(place, query)| (place, query));
    let authority = place.split('/').next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    let mut shown = String::new();
    if !scheme.is_empty() {
        shown.push_str(scheme);
        shown.push_str("://");
    }
    match user.filter(|user| !scheme.is_empty() || user.contains(':')) {
        Some(user) => {
            shown.push_str(HIDDEN);
            shown.push_str(place.get(user.len()..).unwrap_or_default());
        }
        None => shown.push_str(place),
    }
    if !query.is_empty() {
        shown.push('?');
        shown.push_str(HIDDEN);
    } else if text.ends_with('?') {
        shown.push('?');
    }
    if let Some(fragment) = fragment {
        shown.push('#');
        // Pages that keep their state there have a query in it.
        let (path, query) = fragment.split_once('?').map_or((fragment, ""), |(path, query)| (path, query));
        shown.push_str(path);
        if !query.is_empty() {
            shown.push('?');
            shown.push_str(HIDDEN);
        }
    }
    shown
}

#[cfg(test)]
mod tests;
