//! What goes over the wire, JSON equal to IDM's.

mod body;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::ports::{Policy, Secret};
pub use body::{Input, Submission};

/// An answer on the reset path. Its body is compact JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The JSON.
    pub body: Bytes,
    /// `Retry-After`, with 429 and 503.
    pub retry_after: Option<Duration>,
    /// The client's budget that is spent, with 429: `RateLimit-Policy` and `RateLimit`.
    pub policy: Option<Policy>,
    /// `ETag`, on the GET.
    pub etag: Option<String>,
}

/// Without the body, which may hold a token.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Room for an answer with its token, which is never moved then.
const ROOM: usize = 4 << 10;

impl Reply {
    /// That JSON, with that status and nothing besides.
    pub const fn of(status: u16, body: Bytes) -> Self {
        Self { status, body, retry_after: None, policy: None, etag: None }
    }

    /// Whether whoever asks the same again is to be told the same: a 429 or a 5xx may be another answer a moment later.
    pub const fn is_settled(&self) -> bool {
        matches!(self.status, 200 | 400)
    }

    /// A 200 with that body.
    pub fn ok(body: &impl Serialize) -> Self {
        // Values made of maps, texts and booleans always serialise; an empty body would only make a client complain.
        let mut bytes = Secret::of(Vec::with_capacity(ROOM));
        let body = match serde_json::to_writer(bytes.expose_mut(), body) {
            // Without the room that it did not need: answers are kept for repeats.
            Ok(()) => Secret::of(bytes.expose().as_slice().to_vec()).into_bytes(),
            Err(_) => Bytes::new(),
        };
        Self::of(200, body)
    }

    /// A 200 with that JSON.
    pub fn written(json: String) -> Self {
        Self::of(200, Secret::new(json).into_bytes())
    }

    /// A CREST error: `{"code","reason","message"}`. `message` must be a constant of ours: clients render it as HTML.
    pub fn error(status: u16, message: &str) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            code: u16,
            reason: &'static str,
            message: &'a str,
        }
        // Nobody's secret, so nothing is to be wiped.
        let body = serde_json::to_vec(&Body { code: status, reason: reason(status), message });
        Self::of(status, body.map(Bytes::from).unwrap_or_default())
    }

    /// The same, with `Retry-After`.
    pub fn retry(status: u16, message: &str, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::error(status, message) }
    }

    /// The answer of a limit.
    pub fn too_many(retry_after: Duration, policy: Option<Policy>) -> Self {
        Self { policy, ..Self::retry(429, "Too many requests, try again later", retry_after) }
    }
}

/// CREST's reason phrases, which are not quite HTTP's: 408 and 504 are "Time-out", unknown codes "Resource Exception".
pub const fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Time-out",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        428 => "Precondition Required",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Time-out",
        _ => "Resource Exception",
    }
}

/// What a stage asks, as it goes out: JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirements(Arc<str>);

impl Requirements {
    /// That.
    pub fn of(schema: &Value) -> Self {
        Self(schema.to_string().into())
    }
}

/// A flow's answer: what a stage asks, and the token to answer it with, if there is one. It is made as long as it will be,
/// so that it is never moved; there is nothing to escape in names and tokens.
pub fn progress(stage: &str, tag: &str, requirements: &Requirements, token: Option<&Secret>) -> String {
    let (before, token, after) = match token {
        Some(token) => (r#","token":""#, token.expose().as_str(), r#""}"#),
        None => ("", "", "}"),
    };
    [r#"{"type":""#, stage, r#"","tag":""#, tag, r#"","requirements":"#, &*requirements.0, before, token, after]
        .concat()
}

/// A stage's requirements: a JSON schema of its input. `properties` are (name, description) of texts.
pub fn requirements(description: &str, required: &[&str], properties: &[(&str, &str)]) -> Value {
    let properties: Map<String, Value> = properties
        .iter()
        .map(|(name, description)| ((*name).to_owned(), json!({"description": description, "type": "string"})))
        .collect();
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-04/schema#",
        "description": description,
        "type": "object",
    });
    if let Some(members) = schema.as_object_mut() {
        if !required.is_empty() {
            members.insert("required".to_owned(), json!(required));
        }
        members.insert("properties".to_owned(), properties.into());
    }
    schema
}
