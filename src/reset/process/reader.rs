//! How objects of IDM's files are read: every fault is noted, and so is every key that nobody asked for.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{Notes, escape, fault, is_path};
use crate::reset::ports::{Field, Resource};

/// Reads one object of the process file, remembering which keys were asked for.
pub struct Reader<'a, 'n> {
    pub(super) map: &'a Map<String, Value>,
    pub(super) pointer: String,
    known: Vec<&'static str>,
    pub(super) notes: &'n mut Notes,
}

impl<'a, 'n> Reader<'a, 'n> {
    pub(super) fn new(map: &'a Map<String, Value>, pointer: String, notes: &'n mut Notes) -> Self {
        Self { map, pointer, known: Vec::new(), notes }
    }

    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.push(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Says that the value of `key` breaks `rule`.
    pub fn fault(&mut self, key: &str, rule: &str) {
        match self.map.get(key) {
            Some(value) => {
                self.notes.faults.push(fault(&format!("{}/{}", self.pointer, escape(key)), Some(value), rule))
            }
            None => self.notes.faults.push(fault(&self.pointer, None, &format!("`{key}` {rule}"))),
        }
    }

    /// Keys that IDM knows and that do nothing here.
    pub fn ignore(&mut self, keys: &[&'static str]) {
        self.known.extend(keys);
    }

    /// A text that must be there and not be empty.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        let text = self.optional_text(key);
        if text.is_none() {
            self.fault(key, "must be there and be a text");
        }
        text
    }

    /// A text that may be missing.
    pub fn optional_text(&mut self, key: &'static str) -> Option<String> {
        let value = self.value(key)?;
        if value.get("$crypto").is_some() {
            self.fault(key, "is encrypted with IDM's own keys: put a &{…} in its place, and define that here");
        }
        value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// The attribute that a key names.
    pub fn field(&mut self, key: &'static str) -> Option<Field> {
        self.text(key).map(|text| Field::new(&text))
    }

    /// A list of texts, at least one.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let texts = self.value(key).and_then(Value::as_array).and_then(|items| {
            items
                .iter()
                .map(|item| item.as_str().filter(|text| !text.is_empty()).map(str::to_owned))
                .collect::<Option<Vec<_>>>()
        });
        if texts.as_ref().is_none_or(Vec::is_empty) {
            self.fault(key, "must be a list of at least one text");
            return None;
        }
        texts
    }

    /// Texts by language tag, in the file's order, at least one.
    pub fn translations(&mut self, key: &'static str) -> Option<Vec<(String, String)>> {
        let texts = self.value(key).and_then(Value::as_object).and_then(|map| {
            map.iter()
                .map(|(tag, text)| text.as_str().map(|text| (tag.clone(), text.to_owned())))
                .collect::<Option<Vec<_>>>()
        });
        if texts.as_ref().is_none_or(Vec::is_empty) {
            self.fault(key, "must be an object with one text a language, at least one");
            return None;
        }
        texts
    }

    /// A kind of account: `identityServiceUrl`.
    pub fn resource(&mut self, key: &'static str, id_field: Option<Field>) -> Option<Resource> {
        let path = self.text(key)?.trim_matches('/').to_owned();
        if !is_path(&path) {
            self.fault(key, "must be a relative path such as managed/user");
            return None;
        }
        Some(Resource { path, id_field: id_field? })
    }

    pub(super) fn seconds(&mut self, key: &'static str) -> Option<Duration> {
        let value = self.value(key);
        let seconds = value.and_then(|value| value.as_u64().or_else(|| value.as_str()?.trim().parse().ok()));
        let seconds = seconds.filter(|seconds| (1..=86_400).contains(seconds));
        if seconds.is_none() {
            self.fault(key, "must be a number of seconds from 1 to 86400");
        }
        seconds.map(Duration::from_secs)
    }

    pub(super) fn object(&mut self, key: &'static str) -> Option<&'a Map<String, Value>> {
        let object = self.value(key).and_then(Value::as_object);
        if object.is_none() {
            self.fault(key, "must be there and be an object");
        }
        object
    }

    pub(super) fn objects(&mut self, key: &'static str) -> &'a [Value] {
        let items = self.value(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if items.is_empty() {
            self.fault(key, "must be a list of at least one stage");
        }
        items
    }

    pub(super) fn finish(self) {
        for (key, value) in self.map {
            if !self.known.contains(&key.as_str()) {
                let pointer = format!("{}/{}", self.pointer, escape(key));
                self.notes.warnings.push(fault(
                    &pointer,
                    Some(value),
                    "is not a key that IDM or resetgate knows here; it does nothing",
                ));
            }
        }
    }
}
