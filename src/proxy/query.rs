//! The query string of a request to the reset path, read as CREST does: names without regard to case, each at most once.

use percent_encoding::percent_decode;

/// What the query says that means something here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// `_action`
    pub(super) action: Option<String>,
    /// `_prettyPrint=true`
    pub(super) pretty: bool,
}

/// A parameter was given twice. Two readers may differ on which counts, so neither does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeated {
    /// `_action`
    Action,
    /// Another.
    Other,
}

/// Reads a query, without its `?`. `;` separates nothing (WHATWG URL §5.1).
pub(super) fn parse(query: &[u8]) -> Result<Query, Repeated> {
    let mut seen: Vec<String> = Vec::new();
    let mut parsed = Query::default();
    for pair in query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let (name, value) = match pair.iter().position(|byte| *byte == b'=').and_then(|at| pair.split_at_checked(at)) {
            Some((name, value)) => (name, value.get(1..).unwrap_or_default()),
            None => (pair, &b""[..]),
        };
        let name = decode(name).to_ascii_lowercase();
        if seen.contains(&name) {
            return Err(if name == "_action" { Repeated::Action } else { Repeated::Other });
        }
        match name.as_str() {
            "_action" => parsed.action = Some(decode(value)),
            "_prettyprint" => parsed.pretty = decode(value).eq_ignore_ascii_case("true"),
            _ => {}
        }
        seen.push(name);
    }
    Ok(parsed)
}

fn decode(text: &[u8]) -> String {
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case_and_spelling() {
        for query in ["_action=submitRequirements", "_ACTION=submitRequirements", "%5faction=submit%52equirements"] {
            assert_eq!(parse(query.as_bytes()).unwrap().action.as_deref(), Some("submitRequirements"), "{query}");
        }
        assert!(parse(b"_prettyPrint=true&x=1").unwrap().pretty);
        assert_eq!(parse(b"x=1;_action=submitRequirements").unwrap().action, None);
        assert_eq!(parse(b"_action").unwrap().action.as_deref(), Some(""));
    }

    #[test]
    fn nothing_is_said_twice() {
        assert_eq!(parse(b"_action=a&_Action=a"), Err(Repeated::Action));
        assert_eq!(parse(b"x=1&y=2&%78=1"), Err(Repeated::Other));
    }
}
