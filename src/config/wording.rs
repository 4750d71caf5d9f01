//! `mail.templates` and `mail.locale`: in which words letters are written, where the process file's are not enough.

use std::{collections::BTreeMap, fs, path::Path};

use super::{fault::Fault, raw::Section, secret::Surroundings};

/// The words of letters, beside the process file's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wording {
    /// `locale`: the language of whoever asks for none that there is.
    pub locale: String,
    /// Letters with a link.
    pub reset: Vec<LetterTemplate>,
    /// Notices that a password was set.
    pub notice: Vec<LetterTemplate>,
}

/// A letter in one language, as far as files say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterTemplate {
    /// The language: `en`, `en-GB`.
    pub tag: String,
    /// One line.
    pub subject: Option<String>,
    /// The text part.
    pub text: Option<String>,
    /// The HTML part.
    pub html: Option<String>,
}

/// What stands for the link in a file.
const LINK: &str = "%link%";
const MAX_BYTES: usize = 64 << 10;
const MAX_FILES: usize = 200;

/// Reads the two keys.
pub(super) fn wording(section: &mut Section<'_>, around: &Surroundings<'_>) -> Option<Wording> {
    let locale = section.or("locale", "en-US", |text| match is_tag(text) {
        true => Ok(text.to_owned()),
        false => Err("must be a language, such as en-US".to_owned()),
    });
    let names = section.optional("templates", |text| names(&around.path(text)).map(|names| (text.to_owned(), names)));
    let mut all: BTreeMap<(bool, String), LetterTemplate> = BTreeMap::new();
    for (folder, name) in
        names?.into_iter().flat_map(|(folder, names)| names.into_iter().map(move |n| (folder.clone(), n)))
    {
        let path = format!("{}/{name}", folder.trim_end_matches('/'));
        let wrong = |rule: &str| Fault::of_file(&around.path(&path), rule);
        let Some((kind, tag, part)) = split(&name) else {
            if name.starts_with("reset.") || name.starts_with("notice.") {
                section.notes().warn(wrong("is not called as a template is, such as reset.en.txt: it does nothing"));
            }
            continue;
        };
        let text = match around.read(&path) {
            Ok(text) => text,
            Err(rule) => {
                section.notes().fault(wrong(&rule));
                continue;
            }
        };
        let is_reset = kind == "reset";
        if text.trim().is_empty() || text.len() > MAX_BYTES {
            section.notes().fault(wrong("must have a text in it, of 64 kB at most"));
        } else if is_reset && part != "subject" && !text.contains(LINK) {
            section.notes().fault(wrong("must hold %link%, in whose place the link is put"));
        }
        let template = all.entry((is_reset, tag.to_owned())).or_default();
        template.tag = tag.to_owned();
        match part {
            "subject" => template.subject = Some(text.trim().to_owned()),
            "txt" => template.text = Some(text),
            _ => template.html = Some(text),
        }
    }
    let (mut reset, mut notice) = (Vec::new(), Vec::new());
    for ((is_reset, _), template) in all {
        if is_reset { reset.push(template) } else { notice.push(template) }
    }
    Some(Wording { locale: locale?, reset, notice })
}

/// The names of a folder's files, in order.
fn names(folder: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(folder).map_err(|fault| format!("must name a folder that can be read: {fault}"))?;
    let mut names: Vec<_> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    if names.len() > MAX_FILES {
        return Err(format!("must name a folder of {MAX_FILES} files at most"));
    }
    Ok(names)
}

/// `reset.en-GB.txt`
fn split(name: &str) -> Option<(&str, &str, &str)> {
    let (kind, rest) = name.split_once('.')?;
    let (tag, part) = rest.split_once('.')?;
    let known = matches!(kind, "reset" | "notice") && matches!(part, "subject" | "txt" | "html") && is_tag(tag);
    known.then_some((kind, tag, part))
}

fn is_tag(text: &str) -> bool {
    let part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    text.split(['-', '_']).all(part) && text.starts_with(|c: char| c.is_ascii_alphabetic())
}
