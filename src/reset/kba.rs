//! What an account answers to prove that it is itself: the questions that it has chosen, or made up, each with the salted
//! hash of its answer.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value, json};

pub(super) mod questions;
pub(super) mod tally;

use super::{
    ports::{Hashing, SaltedHash, Secret, Sha},
    process::Kba,
    secret::Json,
};

/// Questions of one account that are looked at.
const MOST: usize = 64;
/// Rounds of PBKDF2 at the very most; more would keep a processor busy for seconds.
const MOST_ROUNDS: u64 = 1_000_000;

/// Any base64 that a store may have: what is at its end says nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A question that can be asked, and its answer.
pub(super) struct Entry {
    pub(super) question: Question,
    pub(super) answer: SaltedHash,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// One of the process's, by its number.
    System(String),
    /// In the account's own words.
    Own(String),
}

impl Question {
    /// What tells it from others: its kind, and its number or text.
    pub(super) fn name(&self) -> (&'static [u8], &[u8]) {
        match self {
            Self::System(id) => (b"system", id.as_bytes()),
            Self::Own(text) => (b"own", text.as_bytes()),
        }
    }

    /// As a property of the stage's requirements.
    pub(super) fn shown(&self, kba: &Kba) -> Value {
        match self {
            Self::System(id) => json!({"systemQuestion": kba.question(id), "type": "string"}),
            Self::Own(text) => json!({"userQuestion": text, "type": "string"}),
        }
    }
}

/// Why a question of an account cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// Its number is not among the process's.
    Unknown,
    /// Its answer is not there, or is kept in a way that is not known here.
    Unreadable,
}

impl Unusable {
    /// In a word.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Unreadable => "unreadable",
        }
    }
}

/// The questions of an account, from its attribute's JSON, and what is wrong with the others.
pub(super) fn entries(json: &str, kba: &Kba) -> (Vec<Entry>, Vec<Unusable>) {
    let parsed: Secret<Json> = match serde_json::from_str(json) {
        Ok(parsed) => parsed,
        Err(_) => return (Vec::new(), vec![Unusable::Unreadable]),
    };
    let Some(items) = parsed.expose().0.as_array() else { return (Vec::new(), vec![Unusable::Unreadable]) };
    let (mut entries, mut unusable) = (Vec::new(), Vec::new());
    for item in items.iter().take(MOST) {
        match entry(item, kba) {
            Ok(entry) => entries.push(entry),
            Err(why) => unusable.push(why),
        }
    }
    (entries, unusable)
}

fn entry(item: &Value, kba: &Kba) -> Result<Entry, Unusable> {
    let text = |key: &str| match item.get(key)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let question = match (text("customQuestion"), text("questionId")) {
        (Some(own), _) => Question::Own(own),
        (None, Some(id)) if kba.question(&id).is_some() => Question::System(id),
        (None, _) => return Err(Unusable::Unknown),
    };
    let answer = item.get("answer").and_then(salted).ok_or(Unusable::Unreadable)?;
    Ok(Entry { question, answer })
}

/// `{"$crypto":{"value":{"algorithm":"SHA-256","data":"…"},"type":"salted-hash"}}`, where `data` is base64 of the digest and
/// the salt after it.
fn salted(answer: &Value) -> Option<SaltedHash> {
    let crypto = answer.get("$crypto")?;
    if crypto.get("type")? != "salted-hash" {
        return None;
    }
    let value = crypto.get("value")?.as_object()?;
    let bytes = Secret::of(BASE64.decode(value.get("data")?.as_str()?).ok()?);
    let (by, length) = match value.get("algorithm")?.as_str()? {
        "PBKDF2" => pbkdf2(value.get("config")?.as_object()?)?,
        name => {
            let sha = Sha::named(name)?;
            (Hashing::Once(sha), sha.length())
        }
    };
    let (digest, salt) = bytes.expose().split_at_checked(length)?;
    let there = !salt.is_empty();
    there.then(|| SaltedHash { by, digest: Secret::of(digest.to_vec()), salt: Secret::of(salt.to_vec()) })
}

/// What IDM stores beside such a hash: `{"hashLength":16,"saltLength":16,"iterations":20000,"hmac":"SHA-256"}`.
fn pbkdf2(config: &Map<String, Value>) -> Option<(Hashing, usize)> {
    let number = |key: &str| config.get(key)?.as_u64();
    let iterations = number("iterations").filter(|rounds| (1..=MOST_ROUNDS).contains(rounds))?;
    let length = number("hashLength").filter(|length| (16..=64).contains(length))?;
    let hmac = Sha::named(config.get("hmac")?.as_str()?)?;
    Some((Hashing::Pbkdf2 { hmac, iterations: u32::try_from(iterations).ok()? }, usize::try_from(length).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kba() -> Kba {
        Kba::of(&json!({"questions": {"1": {"en": "Colour?"}, "2": {"en": "Pet?"}}})).unwrap().0
    }

    /// `length` bytes of digest and a salt.
    fn data(length: usize) -> String {
        BASE64.encode((0..length + 16).map(|n| u8::try_from(n).unwrap()).collect::<Vec<_>>())
    }

    fn hashed(value: &Value) -> Value {
        json!({"$crypto": {"value": value, "type": "salted-hash"}})
    }

    fn read(items: &Value) -> (Vec<Question>, Vec<Unusable>) {
        let (entries, unusable) = entries(&items.to_string(), &kba());
        (entries.into_iter().map(|entry| entry.question).collect(), unusable)
    }

    #[test]
    fn questions_of_both_kinds_are_read() {
        let answer = hashed(&json!({"algorithm": "SHA-256", "data": data(32)}));
        let items = json!([
            {"questionId": "2", "answer": answer},
            {"questionId": 1, "answer": answer},
            {"customQuestion": "Mother's <b>name</b>?", "answer": answer},
            {"questionId": "99", "answer": answer},
            {"questionId": "1", "answer": "rex"},
            {"answer": answer},
            "none",
        ]);
        let system = |id: &str| Question::System(id.to_owned());
        let own = Question::Own("Mother's <b>name</b>?".to_owned());
        let wrong = [Unusable::Unknown, Unusable::Unreadable, Unusable::Unknown, Unusable::Unknown];
        assert_eq!(read(&items), (vec![system("2"), system("1"), own.clone()], wrong.to_vec()));
        assert_eq!(own.shown(&kba()), json!({"userQuestion": "Mother's <b>name</b>?", "type": "string"}));
        assert_eq!(system("1").shown(&kba()), json!({"systemQuestion": {"en": "Colour?"}, "type": "string"}));
    }

    #[test]
    fn answers_are_read_that_are_kept_in_a_known_way() {
        let pbkdf2 = |config: Value| json!({"algorithm": "PBKDF2", "data": data(16), "config": config});
        let config = json!({"hashLength": 16, "saltLength": 16, "iterations": 20_000, "hmac": "SHA-256"});
        let salted = |value: &Value| salted(&hashed(value));
        for (name, length) in [("SHA-256", 32), ("SHA-384", 48), ("SHA-512", 64)] {
            let read = salted(&json!({"algorithm": name, "data": data(length)})).unwrap();
            assert_eq!((read.digest.expose().len(), read.salt.expose().len()), (length, 16));
            assert!(salted(&json!({"algorithm": name, "data": data(length).trim_end_matches('=')})).is_some());
            assert!(salted(&json!({"algorithm": name, "data": data(length - 17)})).is_none(), "too short");
            assert!(salted(&json!({"algorithm": name, "data": data(length - 16)})).is_none(), "no salt");
        }
        let read = salted(&pbkdf2(config.clone())).unwrap();
        assert_eq!(read.by, Hashing::Pbkdf2 { hmac: Sha::Sha256, iterations: 20_000 });
        assert_eq!(read.digest.expose().len(), 16);
        for (key, value) in [
            ("hmac", json!("SHA3-256")),
            ("iterations", json!(0)),
            ("iterations", json!(1_000_000_000)),
            ("hashLength", json!(1)),
            ("hashLength", json!("16")),
        ] {
            let mut other = config.clone();
            other[key] = value;
            assert!(salted(&pbkdf2(other)).is_none(), "{key}");
        }
        for value in [
            json!({"algorithm": "BCRYPT", "data": data(32)}),
            json!({"algorithm": "SHA-256", "data": "*"}),
            json!({"algorithm": "SHA-256"}),
            json!("SHA-256"),
        ] {
            assert!(salted(&value).is_none(), "{value}");
        }
        let encrypted =
            json!({"$crypto": {"value": {"algorithm": "SHA-256", "data": data(32)}, "type": "x-simple-encryption"}});
        assert!(super::salted(&encrypted).is_none());
    }

    #[test]
    fn what_is_no_list_has_no_questions() {
        for json in ["{}", "7", "\"x\"", "{", ""] {
            assert_eq!(entries(json, &kba()).1, [Unusable::Unreadable], "{json}");
        }
        assert!(entries("[]", &kba()).1.is_empty());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[A-Za-z0-9+/=-]{0,40}".prop_map(Value::from),
            prop::sample::select(vec!["SHA-256", "PBKDF2", "salted-hash", "1"]).prop_map(Value::from),
        ];
        let key = prop::sample::select(vec![
            "questionId",
            "customQuestion",
            "answer",
            "$crypto",
            "type",
            "value",
            "algorithm",
            "data",
            "config",
            "hmac",
            "iterations",
            "hashLength",
        ]);
        leaf.prop_recursive(6, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((key.clone().prop_map(str::to_owned), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_is_read_with_a_crash(json in any_json(), text in "\\PC{0,100}") {
            let (entries, unusable) = entries(&json.to_string(), &kba());
            prop_assert!(entries.len() + unusable.len() <= MOST);
            let _ = super::entries(&text, &kba());
        }
    }
}
