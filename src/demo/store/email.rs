//! `/openidm/external/email`: IDM's own mail service, for the service user only. It keeps what it is to send.

use std::collections::VecDeque;

use bytes::Bytes;
use hyper::{Method, Request, StatusCode, body::Incoming};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    idm::{Idm, action, forbidden},
    managed::allowed,
};
use crate::demo::http::{self, Answer, Refusal};

/// How many letters are remembered.
const LETTERS: usize = 1000;

/// A request to send a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its query, as it came.
    pub query: String,
    /// Its body, likewise.
    pub body: String,
}

/// What was sent, and what is answered.
#[derive(Default)]
pub(super) struct Letters {
    sent: Mutex<VecDeque<Sent>>,
    answer: Mutex<Option<(StatusCode, String)>>,
}

impl Letters {
    pub(super) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().iter().cloned().collect()
    }

    pub(super) fn answer(&self, answer: Option<(u16, &str)>) {
        let status = |status| StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *self.answer.lock() = answer.map(|(code, message)| (status(code), message.to_owned()));
    }
}

/// `POST …/external/email?_action=send`
pub(super) async fn service(idm: &Idm, request: Request<Incoming>) -> Answer {
    send(idm, request).await.unwrap_or_else(|refusal| *refusal)
}

async fn send(idm: &Idm, request: Request<Incoming>) -> Result<Answer, Refusal> {
    allowed(idm, &request)?;
    if request.method() != Method::POST || action(&request).as_deref() != Some("send") {
        return Err(forbidden().into());
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body: Bytes = http::body(request.into_body()).await?;
    let letter: Value = serde_json::from_slice(&body)
        .map_err(|_| http::refuse(StatusCode::BAD_REQUEST, "The provided content is not valid JSON"))?;
    if let Some((status, message)) = &*idm.letters.answer.lock() {
        return Err(http::refuse(*status, message));
    }
    if !letter.get("to").and_then(Value::as_str).is_some_and(|to| to.contains('@')) {
        return Err(http::refuse(StatusCode::BAD_REQUEST, "Bad To: email address"));
    }
    let mut sent = idm.letters.sent.lock();
    if sent.len() == LETTERS {
        sent.pop_front();
    }
    sent.push_back(Sent { query, body: String::from_utf8_lossy(&body).into_owned() });
    Ok(http::ok(&json!({"status": "OK", "message": "Email sent"})))
}
