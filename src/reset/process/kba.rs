//! IDM's own `selfservice.kba.json`: which security questions there are, and how many have to be answered.
//!
//! Older IDMs have the same settings in the stage (`kbaConfig`). As everywhere in IDM, numbers may be given as strings.

use std::{fmt, ops::RangeInclusive};

use serde_json::{Map, Value};

use super::{Fault, Notes, Reader, escape, fault, unresolved};
use crate::reset::ports::Field;

/// What IDM calls the list of an account's questions unless it is told otherwise.
const PROPERTY: &str = "kbaInfo";
/// How many questions may have to be answered: more than anybody has.
pub(in crate::reset) const ANSWERS: RangeInclusive<u32> = 1..=20;
const ATTEMPTS: RangeInclusive<u32> = 0..=1000;

/// The security questions.
#[derive(Clone, PartialEq)]
pub struct Kba {
    /// The account's attribute that holds its questions and answers.
    pub property: Field,
    /// How many of them have to be answered; none where it does not say.
    pub to_verify: Option<u32>,
    /// The questions that accounts may have by their number, each by language.
    pub questions: Vec<(String, Map<String, Value>)>,
    /// What wrong answers lead to.
    pub lockout: Option<Lockout>,
}

/// How many wrong answers an account may give until somebody sets its count back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lockout {
    /// Answers are looked at as long as the count is not above it.
    pub allowed: u32,
    /// The account's attribute that holds the count.
    pub attempts: Field,
}

/// Only what a token is bound to: what is read and counted, not the texts.
impl fmt::Debug for Kba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { property, to_verify, questions: _, lockout } = self;
        f.debug_struct("Kba")
            .field("property", property)
            .field("to_verify", to_verify)
            .field("lockout", lockout)
            .finish_non_exhaustive()
    }
}

/// Nobody can answer.
impl Default for Kba {
    fn default() -> Self {
        Self { property: Field::new(PROPERTY), to_verify: None, questions: Vec::new(), lockout: None }
    }
}

impl Kba {
    /// Reads what `selfservice.kba.json` holds. Every fault is reported, not the first; warnings come with a file that works.
    ///
    /// # Errors
    /// All faults found, in the order of the file.
    pub fn of(json: &Value) -> Result<(Self, Vec<Fault>), Vec<Fault>> {
        let mut notes = Notes::default();
        unresolved("", json, &mut notes);
        let kba = match json.as_object() {
            Some(map) => Self::read(map, String::new(), &mut notes),
            None => {
                notes.faults.push(fault("", Some(json), "must be an object"));
                None
            }
        };
        match kba {
            Some(kba) if notes.faults.is_empty() => Ok((kba, notes.warnings)),
            _ => Err(notes.faults),
        }
    }

    /// The same of an object in another file.
    pub(super) fn read(map: &Map<String, Value>, pointer: String, notes: &mut Notes) -> Option<Self> {
        let mut reader = Reader::new(map, pointer, notes);
        let property = reader.named("kbaPropertyName");
        let to_verify = reader.count("minimumAnswersToVerify", ANSWERS);
        let to_define = reader.count("minimumAnswersToDefine", 0..=*ANSWERS.end());
        let allowed = reader.count("numberOfAttemptsAllowed", ATTEMPTS);
        let attempts = reader.named("kbaAttemptsPropertyName");
        let questions = reader.questions("questions");
        reader.ignore(&["_id", "_rev"]);
        if let (Some(Some(define)), Some(Some(verify))) = (to_define, to_verify)
            && define < verify
        {
            reader.warn(
                "minimumAnswersToDefine",
                "is less than minimumAnswersToVerify: who has no more answers cannot set a password",
            );
        }
        let lockout = match (allowed?, attempts?) {
            (Some(allowed), Some(attempts)) => Some(Lockout { allowed, attempts }),
            (None, None) => None,
            (Some(_), None) => {
                reader.warn("numberOfAttemptsAllowed", "does nothing without kbaAttemptsPropertyName, as in IDM");
                None
            }
            (None, Some(_)) => {
                reader.warn("kbaAttemptsPropertyName", "does nothing without numberOfAttemptsAllowed, as in IDM");
                None
            }
        };
        reader.finish();
        let property = property?.unwrap_or_else(|| Field::new(PROPERTY));
        to_define?;
        Some(Self { property, to_verify: to_verify?, questions: questions?, lockout })
    }

    /// The question of that number, by language.
    pub fn question(&self, id: &str) -> Option<&Map<String, Value>> {
        self.questions.iter().find(|(own, _)| own == id).map(|(_, texts)| texts)
    }
}

/// The outer option is none where the key is there and wrong.
#[allow(clippy::option_option, reason = "missing and wrong are two things")]
impl Reader<'_, '_> {
    /// A whole number that may be missing, as a number or as a text.
    pub(in crate::reset) fn count(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Option<Option<u32>> {
        let Some(value) = self.value(key) else { return Some(None) };
        let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
        let number = number.and_then(|number| u32::try_from(number).ok()).filter(|number| range.contains(number));
        if number.is_none() {
            self.fault(key, &format!("must be a whole number from {} to {}", range.start(), range.end()));
        }
        number.map(Some)
    }

    /// The attribute that a key names, if it does.
    fn named(&mut self, key: &'static str) -> Option<Option<Field>> {
        let Some(value) = self.value(key) else { return Some(None) };
        match value.as_str().map(|text| text.trim().trim_matches('/')) {
            // IDM's own admin UI leaves an empty text where nothing is named.
            Some("") => Some(None),
            Some(name) if !name.contains(char::is_control) => Some(Some(Field::new(name))),
            _ => {
                self.fault(key, "must be a text");
                None
            }
        }
    }

    /// The stage's own questions, if it has any: `null` leaves them to `selfservice.kba.json`.
    pub(in crate::reset) fn own_kba(&mut self, key: &'static str) -> Option<Option<Kba>> {
        let Some(value) = self.value(key) else { return Some(None) };
        let Some(map) = value.as_object() else {
            self.fault(key, "must be null, which is selfservice.kba.json, or an object as it is in there");
            return None;
        };
        Kba::read(map, format!("{}/{key}", self.pointer), self.notes).map(Some)
    }

    /// Texts by language, by the question's number.
    fn questions(&mut self, key: &'static str) -> Option<Vec<(String, Map<String, Value>)>> {
        let Some(value) = self.value(key) else { return Some(Vec::new()) };
        let Some(questions) = value.as_object() else {
            self.fault(key, "must be an object with one question a number");
            return None;
        };
        let mut all = Vec::new();
        for (id, texts) in questions {
            let found = texts.as_object().filter(|texts| !texts.is_empty());
            let found = found.filter(|texts| texts.values().all(|text| text.as_str().is_some_and(|t| !t.is_empty())));
            match found {
                Some(texts) => all.push((id.clone(), texts.clone())),
                None => {
                    let pointer = format!("{}/{key}/{}", self.pointer, escape(id));
                    let rule = "must be an object with one text a language, at least one";
                    self.notes.faults.push(fault(&pointer, Some(texts), rule));
                }
            }
        }
        (all.len() == questions.len()).then_some(all)
    }

    /// Says that the value of `key` is unwise.
    fn warn(&mut self, key: &str, rule: &str) {
        let pointer = format!("{}/{}", self.pointer, escape(key));
        self.notes.warnings.push(fault(&pointer, self.map.get(key), rule));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<(Kba, Vec<Fault>), Vec<Fault>> {
        Kba::of(&serde_json::from_str(text).unwrap())
    }

    fn faults(text: &str) -> Vec<String> {
        let faults = parse(text).expect_err("it is wrong");
        faults.into_iter().map(|fault| format!("{}: {}", fault.pointer, fault.rule)).collect()
    }

    #[test]
    fn idms_own_file_is_read() {
        // As PingIDM's reference has it, with the lock-out that its admin UI writes.
        let text = r#"{
            "kbaPropertyName": "kbaInfo", "minimumAnswersToDefine": 2, "minimumAnswersToVerify": "1",
            "questions": {
                "1": { "en": "What's your favorite color?", "en_GB": "What is your favourite colour?" },
                "2": { "en": "Who was your first employer?" }
            },
            "numberOfAttemptsAllowed": "3", "kbaAttemptsPropertyName": "kbaLockout"
        }"#;
        let (kba, warnings) = parse(text).unwrap();
        assert_eq!(warnings, []);
        assert_eq!((kba.property.as_str(), kba.to_verify), ("kbaInfo", Some(1)));
        assert_eq!(kba.lockout, Some(Lockout { allowed: 3, attempts: Field::new("kbaLockout") }));
        assert_eq!(kba.question("2").unwrap()["en"], "Who was your first employer?");
        assert_eq!(kba.question("3"), None);
    }

    #[test]
    fn what_is_not_said_is_as_in_idm() {
        let (kba, _) = parse(r#"{"kbaPropertyName": null, "kbaAttemptsPropertyName": ""}"#).unwrap();
        assert_eq!(kba, Kba::default());
        let (kba, warnings) = parse(r#"{"numberOfAttemptsAllowed": 3}"#).unwrap();
        assert_eq!(kba.lockout, None);
        assert!(warnings[0].rule.contains("kbaAttemptsPropertyName"), "{warnings:?}");
    }

    #[test]
    fn every_fault_is_told() {
        let text = r#"{
            "kbaPropertyName": 1, "minimumAnswersToVerify": 0, "minimumAnswersToDefine": "two",
            "numberOfAttemptsAllowed": -1, "kbaAttemptsPropertyName": [],
            "questions": { "1": "What?", "2": {}, "3": { "en": 1 }, "4": { "en": "" } }
        }"#;
        assert_eq!(
            faults(text),
            [
                "/kbaPropertyName: must be a text",
                "/minimumAnswersToVerify: must be a whole number from 1 to 20",
                "/minimumAnswersToDefine: must be a whole number from 0 to 20",
                "/numberOfAttemptsAllowed: must be a whole number from 0 to 1000",
                "/kbaAttemptsPropertyName: must be a text",
                "/questions/1: must be an object with one text a language, at least one",
                "/questions/2: must be an object with one text a language, at least one",
                "/questions/3: must be an object with one text a language, at least one",
                "/questions/4: must be an object with one text a language, at least one",
            ]
        );
        assert_eq!(faults("[]"), [": must be an object"]);
        assert_eq!(faults(r#"{"questions": []}"#), ["/questions: must be an object with one question a number"]);
        let (_, warnings) = parse(r#"{"minimumAnswersToVerif": 1}"#).unwrap();
        assert_eq!(warnings[0].pointer, "/minimumAnswersToVerif");
    }

    proptest! {
        #[test]
        fn whatever_its_values_are(
            key in prop::sample::select(vec![
                "kbaPropertyName", "minimumAnswersToVerify", "minimumAnswersToDefine", "numberOfAttemptsAllowed",
                "kbaAttemptsPropertyName", "questions",
            ]),
            value in "(null|true|-?(0|[1-9][0-9]{0,19})(\\.[0-9])?|\"[ -~&&[^\"\\\\]]{0,20}\"|\\[\\]|\\{\\}|\\{\"1\":\\{\"en\":\"x\"\\}\\})",
        ) {
            match parse(&format!("{{\"{key}\":{value}}}")) {
                Ok((kba, _)) => prop_assert!(kba.to_verify.is_none_or(|number| ANSWERS.contains(&number))),
                Err(faults) => prop_assert!(!faults.is_empty()),
            }
        }
    }
}
