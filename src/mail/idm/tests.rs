use parking_lot::Mutex;

use super::*;
use crate::config::Wording;
use crate::{
    mail::letter::{Letters, tests::settings},
    outbound::Kind,
    reset::ports::{Job, Source, Time},
};

type Said = Result<(StatusCode, &'static str), Failure>;

/// Answers as it is told, and keeps what it was asked.
struct Double(Said, Mutex<Vec<String>>);

#[async_trait]
impl Service for Double {
    async fn send(&self, letter: Bytes) -> Result<(StatusCode, Secret<Vec<u8>>), Failure> {
        self.1.lock().push(String::from_utf8(letter.to_vec()).unwrap());
        self.0.map(|(status, body)| (status, Secret::of(body.as_bytes().to_vec())))
    }

    async fn answers(&self) -> bool {
        self.0.is_ok()
    }
}

const NOW: Time = Time::from_millis(1_700_000_000_000);

fn letter(html: bool, body: &str) -> Written {
    let settings = settings(html, &[("en", "Choose \"one\"")], &[("en", body)]);
    let job = Job {
        account: [0; 16],
        source: Source::nobody(),
        to: Secret::new("jane@example.org"),
        link: Secret::new("https://id.example.com/#/r/&token=t&code=c"),
        code: Secret::new(""),
        name: None,
        languages: String::new(),
        until: Time::from_millis(NOW.millis() + 20 * 60_000),
        trace: None,
    };
    Letters::new(None, &settings, false, &Wording::default()).unwrap().write(&job, NOW, "1").unwrap()
}

async fn outcome(said: Said) -> Outcome {
    let double = Arc::new(Double(said, Mutex::default()));
    Idm::new(double, None).carry(&letter(false, "%link% %minutes%")).await
}

/// The body that IDM's own reset posts, byte for byte.
#[tokio::test]
async fn a_letter_is_what_idm_s_own_reset_sends() {
    for (html, from, body, expected) in [
        (
            false,
            None,
            "Hello,\r\n%link% (%minutes%)\n",
            r#"{"to":"jane@example.org","from":null,"subject":"Choose \"one\"","type":null,"body":"Hello,\nhttps://id.example.com/#/r/&token=t&code=c (20)\n"}"#,
        ),
        (
            true,
            Some("Help <help@example.com>"),
            "<p><a href=\"%link%\">Go</a> %minutes%</p>",
            r#"{"to":"jane@example.org","from":"Help <help@example.com>","subject":"Choose \"one\"","type":"text/html","body":"<p><a href=\"https://id.example.com/#/r/&token=t&code=c\">Go</a> 20</p>"}"#,
        ),
    ] {
        let double = Arc::new(Double(Ok((StatusCode::OK, r#"{"status":"OK"}"#)), Mutex::default()));
        let carrier = Idm::new(double.clone(), from.map(str::to_owned));
        assert_eq!(carrier.carry(&letter(html, body)).await, Outcome::Taken);
        assert_eq!(double.1.lock().as_slice(), [expected]);
    }
}

#[tokio::test]
async fn a_refusal_is_told_from_what_may_be_well_later() {
    let failed = |class, code| Outcome::Failed(Trouble { class, code });
    let refused = |code| Outcome::Refused(Trouble { class: "refused", code });
    for (message, expected) in [
        ("Bad To: email address", refused(None)),
        ("From: email address is absent", failed("service", None)),
        ("Bad From: email address", failed("service", None)),
        (
            "Invalid Addresses; nested exception is: SMTPAddressFailedException: 550 5.1.1 <x>: unknown",
            refused(Some(550)),
        ),
        (
            "Invalid Addresses; nested:\\n\\tclass SMTPAddressFailedException: 450 4.7.1 <x>: Greylisted",
            failed("deferred", Some(450)),
        ),
        ("554-5.7.1 not from here\\n554 5.7.1 bye", refused(Some(554))),
        ("Got 421 4.3.2 too busy\\n552 Mailbox full", refused(Some(552))),
        ("535 5.7.8 Error: authentication failed", failed("auth", Some(535))),
        ("530 Must issue a STARTTLS command first", failed("auth", Some(530))),
        ("Couldn't connect to host, port: relay.example.com, 587; timeout 300000", failed("service", None)),
        ("Read timed out after 500 ms", failed("service", None)),
        ("no code: x550 5.1.1, 1550 , 599 , 5500 ", failed("service", None)),
        ("", failed("service", None)),
    ] {
        let body = format!(r#"{{"code":400,"reason":"Bad Request","message":"{message}"}}"#);
        let got = outcome(Ok((StatusCode::BAD_REQUEST, body.leak()))).await;
        assert_eq!(got, expected, "{message}");
    }
    assert_eq!(outcome(Ok((StatusCode::BAD_REQUEST, "\u{fffd}<html>"))).await, failed("service", None));
}

#[tokio::test]
async fn whether_it_may_have_been_sent_is_known() {
    let failed = |class| Outcome::Failed(Trouble::new(class));
    let unknown = |class| Outcome::Unknown(Trouble::new(class));
    for (said, expected) in [
        (Ok((StatusCode::NO_CONTENT, "")), Outcome::Taken),
        (Ok((StatusCode::UNAUTHORIZED, "")), failed("auth")),
        (Ok((StatusCode::FORBIDDEN, "")), failed("not-allowed")),
        (Ok((StatusCode::NOT_FOUND, "")), failed("no-service")),
        (Ok((StatusCode::TOO_MANY_REQUESTS, "")), failed("service")),
        (Ok((StatusCode::INTERNAL_SERVER_ERROR, "550 no")), unknown("service")),
        (Ok((StatusCode::FOUND, "")), unknown("service")),
        (Err(Failure::unsent(Kind::Connect)), failed("connect")),
        (Err(Failure::unsent(Kind::Open)), failed("open")),
        (Err(Failure::unknown(Kind::Timeout)), unknown("timeout")),
        (Err(Failure::unknown(Kind::Lost)), unknown("lost")),
    ] {
        assert_eq!(outcome(said).await, expected, "{said:?}");
    }
}
