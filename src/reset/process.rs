//! IDM's own `selfservice-reset.json`: the ordered stages of a reset, and their settings. There is no second format for it.
//!
//! Source: PingIDM's self-service reference. As in IDM, numbers may be given as strings and keys that mean nothing here
//! are accepted; keys that IDM does not know either are warned of.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    ports::{Field, Resource},
    stages::{email_validation, parameters, reset_stage, user_query, validate_active_account},
};

pub use self::service::is_path;
pub use super::stages::email_validation::Settings as EmailSettings;

mod order;
mod service;

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
    UserQuery(user_query::Settings),
    ValidateActiveAccount(validate_active_account::Settings),
    EmailValidation(email_validation::Settings),
    ResetStage(reset_stage::Settings),
}

impl StageSettings {
    /// The stage's name in the process file and in answers (`type`).
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Parameters(_) => parameters::NAME,
            Self::UserQuery(_) => user_query::NAME,
            Self::ValidateActiveAccount(_) => validate_active_account::NAME,
            Self::EmailValidation(_) => email_validation::NAME,
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
        Self::of(&json)
    }

    /// Reads what such a file holds.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn of(json: &Value) -> Result<(Self, Vec<Fault>), Vec<Fault>> {
        let mut notes = Notes::default();
        let process = read(json, &mut notes);
        match process {
            Some(process) if notes.faults.is_empty() => Ok((process, notes.warnings)),
            _ => Err(notes.faults),
        }
    }

    /// The mail stage's settings; a checked process has exactly one.
    pub fn email(&self) -> Option<&EmailSettings> {
        self.stages.iter().find_map(|stage| match stage {
            StageSettings::EmailValidation(settings) => Some(settings),
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

fn read(json: &Value, notes: &mut Notes) -> Option<Process> {
    let Some(top) = json.as_object() else {
        notes.faults.push(fault("", Some(json), "must be an object"));
        return None;
    };
    unresolved("", json, notes);
    let undefined: Vec<_> = notes.faults.drain(..).collect();
    let process = read_all(top, notes);
    // Of a value that is not known yet, all else that there is to say only follows from that.
    notes.faults.retain(|fault| undefined.iter().all(|earlier| earlier.pointer != fault.pointer));
    notes.faults.splice(0..0, undefined);
    process
}

fn read_all(top: &Map<String, Value>, notes: &mut Notes) -> Option<Process> {
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
        order::check(&settings, notes);
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
        user_query::NAME => user_query::Settings::read(&mut reader).map(StageSettings::UserQuery),
        validate_active_account::NAME => {
            validate_active_account::Settings::read(&mut reader).map(StageSettings::ValidateActiveAccount)
        }
        email_validation::NAME => email_validation::Settings::read(&mut reader).map(StageSettings::EmailValidation),
        reset_stage::NAME => reset_stage::Settings::read(&mut reader).map(StageSettings::ResetStage),
        _ => {
            reader.fault(
                "name",
                "must be a stage that resetgate has: parameters, userQuery, validateActiveAccount, emailValidation, resetStage",
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

/// Reads one object of the process file, remembering which keys were asked for.
pub struct Reader<'a, 'n> {
    map: &'a Map<String, Value>,
    pointer: String,
    known: Vec<&'static str>,
    notes: &'n mut Notes,
}

impl<'a, 'n> Reader<'a, 'n> {
    fn new(map: &'a Map<String, Value>, pointer: String, notes: &'n mut Notes) -> Self {
        Self { map, pointer, known: Vec::new(), notes }
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Value> {
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

    fn seconds(&mut self, key: &'static str) -> Option<Duration> {
        let value = self.value(key);
        let seconds = value.and_then(|value| value.as_u64().or_else(|| value.as_str()?.trim().parse().ok()));
        let seconds = seconds.filter(|seconds| (1..=86_400).contains(seconds));
        if seconds.is_none() {
            self.fault(key, "must be a number of seconds from 1 to 86400");
        }
        seconds.map(Duration::from_secs)
    }

    fn object(&mut self, key: &'static str) -> Option<&'a Map<String, Value>> {
        let object = self.value(key).and_then(Value::as_object);
        if object.is_none() {
            self.fault(key, "must be there and be an object");
        }
        object
    }

    fn objects(&mut self, key: &'static str) -> &'a [Value] {
        let items = self.value(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if items.is_empty() {
            self.fault(key, "must be a list of at least one stage");
        }
        items
    }

    fn finish(self) {
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

#[cfg(test)]
mod tests;
