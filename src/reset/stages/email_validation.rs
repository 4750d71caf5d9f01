//! `emailValidation`: mails a link with a code, and asks for the code.

use std::fmt;

use crate::reset::process::Reader;

/// The stage's name.
pub const NAME: &str = "emailValidation";

/// The stage's part of the process file.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// What the link begins with; `&token=…&code=…` is put right after it.
    pub verification_link: String,
    /// The sender, where the product's own configuration has none.
    pub from: Option<String>,
    /// Subjects by language tag (`en`, `en_GB`, `pt-BR`), in the file's order.
    pub subjects: Vec<(String, String)>,
    /// Bodies by language tag, in the file's order.
    pub messages: Vec<(String, String)>,
    /// What stands for the link in a body.
    pub link_token: String,
    /// Whether the bodies are HTML (`mimeType`); plain text otherwise.
    pub html: bool,
}

impl Settings {
    pub(in crate::reset) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let verification_link = reader.text("verificationLink");
        let subjects = reader.translations("subjectTranslations");
        let messages = reader.translations("messageTranslations");
        let link_token = reader.text("verificationLinkToken");
        let from = reader.optional_text("from");
        let mime_type = reader.optional_text("mimeType").unwrap_or_else(|| "text/plain".to_owned());
        if !matches!(mime_type.as_str(), "text/plain" | "text/html") {
            reader.fault("mimeType", "must be text/plain or text/html");
        }
        if let (Some(messages), Some(token)) = (&messages, &link_token)
            && let Some((tag, _)) = messages.iter().find(|(_, text)| !text.contains(token))
        {
            reader.fault("messageTranslations", &format!("must hold {token} in every language, and does not in {tag}"));
        }
        // `subject` and `message` are dead in IDM too; the mail goes out over SMTP, not through IDM's mail service.
        reader.ignore(&["identityEmailField", "emailServiceUrl", "emailServiceParameters", "subject", "message"]);
        Some(Self {
            verification_link: verification_link?,
            from,
            subjects: subjects?,
            messages: messages?,
            link_token: link_token?,
            html: mime_type == "text/html",
        })
    }
}

/// Only what a token is bound to: the address of the link, not the texts.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailValidation").field("verification_link", &self.verification_link).finish_non_exhaustive()
    }
}
