//! IDM's access rules: what is missing, to be pasted.

use crate::reset::ports::{Field, Resource};

/// The role that the rules give rights to; the README's own name for it.
const ROLE: &str = "internal/role/resetgate";

/// The rule for IDM's own mail service.
pub(in crate::doctor) fn of_mail(path: &str) -> String {
    format!(r#"{{"pattern": "{path}", "roles": "{ROLE}", "methods": "action", "actions": "send"}}"#)
}

/// The rules for its password policy.
pub(in crate::doctor) fn of_policy(path: &str) -> String {
    format!(
        r#"{{"pattern": "policy/{path}", "roles": "{ROLE}", "methods": "read", "actions": "*"}}, {{"pattern": "policy/{path}/-", "roles": "{ROLE}", "methods": "action", "actions": "validateObject"}}"#
    )
}

/// What the service user must be allowed.
pub(super) enum Right<'a> {
    /// To find an account.
    Query,
    /// To read it again.
    Read,
    /// To set its password, and what else is written, in those fields.
    Patch(&'a [&'a Field]),
}

impl Right<'_> {
    /// The rule for IDM's `conf/access.json`, in one line.
    pub(super) fn rule(&self, at: &Resource) -> String {
        let (below, method) = match self {
            Self::Query => ("", "query"),
            Self::Read => ("/*", "read"),
            Self::Patch(_) => ("/*", "patch"),
        };
        let only = match self {
            Self::Patch(fields) => {
                let fields: Vec<_> = fields.iter().map(|field| format!("'{}'", field.as_str())).collect();
                format!(r#", "customAuthz": "restrictPatchToFields([{}])""#, fields.join(", "))
            }
            Self::Query | Self::Read => String::new(),
        };
        let pattern = format!("{}{below}", at.path);
        format!(r#"{{"pattern": "{pattern}", "roles": "{ROLE}", "methods": "{method}", "actions": "*"{only}}}"#)
    }

    pub(super) fn cure(&self, at: &Resource) -> String {
        let rule = self.rule(at);
        format!(
            "add to \"configs\" in IDM's conf/access.json: {rule}, and give the service user that role (or put its own there)"
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_rule_is_one_of_idms() {
        let at = Resource { path: "managed/user".to_owned(), id_field: Field::new("_id") };
        let password = Field::new("password");
        for (right, pattern, method) in
            [(Right::Query, "managed/user", "query"), (Right::Read, "managed/user/*", "read")]
        {
            let rule: Value = serde_json::from_str(&right.rule(&at)).unwrap();
            assert_eq!(rule, json!({"pattern": pattern, "roles": ROLE, "methods": method, "actions": "*"}));
            assert!(right.cure(&at).contains(&right.rule(&at)));
        }
        let rule: Value = serde_json::from_str(&Right::Patch(&[&password]).rule(&at)).unwrap();
        assert_eq!((&rule["pattern"], &rule["methods"]), (&json!("managed/user/*"), &json!("patch")));
        assert_eq!(rule["customAuthz"], "restrictPatchToFields(['password'])");
        let count = Field::new("kbaLockout");
        let rule: Value = serde_json::from_str(&Right::Patch(&[&password, &count]).rule(&at)).unwrap();
        assert_eq!(rule["customAuthz"], "restrictPatchToFields(['password', 'kbaLockout'])");
    }
}
