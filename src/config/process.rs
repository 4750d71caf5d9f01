//! Loads the process file that `reset.process` names, and gives its faults their lines.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use serde_json::{Value, value::RawValue};

use super::{
    fault::{Fault, HIDDEN, line_of, shown},
    raw::Notes,
    units,
};
use crate::reset::{
    process::{self, Process},
    stages::email_validation,
};

/// A process file that was read.
pub(super) struct ProcessFile<'n> {
    pub(super) process: Process,
    path: PathBuf,
    text: String,
    notes: &'n Notes<'n>,
}

/// Reads the text of a process file; all that is wrong or unwise in it is noted.
pub(super) fn load<'n>(path: &Path, text: String, notes: &'n Notes<'n>) -> Option<ProcessFile<'n>> {
    let place = |fault: process::Fault| place(path, &text, fault);
    match Process::parse(&text) {
        Ok((process, warnings)) => {
            warnings.into_iter().map(place).for_each(|warning| notes.warn(warning));
            let file = ProcessFile { process, path: path.to_owned(), text, notes };
            file.check_link();
            Some(file)
        }
        Err(faults) => {
            faults.into_iter().map(place).for_each(|fault| notes.fault(fault));
            None
        }
    }
}

impl ProcessFile<'_> {
    /// The process file's own sender: none where it names none, or a wrong one.
    pub(super) fn from(&self) -> Option<String> {
        let (pointer, settings) = self.email()?;
        match units::mailbox(settings.from.as_deref()?) {
            Ok(from) => Some(from),
            Err(rule) => {
                self.notes.fault(self.at(&format!("{pointer}/from"), &rule));
                None
            }
        }
    }

    /// Whether it names a sender, right or wrong.
    pub(super) fn has_from(&self) -> bool {
        self.email().is_some_and(|(_, settings)| settings.from.is_some())
    }

    fn check_link(&self) {
        let Some((pointer, settings)) = self.email() else { return };
        let pointer = format!("{pointer}/verificationLink");
        match units::link(&settings.verification_link) {
            Err(rule) => self.notes.fault(self.at(&pointer, &rule)),
            Ok(url) => {
                if url.host().is_some_and(|host| units::is_loopback(&host)) {
                    self.notes.warn(self.at(&pointer, "leads to this machine, which is not where mail is read"));
                } else if url.scheme() == "http" {
                    self.notes.warn(self.at(&pointer, "shows the code to the network: use https"));
                }
            }
        }
    }

    fn email(&self) -> Option<(String, &email_validation::Settings)> {
        let index = self.process.stages.iter().position(|stage| stage.name() == email_validation::NAME)?;
        Some((format!("/stageConfigs/{index}"), self.process.email()?))
    }

    fn at(&self, pointer: &str, rule: &str) -> Fault {
        let value = serde_json::from_str::<Value>(&self.text).ok();
        let value = value.and_then(|value| value.pointer(pointer).map(Value::to_string)).unwrap_or_default();
        place(&self.path, &self.text, process::Fault { pointer: pointer.to_owned(), value, rule: rule.to_owned() })
    }
}

/// Whole objects and lists are not shown: they are long, and may hold secrets.
fn place(path: &Path, text: &str, fault: process::Fault) -> Fault {
    let name = fault.pointer.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let secret = ["secret", "password", "key"].iter().any(|word| name.contains(word));
    let value = match fault.value.chars().next() {
        None => String::new(),
        Some('{' | '[') => HIDDEN.to_owned(),
        Some(_) if secret => HIDDEN.to_owned(),
        Some(_) => shown(&fault.value),
    };
    Fault { line: line(text, &fault.pointer), key: fault.pointer, value, ..Fault::of_file(path, fault.rule) }
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
            _ => serde_json::from_str::<HashMap<String, &RawValue>>(at.get())
                .ok()
                .and_then(|map| map.get(&name).copied()),
        };
        let Some(below) = below else { break };
        at = below;
    }
    // A raw value is a slice of the text, so the distance of the two is its offset.
    let offset = at.get().as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    Some(line_of(text, offset))
}
