//! The process file as far as it can be shown. IDM has secrets in it (of captchas, of tokens, of mail services), some
//! under names that nobody here knows, so what is shown is what is known to be none.

use serde_json::{Map, Value};

use super::{HIDDEN, harmless};

/// Settings that are no secrets.
const PLAIN: &[&str] = &[
    "name",
    "class",
    "storage",
    "parameterNames",
    "recaptchaSiteKey",
    "recaptchaUri",
    "validQueryFields",
    "identityIdField",
    "identityEmailField",
    "identityUsernameField",
    "identityAccountStatusField",
    "identityPasswordField",
    "identityServiceUrl",
    "accountStatusField",
    "validStatusValue",
    "emailServiceUrl",
    "from",
    "mimeType",
    "verificationLinkToken",
    "verificationLink",
    "type",
    "jweAlgorithm",
    "encryptionMethod",
    "jwsAlgorithm",
    "keyPairAlgorithm",
    "keyPairSize",
    "tokenExpiry",
    "numberOfQuestionsUserMustAnswer",
    "kbaPropertyName",
    "minimumAnswersToDefine",
    "minimumAnswersToVerify",
    "numberOfAttemptsAllowed",
    "kbaAttemptsPropertyName",
];
/// Texts by language, which everybody gets in a mail.
const TEXTS: &[&str] = &["subject", "message", "subjectTranslations", "messageTranslations"];
/// What these are in.
const OUTER: &[&str] = &["stageConfigs", "snapshotToken", "kbaConfig"];

/// Its JSON, indented.
pub(super) fn shown(text: &str) -> String {
    let whole: Value = serde_json::from_str(text).unwrap_or_default();
    serde_json::to_string_pretty(&outer(whole)).unwrap_or_default()
}

/// An object of settings, or a list of such.
fn outer(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members.into_iter().map(|(key, value)| (key.clone(), setting(&key, value))).collect::<Map<_, _>>(),
        ),
        Value::Array(items) => items.into_iter().map(outer).collect(),
        _ => HIDDEN.into(),
    }
}

fn setting(key: &str, value: Value) -> Value {
    match value {
        value if OUTER.contains(&key) && !value.is_null() => outer(value),
        Value::String(text) if PLAIN.contains(&key) => harmless(&text).into(),
        Value::Array(items) if PLAIN.contains(&key) => items.into_iter().map(|item| setting(key, item)).collect(),
        Value::Null => value,
        value @ (Value::Bool(_) | Value::Number(_)) if PLAIN.contains(&key) => value,
        Value::Object(texts) if TEXTS.contains(&key) => {
            texts.into_iter().map(|(language, text)| (language, text_alone(text))).collect()
        }
        text @ Value::String(_) if TEXTS.contains(&key) => text,
        _ => HIDDEN.into(),
    }
}

fn text_alone(value: Value) -> Value {
    if value.is_string() { value } else { HIDDEN.into() }
}
