use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;
use crate::config::LetterTemplate;
use crate::reset::ports::{AccountId, Secret, Source};

const LONG_LINK: &str = "https://id.example.com/#/passwordreset/&token=eyJhbGciOiJIUzI1NiJ9.e30.AbC-_&code=0a1b2c3d-1111-4222-8333-444455556666";

fn entries(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(tag, text)| ((*tag).to_owned(), (*text).to_owned())).collect()
}

pub(in crate::mail) fn settings(html: bool, subjects: &[(&str, &str)], messages: &[(&str, &str)]) -> EmailSettings {
    EmailSettings {
        verification_link: "https://id.example.com/#/passwordreset/".to_owned(),
        from: None,
        subjects: entries(subjects),
        messages: entries(messages),
        link_token: "%link%".to_owned(),
        mime_type: html.then(|| "text/html".to_owned()),
        html,
        service: Some("external/email".to_owned()),
        parameters: Vec::new(),
    }
}

fn job(languages: &str) -> Job {
    Job {
        account: [7; 16],
        source: Source::nobody(),
        to: Secret::new("jane@example.org"),
        link: Secret::new(LONG_LINK),
        code: Secret::new("20406080"),
        name: None,
        languages: languages.to_owned(),
        until: Time::from_millis(1_700_000_000_000 + 20 * 60_000),
        trace: None,
    }
}

const NOW: Time = Time::from_millis(1_700_000_000_000);

fn written(settings: &EmailSettings, job: &Job) -> Read {
    let letters =
        Letters::new(Some("Example Accounts <info@example.com>"), settings, false, &Wording::default()).unwrap();
    read(&letters.write(job, NOW, "1.ab").unwrap().message().unwrap().formatted())
}

/// A letter as a mail program sees it.
pub(in crate::mail) struct Read {
    pub(in crate::mail) headers: String,
    pub(in crate::mail) text: String,
    pub(in crate::mail) html: String,
}

pub(in crate::mail) fn read(raw: &[u8]) -> Read {
    let raw = std::str::from_utf8(raw).unwrap();
    assert!(raw.is_ascii());
    assert!(raw.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])), "{raw:?}");
    let (headers, body) = raw.split_once("\r\n\r\n").unwrap();
    let boundary = headers.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(headers.contains("multipart/alternative"));
    let parts: Vec<_> = body.split(&format!("--{boundary}")).collect();
    assert_eq!(parts.len(), 4, "{raw}");
    assert_eq!(parts[3].trim(), "--");
    let part = |index: usize, kind: &str| {
        let part: &str = parts[index];
        let (headers, body) = part.split_once("\r\n\r\n").unwrap();
        assert!(headers.contains(kind), "{headers}");
        decoded(headers, body.strip_suffix("\r\n").unwrap())
    };
    Read { headers: headers.replace("\r\n ", " "), text: part(1, "text/plain"), html: part(2, "text/html") }
}

fn decoded(headers: &str, body: &str) -> String {
    if headers.contains("base64") {
        return String::from_utf8(STANDARD.decode(body.replace("\r\n", "")).unwrap()).unwrap();
    }
    if !headers.contains("quoted-printable") {
        return body.to_owned();
    }
    let mut out = Vec::new();
    let joined = body.replace("=\r\n", "");
    let mut bytes = joined.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'=' {
            let hex = [bytes.next().unwrap(), bytes.next().unwrap()];
            out.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).unwrap()
}

fn unescaped(html: &str) -> String {
    html.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&")
}

#[test]
fn a_text_template_gets_an_html_part_with_the_link_to_click() {
    let settings = settings(false, &[("en", "Reset")], &[("en_GB", "Hello <you> & \"all\",\nuse %link%\nor %link%")]);
    let letter = written(&settings, &job(""));
    assert_eq!(
        letter.text,
        format!(
            "Hello <you> & \"all\",\r\nuse {LONG_LINK}\r\nor {LONG_LINK}\r\n\r\nThis link works for 20 minutes.\r\n"
        )
    );
    let escaped_link = LONG_LINK.replace('&', "&amp;");
    assert!(letter.html.contains(&format!("<a href=\"{escaped_link}\">{escaped_link}</a>")), "{}", letter.html);
    assert!(letter.html.contains("Hello &lt;you&gt; &amp; &quot;all&quot;,<br>\r\nuse "));
    assert!(letter.html.contains("<html lang=\"en-GB\">"));
    assert_eq!(unescaped(&letter.html).matches(LONG_LINK).count(), 4);
}

#[test]
fn an_html_template_is_left_as_it_is_and_gets_a_text_part() {
    let html = "<html><body><h3>Click to reset your password</h3>\
                <h4><a href=\"%link%\">Password reset link</a></h4><p>Or copy <b>%link%</b>.</p></body></html>";
    let letter = written(&settings(true, &[("en", "Reset")], &[("en", html)]), &job(""));
    let expected =
        html.replace("%link%", LONG_LINK).replace("</body>", "<p>This link works for 20 minutes.</p>\r\n</body>");
    assert_eq!(letter.html, expected);
    assert_eq!(
        letter.text,
        format!(
            "Click to reset your password\r\n\r\nPassword reset link\r\n{LONG_LINK}\r\n\r\nOr copy\r\n{LONG_LINK}\r\n\r\n\
             This link works for 20 minutes.\r\n"
        )
    );
}

#[test]
fn whatever_the_html_the_text_part_has_the_whole_link_on_a_line_of_its_own() {
    for html in [
        "%link%",
        "<a href='%link%'>%link%</a>",
        "<a href=%link%>here</a>",
        "<p>Go to %link%, please.</p>",
        "<table><tr><td><a href=\"%link%\"><img src=\"x\"></a></td></tr></table>",
        "<map><area href=\"%link%\"></map>",
        "<style>a { color: red }</style><a\nhref = \"%link%\" title=\"a>b\">x</a>",
        "<!-- %link% -->",
        "<pre>%link%</pre>",
        "<p>&lt;%link%&gt;</p>",
        "<p>unclosed %link% <b",
        "\u{FEFF}<p>\u{E000}%link%</p>",
    ] {
        let letter = written(&settings(true, &[("en", "Reset")], &[("en", html)]), &job(""));
        assert!(letter.text.split("\r\n").any(|line| line == LONG_LINK), "{html}: {}", letter.text);
        assert!(letter.html.contains(LONG_LINK));
        assert!(!letter.text.contains(LINK) && !letter.html.contains(LINK));
    }
}

#[test]
fn a_very_long_link_arrives_whole() {
    for html in [false, true] {
        let link = format!("{LONG_LINK}{}", "x".repeat(3000));
        let mut job = job("");
        job.link = Secret::new(link.as_str());
        let letter = written(&settings(html, &[("en", "Reset")], &[("en", "Zurück: %link%")]), &job);
        assert!(letter.text.contains(&link));
        assert!(unescaped(&letter.html).contains(&link));
    }
}

#[test]
fn subject_and_body_are_chosen_each_for_itself() {
    let settings = settings(
        false,
        &[("en", "Reset"), ("de", "Passwort zurücksetzen")],
        &[("en", "EN %link%"), ("fr", "FR %link% %minutes%")],
    );
    let letter = written(&settings, &job("de, fr;q=0.5"));
    assert!(letter.headers.contains("Subject: Passwort =?utf-8?b?"), "{}", letter.headers);
    assert!(letter.text.starts_with("FR "));
    let letter = written(&settings, &job("es"));
    assert!(letter.headers.contains("Subject: Reset\r\n"));
    assert!(letter.text.starts_with("EN "));
}

#[test]
fn the_minutes_left_are_told() {
    let told = |message: &str, languages: &str, left: u64| {
        let settings = settings(false, &[("en", "R")], &[("en", message), ("de", message)]);
        let mut job = job(languages);
        job.until = NOW.after(Duration::from_secs(left));
        let letter = written(&settings, &job);
        (letter.text.replace(LONG_LINK, "L"), letter.html)
    };
    assert_eq!(told("%link% %minutes% %minutes%", "", 1169).0, "L 19 19");
    assert!(told("%link% %minutes%", "", 1170).1.contains("</a> 20</p>"));
    assert_eq!(told("%link%", "", 1200).0, "L\r\n\r\nThis link works for 20 minutes.\r\n");
    assert_eq!(told("%link%", "de", 61).0, "L\r\n\r\nDieser Link gilt noch 1 Minute.\r\n");
    assert_eq!(told("%link%", "de", 59).0, "L\r\n\r\nDieser Link gilt noch 1 Minute.\r\n");
}

#[test]
fn the_headers_are_those_of_an_automatic_letter() {
    let letter = written(&settings(false, &[("en", "Reset")], &[("en", "%link%")]), &job(""));
    for header in [
        "From: \"Example Accounts\" <info@example.com>",
        "To: jane@example.org",
        "Subject: Reset",
        "Date: Tue, 14 Nov 2023 22:13:20 +0000",
        "Message-ID: <1.ab@example.com>",
        "Auto-Submitted: auto-generated",
        "X-Auto-Response-Suppress: All",
        "MIME-Version: 1.0",
    ] {
        assert!(letter.headers.split("\r\n").any(|line| line == header), "{header}: {}", letter.headers);
    }
}

#[test]
fn nothing_gets_out_of_its_place() {
    let settings = settings(
        false,
        &[("en\"><script>", "Reset\r\nBcc: all@example.org\n\nbody")],
        &[("en\"><script>", "a\rb\nc\r\nd\r\r\n.\r\n\n.\n%link%\0\u{1b}[0m")],
    );
    let mut job = job("en\r\nBcc: all@example.org");
    job.link = Secret::new("https://x/\r\nBcc:\"><script>&%minutes%\u{E001}");
    let letter = written(&settings, &job);
    assert!(letter.headers.contains("Subject: Reset Bcc: all@example.org body"));
    assert!(!letter.headers.contains("\r\nBcc"));
    assert!(!letter.html.contains("<script>") && !letter.html.contains(['\0', '\u{1b}']));
    assert!(letter.text.starts_with("a\r\nb\r\nc\r\nd\r\n\r\n.\r\n\r\n.\r\nhttps://x/Bcc:\"><script>&%minutes%"));
    assert_eq!(letter.text.replace("\r\n", "").find(['\r', '\n']), None);
}

#[test]
fn an_address_is_exactly_one_address() {
    for good in
        ["a@b.example", "jane.doe+reset@example.org", "o'neil@example.org", "jörg@bücher.example", "root@localhost"]
    {
        assert!(address(good).is_some(), "{good}");
    }
    let long = format!("{}@{}.org", "a".repeat(60), "b.".repeat(100));
    for bad in [
        "",
        "jane",
        "@example.org",
        "jane@",
        "jane@example.org,bob@example.org",
        "jane@example.org, bob@example.org",
        "jane@example.org;bob@example.org",
        "Jane <jane@example.org>",
        "<jane@example.org>",
        " jane@example.org",
        "jane@example.org ",
        "jane@example.org\n",
        "jane@example.org\r\nRCPT TO:<bob@example.org>",
        "jane@example.org\0",
        "\"jane doe\"@example.org",
        "\"jane\r\nBcc: x\"@example.org",
        "\"@\"@example.org",
        "jane@bob@example.org",
        "friends:jane@example.org;",
        "jane(comment)@example.org",
        "jane@exa mple.org",
        "jane@example..org",
        "jane\u{a0}@example.org",
        "jane\u{85}@example.org",
        "jane>@example.org",
        long.as_str(),
    ] {
        assert!(address(bad).is_none(), "{bad:?}");
    }
}

#[test]
fn the_sender_is_exactly_one_mailbox() {
    let settings = settings(false, &[("en", "R")], &[("en", "%link%")]);
    for good in ["info@example.com", "Example <info@example.com>", "\"Example, Inc.\" <info@example.com>"] {
        assert!(Letters::new(Some(good), &settings, false, &Wording::default()).is_ok(), "{good}");
    }
    for bad in ["", "info", "a@example.com, b@example.com", "info@example.com\r\nBcc: x@example.com", "X <a@b.c> y"] {
        assert!(
            matches!(Letters::new(Some(bad), &settings, false, &Wording::default()), Err(StartError::From)),
            "{bad:?}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn any_template_and_address_are_survived(template in "\\PC{0,60}%link%[\r\n.<>&a-z ]{0,60}", to in "\\PC{0,40}@[a-z.,@<> ]{0,20}") {
        for html in [false, true] {
            let mut job = job("");
            let letter = written(&settings(html, &[("en", "R")], &[("en", &template)]), &job);
            assert!(letter.text.contains(LONG_LINK));
            job.to = Secret::new(to.as_str());
            let letters = Letters::new(Some("info@example.com"), &settings(html, &[("en", "R")], &[("en", &template)]), false, &Wording::default()).unwrap();
            if let Ok(message) = letters.write(&job, NOW, "1").and_then(|letter| letter.message()) {
                assert_eq!(message.envelope().to().len(), 1);
                if message.formatted().is_ascii() {
                    read(&message.formatted());
                }
            }
        }
    }
}

#[test]
fn digits_are_told_where_the_body_does_not_tell_them() {
    let written = |html, message, digits| {
        let settings = settings(html, &[("de", "R")], &[("de", message)]);
        let letters = Letters::new(Some("info@example.com"), &settings, digits, &Wording::default()).unwrap();
        read(&letters.write(&job(""), NOW, "1.ab").unwrap().message().unwrap().formatted())
    };
    for html in [false, true] {
        let told = written(html, "Hier: %link%", true);
        assert!(told.text.contains("Oder geben Sie diesen Code ein: 20406080\r\n"), "{}", told.text);
        assert!(told.html.contains("Oder geben Sie diesen Code ein: 20406080"), "{}", told.html);
        let own_words = written(html, "Hier: %link%, oder %code%", true);
        for part in [&own_words.text, &own_words.html] {
            assert!(part.contains("oder 20406080") && !part.contains("Oder geben"), "{part}");
        }
        assert!(!written(html, "Hier: %link%", false).text.contains("20406080"));
        assert!(written(html, "Hier: %link%, oder %code%", false).text.contains("oder 20406080"));
    }
}

#[test]
fn a_letter_for_a_shared_mailbox_says_whose_link_it_is() {
    for html in [true, false] {
        let settings =
            settings(html, &[("en", "Reset"), ("de", "Neu")], &[("en", "Go: %link%"), ("de", "Hier: %link%")]);
        let named = |name: &str, languages: &str| {
            let source = Source { account: AccountId("a1".to_owned()), ..Source::nobody() };
            written(&settings, &Job { name: Some(Secret::new(name)), source, ..job(languages) })
        };
        let letter = named("b<i>jensen\r\n", "en");
        assert!(letter.text.contains("This link is for the account b<i>jensen."), "{}", letter.text);
        assert!(letter.html.contains("This link is for the account b&lt;i&gt;jensen."), "{}", letter.html);
        assert!(named("bjensen", "de").text.contains("Dieser Link ist für das Konto bjensen."));
        assert!(named(" ", "en").text.contains("for the account a1."), "without a name it is called by its id");
        assert!(!written(&settings, &job("en")).text.contains("account"));
    }
}

fn wording(locale: &str, templates: &[(&str, [Option<&str>; 3])]) -> Wording {
    let template = |(tag, parts): &(&str, [Option<&str>; 3])| {
        let [subject, text, html] = parts.map(|part| part.map(str::to_owned));
        LetterTemplate { tag: (*tag).to_owned(), subject, text, html }
    };
    Wording { locale: locale.to_owned(), reset: templates.iter().map(template).collect(), notice: Vec::new() }
}

fn worded(wording: &Wording, languages: &str) -> Read {
    let settings =
        settings(true, &[("fr", "Sujet"), ("en", "Subject")], &[("fr", "<p>%link%</p>"), ("en", "<p>Old %link%</p>")]);
    let letters = Letters::new(Some("info@example.com"), &settings, false, wording).unwrap();
    read(&letters.write(&job(languages), NOW, "1.ab").unwrap().message().unwrap().formatted())
}

#[test]
fn files_come_before_the_process_and_what_they_do_not_say_is_its_own() {
    let both = wording(
        "en-US",
        &[("en", [None, Some("Plain %link% for %minutes%"), Some("<b>Rich</b> <a href='%link%'>x</a>")])],
    );
    let letter = worded(&both, "en");
    assert!(letter.headers.contains("Subject: Subject"), "{}", letter.headers);
    assert!(letter.text.contains(&format!("Plain {LONG_LINK} for 20")), "{}", letter.text);
    assert!(letter.html.contains(&format!("<b>Rich</b> <a href='{LONG_LINK}'>x</a>")), "{}", letter.html);
    // In a language that the process does not have, of one part only.
    let text = wording("en-US", &[("nl", [Some("Onderwerp"), Some("Hier: %link%"), None])]);
    let letter = worded(&text, "nl-BE");
    assert!(letter.headers.contains("Subject: Onderwerp") && letter.html.contains("Hier: <a href="), "{}", letter.html);
    assert!(worded(&text, "fr").html.contains("<p>"), "the others stay as they are");
    let html = wording("en-US", &[("en-GB", [None, None, Some("<p>Mind the %link%</p>")])]);
    assert!(worded(&html, "en-GB").text.contains("Mind the"), "{}", worded(&html, "en-GB").text);
    assert!(worded(&html, "en").text.contains("Old"));
}

#[test]
fn who_asks_for_nothing_that_there_is_gets_the_locale_or_else_the_first() {
    let subject = |locale: &str, languages: &str| {
        let headers = worded(&wording(locale, &[]), languages).headers;
        headers.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned()
    };
    for languages in ["", "de", "*", "q=;;"] {
        assert_eq!(subject("en-US", languages), "Subject", "{languages}");
        assert_eq!(subject("fr", languages), "Sujet", "{languages}");
        assert_eq!(subject("ja", languages), "Sujet", "{languages}");
    }
    assert_eq!(subject("en-US", "fr"), "Sujet");
}
