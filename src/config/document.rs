//! A JSON file of IDM's, as it is written and as it is meant, whose faults have their lines.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use serde_json::{Value, value::RawValue};

use super::{
    expressions::Expressions,
    fault::{Fault, HIDDEN, line_of, shown},
    raw::Notes,
};
use crate::reset::process;

/// Such a file.
pub(super) struct Document {
    /// As written.
    pub(super) raw: Value,
    /// As it is meant, without expressions.
    pub(super) json: Value,
    path: PathBuf,
    text: String,
}

impl Document {
    /// Reads a file's text; what is wrong with its expressions is noted. None where it is not even JSON.
    pub(super) fn read(path: &Path, text: String, expressions: &Expressions<'_>, notes: &Notes<'_>) -> Option<Self> {
        let raw = serde_json::from_str(&text).unwrap_or_default();
        let mut document = Self { raw, json: Value::Null, path: path.to_owned(), text };
        if let Err(fault) = serde_json::from_str::<Value>(&document.text) {
            let rule = format!("must be JSON: {fault}");
            notes.fault(document.place(process::Fault { pointer: String::new(), value: String::new(), rule }));
            return None;
        }
        document.json = expressions.fill(document.raw.clone(), &mut |pointer, rule| {
            notes.fault(document.at(pointer.to_owned(), rule));
        });
        Some(document)
    }

    /// What was read of it, with its warnings or its faults noted.
    pub(super) fn note<T>(
        &self,
        read: Result<(T, Vec<process::Fault>), Vec<process::Fault>>,
        notes: &Notes<'_>,
    ) -> Option<T> {
        match read {
            Ok((read, warnings)) => {
                for warning in warnings {
                    // Of a key that nobody knows, nobody knows whether it is a secret.
                    notes.warn(Fault { value: String::new(), ..self.place(warning) });
                }
                Some(read)
            }
            Err(faults) => {
                faults.into_iter().for_each(|fault| notes.fault(self.place(fault)));
                None
            }
        }
    }

    /// Says that a value breaks a rule.
    pub(super) fn at(&self, pointer: String, rule: &str) -> Fault {
        let value = self.raw.pointer(&pointer).map(Value::to_string).unwrap_or_default();
        self.place(process::Fault { pointer, value, rule: rule.to_owned() })
    }

    /// Says that something is not in an object, the rule says what.
    pub(super) fn missing(&self, pointer: String, rule: &str) -> Fault {
        self.place(process::Fault { pointer, value: String::new(), rule: rule.to_owned() })
    }

    /// Whole objects and lists are not shown: they are long, and may hold secrets. Of an expression it is shown how it is
    /// written, for what it comes to may be a secret.
    fn place(&self, fault: process::Fault) -> Fault {
        let (written, meant) = (self.raw.pointer(&fault.pointer), self.json.pointer(&fault.pointer));
        let fault = match written.filter(|written| meant != Some(*written)) {
            Some(written) if !fault.value.is_empty() => process::Fault { value: written.to_string(), ..fault },
            _ => fault,
        };
        let name = fault.pointer.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let secret = ["secret", "password", "key"].iter().any(|word| name.contains(word));
        let value = match fault.value.chars().next() {
            Some('{' | '[') => HIDDEN.to_owned(),
            Some(_) if secret => HIDDEN.to_owned(),
            _ => shown(&fault.value),
        };
        let line = line(&self.text, &fault.pointer);
        Fault { line, key: fault.pointer, value, ..Fault::of_file(&self.path, fault.rule) }
    }
}

/// The line of the value that a JSON pointer names, or of its nearest parent that is there.
fn line(text: &str, pointer: &str) -> Option<usize> {
    let mut at: &RawValue = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(fault) => return Some(fault.line().max(1)),
    };
    for name in pointer.split('/').skip(1) {
        let name = name.replace("~1", "/").replace("~0", "~");
        let below = match name.parse::<usize>() {
            Ok(index) if at.get().starts_with('[') => {
                serde_json::from_str::<Vec<&RawValue>>(at.get()).ok().and_then(|items| items.get(index).copied())
            }
            _ => {
                let map = serde_json::from_str::<HashMap<String, &RawValue>>(at.get()).ok();
                map.and_then(|map| map.get(&name).copied())
            }
        };
        let Some(below) = below else { break };
        at = below;
    }
    // A raw value is a slice of the text, so the distance of the two is its offset.
    let offset = at.get().as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    Some(line_of(text, offset))
}
