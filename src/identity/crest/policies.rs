//! The store's own password policy: `policy/managed/user`, of which IDM tells the service user if its access rules say so.

use http::{Method, header::CONTENT_TYPE};

use super::{Crest, JSON};
use crate::{
    identity::{calls::Name, policy},
    outbound::{Failure, Kind, Outgoing},
    reset::ports::{Caller, Down, Field, PolicyFailure, PolicyRule, Resource, Secret},
};

impl Crest {
    /// The rules for one attribute of those accounts.
    ///
    /// # Errors
    /// If the store does not tell them.
    pub async fn policy_rules(&self, caller: &Caller, at: &Resource, field: &Field) -> Result<Vec<PolicyRule>, Down> {
        let call = self.calls.call(caller, Name::Policy);
        let told = async {
            let answered = call.send(&self.policy(at)?, || self.nobody(at)).await?;
            answered.answer.read(|body| policy::rules(body, field)).await
        };
        call.ended(told.await)
    }

    /// Which of them a value breaks. Whose it will be is not told.
    ///
    /// # Errors
    /// As [`Crest::policy_rules`].
    pub async fn policy_failures(
        &self,
        caller: &Caller,
        at: &Resource,
        field: &Field,
        value: &Secret,
    ) -> Result<Vec<PolicyFailure>, Down> {
        let call = self.calls.call(caller, Name::Policy);
        let told = async {
            let request = self.validating(at, field, value)?;
            let answered = call.send(&request, || self.nobody(at)).await?;
            answered.answer.read(|body| policy::validation(body, field)).await
        };
        call.ended(told.await)
    }

    pub(super) fn validating(&self, at: &Resource, field: &Field, value: &Secret) -> Result<Outgoing, Failure> {
        let mut request = self.below(Method::POST, &format!("policy/{}/-", at.path), "?_action=validateObject")?;
        request.own.push((CONTENT_TYPE, JSON));
        request.body = body(field, value)?.into_bytes();
        Ok(request)
    }

    pub(super) fn policy(&self, at: &Resource) -> Result<Outgoing, Failure> {
        self.below(Method::GET, &format!("policy/{}", at.path), "")
    }
}

/// An object of that one attribute, with room enough from the start never to be moved: JSON spells a byte in six at most.
fn body(field: &Field, value: &Secret) -> Result<Secret<Vec<u8>>, Failure> {
    let room = 8 + 6 * (field.as_str().len() + value.expose().len());
    let mut body = Secret::of(Vec::with_capacity(room));
    let object = std::collections::BTreeMap::from([(field.as_str(), value.expose().as_str())]);
    serde_json::to_writer(body.expose_mut(), &object).map_err(|_| Failure::unsent(Kind::Request))?;
    Ok(body)
}
