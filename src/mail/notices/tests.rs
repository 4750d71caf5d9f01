use super::*;
use crate::{config::LetterTemplate, mail::letter::tests::read, reset::ports::Source};

fn notice(languages: &str, of: Client, tells_client: bool) -> Notice {
    Notice {
        account: [7; 16],
        source: Source { client: of, ..Source::nobody() },
        to: Secret::new("jane@example.org"),
        at: Time::from_millis(1_700_000_000_000),
        tells_client,
        languages: languages.to_owned(),
        until: Time::from_millis(1_700_003_600_000),
        trace: None,
    }
}

fn written(notice: &Notice) -> Written {
    let notices = Notices::new(Some("Example <info@example.com>"), &Wording::default()).unwrap();
    notices.write(notice, Time::from_millis(1_700_000_060_000), "1.ab").unwrap()
}

const HERE: Client = Client::V4([192, 0, 2, 7]);

#[test]
fn it_says_when_in_the_askers_language_and_no_more() {
    let letter = written(&notice("", HERE, false));
    let sent = read(&letter.message().unwrap().formatted());
    assert!(
        sent.headers.contains("Subject: Your password was changed") && sent.headers.contains("To: jane@example.org")
    );
    assert!(sent.headers.contains("Auto-Submitted: auto-generated"), "{}", sent.headers);
    assert_eq!(
        sent.text,
        "The password of your account was changed on 2023-11-14 22:13 UTC.\r\n\r\nIf it was you, there is nothing to do. \
         If it was not you, reset your password again at once, and tell your help desk.\r\n"
    );
    assert!(sent.html.contains("<html lang=\"en\">") && sent.html.contains("on 2023-11-14 22:13 UTC.<br>"));
    for (languages, subject) in [
        ("de-AT, en;q=0.5", "Ihr Passwort wurde geändert"),
        ("fr", "Votre mot de passe a été modifié"),
        ("es", "Su contraseña ha cambiado"),
        ("it", "La sua password è stata cambiata"),
        ("nl", "Uw wachtwoord is gewijzigd"),
        ("pt-BR", "A sua palavra-passe foi alterada"),
        ("ja", "Your password was changed"),
    ] {
        let letter = written(&notice(languages, HERE, false));
        assert_eq!(letter.subject, subject);
        for part in [&letter.text, &letter.html] {
            let part = part.expose();
            assert!(part.contains("2023-11-14 22:13 UTC") && !part.contains(['%', '{']), "{part}");
            assert!(!part.contains("192.0.2.7") && !part.contains("http"), "{part}");
        }
    }
}

#[test]
fn where_it_was_done_is_said_if_the_operator_wants_it_and_it_is_known() {
    let v6 = Client::V6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 1]);
    for (of, told) in [(HERE, "It was done from 192.0.2.7."), (v6, "It was done from 2001:db8:0:1::/64.")] {
        let letter = written(&notice("en", of, true));
        assert!(letter.text.expose().ends_with(&format!("\r\n\r\n{told}\r\n")), "{}", letter.text.expose());
        assert!(letter.html.expose().contains(&format!("<br>\r\n{told}</p>")), "{}", letter.html.expose());
    }
    let unknown = written(&notice("en", Client::Unknown, true));
    assert!(!unknown.text.expose().contains("done from"));
    for [tag, ..] in OWN {
        let told = written(&notice(tag, HERE, true));
        assert!(told.text.expose().contains("192.0.2.7") && told.html.expose().contains("192.0.2.7"), "{tag}");
    }
}

#[test]
fn an_operators_own_words_come_first() {
    let template = |tag: &str, subject: Option<&str>, text: Option<&str>| LetterTemplate {
        tag: tag.to_owned(),
        subject: subject.map(str::to_owned),
        text: text.map(str::to_owned),
        html: None,
    };
    let notice = vec![template("de", None, Some("Geändert am %time%.")), template("ja", Some("変更"), None)];
    let notices =
        Notices::new(Some("info@example.com"), &Wording { locale: "ja".to_owned(), notice, ..Wording::default() });
    let notices = notices.unwrap();
    let texts = |tag: &str| notices.texts.iter().find(|(known, _)| known == tag).map(|(_, text)| text).unwrap();
    assert_eq!(
        (texts("de").subject.as_str(), texts("de").plain.text.as_str()),
        ("Ihr Passwort wurde geändert", "Geändert am %time%.")
    );
    assert!(texts("ja").subject == "変更" && texts("ja").plain.text.starts_with("The password of your account"));
    assert_eq!(notices.texts[0].0, "ja", "for whoever asks for no language that there is");
}
