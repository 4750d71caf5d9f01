//! Reads Rust just well enough to see which paths a file names: tokens, no types. Text in comments and literals is
//! gone, `#[cfg(test)]` items are gone, and what is inside a macro call is seen like any other code.

/// A path that a file names, from the crate's root (`crate`) or from a foreign crate's name on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub line: usize,
    pub names: Vec<String>,
}

/// What a file says.
pub(super) struct Source {
    pub paths: Vec<Path>,
    /// Lines that are not in `#[cfg(test)]` items.
    pub lines: usize,
}

/// Reads the file of `module` (its names below the crate's root; none for the root itself).
pub(super) fn read(text: &str, module: &[&str]) -> Source {
    let (tokens, tests) = without_tests(tokens(text));
    Source { paths: paths(&tokens, module), lines: text.lines().count().saturating_sub(tests) }
}

/// A word, a `::`, or another single character that is not blank.
#[derive(Debug)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

impl Token<'_> {
    fn is_word(&self) -> bool {
        self.text.starts_with(is_word)
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let (length, is_token) = match literal_or_comment(rest) {
            Some(length) => (length, false),
            None if is_word(first) => (rest.find(|c| !is_word(c)).unwrap_or(rest.len()), true),
            None if rest.starts_with("::") => (2, true),
            None => (first.len_utf8(), !first.is_whitespace()),
        };
        let (token, after) = rest.split_at(length);
        if is_token {
            tokens.push(Token { text: token, line });
        }
        line += token.matches('\n').count();
        rest = after;
    }
    tokens
}

/// The length of the comment, string, character or lifetime that `text` starts with. Also of a raw name's `r#`.
fn literal_or_comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        text.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with(['"', '\'', '#']) && (rest != text || !rest.starts_with('#')))
    })?;
    let rest = &text[prefix.len()..];
    let hashes = rest.find(|c| c != '#')?;
    let length = match rest[hashes..].chars().next()? {
        '"' if prefix.ends_with('r') => {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = hashes + 1;
            rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len())
        }
        '"' if hashes == 0 => closed_by('"', rest),
        '\'' if hashes == 0 => character_or_lifetime(rest),
        // `r#type`: what counts is the name.
        _ if prefix == "r" => hashes,
        _ => return None,
    };
    Some(prefix.len() + length)
}

fn block_comment(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of a literal with backslash escapes, both its quotes included.
fn closed_by(quote: char, text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn character_or_lifetime(text: &str) -> usize {
    let mut chars = text.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) | (_, Some('\'')) => closed_by('\'', text),
        _ => text[1..].find(|c| !is_word(c)).map_or(text.len(), |at| at + 1),
    }
}

/// The tokens outside of `#[cfg(test)]` items, and how many lines those items have.
fn without_tests(tokens: Vec<Token<'_>>) -> (Vec<Token<'_>>, usize) {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut lines) = (Vec::new(), 0);
    let mut rest = tokens.into_iter().peekable();
    let mut marked = 0;
    while let Some(token) = rest.next() {
        marked = if token.text == MARK[marked] { marked + 1 } else { usize::from(token.text == MARK[0]) };
        let start = token.line;
        kept.push(token);
        if marked == MARK.len() {
            let mark = kept.split_off(kept.len() - MARK.len());
            let (mut depth, mut is_use, mut end) = (0_usize, false, start);
            for token in rest.by_ref() {
                end = token.line;
                is_use |= depth == 0 && token.text == "use";
                match token.text {
                    "{" | "(" | "[" => depth += 1,
                    "}" | ")" | "]" => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if depth == 0 && (token.text == ";" || token.text == "}" && !is_use) {
                    break;
                }
            }
            lines += end + 1 - mark[0].line;
            marked = 0;
        }
    }
    (kept, lines)
}

fn paths(tokens: &[Token<'_>], module: &[&str]) -> Vec<Path> {
    let mut module: Vec<String> = module.iter().map(|name| (*name).to_owned()).collect();
    let (mut depth, mut inline) = (0_usize, Vec::new());
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
        let line = tokens[at].line;
        match text(at) {
            "{" => depth += 1,
            "}" => {
                if inline.last() == Some(&depth) {
                    inline.pop();
                    module.pop();
                }
                depth = depth.saturating_sub(1);
            }
            "mod" if text(at + 2) == "{" => {
                module.push(text(at + 1).to_owned());
                inline.push(depth + 1);
            }
            // Not the `use<'a>` of an `impl Trait`.
            "use" if text(at + 1) != "<" => {
                let mut leaves = Vec::new();
                at = tree(tokens, at + 1, &[], &mut leaves);
                found.extend(leaves.into_iter().map(|(line, names)| Path { line, names: from_root(names, &module) }));
                continue;
            }
            _ if tokens[at].is_word() && text(at + 1) == "::" => {
                let head = at == 0
                    || text(at - 1) != "::"
                    || !(tokens[at.saturating_sub(2)].is_word() || text(at.saturating_sub(2)) == ">");
                let mut names = vec![text(at).to_owned()];
                while text(at + 1) == "::" && tokens.get(at + 2).is_some_and(Token::is_word) {
                    at += 2;
                    names.push(text(at).to_owned());
                }
                if head {
                    found.push(Path { line, names: from_root(names, &module) });
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads one tree of a `use` below `prefix`; gives the place after it.
fn tree(tokens: &[Token<'_>], mut at: usize, prefix: &[String], leaves: &mut Vec<(usize, Vec<String>)>) -> usize {
    let mut names = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.text {
            "::" => {}
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = tree(tokens, at, &names, leaves);
                    at += usize::from(tokens.get(at).is_some_and(|token| token.text == ","));
                }
                return at + 1;
            }
            // The other name does not matter.
            "as" => {
                at += 2;
                break;
            }
            "self" if !names.is_empty() => {}
            "*" => names.push("*".to_owned()),
            _ if token.is_word() => names.push(token.text.to_owned()),
            _ => break,
        }
        at += 1;
    }
    let line = tokens.get(at.saturating_sub(1)).map_or(0, |token| token.line);
    leaves.push((line, names));
    // Whatever stands here, go on: a file that does not compile must not hang a test.
    if tokens.get(at).is_some_and(|token| matches!(token.text, "," | "}")) { at } else { at + 1 }
}

/// `super::x` and `self::x` as seen from the crate's root; the library's own name is the root, too.
fn from_root(names: Vec<String>, module: &[String]) -> Vec<String> {
    let mut names = names.into_iter().peekable();
    let mut parents = module.len();
    match names.peek().map(String::as_str) {
        Some("crate" | "resetgate") => {
            names.next();
            parents = 0;
        }
        Some("super" | "self") => {
            while let Some(name) = names.next_if(|name| name == "super" || name == "self") {
                parents -= usize::from(name == "super" && parents > 0);
            }
        }
        _ => return names.collect(),
    }
    let root = std::iter::once("crate".to_owned());
    root.chain(module.iter().take(parents).cloned()).chain(names).collect()
}
