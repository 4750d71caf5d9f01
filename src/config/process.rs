//! Loads the process file that `reset.process` names, and gives its faults their lines.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use serde_json::{Value, value::RawValue};

use super::{
    expressions::Expressions,
    fault::{Fault, HIDDEN, line_of, shown},
    raw::Notes,
    units,
};
use crate::reset::process::{self, Process};

/// A process file that was read, with or without success.
pub(super) struct ProcessFile<'n> {
    /// None where it has faults, which are noted.
    pub(super) process: Option<Process>,
    /// As written.
    raw: Value,
    /// As it is meant, without expressions.
    json: Value,
    path: PathBuf,
    text: String,
    notes: &'n Notes<'n>,
}

/// Reads the text of a process file; all that is wrong or unwise in it is noted. None where it is not even JSON.
pub(super) fn load<'n>(
    path: &Path,
    text: String,
    expressions: &Expressions<'_>,
    notes: &'n Notes<'n>,
) -> Option<ProcessFile<'n>> {
    let raw = serde_json::from_str(&text).unwrap_or_default();
    let mut file = ProcessFile { process: None, raw, json: Value::Null, path: path.to_owned(), text, notes };
    if let Err(fault) = serde_json::from_str::<Value>(&file.text) {
        let rule = format!("must be JSON: {fault}");
        notes.fault(file.place(process::Fault { pointer: String::new(), value: String::new(), rule }));
        return None;
    }
    file.json = expressions.fill(file.raw.clone(), &mut |pointer, rule| {
        notes.fault(file.at(pointer.to_owned(), rule));
    });
    match Process::of(&file.json) {
        Ok((process, warnings)) => {
            for warning in warnings {
                // Of a key that nobody knows, nobody knows whether it is a secret.
                notes.warn(Fault { value: String::new(), ..file.place(warning) });
            }
            file.process = Some(process);
        }
        Err(faults) => faults.into_iter().for_each(|fault| notes.fault(file.place(fault))),
    }
    file.check_link();
    file.tell();
    Some(file)
}

impl ProcessFile<'_> {
    /// The process file's own sender: none where it names none, or a wrong one.
    pub(super) fn from(&self) -> Option<String> {
        let (pointer, from) = self.email("from")?;
        match units::mailbox(from) {
            Ok(from) => Some(from),
            Err(rule) => {
                self.notes.fault(self.at(pointer, &rule));
                None
            }
        }
    }

    /// Whether it names a sender, right or wrong.
    pub(super) fn has_from(&self) -> bool {
        let stages = self.raw.get("stageConfigs").and_then(Value::as_array);
        stages.into_iter().flatten().any(|stage| is_email(stage) && stage.get("from").is_some_and(Value::is_string))
    }

    /// Whether it names IDM's mail service, right or wrong: what is wrong is noted.
    pub(super) fn has_mail_service(&self) -> bool {
        let Some((pointer, path)) = self.email("emailServiceUrl") else { return false };
        if !process::is_path(path.trim().trim_matches('/')) {
            self.notes.fault(self.at(pointer, "must be a relative path such as external/email"));
        }
        true
    }

    fn check_link(&self) {
        let Some((pointer, link)) = self.email("verificationLink") else { return };
        match units::link(link) {
            Err(rule) => self.notes.fault(self.at(pointer, &rule)),
            Ok(url) => {
                if url.host().is_some_and(|host| units::is_loopback(&host)) {
                    self.notes.warn(self.at(pointer, "leads to this machine, which is not where mail is read"));
                } else if url.scheme() == "http" {
                    self.notes.warn(self.at(pointer, "shows the code to the network: use https"));
                }
            }
        }
    }

    /// A text of the mail stage and its pointer. What IDM should have filled in is a fault already.
    fn email(&self, key: &str) -> Option<(String, &str)> {
        let stages = self.json.get("stageConfigs")?.as_array()?;
        let (index, stage) = stages.iter().enumerate().find(|(_, stage)| is_email(stage))?;
        let text = stage.get(key)?.as_str()?.trim();
        let there = !text.is_empty() && !text.contains("&{");
        there.then(|| (format!("/stageConfigs/{index}/{key}"), text))
    }

    /// What of the keys that say how tokens are kept is honoured, and what is there in place of the rest.
    fn tell(&self) {
        let tell = |pointer: &str, rule: &str| self.notes.tell(self.at(pointer.to_owned(), rule));
        let Some(token) = self.json.get("snapshotToken").and_then(Value::as_object) else { return };
        if token.contains_key("tokenExpiry") {
            tell(
                "/snapshotToken/tokenExpiry",
                "is honoured: the asker's tokens live so many seconds; the mailed link lives reset.link_lifetime",
            );
        }
        let replaced: Vec<_> = token.keys().map(String::as_str).filter(|key| *key != "tokenExpiry").collect();
        if !replaced.is_empty() {
            let replaced = replaced.join(", ");
            let rule = format!(
                "has {replaced}, in place of which each token is a JWT (HS256) whose state is sealed, by token.keys"
            );
            tell("/snapshotToken", &rule);
        }
        match self.json.get("storage") {
            None | Some(Value::Null) => {}
            Some(Value::String(storage)) if ["stateless", "local"].iter().any(|s| storage.eq_ignore_ascii_case(s)) => {
                tell("/storage", "is replaced: a client carries the state; codes and tries are where codes.store says");
            }
            Some(_) => {
                self.notes.warn(self.at("/storage".to_owned(), "is neither stateless nor local: IDM would not start"));
            }
        }
    }

    fn at(&self, pointer: String, rule: &str) -> Fault {
        let value = self.raw.pointer(&pointer).map(Value::to_string).unwrap_or_default();
        self.place(process::Fault { pointer, value, rule: rule.to_owned() })
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

fn is_email(stage: &Value) -> bool {
    stage.get("name").and_then(Value::as_str) == Some("emailValidation")
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
