//! The server's paths, apart from those of accounts.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use hyper::{Method, Request, StatusCode, body::Incoming};
use parking_lot::Mutex;
use percent_encoding::percent_decode;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    caller::Caller,
    echo::echo,
    email::{self, Letters},
    managed,
    people::{Password, People},
    policy,
};
use crate::demo::{
    http::{self, Answer, Refusal},
    page,
};

/// How many queries are remembered.
const QUERIES: usize = 1000;

/// The server's state.
pub(super) struct Idm {
    pub(super) people: Mutex<People>,
    pub(super) service_password: Password,
    /// The access token that is the service user's, where there is one.
    pub(super) token: Mutex<Option<Password>>,
    patches: AtomicU64,
    stock_reset_hits: AtomicU64,
    queries: Mutex<VecDeque<String>>,
    pub(super) letters: Letters,
    /// Whether its own reset is on, by which strangers are told the password policy.
    pub(super) own_reset: AtomicBool,
    /// Whether the service user is.
    pub(super) tells_policy: AtomicBool,
}

impl Idm {
    pub(super) fn new(service_password: &str) -> Self {
        Self {
            people: Mutex::default(),
            service_password: Password::new(service_password),
            token: Mutex::default(),
            patches: AtomicU64::new(0),
            stock_reset_hits: AtomicU64::new(0),
            queries: Mutex::default(),
            letters: Letters::default(),
            own_reset: AtomicBool::new(true),
            tells_policy: AtomicBool::new(true),
        }
    }

    pub(super) fn patches(&self) -> u64 {
        self.patches.load(Ordering::SeqCst)
    }

    pub(super) fn patched(&self) {
        self.patches.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn stock_reset_hits(&self) -> u64 {
        self.stock_reset_hits.load(Ordering::SeqCst)
    }

    pub(super) fn queries(&self) -> Vec<String> {
        self.queries.lock().iter().cloned().collect()
    }

    pub(super) fn queried(&self, filter: &str) {
        let mut queries = self.queries.lock();
        if queries.len() == QUERIES {
            queries.pop_front();
        }
        queries.push_back(filter.to_owned());
    }

    /// Answers one request.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let segments = segments(request.uri().path());
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        if let ["openidm", "selfservice", "reset", ..] = path.as_slice() {
            self.stock_reset_hits.fetch_add(1, Ordering::SeqCst);
            return http::error(StatusCode::INTERNAL_SERVER_ERROR, "the stock reset must never be reached");
        }
        if let ["openidm", ..] = path.as_slice()
            && let Some(refusal) = unguarded(&request)
        {
            return refusal;
        }
        let read = request.method() == Method::GET || request.method() == Method::HEAD;
        match path.as_slice() {
            ["openidm", "managed", "user"] => managed::collection(&self, &request),
            ["openidm", "managed", "user", id] => managed::account(&self, id, request).await,
            ["openidm", "external", "email"] => email::service(&self, request).await,
            ["openidm", "policy", "selfservice", "reset"] if self.own_reset.load(Ordering::SeqCst) => {
                policy_resource(request, "selfservice/reset").await
            }
            ["openidm", "policy", "managed", "user", rest @ ..] if rest.is_empty() || rest == ["-"] => {
                match Caller::of(request.headers(), &self) {
                    Caller::Service if self.tells_policy.load(Ordering::SeqCst) => {
                        policy_resource(request, "managed/user").await
                    }
                    _ => forbidden(),
                }
            }
            ["openidm", "policy", ..] => forbidden(),
            ["openidm", "authentication"] => self.authentication(&request),
            ["openidm", "info", what] if read => info(what),
            [] if read => page::file("/"),
            [file] if read && page::has(file) => page::file(file),
            _ => echo(request).await,
        }
    }

    fn authentication(&self, request: &Request<Incoming>) -> Answer {
        match (request.method(), action(request).as_deref()) {
            (&Method::GET, _) => http::ok(&json!({"_id": "", "providers": []})),
            (&Method::POST, Some("logout")) => http::ok(&json!({"_id": "", "success": true})),
            (&Method::POST, Some("login")) => match Caller::of(request.headers(), self) {
                Caller::Person(id) => http::ok(&authorization(&id, "managed/user", "openidm-authorized")),
                Caller::Service => {
                    http::ok(&authorization(super::SERVICE_USER, "internal/user", "openidm-reset-service"))
                }
                Caller::Anonymous | Caller::Unknown => unauthorized(),
            },
            _ => forbidden(),
        }
    }
}

/// The path as a lenient server may understand it: decoded, without parameters, empty segments and dots resolved. Every
/// spelling of the reset path is the reset path, so that a gate that one of them slips past is found out.
fn segments(path: &str) -> Vec<String> {
    let decoded = percent_decode(path.as_bytes()).decode_utf8_lossy().into_owned();
    let mut segments = Vec::new();
    for segment in decoded.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment.to_owned()),
        }
    }
    segments
}

/// IDM's guard against cross-site requests: whatever changes something needs a header that a plain form cannot send.
fn unguarded(request: &Request<Incoming>) -> Option<Answer> {
    const ANY_OF: [&str; 3] = ["x-requested-with", "authorization", "x-openidm-username"];
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    (!safe && !ANY_OF.iter().any(|name| request.headers().contains_key(*name))).then(forbidden)
}

async fn policy_resource(request: Request<Incoming>, resource: &str) -> Answer {
    if request.method() == Method::GET {
        return http::ok(&policy::description(resource));
    }
    if request.method() != Method::POST || action(&request).as_deref() != Some("validateObject") {
        return forbidden();
    }
    let object: Value = match object(request).await {
        Ok(object) => object,
        Err(refusal) => return *refusal,
    };
    match object.get("password") {
        Some(Value::String(password)) => http::ok(&policy::validation(password, resource)),
        None => http::ok(&json!({"result": true, "failedPolicyRequirements": []})),
        Some(_) => http::error(StatusCode::BAD_REQUEST, "The password must be a text"),
    }
}

fn info(what: &str) -> Answer {
    match what {
        "ping" => http::ok(&json!({"_id": "", "_rev": "", "shortDesc": "OpenIDM ready", "state": "ACTIVE_READY"})),
        "uiconfig" => http::ok(
            &json!({"_id": "", "configuration": {"lang": "en", "passwordReset": true, "selfRegistration": false}}),
        ),
        "features" => http::ok(&json!({
            "result": [{"_id": "passwordReset", "name": "passwordReset", "enabled": true, "endpoints": ["selfservice/reset"]}],
            "resultCount": 1,
            "pagedResultsCookie": null,
            "totalPagedResultsPolicy": "NONE",
            "totalPagedResults": -1,
            "remainingPagedResults": -1,
        })),
        _ => http::error(StatusCode::NOT_FOUND, "Resource not found"),
    }
}

fn authorization(id: &str, component: &str, role: &str) -> Value {
    json!({
        "_id": "login",
        "authorization": {
            "component": component,
            "authLogin": false,
            "roles": [format!("internal/role/{role}")],
            "id": id,
            "moduleId": "MANAGED_USER",
        },
        "authenticationId": id,
    })
}

/// The body as JSON, or the error to answer.
pub(super) async fn object(request: Request<Incoming>) -> Result<Value, Refusal> {
    let content_type = request.headers().get("content-type").map(|value| value.to_str().unwrap_or_default());
    let essence = content_type.and_then(|value| value.split(';').next()).map(|value| value.trim().to_ascii_lowercase());
    if essence.is_some_and(|essence| essence != "application/json") {
        return Err(http::refuse(
            StatusCode::BAD_REQUEST,
            "The request could not be processed because only the content-type 'application/json' is supported",
        ));
    }
    let body = http::body(request.into_body()).await?;
    serde_json::from_slice(&body).map_err(|_| {
        http::refuse(
            StatusCode::BAD_REQUEST,
            "The request could not be processed because the provided content is not valid JSON",
        )
    })
}

/// The decoded query parameter of that name; `Err` if it is there more than once.
pub(super) fn parameter(request: &Request<Incoming>, name: &str) -> Result<Option<String>, Refusal> {
    let query = request.uri().query().unwrap_or_default();
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key.eq_ignore_ascii_case(name));
    let value = values.next().map(|(_, value)| value.into_owned());
    if values.next().is_some() {
        let message = format!("Multiple values provided for the single-valued request parameter '{name}'");
        return Err(http::refuse(StatusCode::BAD_REQUEST, &message));
    }
    Ok(value)
}

pub(super) fn action(request: &Request<Incoming>) -> Option<String> {
    parameter(request, "_action").ok().flatten()
}

/// 403, with a small d: the caller may not.
pub(super) fn forbidden() -> Answer {
    http::error(StatusCode::FORBIDDEN, "Access denied")
}

/// 401, with a capital D: the credentials are wrong.
pub(super) fn unauthorized() -> Answer {
    http::error(StatusCode::UNAUTHORIZED, "Access Denied")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_reset_path_is_the_reset_path() {
        for path in [
            "/openidm/selfservice/reset",
            "/openidm/selfservice/reset/",
            "//openidm//selfservice/./reset",
            "/openidm/selfservice/%72eset",
            "/openidm/x/../selfservice/reset",
            "/openidm/x/%2e%2e/selfservice/reset",
            "/openidm%2Fselfservice%2freset",
            "/openidm;a=b/selfservice;c/reset;d=e",
        ] {
            assert_eq!(segments(path), ["openidm", "selfservice", "reset"], "{path}");
        }
        assert_eq!(segments("/openidm/selfservice/RESET"), ["openidm", "selfservice", "RESET"]);
    }
}
