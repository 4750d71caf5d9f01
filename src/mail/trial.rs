//! What an operator's check tries of mail: every letter, as its reader would see it, and the relay.

use std::time::Duration;

use bytes::Bytes;
use mail_parser::{MessageParser, PartType};

pub use super::smtp::{Dialogue, Step, Wrong};
use super::{
    StartError, idm,
    letter::{CODE_TOKEN, Letters, MINUTES_TOKEN, address, escaped, same},
    outbox, smtp,
};
use crate::{
    config::{Mail, Smtp},
    reset::{
        ports::{Job, Secret, Source, Time},
        process::EmailSettings,
    },
};

/// Of a link, in a letter that is written for nobody.
const LIFE: Duration = Duration::from_secs(20 * 60);
/// Reserved for examples (RFC 2606 §3).
const NOBODY: &str = "somebody@example.com";

/// A letter in one language.
#[derive(Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The language, as the process file has it.
    pub language: String,
    /// Its size as it is sent.
    pub bytes: usize,
    /// What is wrong in it, as said of it.
    pub faults: Vec<String>,
}

/// Writes the letter in every language that has a subject or a text, and reads it again.
///
/// # Errors
/// If no letter can be written at all.
pub fn render(
    config: &Mail,
    email: &EmailSettings,
    digits: Option<u32>,
    link: &str,
    now: Time,
) -> Result<Vec<Rendered>, StartError> {
    let letters = Letters::new(config.from.as_deref(), email, digits.is_some(), &config.wording)?;
    let code = "7".repeat(digits.unwrap_or_default().try_into().unwrap_or_default());
    let render = |language: &str| {
        let mut faults = Vec::new();
        let bytes = match letters.write(&job(NOBODY, link, &code, language, now), now, "trial").map(|mut letter| {
            // Where IDM says who sends it, any sender will do to look at it.
            letter.from = letter.from.or_else(|| NOBODY.parse().ok());
            letter.message()
        }) {
            Ok(Ok(letter)) => {
                let text = letter.formatted();
                faults.extend(read(&text, email, link, &code).into_iter().map(str::to_owned));
                text.len()
            }
            Ok(Err(_)) | Err(_) => {
                faults.push("cannot be written".to_owned());
                0
            }
        };
        if let Some((subject, text)) = letters.chosen(language) {
            for (what, other) in [("subject", subject), ("text", text)] {
                if !same(other, language) && !akin(other, language) {
                    faults.push(format!("has no {what} of its own, but that in {other}"));
                }
            }
        }
        Rendered { language: language.to_owned(), bytes, faults }
    };
    Ok(letters.languages().into_iter().map(render).collect())
}

/// Goes through a dialogue with the relay as the configuration has it; with `to`, sends that address a letter in the
/// first language, whose link leads nowhere.
///
/// # Errors
/// If the relay can never be asked by these settings, or the letter not be written.
pub async fn relay(
    config: &Mail,
    relay: &Smtp,
    email: &EmailSettings,
    to: Option<(&str, &str)>,
    now: Time,
) -> Result<Dialogue, StartError> {
    let letters = Letters::new(config.from.as_deref(), email, false, &config.wording)?;
    let sender = letters.sender().ok_or(StartError::From)?.clone();
    let id = format!("{:016x}", outbox::random());
    let letter = to.map(|(to, link)| {
        let language = letters.languages().first().copied().unwrap_or_default();
        let letter = letters.write(&job(to, link, "", language, now), now, &id);
        letter.and_then(|letter| letter.message()).map_err(|_| StartError::Recipient)
    });
    let letter = letter.transpose()?;
    let relay = smtp::Relay::new(relay, config.helo.as_deref(), smtp::DEADLINE)?;
    Ok(relay.try_out(&sender, letter.as_ref()).await)
}

/// What IDM's mail service is asked to send: to that address a letter whose link leads nowhere; or to nobody one that
/// nobody sends, which it can only refuse.
///
/// # Errors
/// If the letter cannot be written.
pub fn for_idm(config: &Mail, email: &EmailSettings, to: Option<(&str, &str)>, now: Time) -> Result<Bytes, StartError> {
    let Some((to, link)) = to else {
        const NOTHING: &[u8] = br#"{"to":"","from":"nobody at all","subject":"","type":"text/plain","body":""}"#;
        return Ok(Bytes::from_static(NOTHING));
    };
    let letters = Letters::new(config.from.as_deref(), email, false, &config.wording)?;
    let language = letters.languages().first().copied().unwrap_or_default();
    let letter = letters.write(&job(to, link, "", language, now), now, "trial").map_err(|_| StartError::Recipient)?;
    idm::body(&letter, config.from.as_deref()).ok_or(StartError::Recipient)
}

/// Whether mail can be sent there.
pub fn is_address(text: &str) -> bool {
    address(text).is_some()
}

fn job(to: &str, link: &str, code: &str, language: &str, now: Time) -> Job {
    Job {
        account: [0; 16],
        source: Source::nobody(),
        to: Secret::new(to),
        link: Secret::new(link),
        code: Secret::new(code),
        name: None,
        languages: language.replace('_', "-"),
        until: now.after(LIFE),
        trace: None,
    }
}

/// What is wrong in a letter as it is sent.
fn read(letter: &[u8], email: &EmailSettings, link: &str, code: &str) -> Vec<&'static str> {
    let Some(letter) = MessageParser::default().parse(letter) else { return vec!["cannot be read again"] };
    let text = letter.text_part(0).and_then(|part| match &part.body {
        PartType::Text(text) => Some(text.to_string()),
        _ => None,
    });
    let html = letter.html_part(0).and_then(|part| match &part.body {
        PartType::Html(html) => Some(html.to_string()),
        _ => None,
    });
    let (text, html) = (text.unwrap_or_default(), html.unwrap_or_default());
    let whole = |part: &str, link: &str| part.match_indices(link).any(|(at, _)| ends_there(part, at + link.len()));
    let left = |token: &str| !token.is_empty() && (text.contains(token) || html.contains(token));
    let told = [
        (letter.subject().is_none_or(|subject| subject.trim().is_empty()), "has no subject"),
        (!whole(&text, link), "does not have the whole link in its text part"),
        (!whole(&html, link) && !whole(&html, &escaped(link)), "does not have the whole link in its HTML part"),
        (left(&email.link_token), "still shows the token that stands for the link"),
        (left(MINUTES_TOKEN) || left(CODE_TOKEN), "still shows %minutes% or %code%"),
        (![&text, &html].iter().all(|part| part.contains(code)), "does not have the code to type"),
    ];
    told.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect()
}

/// Whether nothing that could belong to a link goes on there.
fn ends_there(text: &str, at: usize) -> bool {
    let next = text.get(at..).and_then(|rest| rest.chars().next());
    next.is_none_or(|c| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | ')' | ']' | '.' | ','))
}

/// Whether they are of one language, such as `en` and `en-GB`.
fn akin(one: &str, other: &str) -> bool {
    let primary = |tag: &str| tag.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
    primary(one) == primary(other)
}

#[cfg(test)]
mod tests;
