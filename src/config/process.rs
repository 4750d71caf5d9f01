//! Loads the process file that `reset.process` names, and gives its faults their lines.

use std::path::Path;

use serde_json::Value;

use super::{document::Document, expressions::Expressions, raw::Notes, units};
use crate::reset::process::{Kba, Process, is_path};

/// IDM's own name for the file of security questions.
const QUESTIONS: &str = "selfservice.kba.json";

/// A process file that was read, with or without success.
pub(super) struct ProcessFile<'n> {
    /// None where it has faults, which are noted.
    pub(super) process: Option<Process>,
    document: Document,
    notes: &'n Notes<'n>,
}

/// Reads the text of a process file; all that is wrong or unwise in it is noted. None where it is not even JSON.
pub(super) fn load<'n>(
    path: &Path,
    text: String,
    expressions: &Expressions<'_>,
    (query_fields, kba_alone): (&[String], bool),
    notes: &'n Notes<'n>,
) -> Option<ProcessFile<'n>> {
    let document = Document::read(path, text, expressions, notes)?;
    let process = document.note(Process::of(&narrowed(&document.json, query_fields), kba_alone), notes);
    let file = ProcessFile { process, document, notes };
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
                self.notes.fault(self.document.at(pointer, &rule));
                None
            }
        }
    }

    /// Whether it names a sender, right or wrong.
    pub(super) fn has_from(&self) -> bool {
        let stages = self.document.raw.get("stageConfigs").and_then(Value::as_array);
        stages.into_iter().flatten().any(|stage| is_email(stage) && stage.get("from").is_some_and(Value::is_string))
    }

    /// Whether it names IDM's mail service, right or wrong: what is wrong is noted.
    pub(super) fn has_mail_service(&self) -> bool {
        let Some((pointer, path)) = self.email("emailServiceUrl") else { return false };
        if !is_path(path.trim().trim_matches('/')) {
            self.notes.fault(self.document.at(pointer, "must be a relative path such as external/email"));
        }
        true
    }

    /// Whether a filter may name that field, as far as the file says.
    pub(super) fn has_query_field(&self, name: &str) -> bool {
        self.stages().iter().filter(|stage| is_query(stage)).any(|stage| names(stage, name))
    }

    /// Says that what the stage of that name has at a key, or its absence, breaks a rule.
    pub(super) fn stage_fault(&self, stage: &str, key: &str, rule: &str) {
        let named = |found: &Value| found.get("name").and_then(Value::as_str) == Some(stage);
        let found = self.stages().iter().position(named).and_then(|index| Some((index, self.stages().get(index)?)));
        let Some((index, found)) = found else { return };
        let pointer = format!("/stageConfigs/{index}");
        self.notes.fault(match found.get(key) {
            Some(_) => self.document.at(format!("{pointer}/{key}"), rule),
            None => self.document.missing(pointer, &format!("`{key}` {rule}")),
        });
    }

    fn check_link(&self) {
        let Some((pointer, link)) = self.email("verificationLink") else { return };
        match units::link(link) {
            Err(rule) => self.notes.fault(self.document.at(pointer, &rule)),
            Ok(url) => {
                if url.host().is_some_and(|host| units::is_loopback(&host)) {
                    self.notes
                        .warn(self.document.at(pointer, "leads to this machine, which is not where mail is read"));
                } else if url.scheme() == "http" {
                    self.notes.warn(self.document.at(pointer, "shows the code to the network: use https"));
                }
            }
        }
    }

    /// A text of the mail stage and its pointer. What IDM should have filled in is a fault already.
    fn email(&self, key: &str) -> Option<(String, &str)> {
        let stages = self.document.json.get("stageConfigs")?.as_array()?;
        let (index, stage) = stages.iter().enumerate().find(|(_, stage)| is_email(stage))?;
        let text = stage.get(key)?.as_str()?.trim();
        let there = !text.is_empty() && !text.contains("&{");
        there.then(|| (format!("/stageConfigs/{index}/{key}"), text))
    }

    /// The path of the questions' file where nothing else is said, given the process file's: beside it.
    pub(super) fn beside(process: &str) -> String {
        Path::new(process).with_file_name(QUESTIONS).to_string_lossy().into_owned()
    }

    /// Whether it has a stage that leaves its questions to a file of their own, be it right or wrong otherwise.
    pub(super) fn wants_questions(&self) -> bool {
        self.stages().iter().any(|stage| is_kba(stage) && stage.get("kbaConfig").is_none_or(Value::is_null))
    }

    /// Takes the text of that file; all that is wrong or unwise in it is noted.
    pub(super) fn take_questions(&mut self, path: &Path, text: String, expressions: &Expressions<'_>) {
        let document = Document::read(path, text, expressions, self.notes);
        let kba = document.and_then(|document| document.note(Kba::of(&document.json), self.notes));
        match (&mut self.process, kba) {
            (Some(process), Some(kba)) => process.take_kba(&kba),
            // A process without its questions is none.
            (process, _) => *process = None,
        }
    }

    /// Whether it has a stage that mails, right or wrong.
    pub(super) fn mails(&self) -> bool {
        self.stages().iter().any(is_email)
    }

    /// What the questions come to, once they are there.
    pub(super) fn check_questions(&self) {
        let Some(settings) = self.process.as_ref().and_then(Process::kba) else { return };
        let index = self.stages().iter().position(is_kba).unwrap_or_default();
        let at = |rule: &str| self.document.at(format!("/stageConfigs/{index}"), rule);
        let Some(asked) = settings.asked() else {
            self.notes.fault(at("needs minimumAnswersToVerify beside its questions: how many have to be answered"));
            return;
        };
        let property = settings.kba.property.as_str();
        let alone = self.process.as_ref().is_some_and(Process::asks_strangers);
        if alone && settings.kba.questions.len() < usize::try_from(asked).unwrap_or(usize::MAX) {
            self.notes.fault(at(&format!(
                "asks strangers, and needs {asked} questions of the process's own at least: nobody is asked an account's"
            )));
        }
        let counted = match &settings.kba.lockout {
            Some(lockout) if alone => format!(
                "no wrong ones are counted in {}, or strangers could lock anybody out, but all by limits.answer_per_account",
                lockout.attempts.as_str(),
            ),
            Some(lockout) => format!(
                "wrong ones are counted in {}, and looked at until that is above {}",
                lockout.attempts.as_str(),
                lockout.allowed
            ),
            None => "no wrong ones are counted in the account, but all by limits.answer_per_account".to_owned(),
        };
        self.notes.tell(at(&format!("is honoured: {asked} of the answers in {property} have to be given; {counted}")));
    }

    fn stages(&self) -> &[Value] {
        self.document.json.get("stageConfigs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// What of the keys that say how tokens are kept is honoured, and what is there in place of the rest.
    fn tell(&self) {
        let tell = |pointer: &str, rule: &str| self.notes.tell(self.document.at(pointer.to_owned(), rule));
        let Some(token) = self.document.json.get("snapshotToken").and_then(Value::as_object) else { return };
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
        match self.document.json.get("storage") {
            None | Some(Value::Null) => {}
            Some(Value::String(storage)) if ["stateless", "local"].iter().any(|s| storage.eq_ignore_ascii_case(s)) => {
                tell("/storage", "is replaced: a client carries the state; codes and tries are where codes.store says");
            }
            Some(_) => {
                self.notes.warn(
                    self.document.at("/storage".to_owned(), "is neither stateless nor local: IDM would not start"),
                );
            }
        }
    }
}

fn is_kba(stage: &Value) -> bool {
    stage.get("name").and_then(Value::as_str) == Some("kbaSecurityAnswerVerificationStage")
}

/// The process with no other fields to query than those, where there are any.
fn narrowed(json: &Value, query_fields: &[String]) -> Value {
    let mut json = json.clone();
    let stages = json.get_mut("stageConfigs").and_then(Value::as_array_mut).into_iter().flatten();
    for stage in stages.filter(|stage| !query_fields.is_empty() && is_query(stage)) {
        let left = query_fields.iter().filter(|name| names(stage, name)).cloned().collect::<Value>();
        if let Some(fields) = stage.get_mut("validQueryFields").filter(|_| left != Value::Array(Vec::new())) {
            *fields = left;
        }
    }
    json
}

fn is_query(stage: &Value) -> bool {
    stage.get("name").and_then(Value::as_str) == Some("userQuery")
}

fn names(query: &Value, field: &str) -> bool {
    let fields = query.get("validQueryFields").and_then(Value::as_array).into_iter().flatten();
    fields.filter_map(Value::as_str).any(|name| name.trim_matches('/') == field)
}

fn is_email(stage: &Value) -> bool {
    stage.get("name").and_then(Value::as_str) == Some("emailValidation")
}
