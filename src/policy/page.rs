//! `policy/selfservice/reset`, as IDM's own pages read it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    local::Local,
    service::{Service, Store},
};
use crate::reset::ports::{
    Caller, Clock, Down, Field, Json, PolicyFailure, PolicyPage, PolicyRule, Reply, Secret, policy_failures,
};

/// What it is called, wherever it is.
const RESOURCE: &str = "selfservice/reset";
/// What IDM's pages call the password, whatever the store does.
const USUAL: &str = "password";

/// The page.
pub struct Page {
    field: Field,
    rules: Rules,
}

/// Whose rules.
enum Rules {
    Local(Arc<Local>),
    Store(Service),
}

impl Page {
    /// Of rules of our own; `field` is the attribute that holds passwords.
    pub const fn of(field: Field, rules: Arc<Local>) -> Self {
        Self { field, rules: Rules::Local(rules) }
    }

    /// Of the store's, of which it is asked for `calls` at a time at most. Which there are is known for so long.
    pub fn of_store(field: Field, store: Arc<dyn Store>, calls: usize, cache: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { field, rules: Rules::Store(Service::new(store, calls, cache, clock)) }
    }

    /// The password in a body, if it has one.
    fn password(&self, body: &[u8]) -> Result<Option<Secret>, Reply> {
        let object: Secret<Json> = serde_json::from_slice(body).map_err(|_| Reply::error(400, NOT_JSON))?;
        let object = object.expose().0.as_object().ok_or_else(|| Reply::error(400, NO_OBJECT))?;
        match object.get(self.field.as_str()).or_else(|| object.get(USUAL)) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(password)) => Ok(Some(Secret::new(password.clone()))),
            Some(_) => Err(Reply::error(400, NO_TEXT)),
        }
    }

    async fn broken(&self, password: &Secret, caller: &Caller) -> Result<Vec<PolicyFailure>, Down> {
        match &self.rules {
            // Nobody knows yet whose password it will be; and that it was in a breach is told when it is to be set.
            Rules::Local(rules) => Ok(rules.broken_by_anyone(password.expose())),
            Rules::Store(store) => store.broken(password, caller).await,
        }
    }
}

const NOT_JSON: &str = "The request could not be processed because the provided content is not valid JSON";
const NO_OBJECT: &str = "The request could not be processed because the provided content is not a JSON object";
const NO_TEXT: &str = "/password: Expecting a java.lang.String";

#[async_trait]
impl PolicyPage for Page {
    async fn read(&self, caller: &Caller) -> Reply {
        let rules = match &self.rules {
            Rules::Local(rules) => Ok(Arc::new(rules.rules())),
            Rules::Store(store) => store.rules(caller).await,
        };
        rules.map_or_else(|down| unavailable(&down), |rules| Reply::ok(&description(&rules, &self.field)))
    }

    async fn validate(&self, body: Bytes, caller: &Caller) -> Reply {
        let password = match self.password(&body) {
            Ok(password) => password,
            Err(reply) => return reply,
        };
        let broken = match &password {
            // As IDM: a rule is of a password that is there.
            None => Ok(Vec::new()),
            Some(password) => self.broken(password, caller).await,
        };
        broken.map_or_else(
            |down| unavailable(&down),
            |broken| {
                let failures = policy_failures(&broken, &self.field);
                Reply::ok(&json!({"result": broken.is_empty(), "failedPolicyRequirements": failures}))
            },
        )
    }
}

fn unavailable(down: &Down) -> Reply {
    Reply::retry(503, "The service is not available, try again later", down.retry_after)
}

fn description(rules: &[PolicyRule], field: &Field) -> Value {
    let policies: Vec<_> = rules
        .iter()
        .map(|PolicyRule { id, requirements, params }| {
            json!({"policyId": id, "params": params, "policyRequirements": requirements})
        })
        .collect();
    let mut requirements: Vec<&String> = Vec::new();
    for requirement in rules.iter().flat_map(|rule| &rule.requirements) {
        if !requirements.contains(&requirement) {
            requirements.push(requirement);
        }
    }
    json!({
        "_id": RESOURCE,
        "resource": RESOURCE,
        "properties": [{
            "name": field.as_str(),
            "policies": policies,
            "policyRequirements": requirements,
            "fallbackPolicies": null,
            "conditionalPolicies": null,
        }],
    })
}
