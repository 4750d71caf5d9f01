//! What is wrong, or unwise, and where.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// One thing wrong, or unwise, in a file of the configuration. Its `Display` is one line:
/// `conf/x.toml:12: mail.transport = "ftp://x": must be …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, as the operator named it.
    pub file: PathBuf,
    /// The line, counted from 1; none where a file or a whole section is missing.
    pub line: Option<usize>,
    /// The dotted key, or in the process file a JSON pointer; empty where the file itself is at fault.
    pub key: String,
    /// The value as written, cut to a readable length; `…` for a secret, empty where there is none.
    pub value: String,
    /// The rule that it breaks.
    pub rule: String,
}

impl Fault {
    /// A file that cannot be used at all.
    pub(super) fn of_file(file: &Path, rule: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, key: String::new(), value: String::new(), rule: rule.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            f.write_str(&self.key)?;
            if !self.value.is_empty() {
                write!(f, " = {}", self.value)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.rule)
    }
}

/// Stands for what must not, or need not, be printed.
pub(super) const HIDDEN: &str = "…";

/// A value fit for one line of a terminal: short, without control characters, and without what a URL may carry of
/// secrets (a user's password, a query).
pub(super) fn shown(value: &str) -> String {
    const READABLE: usize = 80;
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\'')).map(String::from).unwrap_or_default();
    let (scheme, rest) = value.split_once("://").unwrap_or(("", value));
    let start = if scheme.is_empty() { quote.clone() } else { format!("{scheme}://") };
    let mut value = match rest.rsplit_once('@') {
        _ if rest.contains('?') && !scheme.is_empty() => format!("{start}{HIDDEN}{quote}"),
        Some((user, host)) if !scheme.is_empty() || (user.contains(':') && !user.contains(' ')) => {
            format!("{start}{HIDDEN}@{host}")
        }
        _ => value.to_owned(),
    };
    if value.chars().count() > READABLE {
        value = value.chars().take(READABLE).chain(HIDDEN.chars()).collect();
    }
    value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The line of a byte offset, counted from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
