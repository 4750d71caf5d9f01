//! What was found: one line a check.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All is well.
    Ok,
    /// It was not looked at, for the reason given.
    Skip,
    /// It works, and is unwise.
    Warn,
    /// It does not work, or does harm.
    Fail,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skip => "skip",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One check. As JSON: `{"check":"identity.dns","outcome":"fail","seen":"…","do":"…"}`, without `do` where there is
/// nothing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its name, which stays the same from version to version.
    pub check: String,
    /// How bad it is.
    pub outcome: Outcome,
    /// What was seen.
    pub seen: String,
    /// What to do.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

/// `fail  identity.dns        idm.example.com: Name or service not known → …`
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, outcome, seen, cure } = self;
        write!(f, "{:4}  {check:24}  {seen}", outcome.as_str())?;
        cure.as_ref().map_or(Ok(()), |cure| write!(f, " → {cure}"))
    }
}

/// The lines of one part, in the order of its checks.
#[derive(Debug)]
pub(super) struct Sheet {
    part: &'static str,
    pub(super) lines: Vec<Line>,
}

impl Sheet {
    /// Of the part by that name, with which the names of its checks begin.
    pub(super) const fn new(part: &'static str) -> Self {
        Self { part, lines: Vec::new() }
    }

    pub(super) const fn part(&self) -> &'static str {
        self.part
    }

    pub(super) fn ok(&mut self, check: &str, seen: impl Into<String>) {
        self.add(check, Outcome::Ok, seen.into(), None);
    }

    pub(super) fn skip(&mut self, check: &str, why: impl Into<String>) {
        self.add(check, Outcome::Skip, why.into(), None);
    }

    /// The same reason for several.
    pub(super) fn skip_all(&mut self, checks: &[&str], why: &str) {
        checks.iter().for_each(|check| self.skip(check, why));
    }

    pub(super) fn warn(&mut self, check: &str, seen: impl Into<String>, cure: impl Into<String>) {
        self.add(check, Outcome::Warn, seen.into(), Some(cure.into()));
    }

    pub(super) fn fail(&mut self, check: &str, seen: impl Into<String>, cure: impl Into<String>) {
        self.add(check, Outcome::Fail, seen.into(), Some(cure.into()));
    }

    fn add(&mut self, check: &str, outcome: Outcome, seen: String, cure: Option<String>) {
        let clean = |text: String| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        let check = if check.is_empty() { self.part.to_owned() } else { format!("{}.{check}", self.part) };
        self.lines.push(Line { check, outcome, seen: clean(seen), cure: cure.map(clean) });
    }
}

/// Several things in one line, the first few of them.
pub(super) fn listed<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    const FEW: usize = 6;
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    let more = items.len().saturating_sub(FEW);
    let shown = items.iter().take(FEW).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line() {
        let mut sheet = Sheet::new("identity");
        sheet.ok("tls", "believed");
        sheet.fail("dns", "a\nb", "mend\u{1b}[2J it");
        sheet.skip("", "not wanted");
        let lines: Vec<_> = sheet.lines.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "ok    identity.tls              believed",
                "fail  identity.dns              a b → mend [2J it",
                "skip  identity                  not wanted",
            ]
        );
        let json = serde_json::to_string(&sheet.lines[1]).unwrap();
        assert_eq!(json, r#"{"check":"identity.dns","outcome":"fail","seen":"a b","do":"mend [2J it"}"#);
        assert!(!serde_json::to_string(&sheet.lines[0]).unwrap().contains("do"));
    }

    #[test]
    fn many_are_not_all_listed() {
        assert_eq!(listed(["a", "b"]), "a, b");
        assert_eq!(listed(1..=8), "1, 2, 3, 4, 5, 6 and 2 more");
    }

    #[test]
    fn the_worst_is_the_greatest() {
        let worst = [Outcome::Ok, Outcome::Fail, Outcome::Warn, Outcome::Skip].into_iter().max();
        assert_eq!(worst, Some(Outcome::Fail));
    }
}
