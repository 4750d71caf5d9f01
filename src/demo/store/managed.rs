//! `/openidm/managed/user`: query, read, patch, for the service user only.

use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    header::{ETAG, HeaderValue, IF_MATCH},
};
use serde_json::{Map, Value, json};

use super::{
    caller::Caller,
    filter::Filter,
    idm::{Idm, forbidden, object, parameter, unauthorized},
    people::Unchanged,
    policy,
};
use crate::demo::http::{self, Answer, Refusal};

/// `GET …/managed/user?_queryFilter=…`
pub(super) fn collection(idm: &Idm, request: &Request<Incoming>) -> Answer {
    query(idm, request).unwrap_or_else(|refusal| *refusal)
}

/// `GET` and `PATCH …/managed/user/{id}`
pub(super) async fn account(idm: &Idm, id: &str, request: Request<Incoming>) -> Answer {
    let answer = match *request.method() {
        Method::GET => read(idm, id, &request),
        Method::PATCH => patch(idm, id, request).await,
        _ => allowed(idm, &request).map(|()| http::not_allowed("GET, PATCH")),
    };
    answer.unwrap_or_else(|refusal| *refusal)
}

pub(super) fn allowed(idm: &Idm, request: &Request<Incoming>) -> Result<(), Refusal> {
    match Caller::of(request.headers(), idm) {
        Caller::Service => Ok(()),
        Caller::Anonymous | Caller::Person(_) => Err(forbidden().into()),
        Caller::Unknown => Err(unauthorized().into()),
    }
}

fn query(idm: &Idm, request: &Request<Incoming>) -> Result<Answer, Refusal> {
    allowed(idm, request)?;
    if request.method() != Method::GET {
        return Err(http::not_allowed("GET").into());
    }
    let text = parameter(request, "_queryFilter")?.ok_or_else(|| bad("The request has no _queryFilter"))?;
    idm.queried(&text);
    let filter = Filter::parse(&text).ok_or_else(|| bad("The _queryFilter could not be parsed or is not supported"))?;
    let fields = fields(request)?;
    let number = |name| match parameter(request, name)? {
        Some(text) => text.parse().map(Some).map_err(|_| bad("A paging parameter is not a number")),
        None => Ok(None),
    };
    // IDM's own: 0 is no limit. The cookie says where the next page begins.
    let limit = number("_pageSize")?.filter(|size| *size > 0).unwrap_or(usize::MAX);
    let skip = number("_pagedResultsCookie")?.unwrap_or(0);
    let (page, more) = idm.people.lock().find(&filter, skip, limit);
    let result: Vec<Value> = page.into_iter().map(|object| Value::Object(select(object, fields.as_deref()))).collect();
    Ok(http::ok(&json!({
        "resultCount": result.len(),
        "result": result,
        "pagedResultsCookie": more.then(|| (skip.saturating_add(limit)).to_string()),
        "totalPagedResultsPolicy": "NONE",
        "totalPagedResults": -1,
        "remainingPagedResults": -1,
    })))
}

fn read(idm: &Idm, id: &str, request: &Request<Incoming>) -> Result<Answer, Refusal> {
    allowed(idm, request)?;
    let fields = fields(request)?;
    let object = idm.people.lock().read(id).ok_or_else(not_found)?;
    Ok(shown(select(object, fields.as_deref())))
}

async fn patch(idm: &Idm, id: &str, request: Request<Incoming>) -> Result<Answer, Refusal> {
    allowed(idm, &request)?;
    let fields = fields(&request)?;
    let if_match = request.headers().get(IF_MATCH).map(|value| value.to_str().unwrap_or_default().trim().to_owned());
    let operations = object(request).await?;
    let changes = changes(&operations)?;
    let if_match = if_match.as_deref().map(|rev| rev.trim_matches('"'));
    let done = idm.people.lock().replace(id, if_match, changes);
    match done {
        Ok(object) => {
            idm.patched();
            Ok(shown(select(object, fields.as_deref())))
        }
        Err(Unchanged::NotFound) => Err(not_found()),
        Err(Unchanged::Stale) => {
            Err(http::refuse(StatusCode::PRECONDITION_FAILED, "The resource has changed: update version mismatch"))
        }
        Err(Unchanged::Malformed(message)) => Err(bad(message)),
        Err(Unchanged::Policy(failures)) => Err(http::json(StatusCode::FORBIDDEN, &policy::refusal(&failures)).into()),
    }
}

/// The fields and values of a patch; only `replace` is there.
fn changes(operations: &Value) -> Result<Vec<(String, Value)>, Refusal> {
    let operations = operations.as_array().ok_or_else(|| {
        bad("The request could not be processed because the provided content is not a JSON array of patch operations")
    })?;
    operations
        .iter()
        .map(|operation| {
            let text = |key: &str| operation.get(key).and_then(Value::as_str);
            if !text("operation").is_some_and(|name| name.eq_ignore_ascii_case("replace")) {
                return Err(bad("The patch has an operation that is not supported"));
            }
            let field = text("field").ok_or_else(|| bad("The patch has an operation without a field"))?;
            let value = operation.get("value").filter(|value| !value.is_null());
            let value = value.ok_or_else(|| bad("The patch has an operation without a value"))?;
            Ok((field.strip_prefix('/').unwrap_or(field).to_owned(), value.clone()))
        })
        .collect()
}

fn fields(request: &Request<Incoming>) -> Result<Option<Vec<String>>, Refusal> {
    let fields = parameter(request, "_fields")?;
    Ok(fields.map(|list| {
        list.split(',')
            .map(|field| field.trim().trim_matches('/').to_owned())
            .filter(|field| !field.is_empty())
            .collect()
    }))
}

/// `_id` and `_rev` are always shown; `*` and an empty list are everything.
fn select(mut object: Map<String, Value>, fields: Option<&[String]>) -> Map<String, Value> {
    if let Some(fields) = fields
        && !fields.is_empty()
        && !fields.iter().any(|field| field == "*")
    {
        object.retain(|key, _| matches!(key.as_str(), "_id" | "_rev") || fields.contains(key));
    }
    object
}

fn shown(object: Map<String, Value>) -> Answer {
    let etag =
        object.get("_rev").and_then(Value::as_str).and_then(|rev| HeaderValue::try_from(format!("\"{rev}\"")).ok());
    let mut answer = http::ok(&Value::Object(object));
    if let Some(etag) = etag {
        answer.headers_mut().insert(ETAG, etag);
    }
    answer
}

fn bad(message: &str) -> Refusal {
    http::refuse(StatusCode::BAD_REQUEST, message)
}

fn not_found() -> Refusal {
    http::refuse(StatusCode::NOT_FOUND, "Object not found in managed/user")
}
