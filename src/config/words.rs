//! A file of words, one a line, such as passwords that too many have. It is looked into without regard to case.

use std::fmt;

use super::secret::Surroundings;

/// The largest file, in bytes: some six million passwords.
const MOST: u64 = 64 << 20;

/// The words, folded, in one text, and where each begins, in order.
pub struct WordList {
    text: String,
    starts: Vec<u32>,
}

impl WordList {
    /// Reads a file that the configuration names; the error is the rule. What is not UTF-8 in it is no word that anybody
    /// could type.
    pub(super) fn read(around: &Surroundings<'_>, name: &str) -> Result<Self, String> {
        let bytes = around.read_bounded(name, MOST)?;
        let list = Self::of(&String::from_utf8_lossy(&bytes));
        if list.starts.is_empty() {
            Err("must name a file with at least one word, one a line".to_owned())
        } else {
            Ok(list)
        }
    }

    /// Those of a text, one a line.
    pub fn of(words: &str) -> Self {
        let mut text = String::with_capacity(words.len());
        let mut starts = Vec::new();
        for word in words.lines().filter(|word| !word.is_empty()) {
            // Folded, a text is seldom longer, and never three times as long.
            let Ok(start) = u32::try_from(text.len()) else { break };
            starts.push(start);
            text.extend(folded(word));
            text.push('\n');
        }
        text.shrink_to_fit();
        starts.sort_unstable_by(|a, b| word_at(&text, *a).cmp(word_at(&text, *b)));
        starts.dedup_by(|a, b| word_at(&text, *a) == word_at(&text, *b));
        Self { text, starts }
    }

    /// Whether it has that word, in whatever case.
    pub fn has(&self, word: &str) -> bool {
        let word = super::Secret::new(Self::fold(word));
        self.starts.binary_search_by(|start| word_at(&self.text, *start).cmp(word.expose())).is_ok()
    }

    /// As words are compared. There is room for all of it from the start, so that no part is left anywhere.
    pub fn fold(word: &str) -> String {
        let mut text = String::with_capacity(3 * word.len());
        text.extend(folded(word));
        text
    }
}

fn folded(word: &str) -> impl Iterator<Item = char> {
    word.chars().flat_map(char::to_lowercase)
}

fn word_at(text: &str, start: u32) -> &str {
    let rest = usize::try_from(start).ok().and_then(|start| text.get(start..)).unwrap_or_default();
    rest.split('\n').next().unwrap_or_default()
}

/// How many there are.
impl fmt::Debug for WordList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WordList").field("words", &self.starts.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_whatever_case_and_order() {
        let list = WordList::of("zebra\r\nPassword1\n\nÄPFEL\nzebra\n# no comment\n with blanks \nlast");
        assert_eq!(list.starts.len(), 6, "{list:?}");
        for word in ["zebra", "ZEBRA", "password1", "PassWord1", "äpfel", "# no comment", " with blanks ", "last"] {
            assert!(list.has(word), "{word}");
        }
        for word in ["", "zebr", "zebra1", "with blanks", "\n", "zebra\npassword1", "apfel"] {
            assert!(!list.has(word), "{word}");
        }
        let many: String = (0..50_000).rev().map(|n| format!("pass{n}\n")).collect();
        let list = WordList::of(&many);
        assert!((0..50_000).all(|n| list.has(&format!("PASS{n}"))) && !list.has("pass50000"));
    }
}
