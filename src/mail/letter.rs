//! The letter: what the owner of an account reads.
//!
//! Subject and body come from the process file, chosen independently by the asker's language, as in IDM. Every letter
//! has a text and an HTML part; the one that the process file does not have is made from the one that it has, once, at
//! start. Nothing that a client sent gets into a letter, but for the link.

mod written;

use lettre::{Address, message::Mailbox};

pub use self::written::Written;
pub use super::language::choose;
use super::{
    StartError,
    language::{account, lifetime, typed},
};
use crate::{
    config::Wording,
    reset::{
        ports::{Job, Secret, Time},
        process::EmailSettings,
    },
};

/// Stands for the link in a file of the operator's own; what does in the process file, that file says.
pub const LINK_TOKEN: &str = "%link%";
/// Stands for the minutes that the link has left, in a body of the process file.
pub const MINUTES_TOKEN: &str = "%minutes%";
/// Stands for the code that may be typed in place of following the link.
pub const CODE_TOKEN: &str = "%code%";

// Inside a prepared body, one private character each stands for what is only known when the letter is written. They go
// through entity decoding, escaping and white space folding unharmed, which the process file's own token need not.
const LINK: char = '\u{E000}';
const MINUTES: char = '\u{E001}';
const CODE: char = '\u{E002}';
/// Whole sentences, at the end of a body that does not say it itself.
const LIFETIME: char = '\u{E003}';
const TYPED: char = '\u{E004}';
const NAMED: char = '\u{E005}';
const ALL: [char; 6] = [LINK, MINUTES, CODE, LIFETIME, TYPED, NAMED];

/// Longer addresses cannot be in an SMTP path (RFC 5321 §4.5.3.1.3, without its brackets).
const MAX_ADDRESS: usize = 254;
/// Characters of what an account is called that a letter shows.
const MAX_NAME: usize = 64;

/// The letters of one process.
pub struct Letters {
    /// None only where IDM's own mail service may have one.
    from: Option<Mailbox>,
    subjects: Vec<(String, String)>,
    bodies: Vec<(String, Body)>,
    /// For a mailbox that gets a letter for another account as well: these say which one they are for.
    named: Vec<(String, Body)>,
    /// Whether the process file's own texts are the HTML part.
    html: bool,
    mime_type: Option<String>,
}

/// Both parts of a body, ready but for the private characters.
struct Body {
    text: String,
    html: String,
    /// Whether the link must be escaped in the HTML part: where that part is ours, but not where somebody wrote it, who
    /// knows IDM, which escapes nothing.
    escape: bool,
}

/// What a body is made of: one part at least.
#[derive(Clone, Copy)]
struct Parts<'a> {
    text: Option<&'a str>,
    html: Option<&'a str>,
    /// What stands for the link in them.
    link: &'a str,
}

/// The letter cannot be written: the address is not one, or a header cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the letter cannot be written")]
pub struct Unwritable;

impl Letters {
    /// Prepares the letters of a process, in the words of its file and, before those, of the operator's. With `digits`,
    /// each tells the code to type, wanted by the body or not.
    pub fn new(
        from: Option<&str>,
        settings: &EmailSettings,
        digits: bool,
        wording: &Wording,
    ) -> Result<Self, StartError> {
        let from = from.map(sender).transpose()?;
        if settings.subjects.is_empty() || settings.messages.is_empty() {
            return Err(StartError::NoText);
        }
        let mut subjects: Vec<_> = settings.subjects.iter().map(|(tag, text)| (tag.clone(), one_line(text))).collect();
        let mut texts: Vec<_> = settings
            .messages
            .iter()
            .map(|(tag, text)| {
                let (html, text) =
                    if settings.html { (Some(text.as_str()), None) } else { (None, Some(text.as_str())) };
                (tag.clone(), Parts { text, html, link: &settings.link_token })
            })
            .collect();
        for template in &wording.reset {
            if let Some(subject) = &template.subject {
                put(&mut subjects, &template.tag, one_line(subject));
            }
            let (text, html) = (template.text.as_deref(), template.html.as_deref());
            if text.is_some() || html.is_some() {
                put(&mut texts, &template.tag, Parts { text, html, link: LINK_TOKEN });
            }
        }
        prefer(&mut subjects, &wording.locale);
        prefer(&mut texts, &wording.locale);
        let bodies = |sentence| -> Vec<_> {
            texts.iter().map(|(tag, parts)| (tag.clone(), Body::new(tag, *parts, sentence))).collect()
        };
        // Of an account that shares its mailbox nothing can be typed: nobody knows which one the asker means.
        let (bodies, named) = (bodies(digits.then_some(TYPED)), bodies(Some(NAMED)));
        let mime_type = settings.mime_type.clone();
        Ok(Self { from, subjects, bodies, named, html: settings.html, mime_type })
    }

    /// The languages that there is a subject or a text in, the first that whoever asks for none of them gets.
    pub fn languages(&self) -> Vec<&str> {
        let mut languages: Vec<&str> = Vec::new();
        for tag in self.bodies.iter().map(|(tag, _)| tag).chain(self.subjects.iter().map(|(tag, _)| tag)) {
            if !languages.iter().any(|known| same(known, tag)) {
                languages.push(tag);
            }
        }
        languages
    }

    /// In which languages whoever wants that one gets the subject and the text.
    pub fn chosen(&self, language: &str) -> Option<(&str, &str)> {
        let language = language.replace('_', "-");
        Some((&choose(&self.subjects, &language)?.0, &choose(&self.bodies, &language)?.0))
    }

    /// Who sends them.
    pub fn sender(&self) -> Option<&Address> {
        self.from.as_ref().map(|from| &from.email)
    }

    /// Writes the letter for `job` as of `now`. `id` makes its `Message-ID`: letters, digits, `.` and `-`.
    pub fn write(&self, job: &Job, now: Time, id: &str) -> Result<Written, Unwritable> {
        let to = address(job.to.expose()).ok_or(Unwritable)?;
        let (_, subject) = choose(&self.subjects, &job.languages).ok_or(Unwritable)?;
        let (tag, body) =
            choose(if job.name.is_some() { &self.named } else { &self.bodies }, &job.languages).ok_or(Unwritable)?;
        // To the nearest: a letter that leaves within the second should not say a minute less than was configured.
        let minutes = ((job.until.since(now).as_secs() + 30) / 60).max(1);
        let link = Secret::new(job.link.expose().chars().filter(|c| !c.is_control()).collect::<String>());
        let in_html = Secret::new(if body.escape { escaped(link.expose()) } else { link.expose().clone() });
        let known = Known { tag, minutes, code: job.code.expose() };
        let name = job.name.as_ref().map_or("", |name| name.expose());
        let name = if name.trim().is_empty() { &job.source.account.0 } else { name };
        let name = one_line(name).replace(ALL, "").chars().take(MAX_NAME).collect::<String>();
        Ok(Written {
            id: id.to_owned(),
            date: now,
            from: self.from.clone(),
            to,
            subject: subject.clone(),
            text: Secret::new(known.filled(&body.text, &name, link.expose())),
            html: Secret::new(known.filled(&body.html, &escaped(&name), in_html.expose())),
            is_html: self.html,
            mime_type: self.mime_type.clone(),
        })
    }
}

/// The mailbox that sends.
pub(super) fn sender(text: &str) -> Result<Mailbox, StartError> {
    let from: Mailbox = text.parse().map_err(|_| StartError::From)?;
    let name_is_clean = from.name.as_ref().is_none_or(|name| !name.contains(char::is_control));
    if name_is_clean && address(from.email.as_ref()).is_some() { Ok(from) } else { Err(StartError::From) }
}

/// The text as exactly one address that mail can be sent to: no display name, no list, no quotes, no control
/// character, no white space.
pub fn address(text: &str) -> Option<Address> {
    let odd = |c: char| c.is_control() || c.is_whitespace() || "\"\\()<>,;:".contains(c);
    if text.len() > MAX_ADDRESS || text.contains(odd) || text.matches('@').count() != 1 {
        return None;
    }
    text.parse().ok()
}

impl Body {
    /// Ends with that sentence as well, unless it says it itself.
    fn new(tag: &str, parts: Parts<'_>, sentence: Option<char>) -> Self {
        let part = |template: Option<&str>, html| template.map(|text| Self::part(text, html, parts.link, sentence));
        match (part(parts.text, false), part(parts.html, true)) {
            (Some(text), Some(html)) => Self { text, html, escape: false },
            (text, Some(html)) => Self { text: text.unwrap_or_else(|| text_of(&html)), html, escape: false },
            (text, None) => {
                let text = text.unwrap_or_default();
                Self { html: html_of(tag, &text), text, escape: true }
            }
        }
    }

    fn part(template: &str, html: bool, link: &str, sentence: Option<char>) -> String {
        let mut template = clean(template).replace(ALL, "");
        if !link.is_empty() {
            template = template.replace(&clean(link), &LINK.to_string());
        }
        let sentence = sentence.filter(|sentence| *sentence != TYPED || !template.contains(CODE_TOKEN));
        let lifetime = (!template.contains(MINUTES_TOKEN)).then_some(LIFETIME);
        template = template.replace(MINUTES_TOKEN, &MINUTES.to_string()).replace(CODE_TOKEN, &CODE.to_string());
        for sentence in sentence.into_iter().chain(lifetime) {
            if html {
                insert_at_end(&mut template, &format!("<p>{sentence}</p>\r\n"));
            } else {
                template = format!("{}\r\n\r\n{sentence}\r\n", template.trim_end());
            }
        }
        template
    }
}

/// Puts it in the place of what there is in that language, or after all there is.
fn put<T>(all: &mut Vec<(String, T)>, tag: &str, new: T) {
    match all.iter_mut().find(|(known, _)| same(known, tag)) {
        Some((_, old)) => *old = new,
        None => all.push((tag.to_owned(), new)),
    }
}

/// Has what whoever wants that language gets come first: it is what whoever wants none gets.
pub(super) fn prefer<T>(all: &mut Vec<(String, T)>, locale: &str) {
    let chosen = choose(all, locale).map(|(tag, _)| tag.clone());
    if let Some(at) = chosen.and_then(|chosen| all.iter().position(|(tag, _)| *tag == chosen)) {
        let first = all.remove(at);
        all.insert(0, first);
    }
}

/// Whether both are the same tag.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.replace('_', "-").eq_ignore_ascii_case(&other.replace('_', "-"))
}

/// What is only known when the letter is written.
struct Known<'a> {
    tag: &'a str,
    minutes: u64,
    code: &'a str,
}

impl Known<'_> {
    /// The body with it. The link comes last, so that nothing in it is taken for a placeholder.
    fn filled(&self, body: &str, name: &str, link: &str) -> String {
        body.replace(LIFETIME, &lifetime(self.tag, self.minutes))
            .replace(NAMED, &account(self.tag, name))
            .replace(TYPED, &typed(self.tag, self.code))
            .replace(MINUTES, &self.minutes.to_string())
            .replace(CODE, self.code)
            .replace(LINK, link)
    }
}

/// Puts a paragraph at the end of an HTML body.
fn insert_at_end(html: &mut String, paragraph: &str) {
    let at = html.to_ascii_lowercase().rfind("</body").unwrap_or(html.len());
    html.insert_str(at, paragraph);
}

/// What of an HTML text is to be read.
pub(super) fn words_of(html: &str) -> String {
    clean(&nanohtml2text::html2text(html))
}

/// The text part for an HTML body, each link whole and on a line of its own.
fn text_of(html: &str) -> String {
    let flat = words_of(html);
    let mut lines: Vec<String> = Vec::new();
    for line in flat.split("\r\n") {
        // A link's text is followed by its address in brackets.
        let line = line.replace(&format!("({LINK})"), &LINK.to_string());
        if !line.contains(LINK) {
            let repeated_gap = line.trim().is_empty() && lines.last().is_none_or(String::is_empty);
            if !repeated_gap {
                lines.push(line.trim_end().to_owned());
            }
            continue;
        }
        for (index, piece) in line.split(LINK).enumerate() {
            if index > 0 {
                lines.push(LINK.to_string());
            }
            // A full stop after the link would stand alone, and means nothing there.
            if piece.contains(char::is_alphanumeric) || piece.contains(ALL) {
                lines.push(piece.trim().to_owned());
            }
        }
    }
    if !flat.contains(LINK) {
        // In a place that text does not have, such as an image map. The letter is nothing without it.
        lines.extend([String::new(), LINK.to_string()]);
    }
    format!("{}\r\n", lines.join("\r\n").trim())
}

/// The HTML part for a text body: the same words, and the link to click.
pub(super) fn html_of(tag: &str, text: &str) -> String {
    let body =
        escaped(text.trim_end()).replace("\r\n", "<br>\r\n").replace(LINK, &format!("<a href=\"{LINK}\">{LINK}</a>"));
    let language = escaped(&tag.replace('_', "-"));
    format!(
        "<!DOCTYPE html>\r\n<html lang=\"{language}\">\r\n<head><meta charset=\"utf-8\"></head>\r\n\
         <body>\r\n<p>{body}</p>\r\n</body>\r\n</html>\r\n"
    )
}

/// As it stands in HTML.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Every line end as CRLF, because a bare CR or LF can end a mail early on its way (SMTP smuggling), and no other
/// control character.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => {
                chars.next_if_eq(&'\n');
                out.push_str("\r\n");
            }
            '\n' => out.push_str("\r\n"),
            '\t' => out.push('\t'),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// The text without line ends or other control characters: a header must not end early.
pub(super) fn one_line(text: &str) -> String {
    text.split(char::is_control).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
pub(in crate::mail) mod tests;
