//! IDM, and whatever else speaks ForgeRock's Common REST.

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, IF_MATCH},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use reqwest::{Method, Request};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::{
    Unusable,
    http::{Bounds, Call, Failure, Http, Kind, Name},
    policy,
};
use crate::{
    config::Identity,
    reset::{
        filter::Filter,
        ports::{Account, AccountId, Accounts, Change, Down, Field, Json, Patched, Resource, Revision, Secret},
    },
};

const USERNAME: HeaderName = HeaderName::from_static("x-openidm-username");
const PASSWORD: HeaderName = HeaderName::from_static("x-openidm-password");
/// Without it, IDM makes a session for the service user and answers with its cookie.
const NO_SESSION: HeaderName = HeaderName::from_static("x-openidm-nosession");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Everything but what RFC 3986 never gives a meaning: an id may hold `;`, which servlet containers cut off.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The attribute that holds an account's revision.
const REV: &str = "_rev";

/// An identity store that speaks CREST.
pub struct Crest {
    http: Http,
    base: String,
}

impl Crest {
    /// The store that the configuration names, asked as its service user. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Unusable`], where no client can be made; a TLS crypto provider must be installed first.
    pub fn new(config: &Identity) -> Result<Self, Unusable> {
        Self::bounded(config, Bounds { calls: config.max_concurrent, ..Bounds::default() })
    }

    /// Calls under way at the moment.
    pub fn under_way(&self) -> usize {
        self.http.under_way()
    }

    /// The same, with bounds of the caller's.
    pub(super) fn bounded(config: &Identity, bounds: Bounds) -> Result<Self, Unusable> {
        let headers = HeaderMap::from_iter([
            (ACCEPT, JSON),
            (USERNAME, credential(&config.username)?),
            (PASSWORD, credential(config.password.expose())?),
            (NO_SESSION, HeaderValue::from_static("true")),
        ]);
        let http = Http::new(headers, config.url.scheme() == "https", bounds)?;
        Ok(Self { http, base: config.url.as_str().trim_end_matches('/').to_owned() })
    }

    async fn look_up(
        &self,
        call: &Call<'_>,
        at: &Resource,
        filter: &Filter,
        want: &[Field],
    ) -> Result<Vec<Account>, Failure> {
        #[derive(Deserialize)]
        struct Page {
            result: Vec<Secret<Json>>,
        }
        let filter = filter.to_crest();
        let filter = encode(&filter);
        let query = format!("?_queryFilter={filter}&_fields={}&_pageSize=2", fields(at, want));
        let answer = call.send(self.request(Method::GET, at, None, &query)?).await?;
        answer
            .read(|body| {
                let page: Page = serde_json::from_slice(body).ok()?;
                // Not every store heeds the page size. One without an id spoils the page: left out, it would make the
                // other look like the only one.
                page.result.iter().take(2).map(|object| account(&object.expose().0, at, want)).collect()
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
        let query = format!("?_fields={}", fields(at, want));
        let answer = call.send(self.request(Method::GET, at, Some(&segment), &query)?).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let parse = |body: &[u8]| {
            let object: Secret<Json> = serde_json::from_slice(body).ok()?;
            account(&object.expose().0, at, want)
        };
        answer.read(parse).await.map(Some)
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
        let mut request = self.request(Method::PATCH, at, Some(&segment), "")?;
        request.headers_mut().insert(CONTENT_TYPE, JSON);
        if let Some(Revision(revision)) = revision {
            request.headers_mut().insert(IF_MATCH, HeaderValue::from_str(&format!("\"{revision}\""))?);
        }
        *request.body_mut() = Some(operations(changes)?.into());
        let answer = call.send(request).await?;
        match answer.status {
            // The body would be the whole account.
            status if status.is_success() => Ok(Patched::Done),
            StatusCode::NOT_FOUND => Ok(Patched::Gone),
            StatusCode::PRECONDITION_FAILED => Ok(Patched::Stale),
            status if status.is_client_error() => {
                // Whether or not the reason arrives, a 4xx means that nothing was done.
                let refused = answer.body().await.ok().and_then(|body| policy::read(body.expose()));
                refused.map(Patched::Refused).ok_or(Failure::status(status))
            }
            status => Err(Failure::status(status)),
        }
    }

    /// A request to the resource, or to one account in it.
    fn request(&self, method: Method, at: &Resource, segment: Option<&str>, query: &str) -> Result<Request, Failure> {
        let mut url = format!("{}/{}", self.base, at.path);
        if let Some(segment) = segment {
            url.push('/');
            url.push_str(segment);
        }
        url.push_str(query);
        Ok(Request::new(method, Url::parse(&url).map_err(|_| Failure::unsent(Kind::Request))?))
    }
}

#[async_trait]
impl Accounts for Crest {
    async fn find(&self, at: &Resource, filter: &Filter, want: &[Field]) -> Result<Vec<Account>, Down> {
        let call = self.http.call(Name::Find);
        // Whatever it answered, it is there: it may well answer other questions.
        self.look_up(&call, at, filter, want).await.map_err(|failure| call.failed(failure.reached()))
    }

    async fn read(&self, at: &Resource, id: &AccountId, want: &[Field]) -> Result<Option<Account>, Down> {
        let call = self.http.call(Name::Read);
        self.fetch(&call, at, id, want).await.map_err(|failure| call.failed(failure))
    }

    async fn patch(
        &self,
        at: &Resource,
        id: &AccountId,
        revision: Option<&Revision>,
        changes: &[Change<'_>],
    ) -> Result<Patched, Down> {
        let call = self.http.call(Name::Patch);
        self.replace(&call, at, id, revision, changes).await.map_err(|failure| call.failed(failure))
    }
}

/// A header that says the text. IDM reads what is not plain ASCII in RFC 5987's spelling only.
fn credential(text: &str) -> Result<HeaderValue, Unusable> {
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.trim() == text;
    let mut value =
        if plain { HeaderValue::from_str(text) } else { HeaderValue::from_str(&format!("UTF-8''{}", encode(text))) }
            .map_err(|_| Unusable::Credentials)?;
    value.set_sensitive(true);
    Ok(value)
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
    let revision = text(object, &Field::new(REV)).filter(|revision| is_entity_tag(revision)).map(Revision);
    Some(Account { id: AccountId(text(object, &at.id_field)?), revision, attributes })
}

fn text(object: &Value, field: &Field) -> Option<String> {
    match object.pointer(&format!("/{}", field.as_str()))? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(bool) => Some(bool.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
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
        value: &'a str,
    }
    let operations: Vec<_> = changes
        .iter()
        .map(|change| Operation {
            operation: "replace",
            field: format!("/{}", change.field.as_str()),
            value: change.value.expose(),
        })
        .collect();
    // JSON spells a byte in six at most.
    let room =
        operations.iter().map(|operation| 64 + 6 * (operation.field.len() + operation.value.len())).sum::<usize>();
    let mut body = Secret::of(Vec::with_capacity(room + 2));
    serde_json::to_writer(body.expose_mut(), &operations).map_err(|_| Failure::unsent(Kind::Request))?;
    Ok(body.into_bytes())
}
