//! IDM's own `selfservice-reset.json`: the ordered stages of a reset, and their settings. There is no second format for it.
//!
//! Source: PingIDM's self-service reference. As in IDM, numbers may be given as strings and keys that mean nothing here
//! are accepted; keys that IDM does not know either are warned of.

use std::time::Duration;

use serde_json::{Map, Value};

use super::stages::{
    captcha, email_validation, kba as questions, parameters, reset_stage, user_query, validate_active_account,
};

pub use self::service::is_path;
pub use super::stages::{
    captcha::{OWN as OWN_CAPTCHA, Settings as CaptchaSettings},
    email_validation::Settings as EmailSettings,
};

mod credentials;
mod kba;
mod order;
mod reader;
mod service;

pub(in crate::reset) use kba::ANSWERS;
pub use kba::{Kba, Lockout};
pub use reader::Reader;

/// One thing wrong, or unwise, in the process file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer of the value, or of the object in which one is missing.
    pub pointer: String,
    /// The value as JSON, cut to a readable length; empty where one is missing.
    pub value: String,
    /// The rule that it breaks.
    pub rule: String,
}

/// The settings of one stage.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each variant is the stage of that name")]
pub enum StageSettings {
    Parameters(parameters::Settings),
    Captcha(captcha::Settings),
    UserQuery(user_query::Settings),
    ValidateActiveAccount(validate_active_account::Settings),
    EmailValidation(email_validation::Settings),
    Kba(questions::Settings),
    ResetStage(reset_stage::Settings),
}

impl StageSettings {
    /// The stage's name in the process file and in answers (`type`).
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Parameters(_) => parameters::NAME,
            Self::Captcha(_) => captcha::NAME,
            Self::UserQuery(_) => user_query::NAME,
            Self::ValidateActiveAccount(_) => validate_active_account::NAME,
            Self::EmailValidation(_) => email_validation::NAME,
            Self::Kba(_) => questions::NAME,
            Self::ResetStage(_) => reset_stage::NAME,
        }
    }
}

/// A checked process: it has the stages that a safe reset needs, in an order that works.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// In order.
    pub stages: Vec<StageSettings>,
    /// `snapshotToken.tokenExpiry`: the life of the asker's tokens.
    pub token_expiry: Duration,
}

impl Process {
    /// Reads a process file. Every fault is reported, not the first; warnings come with a process that works.
    ///
    /// # Errors
    /// All faults found, in the order of the file.
    pub fn parse(text: &str) -> Result<(Self, Vec<Fault>), Vec<Fault>> {
        let json: Value = serde_json::from_str(text).map_err(|e| {
            vec![Fault { pointer: String::new(), value: String::new(), rule: format!("must be JSON: {e}") }]
        })?;
        Self::of(&json, false)
    }

    /// Reads what such a file holds. With `kba_alone`, security questions may be all that proves an account's owner.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn of(json: &Value, kba_alone: bool) -> Result<(Self, Vec<Fault>), Vec<Fault>> {
        let mut notes = Notes::default();
        let process = read(json, kba_alone, &mut notes);
        match process {
            Some(process) if notes.faults.is_empty() => Ok((process, notes.warnings)),
            _ => Err(notes.faults),
        }
    }

    /// The mail stage's settings; there is one, unless security questions stand alone.
    pub fn email(&self) -> Option<&EmailSettings> {
        self.stages.iter().find_map(|stage| match stage {
            StageSettings::EmailValidation(settings) => Some(settings),
            _ => None,
        })
    }

    /// The questions' stage, if there is one.
    pub fn kba(&self) -> Option<&questions::Settings> {
        self.stages.iter().find_map(|stage| match stage {
            StageSettings::Kba(settings) => Some(settings),
            _ => None,
        })
    }

    /// Whether strangers are asked questions: no code has been mailed before.
    pub fn asks_strangers(&self) -> bool {
        let first = self.stages.iter().find(|s| matches!(s, StageSettings::Kba(_) | StageSettings::EmailValidation(_)));
        matches!(first, Some(StageSettings::Kba(_)))
    }

    /// Takes the questions that the stage leaves to a file of their own.
    pub fn take_kba(&mut self, kba: &Kba) {
        for stage in &mut self.stages {
            if let StageSettings::Kba(settings) = stage
                && settings.in_file
            {
                settings.kba = kba.clone();
            }
        }
    }

    /// The captcha stage's settings, where there is one.
    pub fn captcha(&self) -> Option<captcha::Settings> {
        self.stages.iter().find_map(|stage| match stage {
            StageSettings::Captcha(settings) => Some(settings.clone()),
            _ => None,
        })
    }

    /// What a token is bound to: the stages, their fields and addresses, not their texts. One line a stage.
    pub fn binding(&self) -> String {
        self.stages.iter().map(|stage| format!("{stage:?}\n")).collect()
    }
}

#[derive(Default)]
struct Notes {
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

fn read(json: &Value, kba_alone: bool, notes: &mut Notes) -> Option<Process> {
    let Some(top) = json.as_object() else {
        notes.faults.push(fault("", Some(json), "must be an object"));
        return None;
    };
    unresolved("", json, notes);
    let undefined: Vec<_> = notes.faults.drain(..).collect();
    let process = read_all(top, kba_alone, notes);
    // Of a value that is not known yet, all else that there is to say only follows from that.
    notes.faults.retain(|fault| undefined.iter().all(|earlier| earlier.pointer != fault.pointer));
    notes.faults.splice(0..0, undefined);
    process
}

fn read_all(top: &Map<String, Value>, kba_alone: bool, notes: &mut Notes) -> Option<Process> {
    let mut reader = Reader::new(top, String::new(), notes);
    let stages = reader.objects("stageConfigs");
    let token = reader.object("snapshotToken");
    reader.ignore(&["_id", "storage"]);
    reader.finish();

    let mut token_expiry = None;
    if let Some(token) = token {
        let mut reader = Reader::new(token, "/snapshotToken".to_owned(), notes);
        token_expiry = reader.seconds("tokenExpiry");
        reader.ignore(&[
            "type",
            "jweAlgorithm",
            "encryptionMethod",
            "jwsAlgorithm",
            "sharedKey",
            "keyPairAlgorithm",
            "keyPairSize",
        ]);
        reader.finish();
    }
    let mut settings = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        let pointer = format!("/stageConfigs/{index}");
        let Some(stage) = stage.as_object() else {
            notes.faults.push(fault(&pointer, Some(stage), "must be an object"));
            continue;
        };
        settings.push(read_stage(stage, &pointer, notes));
    }
    if notes.faults.is_empty() {
        order::check(&settings, kba_alone, notes);
    }
    Some(Process { stages: settings.into_iter().collect::<Option<_>>()?, token_expiry: token_expiry? })
}

fn read_stage(stage: &Map<String, Value>, pointer: &str, notes: &mut Notes) -> Option<StageSettings> {
    if let Some(class) = stage.get("class").filter(|_| stage.get("name").is_none_or(Value::is_null)) {
        notes.faults.push(of_class(pointer, class));
        return None;
    }
    let mut reader = Reader::new(stage, pointer.to_owned(), notes);
    let name = reader.text("name")?;
    reader.ignore(&["class"]);
    let settings = match name.as_str() {
        parameters::NAME => parameters::Settings::read(&mut reader).map(StageSettings::Parameters),
        captcha::NAME => captcha::Settings::read(&mut reader).map(StageSettings::Captcha),
        user_query::NAME => user_query::Settings::read(&mut reader).map(StageSettings::UserQuery),
        validate_active_account::NAME => {
            validate_active_account::Settings::read(&mut reader).map(StageSettings::ValidateActiveAccount)
        }
        email_validation::NAME => email_validation::Settings::read(&mut reader).map(StageSettings::EmailValidation),
        questions::NAME => questions::Settings::read(&mut reader).map(StageSettings::Kba),
        reset_stage::NAME => reset_stage::Settings::read(&mut reader).map(StageSettings::ResetStage),
        _ => {
            reader.fault(
                "name",
                "must be a stage that resetgate has: parameters, captcha, userQuery, validateActiveAccount, emailValidation, \
                 kbaSecurityAnswerVerificationStage, resetStage",
            );
            return None;
        }
    };
    reader.finish();
    settings
}

/// A stage that is called by the Java class of its settings, as IDM's own may be, and others must.
fn of_class(pointer: &str, class: &Value) -> Fault {
    const OWN: [(&str, &str); 6] = [
        ("CaptchaStageConfig", "captcha"),
        ("UserQueryConfig", "userQuery"),
        ("ValidateActiveAccountConfig", "validateActiveAccount"),
        ("VerifyEmailAccountConfig", "emailValidation"),
        ("SecurityAnswerVerificationConfig", "kbaSecurityAnswerVerificationStage"),
        ("ResetStageConfig", "resetStage"),
    ];
    let name = class.as_str().and_then(|class| class.rsplit('.').next()).unwrap_or_default();
    let rule = match OWN.iter().find(|(own, _)| *own == name) {
        Some((_, stage)) => format!("must be \"name\": \"{stage}\": that class is IDM's own, which it is short for"),
        None => "is a stage in Java, which only IDM can run: leave it out, or keep IDM's own reset".to_owned(),
    };
    fault(&format!("{pointer}/class"), Some(class), &rule)
}

fn unresolved(pointer: &str, value: &Value, notes: &mut Notes) {
    match value {
        Value::String(text) if text.contains("&{") => {
            notes.faults.push(fault(
                pointer,
                Some(value),
                "must not hold a &{…} that nobody defines: set it in the environment (a.b is A_B there) or in a file of \
                 reset.properties, or give it a default (&{a.b|x})",
            ));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                unresolved(&format!("{pointer}/{index}"), item, notes);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                unresolved(&format!("{pointer}/{}", escape(key)), item, notes);
            }
        }
        _ => {}
    }
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn fault(pointer: &str, value: Option<&Value>, rule: &str) -> Fault {
    const READABLE: usize = 80;
    let mut value = value.map(Value::to_string).unwrap_or_default();
    if value.chars().count() > READABLE {
        value = value.chars().take(READABLE).chain(['…']).collect();
    }
    Fault { pointer: pointer.to_owned(), value, rule: rule.to_owned() }
}

#[cfg(test)]
mod tests;
