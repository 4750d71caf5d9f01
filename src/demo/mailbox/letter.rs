//! What a mail says: its subject, its text, its links.

use mail_parser::{MessageParser, PartType};
use serde::Serialize;

use super::smtp::Envelope;

/// A mail that came.
#[derive(Clone, Debug, Serialize)]
pub struct Mail {
    /// The first is 1.
    pub number: u64,
    /// Whom it was handed over for, whatever its header says.
    pub to: Vec<String>,
    /// `From`'s address, or else who handed it over.
    pub from: String,
    /// `Subject`, decoded.
    pub subject: String,
    /// As plain text; made from the HTML where there is nothing else.
    pub text: String,
    /// The HTML, where there is one.
    pub html: Option<String>,
    /// The `http` and `https` links in it, each once, in order.
    pub links: Vec<String>,
    /// When it came: seconds since 1970.
    pub received: u64,
    /// As it came over SMTP, header and all.
    #[serde(skip)]
    pub raw: Vec<u8>,
}

impl Mail {
    pub(super) fn read(number: u64, envelope: Envelope) -> Self {
        let Envelope { from, to, data } = envelope;
        let mut mail = Self {
            number,
            to,
            from,
            subject: String::new(),
            text: String::new(),
            html: None,
            links: Vec::new(),
            received: now(),
            raw: Vec::new(),
        };
        if let Some(message) = MessageParser::default().parse(&data) {
            let sender = message.from().and_then(|from| from.first()).and_then(|from| from.address());
            if let Some(sender) = sender {
                mail.from = sender.to_owned();
            }
            mail.subject = message.subject().unwrap_or_default().to_owned();
            mail.text = message.body_text(0).unwrap_or_default().replace("\r\n", "\n");
            mail.html = message.html_part(0).and_then(|part| match &part.body {
                PartType::Html(html) => Some(html.replace("\r\n", "\n")),
                _ => None,
            });
        }
        let found = in_text(&mail.text).into_iter().chain(mail.html.as_deref().map(in_html).unwrap_or_default());
        for link in found {
            if !mail.links.contains(&link) {
                mail.links.push(link);
            }
        }
        mail.raw = data;
        mail
    }
}

#[allow(clippy::disallowed_methods, reason = "it is only shown: nothing is decided by it")]
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn is_link(text: &str) -> bool {
    ["http://", "https://"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme)))
}

/// Links in running text: up to a space, a quote or an angle bracket, without the punctuation of the sentence.
fn in_text(text: &str) -> Vec<String> {
    text.split(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"'))
        .filter_map(|word| {
            let word = word.trim_start_matches(['(', '[', '{', '\'']);
            let word = word.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '}', '\'']);
            is_link(word).then(|| word.to_owned())
        })
        .collect()
}

/// What `href`s of an HTML text lead to.
fn in_html(html: &str) -> Vec<String> {
    let mut links = Vec::new();
    for after in html.split("href=").skip(1) {
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
        let link = match quote {
            Some(quote) => after.get(1..).and_then(|rest| rest.split(quote).next()),
            None => after.split([' ', '>']).next(),
        };
        // Of all that HTML may escape in an address, only the ampersand is met there.
        let link = link.unwrap_or_default().trim().replace("&amp;", "&");
        if is_link(&link) && !link.contains(|c: char| c.is_whitespace() || c.is_control()) {
            links.push(link);
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(data: &str) -> Mail {
        let data = data.replace('\n', "\r\n").into_bytes();
        Mail::read(1, Envelope { from: "sender@example.com".to_owned(), to: vec!["b@example.com".to_owned()], data })
    }

    #[test]
    fn a_plain_mail_with_a_link() {
        let mail = mail(
            "From: IT <info@example.com>\nTo: b@example.com\nSubject: =?utf-8?q?Passwort_zur=C3=BCcksetzen?=\n\
             Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n\
             Open http://127.0.0.1:8080/#/passwordreset/&token=3Da-b_c.d&code=3DXY.\nOr (https://example.com/),=\n bye\n",
        );
        assert_eq!(mail.subject, "Passwort zurücksetzen");
        assert_eq!(mail.from, "info@example.com");
        assert_eq!(mail.html, None);
        assert_eq!(
            mail.links,
            ["http://127.0.0.1:8080/#/passwordreset/&token=a-b_c.d&code=XY", "https://example.com/"]
        );
    }

    #[test]
    fn an_html_mail_with_a_link() {
        let mail = mail(
            "Subject: x\nContent-Type: text/html; charset=utf-8\n\n\
             <p><a href=\"http://h/#/&amp;token=a&amp;code=b\">Reset</a> <a href='javascript:alert(1)'>x</a> \
             <a href=http://h/#/&token=a&code=b>again</a></p>\n",
        );
        assert_eq!(mail.links, ["http://h/#/&token=a&code=b"]);
        assert!(mail.text.contains("Reset"), "{}", mail.text);
        assert!(mail.html.is_some_and(|html| html.starts_with("<p>")));
        assert_eq!(mail.from, "sender@example.com");
    }

    #[test]
    fn what_is_no_mail_is_kept_as_it_came() {
        let mail = Mail::read(7, Envelope { from: String::new(), to: Vec::new(), data: vec![0xff, 0xfe] });
        assert_eq!((mail.number, mail.raw), (7, vec![0xff, 0xfe]));
        assert!(mail.links.is_empty());
    }
}
