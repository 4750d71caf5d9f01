//! What a store says of a password that it refused, reduced to names and numbers.
//!
//! Clients render these texts as HTML, and a store's policies are scripts that anybody may have written: nothing passes
//! that could be markup, nor anything that is long.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::reset::ports::PolicyFailure;

/// The most failures, and the most parameters of one, and the most values in a list.
const MAX_ITEMS: usize = 32;
/// The longest name or text, in characters.
const MAX_CHARS: usize = 64;

#[derive(Deserialize)]
struct Body {
    detail: Detail,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    failed_policy_requirements: Vec<Value>,
}

/// The broken rules of a CREST error's `detail.failedPolicyRequirements`, in their order; `None` if the body has none
/// such. A refusal that names no rule that can be passed on becomes IDM's own `UNKNOWN`, for a client shows nothing of an
/// empty list.
pub(super) fn read(body: &[u8]) -> Option<Vec<PolicyFailure>> {
    let Body { detail } = serde_json::from_slice(body).ok()?;
    let mut failures: Vec<_> = detail
        .failed_policy_requirements
        .iter()
        .filter_map(|failure| failure.get("policyRequirements")?.as_array())
        .flatten()
        .filter_map(failure)
        .take(MAX_ITEMS)
        .collect();
    if failures.is_empty() {
        failures.push(PolicyFailure { requirement: "UNKNOWN".to_owned(), params: None });
    }
    Some(failures)
}

fn failure(requirement: &Value) -> Option<PolicyFailure> {
    let name = requirement.get("policyRequirement")?.as_str()?;
    let params = requirement.get("params").and_then(Value::as_object).map(params);
    is_name(name).then(|| PolicyFailure { requirement: name.to_owned(), params })
}

fn params(params: &Map<String, Value>) -> Map<String, Value> {
    params
        .iter()
        .filter(|(name, _)| is_name(name))
        .filter_map(|(name, value)| Some((name.clone(), param(value)?)))
        .take(MAX_ITEMS)
        .collect()
}

fn param(value: &Value) -> Option<Value> {
    match value {
        Value::Array(items) => Some(items.iter().filter(|item| is_plain(item)).take(MAX_ITEMS).cloned().collect()),
        _ => is_plain(value).then(|| value.clone()),
    }
}

fn is_plain(value: &Value) -> bool {
    match value {
        Value::Number(_) | Value::Bool(_) => true,
        Value::String(text) => {
            text.chars().count() <= MAX_CHARS
                && !text.chars().any(|c| c.is_control() || matches!(c, '<' | '>' | '&' | '"' | '\''))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// `MIN_LENGTH`, `min-password-length`
fn is_name(text: &str) -> bool {
    (1..=MAX_CHARS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
