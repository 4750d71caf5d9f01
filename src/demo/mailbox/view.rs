//! The mailbox as a page. Mails are strangers' texts: everything is escaped, their HTML is never shown as such.

use std::fmt::Write as _;

use time::OffsetDateTime;

use super::Mail;

/// Loaded by the page.
pub(super) const STYLE: &str = include_str!("view.css");
/// Loads the page anew when a mail comes, so that nothing moves under a reader's eyes without need.
pub(super) const SCRIPT: &str = include_str!("view.js");

/// The page, newest mail first.
pub(super) fn page(mails: &[Mail]) -> String {
    let last = mails.last().map_or(0, |mail| mail.number);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Mailbox ({last})</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"/app.css\">\n\
         <script src=\"/app.js\" data-last=\"{last}\" defer></script>\n</head>\n<body>\n<main>\n<h1>Mailbox</h1>\n\
         <p id=\"state\" role=\"status\">Mail for anyone arrives here; nothing is sent on.</p>\n"
    );
    if mails.is_empty() {
        page.push_str("<p>No mail yet.</p>\n");
    }
    for mail in mails.iter().rev() {
        article(&mut page, mail);
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn article(page: &mut String, mail: &Mail) {
    let subject = if mail.subject.is_empty() { "(no subject)" } else { &mail.subject };
    let links: String = mail
        .links
        .iter()
        .map(|link| format!("<li><a href=\"{0}\" rel=\"noreferrer\">{0}</a></li>\n", escape(link)))
        .collect();
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<article>\n<h2>{}</h2>\n<dl><dt>To</dt><dd>{}</dd><dt>From</dt><dd>{}</dd><dt>At</dt><dd>{}</dd></dl>\n\
         <ul>\n{links}</ul>\n<pre>{}</pre>\n</article>\n",
        escape(subject),
        escape(&mail.to.join(", ")),
        escape(&mail.from),
        clock(mail.received),
        escape(&mail.text),
    );
}

fn clock(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    at.map(|at| format!("{:02}:{:02}:{:02} UTC", at.hour(), at.minute(), at.second())).unwrap_or_default()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_mail_becomes_markup() {
        let evil = "<script>alert('1')</script>\"&";
        let mail = Mail {
            number: 1,
            to: vec![evil.to_owned()],
            from: evil.to_owned(),
            subject: evil.to_owned(),
            text: evil.to_owned(),
            html: Some(evil.to_owned()),
            links: vec![format!("http://x/{evil}")],
            received: 0,
            raw: Vec::new(),
        };
        let page = page(&[mail]);
        assert!(!page.contains("<script>") && !page.contains("alert('"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;").count(), 6);
        assert!(page.contains("<dd>00:00:00 UTC</dd>"));
    }
}
