//! The password policy, and the three shapes in which IDM tells of it: what it is, whether a value meets it, and why a
//! change was refused.

use serde_json::{Value, json};

const MIN_LENGTH: usize = 8;

/// One rule of the policy.
struct Rule {
    id: &'static str,
    requirement: &'static str,
    param: (&'static str, Param),
    broken: fn(password: &str, user_name: Option<&str>) -> bool,
}

#[derive(Clone, Copy)]
enum Param {
    Number(usize),
    Text(&'static str),
}

const RULES: [Rule; 4] = [
    Rule {
        id: "minimum-length",
        requirement: "MIN_LENGTH",
        param: ("minLength", Param::Number(MIN_LENGTH)),
        broken: |password, _| password.chars().count() < MIN_LENGTH,
    },
    Rule {
        id: "at-least-X-capitals",
        requirement: "AT_LEAST_X_CAPITAL_LETTERS",
        param: ("numCaps", Param::Number(1)),
        broken: |password, _| !password.chars().any(char::is_uppercase),
    },
    Rule {
        id: "at-least-X-numbers",
        requirement: "AT_LEAST_X_NUMBERS",
        param: ("numNums", Param::Number(1)),
        broken: |password, _| !password.chars().any(|c| c.is_ascii_digit()),
    },
    Rule {
        id: "cannot-contain-others",
        requirement: "CANNOT_CONTAIN_OTHERS",
        param: ("disallowedFields", Param::Text("userName")),
        broken: |password, user_name| user_name.is_some_and(|name| !name.is_empty() && password.contains(name)),
    },
];

impl Rule {
    fn params(&self) -> Value {
        let (name, param) = self.param;
        match param {
            Param::Number(number) => json!({ name: number }),
            Param::Text(text) => json!({ name: text }),
        }
    }
}

/// `failedPolicyRequirements`: every rule that is broken is an element of its own. Without a user name (nobody is signed
/// in while typing) only the password itself is looked at.
/// What IDM says of a number where the schema has a text.
pub(super) fn wrong_type(field: &str) -> Value {
    json!({
        "policyRequirements": [{"policyRequirement": "VALID_TYPE", "params": {"invalidType": "number", "validTypes": ["string"]}}],
        "property": field,
    })
}

pub(super) fn failures(password: &str, user_name: Option<&str>) -> Vec<Value> {
    RULES
        .iter()
        .filter(|rule| (rule.broken)(password, user_name))
        .map(|rule| {
            json!({
                "policyRequirements": [{"policyRequirement": rule.requirement, "params": rule.params()}],
                "property": "password",
            })
        })
        .collect()
}

/// The answer to `validateObject`.
pub(super) fn validation(password: &str, resource: &str) -> Value {
    let mut failures = failures(password, None);
    if resource == "managed/user" {
        // Of an account it looks at all that one must have.
        failures.push(json!({"policyRequirements": [{"policyRequirement": "REQUIRED"}], "property": "userName"}));
    }
    json!({"result": failures.is_empty(), "failedPolicyRequirements": failures})
}

/// The answer to a PATCH that breaks the policy.
pub(super) fn refusal(failures: &[Value]) -> Value {
    json!({
        "code": 403,
        "reason": "Forbidden",
        "message": "Failed policy validation",
        "detail": {"result": false, "failedPolicyRequirements": failures},
    })
}

/// The answer to a read of `policy/selfservice/reset`, or of `policy/managed/user`, which tells of all attributes.
pub(super) fn description(resource: &str) -> Value {
    let requirements: Vec<_> = RULES.iter().map(|rule| rule.requirement).collect();
    let policies: Vec<_> = RULES
        .iter()
        .map(|rule| json!({"policyId": rule.id, "params": rule.params(), "policyRequirements": [rule.requirement]}))
        .collect();
    let password = json!({
        "name": "password",
        "policies": policies,
        "policyRequirements": requirements,
        "fallbackPolicies": null,
        "conditionalPolicies": null,
    });
    let user_name = json!({
        "name": "userName",
        "policies": [{"policyId": "required", "policyFunction": "function () {}", "policyRequirements": ["REQUIRED"]}],
        "policyRequirements": ["REQUIRED"],
    });
    let properties = if resource == "managed/user" { vec![user_name, password] } else { vec![password] };
    json!({"_id": resource, "resource": resource, "properties": properties})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_password_breaks_nothing() {
        assert!(failures("Fresh-Pass1", Some("bjensen")).is_empty());
        assert_eq!(
            validation("Fresh-Pass1", "selfservice/reset"),
            json!({"result": true, "failedPolicyRequirements": []})
        );
    }

    #[test]
    fn every_broken_rule_is_an_element_of_its_own() {
        assert_eq!(
            Value::from(failures("x", Some("x"))),
            json!([
                {"policyRequirements": [{"policyRequirement": "MIN_LENGTH", "params": {"minLength": 8}}], "property": "password"},
                {"policyRequirements": [{"policyRequirement": "AT_LEAST_X_CAPITAL_LETTERS", "params": {"numCaps": 1}}], "property": "password"},
                {"policyRequirements": [{"policyRequirement": "AT_LEAST_X_NUMBERS", "params": {"numNums": 1}}], "property": "password"},
                {"policyRequirements": [{"policyRequirement": "CANNOT_CONTAIN_OTHERS", "params": {"disallowedFields": "userName"}}], "property": "password"},
            ])
        );
    }

    #[test]
    fn length_counts_characters() {
        assert!(failures("Äöüßéñç1", None).is_empty());
    }
}
