//! Where in IDM something is, and with what it is asked there.

use serde_json::Value;

use super::Reader;

/// Whether that is a path below the store's base URL, such as `managed/user`, without slashes around it.
pub fn is_path(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | ':');
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.chars().all(plain);
    text.split('/').all(is_segment)
}

impl Reader<'_, '_> {
    /// What an action is asked with, as texts: an object of texts, numbers, `true` and `false`. It may be missing.
    pub fn parameters(&mut self, key: &'static str) -> Option<Vec<(String, String)>> {
        let Some(value) = self.value(key) else { return Some(Vec::new()) };
        let parameters = value.as_object().and_then(|map| {
            let given = map.iter().filter(|(_, value)| !value.is_null());
            given.map(|(name, value)| Some((name.clone(), text(value)?))).collect::<Option<Vec<_>>>()
        });
        // `_action` is what makes a request a letter.
        let parameters = parameters.filter(|all| all.iter().all(|(name, _)| !name.is_empty() && name != "_action"));
        if parameters.is_none() {
            self.fault(key, "must be an object of texts, numbers, true and false, without _action");
        }
        parameters
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
