//! The part of CREST's query filter that a reset needs: `eq`, `and`, `or`, parentheses, quoted strings, numbers.
//! Everything else is refused, so that whatever a client lets through by mistake is seen.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// IDM's own limit.
const DEPTH: usize = 63;

/// A parsed filter.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter {
    Eq(String, Value),
    And(Vec<Self>),
    Or(Vec<Self>),
}

impl Filter {
    /// `None` if the text is not such a filter, whole and alone.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: tokens.iter().peekable(), depth: 0 };
        let filter = parser.or()?;
        parser.tokens.next().is_none().then_some(filter)
    }

    /// Whether an object has what the filter asks for. As in IDM on a relational repository, case counts.
    pub(super) fn matches(&self, object: &Map<String, Value>) -> bool {
        match self {
            Self::Eq(field, value) => object.get(field) == Some(value),
            Self::And(all) => all.iter().all(|filter| filter.matches(object)),
            Self::Or(any) => any.iter().any(|filter| filter.matches(object)),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    /// A quoted string, without its quotes and escapes.
    Text(String),
    /// Anything else, up to a space or a parenthesis.
    Word(String),
}

/// Only U+0020 separates; in strings a backslash makes the next character literal.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.next() {
        tokens.push(match first {
            ' ' => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            quote @ ('"' | '\'') => {
                let mut text = String::new();
                loop {
                    match rest.next()? {
                        '\\' => text.push(rest.next()?),
                        c if c == quote => break Token::Text(text),
                        c => text.push(c),
                    }
                }
            }
            first => {
                let mut word = String::from(first);
                while let Some(c) = rest.next_if(|c| !matches!(c, ' ' | '(' | ')')) {
                    word.push(c);
                }
                Token::Word(word)
            }
        });
    }
    Some(tokens)
}

struct Parser<'a> {
    tokens: std::iter::Peekable<std::slice::Iter<'a, Token>>,
    depth: usize,
}

impl Parser<'_> {
    fn or(&mut self) -> Option<Filter> {
        let first = self.and()?;
        let mut any = vec![first];
        while self.keyword("or") {
            any.push(self.and()?);
        }
        Some(if any.len() == 1 { any.pop()? } else { Filter::Or(any) })
    }

    fn and(&mut self) -> Option<Filter> {
        let first = self.primary()?;
        let mut all = vec![first];
        while self.keyword("and") {
            all.push(self.primary()?);
        }
        Some(if all.len() == 1 { all.pop()? } else { Filter::And(all) })
    }

    fn primary(&mut self) -> Option<Filter> {
        match self.tokens.next()? {
            Token::Open => {
                self.depth += 1;
                if self.depth > DEPTH {
                    return None;
                }
                let filter = self.or()?;
                self.depth -= 1;
                (self.tokens.next()? == &Token::Close).then_some(filter)
            }
            Token::Word(field) => {
                let field = percent_decode_str(field.trim_matches('/')).decode_utf8().ok()?.into_owned();
                if field.is_empty() || !self.keyword("eq") {
                    return None;
                }
                Some(Filter::Eq(field, self.value()?))
            }
            Token::Close | Token::Text(_) => None,
        }
    }

    fn value(&mut self) -> Option<Value> {
        match self.tokens.next()? {
            Token::Text(text) => Some(Value::String(text.clone())),
            Token::Word(word) => word.parse::<i64>().ok().map(Value::from).or_else(|| {
                let decimal = word.contains('.').then(|| word.parse::<f64>().ok())??;
                serde_json::Number::from_f64(decimal).map(Value::Number)
            }),
            Token::Open | Token::Close => None,
        }
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        self.tokens.next_if(|token| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(keyword))).is_some()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hit(filter: &str, object: &Value) -> bool {
        Filter::parse(filter).unwrap_or_else(|| panic!("not parsed: {filter}")).matches(object.as_object().unwrap())
    }

    #[test]
    fn finds_by_equality_only() {
        let object = json!({"userName": "bjensen", "mail": "b@example.com", "age": 12, "weight": 1.5});
        for filter in [
            r#"userName eq "bjensen""#,
            "/userName eq 'bjensen'",
            "userName/ EQ 'bjensen'",
            r#"%75serName eq "bjensen""#,
            r#"(userName eq "nobody" or mail eq "b@example.com")"#,
            r#"userName eq "bjensen" AND (mail eq "x" OR mail eq "b@example.com")"#,
            r#"mail eq "x"OR mail eq "b@example.com""#,
            "age eq 12",
            "weight eq 1.5",
            // `and` binds closer than `or`
            r#"userName eq "bjensen" or userName eq "x" and mail eq "x""#,
        ] {
            assert!(hit(filter, &object), "{filter}");
        }
        for filter in [
            r#"userName eq "BJENSEN""#,
            r#"USERNAME eq "bjensen""#,
            r#"userName eq """#,
            r#"age eq "12""#,
            r#"password eq "x""#,
            r#"(userName eq "bjensen" or mail eq "x") and mail eq "x""#,
        ] {
            assert!(!hit(filter, &object), "{filter}");
        }
    }

    #[test]
    fn a_backslash_makes_the_next_character_literal() {
        let object = json!({"userName": r#"a"b\c' or true"#});
        assert!(hit(r#"userName eq "a\"b\\c' or true""#, &object));
        assert!(hit(r#"userName eq 'a\"b\\c\' or true'"#, &object));
        assert!(hit(r#"userName eq "\a\"b\\c\' or true""#, &object));
    }

    #[test]
    fn refuses_everything_else() {
        for filter in [
            "",
            " ",
            "true",
            "userName pr",
            r#"userName co "b""#,
            r#"userName sw "b""#,
            r#"! userName eq "b""#,
            r#"!(userName eq "b")"#,
            "userName eq bjensen",
            "userName eq true",
            "userName eq",
            r#"userName eq "a"#,
            r#"userName eq "a\"#,
            r#"(userName eq "x""#,
            r#"userName eq "x")"#,
            r#""userName" eq "x""#,
            r#"mail eq "a"b""#,
            r#"mail eq "a" mail eq "b""#,
            r#"mail eq "a" or"#,
            "mail\teq \"a\"",
            r#"/ eq "x""#,
        ] {
            assert_eq!(Filter::parse(filter), None, "{filter}");
        }
    }

    #[test]
    fn nests_as_deep_as_idm_and_no_deeper() {
        let nested = |n| format!("{}mail eq \"a\"{}", "(".repeat(n), ")".repeat(n));
        assert!(Filter::parse(&nested(63)).is_some());
        assert!(Filter::parse(&nested(64)).is_none());
        assert!(Filter::parse(&nested(8_000)).is_none());
    }
}
