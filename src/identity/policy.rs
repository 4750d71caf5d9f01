//! What a store says of its rules, and of a password that it refused, reduced to names and numbers.
//!
//! Clients render these texts as HTML, and a store's policies are scripts that anybody may have written: nothing passes
//! that could be markup, nor anything that is long.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::reset::ports::{Field, PolicyFailure, PolicyRule};

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
    let mut failures = failures(detail.failed_policy_requirements.iter());
    if failures.is_empty() {
        failures.push(unknown());
    }
    Some(failures)
}

/// The rules for one attribute: those of the element of `properties` with its name. None, if there is no such element;
/// `None`, if there are no `properties`.
pub(super) fn rules(body: &[u8], field: &Field) -> Option<Vec<PolicyRule>> {
    rules_of(&serde_json::from_slice(body).ok()?, field)
}

/// The same of what has been read.
pub(super) fn rules_of(policy: &Value, field: &Field) -> Option<Vec<PolicyRule>> {
    let properties = policy.get("properties")?.as_array()?;
    let own = properties.iter().find(|property| is_of(property.get("name"), field));
    let policies = own.and_then(|property| property.get("policies")).and_then(Value::as_array);
    Some(policies.into_iter().flatten().filter_map(rule).take(MAX_ITEMS).collect())
}

/// Which of an attribute's rules a value breaks, of the answer to `validateObject`, which speaks of all that an object
/// should have.
pub(super) fn validation(body: &[u8], field: &Field) -> Option<Vec<PolicyFailure>> {
    validation_of(&serde_json::from_slice(body).ok()?, field)
}

/// The same of what has been read.
pub(super) fn validation_of(answer: &Value, field: &Field) -> Option<Vec<PolicyFailure>> {
    let failed = answer.get("failedPolicyRequirements")?.as_array()?;
    let own = failed.iter().filter(|failure| is_of(failure.get("property"), field));
    let mut failures = failures(own.clone());
    failures.retain(|failure| failure.requirement != REAUTH);
    let asks_more = |failure: &Value| !failure.to_string().contains(REAUTH);
    if failures.is_empty() && own.clone().any(asks_more) {
        failures.push(unknown());
    }
    Some(failures)
}

/// Asks for the old password, of whoever is signed in, and of no reset.
const REAUTH: &str = "REAUTH_REQUIRED";

fn unknown() -> PolicyFailure {
    PolicyFailure { requirement: "UNKNOWN".to_owned(), params: None }
}

fn failures<'v>(elements: impl Iterator<Item = &'v Value>) -> Vec<PolicyFailure> {
    let requirements = elements.filter_map(|element| element.get("policyRequirements")?.as_array()).flatten();
    requirements.filter_map(failure).take(MAX_ITEMS).collect()
}

fn is_of(name: Option<&Value>, field: &Field) -> bool {
    name.and_then(Value::as_str).is_some_and(|name| Field::new(name) == *field)
}

fn rule(policy: &Value) -> Option<PolicyRule> {
    let id = policy.get("policyId").and_then(Value::as_str).filter(|id| is_name(id)).unwrap_or_default();
    let all = policy.get("policyRequirements")?.as_array()?.iter().filter_map(Value::as_str);
    let requirements: Vec<_> =
        all.filter(|name| is_name(name) && *name != REAUTH).take(MAX_ITEMS).map(str::to_owned).collect();
    let params = policy.get("params").and_then(Value::as_object).map(params).unwrap_or_default();
    (!requirements.is_empty()).then(|| PolicyRule { id: id.to_owned(), requirements, params })
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field() -> Field {
        Field::new("/password")
    }

    #[test]
    fn of_a_policy_the_password_s_rules_are_kept_and_of_these_names_and_numbers() {
        let policy = json!({
            "_id": "managed/user",
            "resource": "managed/user",
            "properties": [
                {"name": "mail", "policies": [{"policyId": "required", "policyRequirements": ["REQUIRED"]}]},
                {
                    "name": "password",
                    "policyRequirements": ["REQUIRED", "MIN_LENGTH"],
                    "policies": [
                        {"policyId": "not-empty", "policyFunction": "\nfunction (a) { <b> }", "policyRequirements": ["REQUIRED"]},
                        {
                            "policyId": "minimum-length",
                            "policyFunction": "x",
                            "params": {"minLength": 8, "markup": "<img src=x>", "deep": {"a": 1}},
                            "policyRequirements": ["MIN_LENGTH", "<b>", 7],
                        },
                        {"policyId": "re-auth-required", "policyRequirements": ["REAUTH_REQUIRED"]},
                        {"policyId": "no requirements"},
                        "no object",
                    ],
                },
            ],
        });
        let told = rules(policy.to_string().as_bytes(), &field()).unwrap();
        let rule = |id: &str, requirement: &str, params: Value| PolicyRule {
            id: id.to_owned(),
            requirements: vec![requirement.to_owned()],
            params: params.as_object().unwrap().clone(),
        };
        let expected =
            [rule("not-empty", "REQUIRED", json!({})), rule("minimum-length", "MIN_LENGTH", json!({"minLength": 8}))];
        assert_eq!(told, expected);
        assert_eq!(rules(policy.to_string().as_bytes(), &Field::new("other")), Some(Vec::new()));
        for garbage in ["", "<html>", "{}", r#"{"properties": {}}"#, "[]"] {
            assert_eq!(rules(garbage.as_bytes(), &field()), None, "{garbage}");
        }
    }

    #[test]
    fn of_a_validation_only_what_is_said_of_the_password_counts() {
        let names = |failed: Value| {
            let body = json!({"result": false, "failedPolicyRequirements": failed}).to_string();
            let failures = validation(body.as_bytes(), &field()).unwrap();
            failures.into_iter().map(|failure| failure.requirement).collect::<Vec<_>>()
        };
        let of = |property: &str, requirement: &str| json!({"property": property, "policyRequirements": [{"policyRequirement": requirement}]});
        assert_eq!(names(json!([of("userName", "REQUIRED"), of("password", "MIN_LENGTH")])), ["MIN_LENGTH"]);
        assert_eq!(names(json!([of("userName", "REQUIRED"), of("password", "REAUTH_REQUIRED")])), [""; 0]);
        assert_eq!(names(json!([of("password", "<b>")])), ["UNKNOWN"]);
        assert_eq!(names(json!([])), [""; 0]);
        for garbage in ["", "<html>", "{}", r#"{"result": true}"#] {
            assert_eq!(validation(garbage.as_bytes(), &field()), None, "{garbage}");
        }
    }
}
