//! `[reset.messages]`: what the texts that people read say, in place of IDM's own.

use super::raw::Section;

/// Each text that a person may get to read, by the key that changes it. What only a program that is broken gets to see,
/// such as that a value is no text, is not among them.
pub const MESSAGES: [(&str, &str); 16] = [
    ("invalid_code", "Invalid code"),
    ("code_missing", "Input code is missing"),
    ("link_invalid", "Password reset link is invalid"),
    ("password_missing", "password is missing from input"),
    ("token_invalid", "Snapshot token is invalid"),
    ("process_changed", "Invalid token"),
    ("filter_invalid", "Invalid query filter"),
    ("captcha_refused", "Recaptcha verification is unsuccessful"),
    ("captcha_spent", "The captcha was used already, start again"),
    ("answers_wrong", "Answers are not matched"),
    ("answers_exceeded", "Maximum attempts exceeded"),
    ("too_many", "Too many requests, try again later"),
    ("unavailable", "The service is not available, try again later"),
    ("account_unknown", "Unable to find account"),
    ("account_without_mail", "Unable to verify email"),
    ("account_inactive", "You do not have permissions to reset password. Please contact administrator"),
];
/// As long as fits on a page beside its form.
const MAX_CHARS: usize = 300;

/// The texts that are other than IDM's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Messages(Vec<(&'static str, String)>);

impl Messages {
    /// What to say in place of one of IDM's texts, where there is something.
    pub fn in_place_of(&self, text: &str) -> Option<&str> {
        self.0.iter().find(|(idms, _)| *idms == text).map(|(_, own)| own.as_str())
    }

    /// Whether all texts are IDM's.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads the section.
pub(super) fn messages(mut section: Section<'_>) -> Option<Messages> {
    let own = MESSAGES.map(|(key, idms)| section.or(key, idms, message).map(|own| (idms, own)));
    section.finish();
    let all = own.into_iter().collect::<Option<Vec<_>>>()?;
    Some(Messages(all.into_iter().filter(|(idms, own)| idms != own).collect()))
}

fn message(text: &str) -> Result<String, String> {
    // IDM's own page puts some of them into its HTML as they are.
    if text.contains(|c: char| c.is_control() || matches!(c, '<' | '>' | '&')) {
        return Err("must be plain text on one line, without < > and &: IDM's page shows it as HTML".to_owned());
    }
    if text.chars().count() > MAX_CHARS {
        return Err(format!("must be {MAX_CHARS} characters at most"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// All that is in the files of a folder.
    fn source(folder: &Path) -> String {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| if path.is_dir() { source(&path) } else { fs::read_to_string(path).unwrap() }).collect()
    }

    /// Else a text could be changed where it is said, and its key would change nothing any more.
    #[test]
    fn each_is_said_somewhere() {
        let said = source(Path::new("src/reset")) + include_str!("../reset.rs");
        for (key, text) in MESSAGES {
            assert!(said.contains(&format!("\"{text}\"")), "{key}");
        }
    }

    #[test]
    fn what_a_page_could_take_for_html_is_refused() {
        for text in ["<b>x</b>", "a &amp; b", "two\nlines", &"x".repeat(301)] {
            assert!(message(text).is_err(), "{text}");
        }
        assert_eq!(message("Ce lien n'est plus valable : demandez-en un \"autre\"").unwrap().chars().count(), 51);
    }
}
