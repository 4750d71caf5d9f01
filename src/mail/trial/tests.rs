use super::*;
use crate::mail::letter::tests::settings;

const LINK: &str = "https://id.example.com/#/passwordreset/&token=eyJhbGciOiJIUzI1NiJ9.e30.AbC-_&code=0a1b2c3d";
const NOW: Time = Time::from_millis(1_700_000_000_000);

fn faults(html: bool, subjects: &[(&str, &str)], messages: &[(&str, &str)], digits: Option<u32>) -> Vec<String> {
    let config = Mail {
        wording: crate::config::Wording::default(),
        transport: crate::config::Transport::File("unused".into()),
        from: Some("Example <info@example.com>".to_owned()),
        helo: None,
        capacity: 1,
        later: 1,
    };
    let rendered = render(&config, &settings(html, subjects, messages), digits, LINK, NOW).unwrap();
    rendered
        .into_iter()
        .flat_map(|letter| letter.faults.into_iter().map(move |fault| format!("{} {fault}", letter.language)))
        .collect()
}

#[test]
fn letters_that_can_be_read() {
    let none: [&str; 0] = [];
    assert_eq!(
        faults(false, &[("en", "Reset"), ("de_AT", "Neu")], &[("en", "Go: %link%"), ("de-AT", "%link%")], None),
        none
    );
    let html = "<p><a href=\"%link%\">Reset</a>, %minutes% minutes, %code%</p>";
    assert_eq!(faults(true, &[("en", "Reset")], &[("en", html)], Some(8)), none);
    assert_eq!(faults(true, &[("en", "Reset")], &[("en", "<p>%link%</p>")], Some(8)), none);
    // One language may do for its dialects.
    assert_eq!(faults(false, &[("en", "Reset"), ("en-GB", "Reset!")], &[("en", "%link%")], None), none);
}

#[test]
fn letters_that_cannot() {
    let subjects = [("en", "Reset"), ("fr", " ")];
    let messages = [("en", "Go: %link%x"), ("fr", "%link%"), ("it", "%link%")];
    assert_eq!(
        faults(false, &subjects, &messages, None),
        [
            "en does not have the whole link in its text part",
            "fr has no subject",
            "it has no subject of its own, but that in en"
        ]
    );
    assert_eq!(
        faults(true, &[("en", "Reset")], &[("en", "<p>%lin<b>k</b>%</p>")], None)[0],
        "en does not have the whole link in its HTML part"
    );
}
