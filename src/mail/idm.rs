//! IDM's own mail service as a carrier: `POST …/external/email?_action=send`, as its own reset sends letters.
//!
//! It takes one part, with one type, and answers 400 for whatever goes wrong on its way to a relay, in the relay's own
//! words. These are looked at for one thing, the relay's reply code, and go nowhere.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use super::{Carrier, Outcome, Trouble, letter::Written};
use crate::{outbound::Failure, reset::ports::Secret};

/// The way to the mail service: by the store's own client, with its credentials.
#[async_trait]
pub trait Service: Send + Sync {
    /// Asks it to send a letter, and gives its answer, whatever it says.
    async fn send(&self, letter: Bytes) -> Result<(StatusCode, Secret<Vec<u8>>), Failure>;
    /// Whether IDM answers at all.
    async fn answers(&self) -> bool;
}

/// The carrier.
pub(super) struct Idm {
    service: Arc<dyn Service>,
    /// As it is configured.
    from: Option<String>,
}

/// What the service takes, in its own order.
#[derive(Serialize)]
struct Body<'a> {
    to: &'a str,
    from: Option<&'a str>,
    subject: &'a str,
    r#type: Option<&'a str>,
    body: &'a str,
}

impl Idm {
    pub(super) fn new(service: Arc<dyn Service>, from: Option<String>) -> Self {
        Self { service, from }
    }
}

/// The letter as the service takes it.
pub(super) fn body(letter: &Written, from: Option<&str>) -> Option<Bytes> {
    let part = if letter.is_html { &letter.html } else { &letter.text };
    // Lines end there as in the file that they come from; how they end on their way is the service's business.
    let part = Secret::new(part.expose().replace("\r\n", "\n"));
    let subject = &letter.subject;
    let body = Body { to: letter.to.as_ref(), from, subject, r#type: letter.mime_type.as_deref(), body: part.expose() };
    // JSON spells a byte in six at most, and what is moved is not wiped.
    let mut json = Secret::of(Vec::with_capacity(1024 + 6 * (part.expose().len() + subject.len())));
    serde_json::to_writer(json.expose_mut(), &body).ok()?;
    Some(json.into_bytes())
}

#[async_trait]
impl Carrier for Idm {
    async fn carry(&self, letter: &Written) -> Outcome {
        let body = body(letter, self.from.as_deref());
        let Some(body) = body else { return Outcome::Refused(Trouble::new("letter")) };
        match self.service.send(body).await {
            Ok((status, _)) if status.is_success() => Outcome::Taken,
            Ok((StatusCode::BAD_REQUEST, answer)) => refused(answer.expose()),
            Ok((StatusCode::UNAUTHORIZED, _)) => Outcome::Failed(Trouble::new("auth")),
            Ok((StatusCode::FORBIDDEN, _)) => Outcome::Failed(Trouble::new("not-allowed")),
            Ok((StatusCode::NOT_FOUND, _)) => Outcome::Failed(Trouble::new("no-service")),
            // It says that it did nothing.
            Ok((status, _)) if status.is_client_error() => Outcome::Failed(Trouble::new("service")),
            Ok(_) => Outcome::Unknown(Trouble::new("service")),
            Err(failure) if failure.sent => Outcome::Unknown(Trouble::new(failure.kind.as_str())),
            Err(failure) => Outcome::Failed(Trouble::new(failure.kind.as_str())),
        }
    }

    async fn probe(&self) -> Result<(), Trouble> {
        if self.service.answers().await { Ok(()) } else { Err(Trouble::new("service")) }
    }
}

/// What a 400 means: the same as the relay's reply, where there is one. Of the service's own words, only those about the
/// recipient are about the letter; the rest, such as of a sender that is missing, an operator can mend.
fn refused(answer: &[u8]) -> Outcome {
    let said = String::from_utf8_lossy(answer);
    match reply(&said) {
        // About us and not about the mail, as over SMTP.
        Some(code @ (530 | 534 | 535 | 538)) => Outcome::Failed(Trouble { class: "auth", code: Some(code) }),
        // Not one that is said of a letter, but of a server.
        Some(500) => Outcome::Failed(Trouble::new("service")),
        Some(code @ 501..) => Outcome::Refused(Trouble { class: "refused", code: Some(code) }),
        Some(code) => Outcome::Failed(Trouble { class: "deferred", code: Some(code) }),
        None if said.contains("Bad To") => Outcome::Refused(Trouble::new("refused")),
        None => Outcome::Failed(Trouble::new("service")),
    }
}

/// The reply code that a relay's words begin with somewhere in the text, as Java's mail library hands them on: `550 5.1.1
/// …` or `550-…`. With several, a recipient's own comes last.
fn reply(said: &str) -> Option<u16> {
    let bytes = said.as_bytes();
    let code = |(at, window): (usize, &[u8])| {
        let [first @ (b'4' | b'5'), second @ b'0'..=b'5', third @ b'0'..=b'9', b' ' | b'-'] = window else {
            return None;
        };
        let begins = at.checked_sub(1).and_then(|before| bytes.get(before)).is_none_or(|before| {
            // Not the end of an address, a number or a time.
            before.is_ascii_whitespace() || matches!(before, b':' | b'n' | b'"' | b'(' | b'[' | b';')
        });
        let number = [first, second, third].iter().fold(0, |sum, digit| sum * 10 + u16::from(**digit - b'0'));
        begins.then_some(number)
    };
    bytes.windows(4).enumerate().filter_map(code).next_back()
}

#[cfg(test)]
mod tests;
