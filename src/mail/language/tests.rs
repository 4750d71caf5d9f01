use super::*;

fn chosen(tags: &[&str], header: &str) -> String {
    let translations: Vec<_> = tags.iter().map(|tag| ((*tag).to_owned(), ())).collect();
    choose(&translations, header).map(|(tag, ())| tag.clone()).unwrap_or_default()
}

#[test]
fn the_table_of_choices() {
    let file = ["en", "fr", "en_GB", "pt-BR", "zh-Hant"];
    for (header, expected) in [
        ("", "en"),
        ("fr", "fr"),
        ("FR", "fr"),
        ("en-GB", "en_GB"),
        ("en_gb", "en_GB"),
        ("en-US", "en"),
        ("fr-CA", "fr"),
        ("pt", "pt-BR"),
        ("pt-PT", "pt-BR"),
        ("zh-Hant-TW", "zh-Hant"),
        ("zh-Hant-x-private", "zh-Hant"),
        ("zh", "zh-Hant"),
        ("de", "en"),
        ("*", "en"),
        ("de, *;q=0.5", "en"),
        ("de, fr;q=0.3, *;q=0.2", "fr"),
        ("en;q=0.2, fr;q=0.9", "fr"),
        ("fr;q=0.5, pt;q=0.5", "fr"),
        ("en;q=0, fr;q=0.001", "fr"),
        ("fr;q=0", "en"),
        ("fr ; q=1.000 ,, en", "fr"),
        ("fr\t;\tQ=0.5,\ten_GB;q=0.4", "fr"),
        // A parent that is asked for itself waits for its own turn, as measured of both IDM variants.
        ("fr-CA, fr;q=0.5, en;q=0.8", "en"),
        ("fr-CA, fr;q=0.5", "fr"),
        ("fr-CA, fr;q=0", "en"),
        // Malformed: the first of the file, never a refusal.
        ("fr;q=2", "en"),
        ("fr;q=1.001", "en"),
        ("fr;q=0.1234", "en"),
        ("fr;q=-1", "en"),
        ("fr;q=", "en"),
        ("fr;level=1", "en"),
        ("fr;q=0.5;q=0.6", "en"),
        ("fr fr", "en"),
        ("fr-", "en"),
        ("-fr", "en"),
        ("f1", "en"),
        ("überlang", "en"),
        ("fr\r\nBcc: x@example.com", "en"),
        ("fr\0", "en"),
        ("franceisfar", "en"),
    ] {
        assert_eq!(chosen(&file, header), expected, "{header:?}");
    }
    assert_eq!(chosen(&[], "fr"), "");
}

#[test]
fn the_header_is_bounded() {
    let file = ["en", "fr"];
    let padded = |length: usize| format!("fr{}", " ".repeat(length - 2));
    assert_eq!(chosen(&file, &padded(256)), "fr");
    assert_eq!(chosen(&file, &padded(257)), "en");
    assert_eq!(chosen(&file, &format!("{}fr", "de,".repeat(31))), "fr");
    assert_eq!(chosen(&file, &format!("{}fr", "de,".repeat(32))), "en");
}

#[test]
fn one_minute_is_not_minutes() {
    assert_eq!(lifetime("en", 20), "This link works for 20 minutes.");
    assert_eq!(lifetime("en-GB", 1), "This link works for 1 minute.");
    assert_eq!(lifetime("DE_at", 1), "Dieser Link gilt noch 1 Minute.");
    assert_eq!(lifetime("nl", 2), "Deze link is nog 2 minuten geldig.");
    assert_eq!(lifetime("tlh", 2), "This link works for 2 minutes.");
}

proptest::proptest! {
    #[test]
    fn any_header_gives_one_of_the_file(header in ".{0,300}") {
        let file = ["en", "fr-FR", "pt_BR"];
        assert!(file.contains(&chosen(&file, &header).as_str()));
    }

    #[test]
    fn any_plausible_header_gives_one_of_the_file(header in "([a-zA-Z*]{1,3}([-_][a-zA-Z0-9]{1,9})?(;q=[01](\\.[0-9]{0,4})?)?[, ]{0,2}){0,12}") {
        let file = ["en", "fr-FR", "pt_BR"];
        assert!(file.contains(&chosen(&file, &header).as_str()));
    }
}
