//! What an operator's check asks a store: the very requests of the engine. Of the answers, the engine may know little;
//! an operator all but what is in an account.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, Method, StatusCode, Uri,
    header::{CONTENT_TYPE, DATE, LOCATION},
};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::{Action, Crest, account, segment};
use crate::{
    identity::{calls::Name, policy},
    outbound::{Failure, Kind, Outgoing},
    reset::{
        filter::Filter,
        ports::{Account, AccountId, Caller, Change, Field, Json, RequestId, Resource, Revision, Secret},
    },
};

/// A question.
pub enum Question<'a> {
    /// As the engine looks somebody up.
    Find(&'a Resource, &'a Filter, &'a [Field]),
    /// As it reads an account again.
    Read(&'a Resource, &'a AccountId, &'a [Field]),
    /// As it sets a password.
    Patch(&'a Resource, &'a AccountId, &'a Revision, Change<'a>),
    /// As a letter is sent by IDM's own mail service.
    Act(&'a Action<'a>, Bytes),
    /// As it asks for the rules for passwords.
    Policy(&'a Resource),
    /// As it asks whether a password, which is empty here, meets them.
    Validate(&'a Resource, &'a Field),
    /// Whatever is at that URL of the store's own host, asked as the service user.
    Get(&'a Url),
}

/// An answer.
pub struct Seen {
    /// Its status.
    pub status: StatusCode,
    /// Its `Date`, as it came.
    pub date: Option<String>,
    /// What it says that it is, such as `application/json` or `text/html`; empty if it does not say.
    pub media: String,
    /// Where it sends whoever asked, without a query.
    pub location: Option<String>,
    /// How long it took, body and all.
    pub took: Duration,
    body: Option<Secret<Json>>,
}

/// Why there is none, in words that are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// What went wrong.
    pub why: &'static str,
    /// What was answered, where it was an answer that said no.
    pub status: Option<StatusCode>,
    /// Which setting it points at, if one.
    pub hint: Option<&'static str>,
}

impl Crest {
    /// Asks, by the configuration's deadline.
    ///
    /// # Errors
    /// If no answer came, or only a part of it.
    pub async fn ask(&self, question: &Question<'_>) -> Result<Seen, Unanswered> {
        let (name, request) = match question {
            Question::Find(at, filter, want) => (Name::Find, self.query(at, filter, want, 2)),
            Question::Read(at, id, want) => (Name::Read, named(id).and_then(|id| self.reading(at, &id, want))),
            Question::Patch(at, id, revision, change) => {
                let change = std::slice::from_ref(change);
                (Name::Patch, named(id).and_then(|id| self.patching(at, &id, Some(revision), change)))
            }
            Question::Act(action, body) => (Name::Mail, self.acting(action, body.clone())),
            Question::Policy(at) => (Name::Policy, self.policy(at)),
            Question::Validate(at, field) => (Name::Policy, self.validating(at, field, &Secret::new(""))),
            Question::Get(url) => (Name::Read, self.getting(url)),
        };
        let request = request?;
        let asked = Instant::now();
        let answer = self.calls.call(&asker(), name).send(&request, || None).await?.answer;
        let (status, headers) = (answer.status, answer.headers().clone());
        let text = |name: &HeaderName| text(&headers, name);
        let media = text(&CONTENT_TYPE).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let location = text(&LOCATION).map(|to| to.split(['?', '#']).next().unwrap_or_default().to_owned());
        let body = answer.body().await?;
        let took = asked.elapsed();
        Ok(Seen { status, date: text(&DATE), media, location, took, body: serde_json::from_slice(body.expose()).ok() })
    }

    /// Fetches a token, where there are such; `None` where the credentials are always the same.
    pub async fn fetch_token(&self) -> Option<Result<(), Unanswered>> {
        self.calls.fetch_token().await.map(|fetched| fetched.map_err(Into::into))
    }

    fn getting(&self, url: &Url) -> Result<Outgoing, Failure> {
        let uri = Uri::try_from(url.as_str()).map_err(|_| Failure::unsent(Kind::Request))?;
        let headers = Arc::clone(&self.headers);
        Ok(Outgoing { method: Method::GET, uri, headers, own: Vec::new(), body: Bytes::new() })
    }
}

impl Seen {
    /// Whether its body is JSON, whatever it says of it.
    pub const fn is_json(&self) -> bool {
        self.body.is_some()
    }

    /// Whether it is an error as CREST has them, and not one of something in between.
    pub fn is_crest_error(&self) -> bool {
        let code = self.json().and_then(|body| body.get("code")).and_then(Value::as_u64);
        code == Some(u64::from(self.status.as_u16()))
    }

    /// Whether it is IDM's answer to `info/ping`, or its word that the caller may not ask.
    pub fn is_ping(&self) -> bool {
        match self.status.as_u16() {
            200 => self.json().is_some_and(|body| body.get("state").or_else(|| body.get("shortDesc")).is_some()),
            401 | 403 => self.is_crest_error(),
            _ => false,
        }
    }

    /// Whether it is IDM's list of its own configuration.
    pub fn is_configuration(&self) -> bool {
        self.status == StatusCode::OK && self.json().is_some_and(|body| body.get("configurations").is_some())
    }

    /// Whether it says which rules of the password policy were broken.
    pub fn is_policy_refusal(&self) -> bool {
        self.json().is_some_and(|body| body.pointer("/detail/failedPolicyRequirements").is_some_and(Value::is_array))
    }

    /// How many rules it tells for an attribute; `None` if it is no such answer.
    pub fn policy_rules(&self, field: &Field) -> Option<usize> {
        policy::rules_of(self.json()?, field).map(|rules| rules.len())
    }

    /// How many rules it says that a value breaks; `None` if it is no such answer.
    pub fn policy_failures(&self, field: &Field) -> Option<usize> {
        policy::validation_of(self.json()?, field).map(|failures| failures.len())
    }

    /// The accounts of a page; `None` if it is none.
    pub fn page(&self, at: &Resource, want: &[Field]) -> Option<Vec<Account>> {
        let result = self.json()?.get("result")?.as_array()?;
        result.iter().map(|object| account(object, at, want)).collect()
    }

    fn json(&self) -> Option<&Value> {
        self.body.as_ref().map(|body| &body.expose().0)
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why)?;
        self.status.map_or(Ok(()), |status| write!(f, " ({})", status.as_u16()))
    }
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        let why = match failure.kind {
            Kind::Busy => "too many calls were under way",
            Kind::Open => "nobody was asked: too many calls had failed",
            Kind::Token => "there was no access token to ask with",
            Kind::Request => "the question cannot be put in a request",
            Kind::Connect => "no connection came about",
            Kind::Timeout => "no answer came in time",
            Kind::Lost => "the connection broke before the answer was there",
            Kind::TooLong => "the answer is too long",
            Kind::Status => "the answer says no",
            Kind::Malformed => "the answer is not what it should be",
        };
        Self { why, status: failure.status, hint: failure.hint }
    }
}

/// Who asks, in the store's own audit.
fn asker() -> Caller {
    let nobody = Caller::nobody();
    Caller { request: RequestId::parse("resetgate-doctor").unwrap_or(nobody.request), ..nobody }
}

fn named(id: &AccountId) -> Result<String, Failure> {
    segment(id).ok_or(Failure::unsent(Kind::Request))
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
