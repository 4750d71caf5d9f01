//! A letter that is ready to be taken away, whoever takes it.

use std::time::{Duration, UNIX_EPOCH};

use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
};

use super::Unwritable;
use crate::reset::ports::{Secret, Time};

/// A letter with all that stands in it.
pub struct Written {
    /// Its name, the same at every attempt.
    pub id: String,
    /// When it was written.
    pub date: Time,
    /// Who sends it; none, where IDM's own mail service is to say.
    pub from: Option<Mailbox>,
    /// Exactly one address.
    pub to: Address,
    /// One line.
    pub subject: String,
    /// Its text part.
    pub text: Secret,
    /// Its HTML part.
    pub html: Secret,
    /// Whether that is the one that its author wrote.
    pub is_html: bool,
    /// What its type is called where there is but that one.
    pub mime_type: Option<String>,
}

impl Written {
    /// As it goes over SMTP: with both parts.
    ///
    /// # Errors
    /// If nobody sends it, or a header cannot be made.
    pub fn message(&self) -> Result<Message, Unwritable> {
        let from = self.from.as_ref().ok_or(Unwritable)?;
        let [text, html] = [&self.text, &self.html].map(|part| part.expose().clone());
        Message::builder()
            .from(from.clone())
            .to(Mailbox::new(None, self.to.clone()))
            .subject(self.subject.as_str())
            .date(UNIX_EPOCH + Duration::from_secs(self.date.secs()))
            .message_id(Some(format!("<{}@{}>", self.id, from.email.domain())))
            .raw_header(constant(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated"))
            .raw_header(constant(HeaderName::new_from_ascii_str("X-Auto-Response-Suppress"), "All"))
            .multipart(MultiPart::alternative_plain_html(text, html))
            .map_err(|_| Unwritable)
    }
}

fn constant(name: HeaderName, value: &str) -> HeaderValue {
    HeaderValue::new(name, value.to_owned())
}
