//! Which passwords are good enough, and what clients are told of that.

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Account, Caller, Down, Field, PolicyFailure, Reply, Secret};

/// What a password has to be before the store is sent it.
#[async_trait]
pub trait Passwords: Send + Sync {
    /// The attributes of its owner that it is compared with.
    fn compared(&self) -> &[Field];
    /// The rules that it breaks, of an account with those attributes; none, if it is good enough.
    async fn broken(&self, password: &Secret, owner: &Account) -> Result<Vec<PolicyFailure>, Down>;
}

/// Rules of the store's own, and none beside them.
pub struct AnyPassword;

#[async_trait]
impl Passwords for AnyPassword {
    fn compared(&self) -> &[Field] {
        &[]
    }

    async fn broken(&self, _: &Secret, _: &Account) -> Result<Vec<PolicyFailure>, Down> {
        Ok(Vec::new())
    }
}

/// One rule, as clients show it to whoever thinks of a password.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyRule {
    /// What it is called, such as `minimum-length`.
    pub id: String,
    /// What it asks for, such as `MIN_LENGTH`; at least one.
    pub requirements: Vec<String>,
    /// With which numbers and names.
    pub params: Map<String, Value>,
}

/// Why a password was refused, as IDM tells it: every rule that is broken is an element of its own.
pub fn policy_failures(broken: &[PolicyFailure], field: &Field) -> Vec<Value> {
    let one = |failure: &PolicyFailure| {
        let mut requirement = Map::new();
        requirement.insert("policyRequirement".to_owned(), failure.requirement.clone().into());
        if let Some(params) = &failure.params {
            requirement.insert("params".to_owned(), params.clone().into());
        }
        json!({"policyRequirements": [requirement], "property": field.as_str()})
    };
    broken.iter().map(one).collect()
}

/// `policy/selfservice/reset`, where the answers are ours.
#[async_trait]
pub trait PolicyPage: Send + Sync {
    /// Which rules there are.
    async fn read(&self, caller: &Caller) -> Reply;
    /// Which of them a password breaks that is being typed. The body holds it.
    async fn validate(&self, body: Bytes, caller: &Caller) -> Reply;
}
