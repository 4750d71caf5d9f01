//! What any other path answers: the request as it arrived, so that people see that a gate in front left it alone.

use hyper::{Request, body::Incoming};
use serde_json::{Value, json};

use crate::demo::http::{self, Answer};

/// How much of a body is shown.
const SHOWN: usize = 4 * 1024;

/// The request, as JSON.
pub(super) async fn echo(request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let (body, length) = match http::measure(body, SHOWN).await {
        Ok(measured) => measured,
        Err(refusal) => return *refusal,
    };
    let headers: Vec<Value> = head
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    http::ok(&json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "headers": headers,
        "bodyLength": length,
        "body": String::from_utf8_lossy(&body),
    }))
}
