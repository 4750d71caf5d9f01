//! Reads the TOML: every key with its line, every fault noted, none the last. A key that nobody asks for is unknown.
//!
//! serde would stop at the first fault, so the parsed tables are walked by hand. Which keys a section has is written
//! once: where `check` reads them.

mod fraction;

use std::{cell::RefCell, ops::RangeInclusive, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    effective::{Effective, Shown},
    fault::{Fault, HIDDEN, line_of, shown},
};

/// The rule of a key that has no default.
pub(super) const MISSING: &str = "must be set";

/// What was found in the files so far.
pub(super) struct Notes<'t> {
    /// The TOML file.
    pub(super) file: &'t Path,
    text: &'t str,
    /// What is wrong.
    pub(super) faults: RefCell<Vec<Fault>>,
    /// What is unwise.
    pub(super) warnings: RefCell<Vec<Fault>>,
    /// What is as it should be, and not what one might think.
    pub(super) told: RefCell<Vec<Fault>>,
    /// What each key comes to.
    pub(super) effective: RefCell<Effective>,
}

impl<'t> Notes<'t> {
    pub(super) fn new(file: &'t Path, text: &'t str) -> Self {
        Self {
            file,
            text,
            faults: RefCell::default(),
            warnings: RefCell::default(),
            told: RefCell::default(),
            effective: RefCell::default(),
        }
    }

    /// Notes what is wrong.
    pub(super) fn fault(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }

    /// Notes what is unwise.
    pub(super) fn warn(&self, fault: Fault) {
        self.warnings.borrow_mut().push(fault);
    }

    /// Notes what an operator may want to know.
    pub(super) fn tell(&self, told: Fault) {
        self.told.borrow_mut().push(told);
    }

    /// The syntax faults; what only follows from them (a value half read, a key not seen) is taken back.
    pub(super) fn syntax(&self, errors: &[toml::de::Error]) {
        let mut faults = self.faults.borrow_mut();
        let line = |error: &toml::de::Error| error.span().map(|span| line_of(self.text, span.start));
        for broken in errors.iter().filter_map(line) {
            let source = self.text.lines().nth(broken.saturating_sub(1)).unwrap_or_default();
            faults.retain(|fault| {
                let follows = fault.rule == MISSING && fault.key.split('.').any(|name| source.contains(name));
                fault.line != Some(broken) && !follows
            });
        }
        for error in errors {
            faults.push(Fault { line: line(error), ..Fault::of_file(self.file, format!("TOML: {}", error.message())) });
        }
    }
}

/// One table of the file, with the dotted name that faults call it by. It may be absent: then every key is.
pub(super) struct Section<'n> {
    name: String,
    line: Option<usize>,
    table: Option<&'n DeTable<'n>>,
    /// It is there but is no table: said once, and its keys are not missing.
    broken: bool,
    known: Vec<&'static str>,
    hidden: Vec<&'static str>,
    notes: &'n Notes<'n>,
}

type Found<'n> = &'n Spanned<DeValue<'n>>;

impl<'n> Section<'n> {
    /// The whole file.
    pub(super) fn root(table: &'n DeTable<'n>, notes: &'n Notes<'n>) -> Self {
        Self {
            name: String::new(),
            line: None,
            table: Some(table),
            broken: false,
            known: vec![],
            hidden: vec![],
            notes,
        }
    }

    /// The notes that this section writes to.
    pub(super) fn notes(&self) -> &'n Notes<'n> {
        self.notes
    }

    /// The table below `key`.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        // A text in its place may be a secret that someone put there.
        self.hidden.push(key);
        let found = self.value(key);
        let table = found.and_then(|value| value.get_ref().as_table());
        let broken = self.broken || (found.is_some() && table.is_none());
        if broken && !self.broken {
            self.fault(key, "must be a table");
        }
        self.notes.effective.borrow_mut().table(self.dotted(key));
        Self {
            name: self.dotted(key),
            line: found.map(|value| self.line_of(value)).or(self.line),
            table,
            broken,
            known: vec![],
            hidden: vec![],
            notes: self.notes,
        }
    }

    /// The tables of the list `key`: each `[[key]]` of the file.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let Some(found) = self.value(key) else {
            self.comes_to(key, None);
            return Vec::new();
        };
        let Some(items) = found.get_ref().as_array() else {
            self.fault(key, &format!("must be a list of tables: [[{}]]", self.dotted(key)));
            return Vec::new();
        };
        let one = |(index, item): (usize, Found<'n>)| {
            let table = item.get_ref().as_table();
            self.notes.effective.borrow_mut().table(format!("{}[{index}]", self.dotted(key)));
            if table.is_none() {
                self.item_fault(key, index, "must be a table");
            }
            Self {
                name: format!("{}[{index}]", self.dotted(key)),
                line: Some(self.line_of(item)),
                table,
                broken: table.is_none(),
                known: vec![],
                hidden: vec![],
                notes: self.notes,
            }
        };
        items.iter().enumerate().map(one).collect()
    }

    /// Whether `key` is there, of whatever type.
    pub(super) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Never print the value of `key`.
    pub(super) fn hide(&mut self, key: &'static str) {
        self.hidden.push(key);
    }

    /// What `key` is set to, which must be a text; an empty one is none at all.
    pub(super) fn text(&mut self, key: &'static str) -> Option<&'n str> {
        let value = self.value(key)?;
        match value.get_ref().as_str() {
            Some(text) if !text.trim().is_empty() => Some(text),
            Some(_) => self.none(key, "must not be empty"),
            None => self.none(key, "must be a text, in quotes"),
        }
    }

    /// A text without which nothing works.
    pub(super) fn required<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        if !self.has(key) {
            self.known.push(key);
            return self.none(key, MISSING);
        }
        self.optional(key, parse).flatten()
    }

    /// A text that may be missing: the outer option is none where it is there and wrong.
    #[allow(clippy::option_option, reason = "missing and wrong are two things")]
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        if !self.has(key) {
            self.known.push(key);
            self.comes_to(key, None);
            return Some(None);
        }
        let text = self.text(key)?;
        self.comes_to(key, Some(self.text_shown(key, text)));
        match parse(text) {
            Ok(parsed) => Some(Some(parsed)),
            Err(rule) => self.none(key, &rule),
        }
    }

    /// A text with a default, written as the operator would.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let found = self.optional(key, &parse)?;
        if found.is_none() {
            self.comes_to(key, Some(default.shown()));
        }
        found.or_else(|| parse(default).ok())
    }

    /// A list of texts, each judged on its own.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        default: &[&str],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let Some(value) = self.value(key) else {
            self.comes_to(key, Some(default.shown()));
            return default.iter().map(|text| parse(text).ok()).collect();
        };
        let Some(items) = value.get_ref().as_array() else {
            return self.none(key, "must be a list of texts, in [ ]");
        };
        let mut all = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let parsed = match item.get_ref().as_str() {
                Some(text) => parse(text),
                None => Err("must be a text, in quotes".to_owned()),
            };
            match parsed {
                Ok(parsed) => all.push(parsed),
                Err(rule) => self.notes.fault(self.at(key, Some(index), &rule)),
            }
        }
        let texts = items.iter().filter_map(|item| item.get_ref().as_str());
        let texts: Vec<_> = texts.map(|text| self.text_shown(key, text)).collect();
        self.comes_to(key, Some(format!("[{}]", texts.join(", "))));
        (all.len() == items.len()).then_some(all)
    }

    /// `true` or `false`; false by default.
    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        let value = self.value(key);
        let flag = value.map(|value| value.get_ref().as_bool());
        if flag == Some(None) {
            self.fault(key, "must be true or false, without quotes");
        }
        let flag = flag.flatten().unwrap_or_default();
        self.comes_to(key, Some(flag.shown()));
        flag
    }

    /// A whole number in a range.
    pub(super) fn number(&mut self, key: &'static str, default: u32, range: RangeInclusive<u32>) -> Option<u32> {
        let Some(value) = self.value(key) else {
            self.comes_to(key, Some(default.shown()));
            return Some(default);
        };
        let number = value.get_ref().as_integer().and_then(|i| u32::from_str_radix(i.as_str(), i.radix()).ok());
        if let Some(number) = number.filter(|number| range.contains(number)) {
            self.comes_to(key, Some(number.shown()));
            return Some(number);
        }
        self.none(key, &format!("must be a whole number from {} to {}", range.start(), range.end()))
    }

    /// Where `key` is not there, its default means something else in the end: nothing, if that is `None`.
    pub(super) fn means(&self, key: &'static str, value: Option<&dyn Shown>) {
        if !self.has(key) {
            self.comes_to(key, value.map(Shown::shown));
        }
    }

    fn comes_to(&self, key: &'static str, value: Option<String>) {
        self.notes.effective.borrow_mut().set(&self.name, key, value);
    }

    /// Of a secret, where it is to come from.
    fn text_shown(&self, key: &str, text: &str) -> String {
        let says_where = super::secret::is_reference(text) || super::secret::is_header(text);
        if self.hidden.contains(&key) && !says_where { "***".shown() } else { text.shown() }
    }

    /// Says that the value of `key`, or its absence, breaks `rule`.
    pub(super) fn fault(&self, key: &str, rule: &str) {
        if self.has(key) || !self.broken {
            self.notes.fault(self.at(key, None, rule));
        }
    }

    /// Says that one item of the list `key` breaks `rule`.
    pub(super) fn item_fault(&self, key: &str, index: usize, rule: &str) {
        self.notes.fault(self.at(key, Some(index), rule));
    }

    /// Says that the value of `key`, or its absence, is unwise.
    pub(super) fn warn(&self, key: &str, rule: &str) {
        self.notes.warn(self.at(key, None, rule));
    }

    /// Says that one item of the list `key` is unwise.
    pub(super) fn item_warn(&self, key: &str, index: usize, rule: &str) {
        self.notes.warn(self.at(key, Some(index), rule));
    }

    /// Every other key is unknown. Its value is not printed: it may be a secret under a misspelt name.
    pub(super) fn finish(mut self) {
        let place = if self.name.is_empty() { String::new() } else { format!(" of [{}]", self.name) };
        self.known.sort_unstable();
        self.known.dedup();
        for key in self.table.into_iter().flatten().map(|(key, _)| key) {
            if !self.known.contains(&key.get_ref().as_ref()) {
                let rule = format!("is not a key{place}; there are {}", self.known.join(", "));
                self.notes.fault(Fault {
                    line: Some(line_of(self.notes.text, key.span().start)),
                    key: self.dotted(&shown(key.get_ref())),
                    ..Fault::of_file(self.notes.file, rule)
                });
            }
        }
    }

    fn none<T>(&self, key: &str, rule: &str) -> Option<T> {
        self.fault(key, rule);
        None
    }

    fn value(&mut self, key: &'static str) -> Option<Found<'n>> {
        self.known.push(key);
        self.find(key)
    }

    fn find(&self, key: &str) -> Option<Found<'n>> {
        self.table?.get(key)
    }

    fn dotted(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn line_of(&self, value: Found<'n>) -> usize {
        line_of(self.notes.text, value.span().start)
    }

    fn at(&self, key: &str, index: Option<usize>, rule: &str) -> Fault {
        let mut found = self.find(key);
        let mut name = self.dotted(key);
        if let Some(index) = index {
            found = found.and_then(|value| value.get_ref().as_array()?.get(index));
            name = format!("{name}[{index}]");
        }
        let value = match found {
            Some(value) if self.hidden.contains(&key) => reference(value.get_ref().as_str()),
            Some(value) => shown(self.notes.text.get(value.span()).unwrap_or_default()),
            None => String::new(),
        };
        let line = found.map(|value| self.line_of(value)).or(self.line);
        Fault { line, key: name, value, ..Fault::of_file(self.notes.file, rule) }
    }
}

/// What may be shown of a secret: where it is to come from, if that is what stands there.
fn reference(text: Option<&str>) -> String {
    match text.filter(|text| super::secret::is_reference(text) || super::secret::is_header(text)) {
        Some(text) => shown(&format!("\"{text}\"")),
        None => HIDDEN.to_owned(),
    }
}
