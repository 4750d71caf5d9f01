//! IDM, and whatever else speaks ForgeRock's Common REST.

mod actions;
mod policies;
mod questions;

use std::{collections::hash_map::RandomState, hash::BuildHasher, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{ACCEPT, CONTENT_TYPE, IF_MATCH},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;

pub use self::{
    actions::Action,
    questions::{Question, Seen, Unanswered},
};
use super::{
    Health, Unusable,
    calls::{Call, Calls, Name},
    policy,
};
use crate::{
    config::Identity,
    outbound::{self, Failure, Kind, Outgoing},
    reset::{
        filter::Filter,
        ports::{
            Account, AccountId, Accounts, Caller, Change, Clock, Down, Field, Json, NewValue, Patched, Resource,
            Revision, Secret,
        },
    },
    telemetry::metrics::Metrics,
};

/// Without it, IDM makes a session for the service user and answers with its cookie.
const NO_SESSION: HeaderName = HeaderName::from_static("x-openidm-nosession");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Everything but what RFC 3986 never gives a meaning: an id may hold `;`, which servlet containers cut off.
pub(super) const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The attribute that holds an account's revision.
const REV: &str = "_rev";

/// An identity store that speaks CREST.
pub struct Crest {
    calls: Calls,
    headers: Arc<HeaderMap>,
    base: String,
    /// Errands that may be under way, which are no steps of a reset: letters, sessions to be ended.
    errands: Semaphore,
}

impl Crest {
    /// The store that the configuration names, asked as its service user. Nothing is sent yet. Tokens and the breaker go
    /// by the clock; connections and calls do not.
    ///
    /// # Errors
    /// [`Unusable`], where no client can be made.
    pub fn new(config: &Identity, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Result<Self, Unusable> {
        Self::of(config, Calls::new(config, clock, metrics)?)
    }

    /// How the store is, as far as is known without asking it.
    pub fn health(&self) -> Health {
        self.calls.health()
    }

    /// Calls under way at the moment.
    pub fn under_way(&self) -> usize {
        self.calls.under_way()
    }

    pub(super) fn of(config: &Identity, calls: Calls) -> Result<Self, Unusable> {
        let mut headers = calls.headers();
        headers.insert(ACCEPT, JSON);
        headers.insert(NO_SESSION, HeaderValue::from_static("true"));
        let base = config.endpoints.url.as_str().trim_end_matches('/').to_owned();
        Uri::try_from(&base).map_err(|_| outbound::Unusable::Url)?;
        let errands = Semaphore::new(actions::most(config.max_concurrent));
        Ok(Self { calls, headers: Arc::new(headers), base, errands })
    }

    async fn look_up(
        &self,
        call: &Call<'_>,
        at: &Resource,
        filter: &Filter,
        want: &[Field],
        most: usize,
    ) -> Result<Vec<Account>, Failure> {
        #[derive(Deserialize)]
        struct Page {
            result: Vec<Secret<Json>>,
        }
        let answered = call.send(&self.query(at, filter, want, most)?, || self.nobody(at)).await?;
        answered
            .answer
            .read(|body| {
                let page: Page = serde_json::from_slice(body).ok()?;
                // Not every store heeds the page size. One without an id spoils the page: left out, it would make the
                // others look like all there are.
                page.result.iter().take(most).map(|object| account(&object.expose().0, at, want)).collect()
            })
            .await
    }

    async fn fetch(
        &self,
        call: &Call<'_>,
        at: &Resource,
        id: &AccountId,
        want: &[Field],
    ) -> Result<Option<Account>, Failure> {
        let Some(segment) = segment(id) else { return Ok(None) };
        let answered = call.send(&self.reading(at, &segment, want)?, || self.nobody(at)).await?;
        if answered.answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let parse = |body: &[u8]| {
            let object: Secret<Json> = serde_json::from_slice(body).ok()?;
            account(&object.expose().0, at, want)
        };
        answered.answer.read(parse).await.map(Some)
    }

    async fn replace(
        &self,
        call: &Call<'_>,
        at: &Resource,
        id: &AccountId,
        revision: Option<&Revision>,
        changes: &[Change<'_>],
    ) -> Result<Patched, Failure> {
        let Some(segment) = segment(id) else { return Ok(Patched::Gone) };
        let request = self.patching(at, &segment, revision, changes)?;
        let answered = call.send(&request, || self.nobody(at)).await?;
        match answered.answer.status {
            // The body would be the whole account.
            status if status.is_success() => Ok(Patched::Done),
            StatusCode::NOT_FOUND => Ok(Patched::Gone),
            StatusCode::PRECONDITION_FAILED => Ok(Patched::Stale),
            status if status.is_client_error() => {
                // Whether or not the reason arrives, a 4xx means that nothing was done.
                let refused = answered.answer.body().await.ok().and_then(|body| policy::read(body.expose()));
                refused.map(Patched::Refused).ok_or(Failure::status(status))
            }
            status => Err(Failure::status(status)),
        }
    }

    fn query(&self, at: &Resource, filter: &Filter, want: &[Field], most: usize) -> Result<Outgoing, Failure> {
        let filter = filter.to_crest();
        let filter = encode(&filter);
        self.request(
            Method::GET,
            at,
            None,
            &format!("?_queryFilter={filter}&_fields={}&_pageSize={most}", fields(at, want)),
        )
    }

    fn reading(&self, at: &Resource, segment: &str, want: &[Field]) -> Result<Outgoing, Failure> {
        self.request(Method::GET, at, Some(segment), &format!("?_fields={}", fields(at, want)))
    }

    fn patching(
        &self,
        at: &Resource,
        segment: &str,
        revision: Option<&Revision>,
        changes: &[Change<'_>],
    ) -> Result<Outgoing, Failure> {
        let mut request = self.request(Method::PATCH, at, Some(segment), "")?;
        request.own.push((CONTENT_TYPE, JSON));
        if let Some(Revision(revision)) = revision {
            request.own.push((IF_MATCH, HeaderValue::from_str(&format!("\"{revision}\""))?));
        }
        request.body = operations(changes)?;
        Ok(request)
    }

    /// A request to the resource, or to one account in it.
    fn request(&self, method: Method, at: &Resource, segment: Option<&str>, query: &str) -> Result<Outgoing, Failure> {
        match segment {
            Some(segment) => self.below(method, &format!("{}/{segment}", at.path), query),
            None => self.below(method, &at.path, query),
        }
    }

    fn below(&self, method: Method, path: &str, query: &str) -> Result<Outgoing, Failure> {
        let uri = format!("{}/{path}{query}", self.base);
        let uri = Uri::try_from(uri).map_err(|_| Failure::unsent(Kind::Request))?;
        Ok(Outgoing { method, uri, headers: Arc::clone(&self.headers), own: Vec::new(), body: Bytes::new() })
    }

    /// Asks for somebody who cannot be there.
    fn nobody(&self, at: &Resource) -> Option<Outgoing> {
        let id = encode(at.id_field.as_str());
        let nobody = RandomState::new().hash_one(());
        let query = format!("?_queryFilter={id}%20eq%20%22{nobody:016x}%22&_fields={id}&_pageSize=1");
        self.request(Method::GET, at, None, &query).ok()
    }
}

#[async_trait]
impl Accounts for Crest {
    async fn find(
        &self,
        caller: &Caller,
        at: &Resource,
        filter: &Filter,
        want: &[Field],
        most: usize,
    ) -> Result<Vec<Account>, Down> {
        let call = self.calls.call(caller, Name::Find);
        // Whatever it answered, it is there: it may well answer other questions.
        call.ended(self.look_up(&call, at, filter, want, most).await.map_err(Failure::reached))
    }

    async fn read(
        &self,
        caller: &Caller,
        at: &Resource,
        id: &AccountId,
        want: &[Field],
    ) -> Result<Option<Account>, Down> {
        let call = self.calls.call(caller, Name::Read);
        call.ended(self.fetch(&call, at, id, want).await)
    }

    async fn patch(
        &self,
        caller: &Caller,
        at: &Resource,
        id: &AccountId,
        revision: Option<&Revision>,
        changes: &[Change<'_>],
    ) -> Result<Patched, Down> {
        let call = self.calls.call(caller, Name::Patch);
        call.ended(self.replace(&call, at, id, revision, changes).await)
    }
}

fn encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, ENCODED)
}

/// The id as one segment of a path; `None` for what no account can be called, because a path would mean something else.
fn segment(AccountId(id): &AccountId) -> Option<String> {
    (!matches!(id.as_str(), "" | "." | "..")).then(|| encode(id).to_string())
}

/// The id, the revision and the wanted fields, each once.
fn fields(at: &Resource, want: &[Field]) -> String {
    let mut names = vec![at.id_field.as_str(), REV];
    for field in want {
        if !names.contains(&field.as_str()) {
            names.push(field.as_str());
        }
    }
    names.into_iter().map(|name| encode(name).to_string()).collect::<Vec<_>>().join(",")
}

/// What the object says of an account; `None` if it is not one.
fn account(object: &Value, at: &Resource, want: &[Field]) -> Option<Account> {
    let attributes = want.iter().filter_map(|field| Some((field.clone(), Secret::new(text(object, field)?)))).collect();
    let structures = want.iter().filter_map(|field| Some((field.clone(), structure(object, field)?))).collect();
    let revision = text(object, &Field::new(REV)).filter(|revision| is_entity_tag(revision)).map(Revision);
    Some(Account { id: AccountId(text(object, &at.id_field)?), revision, attributes, structures })
}

fn text(object: &Value, field: &Field) -> Option<String> {
    match object.pointer(&format!("/{}", field.as_str()))? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(bool) => Some(bool.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A list or an object, as JSON: it may hold what an account answers to prove that it is itself.
fn structure(object: &Value, field: &Field) -> Option<Secret> {
    let value = object.pointer(&format!("/{}", field.as_str()))?;
    matches!(value, Value::Array(_) | Value::Object(_)).then(|| Secret::new(value.to_string()))
}

/// Whether `If-Match` can say it. A revision that it cannot say is as good as none.
fn is_entity_tag(revision: &str) -> bool {
    !revision.is_empty() && revision.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
}

/// The body of a PATCH. It holds a password, so it is wiped, and has room enough from the start never to be moved.
fn operations(changes: &[Change<'_>]) -> Result<Bytes, Failure> {
    #[derive(Serialize)]
    struct Operation<'a> {
        operation: &'static str,
        field: String,
        value: Written<'a>,
    }
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Written<'a> {
        Text(&'a str),
        Number(u32),
    }
    let long = |value: &Written<'_>| if let Written::Text(text) = value { text.len() } else { 0 };
    let operations: Vec<_> = changes
        .iter()
        .map(|change| Operation {
            operation: "replace",
            field: format!("/{}", change.field.as_str()),
            value: match change.value {
                NewValue::Text(text) => Written::Text(text.expose()),
                NewValue::Number(number) => Written::Number(number),
            },
        })
        .collect();
    // JSON spells a byte in six at most.
    let room =
        operations.iter().map(|operation| 64 + 6 * (operation.field.len() + long(&operation.value))).sum::<usize>();
    let mut body = Secret::of(Vec::with_capacity(room + 2));
    serde_json::to_writer(body.expose_mut(), &operations).map_err(|_| Failure::unsent(Kind::Request))?;
    Ok(body.into_bytes())
}
