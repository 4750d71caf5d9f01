//! Letters in files of their own.

use super::*;

fn with(files: &[(&str, &str)]) -> Result<(Config, Vec<String>), Vec<String>> {
    let folder = Folder::new();
    fs::create_dir(folder.0.path().join("templates")).unwrap();
    for (name, text) in files {
        folder.put(&format!("templates/{name}"), text);
    }
    folder.load(&super::with("mail", "templates = \"templates\"\nlocale = \"de\""))
}

#[test]
fn they_are_read_by_their_names() {
    let files = [
        ("reset.en.txt", "Go: %link%\n"),
        ("reset.en.html", "<a href=\"%link%\">Go</a>"),
        ("reset.pt-BR.subject", "Nova senha\n"),
        ("notice.de.txt", "Geändert."),
        ("reset.text", "no language"),
        ("logo.png", "something else"),
    ];
    let (config, warnings) = with(&files).unwrap();
    let wording = &config.mail.wording;
    assert_eq!(wording.locale, "de");
    let tags: Vec<_> = wording.reset.iter().map(|template| template.tag.as_str()).collect();
    assert_eq!(tags, ["en", "pt-BR"]);
    assert_eq!(wording.reset[0].html.as_deref(), Some("<a href=\"%link%\">Go</a>"));
    assert_eq!(wording.reset[1].subject.as_deref(), Some("Nova senha"));
    assert_eq!(wording.notice[0].text.as_deref(), Some("Geändert."));
    assert!(config.files.iter().any(|file| file.ends_with("templates/reset.en.txt")), "a change is seen");
    assert!(warnings.len() == 1 && warnings[0].contains("reset.text: is not called as a template is"), "{warnings:?}");
}

#[test]
fn what_could_not_be_sent_is_a_fault_of_its_file() {
    let long = format!("%link%{}", "x".repeat(64 << 10));
    let files = [
        ("reset.en.txt", "No link here"),
        ("reset.en.html", " \n"),
        ("reset.de.txt", &long),
        ("notice.en.txt", "Well."),
    ];
    let faults = with(&files).unwrap_err();
    for expected in [
        "templates/reset.en.txt: must hold %link%, in whose place the link is put",
        "templates/reset.en.html: must have a text in it, of 64 kB at most",
        "templates/reset.de.txt: must have a text in it, of 64 kB at most",
    ] {
        assert!(faults.iter().any(|fault| fault.ends_with(expected)), "{expected} in {faults:?}");
    }
    assert_eq!(faults.len(), 3, "{faults:?}");
    let folder = Folder::new();
    let faults = folder.faults(&super::with("mail", "templates = \"none\""));
    assert!(faults[0].contains("mail.templates = \"none\": must name a folder that can be read"), "{faults:?}");
}
