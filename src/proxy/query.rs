//! The query of a request to the reset path, read as IDM's HTTP layer (CREST) reads it: names are case-insensitive and
//! percent-decoded, `&` alone separates, and no parameter may come twice.

use std::{borrow::Cow, collections::BTreeSet};

use percent_encoding::percent_decode;

/// What the query says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// `_action`.
    pub(super) action: Action,
    /// `_prettyPrint=true`: indent the answer.
    pub(super) pretty: bool,
    /// `_queryFilter`, `_queryId` or `_queryExpression` makes a GET a query.
    pub(super) search: bool,
}

/// `_action`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Not there, or empty.
    None,
    /// `submitRequirements`
    Submit,
    /// `validateObject`
    Validate,
    /// Anything else.
    Other,
}

/// A parameter came twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeated {
    /// `_action`
    Action,
    /// Any other.
    Other,
}

impl Query {
    /// Reads the bytes after the `?`.
    pub(super) fn parse(query: &[u8]) -> Result<Self, Repeated> {
        let mut read = Self { action: Action::None, pretty: false, search: false };
        let mut seen = BTreeSet::new();
        for pair in query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = pair.split_at(end);
            let name = decode(name).to_ascii_lowercase();
            let value = decode(value.strip_prefix(b"=").unwrap_or_default());
            match name.as_slice() {
                b"_action" if value.is_empty() => {}
                b"_action" if *value == *b"submitRequirements" => read.action = Action::Submit,
                b"_action" if *value == *b"validateObject" => read.action = Action::Validate,
                b"_action" => read.action = Action::Other,
                b"_prettyprint" => read.pretty = value.eq_ignore_ascii_case(b"true"),
                b"_queryfilter" | b"_queryid" | b"_queryexpression" => read.search = true,
                _ => {}
            }
            if seen.contains(&name) {
                return Err(if name == b"_action" { Repeated::Action } else { Repeated::Other });
            }
            seen.insert(name);
        }
        Ok(read)
    }
}

/// As forms are decoded: `+` is a blank, `%XX` a byte.
fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if text.contains(&b'+') {
        let text: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        Cow::Owned(percent_decode(&text).collect())
    } else {
        percent_decode(text).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Query, Repeated> {
        Query::parse(query.as_bytes())
    }

    #[test]
    fn actions() {
        for (query, action) in [
            ("", Action::None),
            ("_action", Action::None),
            ("_action=", Action::None),
            ("a=b&&c", Action::None),
            ("_action=submitRequirements", Action::Submit),
            ("_ACTION=submitRequirements", Action::Submit),
            ("%5faction=submitRequirements", Action::Submit),
            ("x=1&_action=%73ubmitRequirements&y", Action::Submit),
            ("_action=submitrequirements", Action::Other),
            ("_action=submitRequirements%00", Action::Other),
            ("_action=+submitRequirements", Action::Other),
            ("_action=create", Action::Other),
            ("_action=validateObject", Action::Validate),
            ("_action=validateobject", Action::Other),
            ("_action=a;_action=submitRequirements", Action::Other),
            ("a=b;_action=submitRequirements", Action::None),
        ] {
            assert_eq!(parse(query).unwrap().action, action, "{query}");
        }
    }

    #[test]
    fn no_parameter_comes_twice() {
        assert_eq!(parse("_action=submitRequirements&_action=submitRequirements"), Err(Repeated::Action));
        assert_eq!(parse("_action=submitRequirements&%5FACTION=x"), Err(Repeated::Action));
        assert_eq!(parse("_action&_action="), Err(Repeated::Action));
        assert_eq!(parse("a=1&b=2&A=3"), Err(Repeated::Other));
        assert!(parse("a=1&b=2&c").is_ok());
    }

    #[test]
    fn the_rest() {
        assert!(parse("_prettyPrint=true").unwrap().pretty);
        assert!(!parse("_prettyPrint=1").unwrap().pretty);
        assert!(parse("_queryFilter=true").unwrap().search);
    }
}
