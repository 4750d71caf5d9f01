//! A line of the table, and the bytes that it sends.

use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{cast::Cast, oracles::Outcome};
use crate::support::{raw::latin1, setup::PATH};

#[derive(Deserialize)]
pub(super) struct Case {
    pub(super) id: String,
    pub(super) class: String,
    method: String,
    path: String,
    #[serde(default)]
    headers: Map<String, Value>,
    pub(super) body: Value,
    raw: Option<String>,
    pub(super) steps: Option<String>,
    pub(super) expect: Expect,
}

#[derive(Deserialize)]
pub(super) struct Expect {
    pub(super) status: Vec<String>,
    pub(super) property: String,
    pub(super) oracle: Vec<String>,
}

/// What goes over the wire.
pub(super) struct Request {
    pub(super) bytes: Vec<u8>,
    pub(super) target: String,
}

impl Case {
    pub(super) async fn request(&self, cast: &mut Cast<'_>) -> Request {
        if let Some(raw) = &self.raw {
            let raw = cast.fill(raw).await;
            let target = raw.split(' ').nth(1).unwrap_or_default().to_owned();
            return Request { bytes: latin1(&raw), target };
        }
        let target = cast.fill(&self.path).await;
        let mut head = format!("{} {target} HTTP/1.1\r\nConnection: close\r\n", self.method);
        if !self.headers.contains_key("Host") {
            head += &format!("Host: {}\r\n", cast.host());
        }
        for (name, value) in &self.headers {
            let lines = match value {
                Value::Array(lines) => lines.as_slice(),
                one => std::slice::from_ref(one),
            };
            for line in lines {
                head += &format!("{name}: {}\r\n", cast.fill(line.as_str().unwrap()).await);
            }
        }
        let body = match &self.body {
            Value::Null => None,
            // Bytes as they stand: one of them is no UTF-8, another only UTF-8.
            Value::String(text) => {
                let text = cast.fill(text).await;
                Some(if text.chars().all(|char| char <= '\u{ff}') { latin1(&text) } else { text.into_bytes() })
            }
            json => Some(cast.fill_json(json).await.to_string().into_bytes()),
        };
        let mut bytes = head.into_bytes();
        if let Some(body) = &body {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend(body.unwrap_or_default());
        Request { bytes, target }
    }

    /// Whether every answer has one of these statuses. A connection that just ends is as good as a 400 to broken framing.
    pub(super) fn answers_fit(&self, statuses: &[String], outcome: &Outcome) -> bool {
        let fits = |status: u16| {
            let class = format!("{}xx", status / 100);
            statuses.iter().any(|expected| *expected == status.to_string() || *expected == class)
        };
        match outcome.answers.as_slice() {
            [] => self.raw.is_some() && fits(400),
            answers => answers.iter().all(|answer| fits(answer.status)),
        }
    }

    /// Whether it is about a path that passes.
    pub(super) fn passes(&self) -> bool {
        self.id == "PATH-061"
            || self.expect.oracle.iter().any(|it| it.starts_with("upstream.last") || it == "resp.from_upstream")
    }

    /// Whether it ends in a new password.
    pub(super) fn patches(&self) -> u64 {
        (self.class == "compat-password" || self.id == "FLOW-016").into()
    }
}

/// A submit of that body.
pub(super) fn post(host: SocketAddr, body: &str) -> String {
    format!(
        "POST {PATH}?_action=submitRequirements HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
