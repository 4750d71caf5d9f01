//! The CREST query filter with which a client names an account: read, checked, and built anew.
//!
//! Only a small part of CREST's language names one account without telling about others: `eq`, `and`, parentheses, and
//! an `or` whose literals are all the same (a box for "name or mail address"). Any other `or` would let somebody put his
//! own address beside another's and learn from his own mailbox whether that other exists. The rest is refused on its
//! text alone, before anybody is looked up. What a store is asked is never the client's text but what was understood
//! of it, with escaping of our own: CREST's own printer does not escape, and a quote would break out of its literal.

use super::ports::Field;

/// The longest filter, in characters.
const MAX_CHARS: usize = 512;
/// The most comparisons in one filter: what IDM's oldest page sends.
const MAX_LEAVES: usize = 4;
/// How deep parentheses may nest.
const MAX_DEPTH: usize = 16;

/// The filter is not one that we ask a store. It does not say why: a client that is one of ours has no use for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the query filter is not allowed")]
pub struct Refused;

/// What an attribute is compared with: never empty, without blanks around it and without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// It was quoted.
    Text(String),
    /// It was an integer or a decimal, kept as it was typed.
    Number(String),
}

impl Literal {
    /// The text without its quotes.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) | Self::Number(text) => text,
        }
    }

    /// Whether two of them ask for the same, as directories see it.
    fn alike(&self, other: &Self) -> bool {
        self.as_str().eq_ignore_ascii_case(other.as_str())
    }
}

impl From<&str> for Literal {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A filter that was allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// `field eq "literal"`
    Eq(Field, Literal),
    /// All of them; two at least.
    And(Vec<Self>),
    /// Any of them; two at least. Every literal in it is the same but for ASCII case.
    Or(Vec<Self>),
}

impl Filter {
    /// Reads a filter that names nothing but `allowed` fields.
    ///
    /// # Errors
    /// [`Refused`] for everything that is not in the small language above, or is longer, wider or deeper than any real
    /// client's.
    pub fn parse(text: &str, allowed: &[Field]) -> Result<Self, Refused> {
        // Control characters separate nothing in CREST; they only invite two readers to see two different filters.
        if text.chars().take(MAX_CHARS + 1).count() > MAX_CHARS || text.chars().any(char::is_control) {
            return Err(Refused);
        }
        let mut parser = Parser { rest: text, allowed, leaves: 0, depth: 0 };
        let filter = parser.any()?;
        match parser.next()? {
            // Two of them under an `and` would put one's own address beside another's name after all.
            None if filter.choices_below_and(false) <= 1 => Ok(filter),
            _ => Err(Refused),
        }
    }

    /// The filter as a store is to be asked; reading it again gives the same filter.
    pub fn to_crest(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    /// Whether an account whose attributes `attribute` tells is one that was asked for. Stores compare in ways of their
    /// own (wildcards, accents, prefixes), so what one gave is compared again: trimmed, and without regard to ASCII case.
    pub fn matches<'a>(&self, attribute: impl Fn(&Field) -> Option<&'a str>) -> bool {
        self.holds(&attribute, str::eq_ignore_ascii_case)
    }

    /// The same for a store that tells `A` from `a`: a text is compared as it was typed, or in lower case.
    #[must_use]
    pub fn in_either_case(self) -> Self {
        match self {
            Self::Eq(field, Literal::Text(text)) => {
                let lower = text.to_lowercase();
                let typed = Self::Eq(field.clone(), Literal::Text(text));
                let same = matches!(&typed, Self::Eq(_, literal) if literal.as_str() == lower);
                if same { typed } else { Self::Or(vec![typed, Self::Eq(field, Literal::Text(lower))]) }
            }
            Self::Eq(..) => self,
            Self::And(parts) => Self::And(parts.into_iter().map(Self::in_either_case).collect()),
            Self::Or(parts) => Self::Or(parts.into_iter().map(Self::in_either_case).collect()),
        }
    }

    /// Whether an account is one that was asked for by its very letters.
    pub fn matches_exactly<'a>(&self, attribute: impl Fn(&Field) -> Option<&'a str>) -> bool {
        self.holds(&attribute, |text, literal| text == literal)
    }

    /// The fields that it names, each once, in their order.
    pub fn fields(&self) -> Vec<&Field> {
        let mut fields = Vec::new();
        self.each_leaf(&mut |field, _| {
            if !fields.contains(&field) {
                fields.push(field);
            }
        });
        fields
    }

    /// What is compared with, as it was typed.
    pub fn literals(&self) -> Vec<&str> {
        let mut literals = Vec::new();
        self.each_leaf(&mut |_, literal| literals.push(literal.as_str()));
        literals
    }

    fn holds<'a>(&self, attribute: &dyn Fn(&Field) -> Option<&'a str>, alike: fn(&str, &str) -> bool) -> bool {
        match self {
            Self::Eq(field, literal) => {
                attribute(field).is_some_and(|text| alike(text.trim(), literal.as_str().trim()))
            }
            // An empty one is never read, and must not match everybody if somebody builds it.
            Self::And(parts) => !parts.is_empty() && parts.iter().all(|part| part.holds(attribute, alike)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(attribute, alike)),
        }
    }

    fn each_leaf<'a>(&'a self, visit: &mut dyn FnMut(&'a Field, &'a Literal)) {
        match self {
            Self::Eq(field, literal) => visit(field, literal),
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.each_leaf(visit)),
        }
    }

    /// How many times `or` stands below an `and`.
    fn choices_below_and(&self, below: bool) -> usize {
        match self {
            Self::Eq(..) => 0,
            Self::And(parts) => parts.iter().map(|part| part.choices_below_and(true)).sum(),
            Self::Or(parts) => {
                usize::from(below) + parts.iter().map(|part| part.choices_below_and(below)).sum::<usize>()
            }
        }
    }

    /// Whether all its literals are the same.
    fn one_literal(&self) -> bool {
        let mut first = None;
        let mut same = true;
        self.each_leaf(&mut |_, literal| same &= first.get_or_insert(literal).alike(literal));
        same
    }

    fn write(&self, out: &mut String) {
        let (parts, between) = match self {
            Self::Eq(field, literal) => {
                out.push_str(field.as_str());
                out.push_str(" eq ");
                return literal.write(out);
            }
            Self::And(parts) => (parts, " and "),
            Self::Or(parts) => (parts, " or "),
        };
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                out.push_str(between);
            }
            match part {
                Self::Eq(..) => part.write(out),
                Self::And(_) | Self::Or(_) => {
                    out.push('(');
                    part.write(out);
                    out.push(')');
                }
            }
        }
    }
}

impl Literal {
    fn write(&self, out: &mut String) {
        match self {
            Self::Number(text) => out.push_str(text),
            Self::Text(text) => {
                out.push('"');
                for c in text.chars() {
                    if matches!(c, '"' | '\\') {
                        out.push('\\');
                    }
                    out.push(c);
                }
                out.push('"');
            }
        }
    }
}

/// A piece of the text.
enum Piece<'a> {
    Open,
    Close,
    Quoted(String),
    Word(&'a str),
}

/// A recursive descent whose depth is counted.
struct Parser<'a> {
    rest: &'a str,
    allowed: &'a [Field],
    leaves: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// `all { "or" all }`
    fn any(&mut self) -> Result<Filter, Refused> {
        let filter = self.chain("or", Self::all, Filter::Or)?;
        match &filter {
            Filter::Or(_) if !filter.one_literal() => Err(Refused),
            _ => Ok(filter),
        }
    }

    /// `one { "and" one }`
    fn all(&mut self) -> Result<Filter, Refused> {
        self.chain("and", Self::one, Filter::And)
    }

    fn chain(
        &mut self,
        keyword: &str,
        part: fn(&mut Self) -> Result<Filter, Refused>,
        join: fn(Vec<Filter>) -> Filter,
    ) -> Result<Filter, Refused> {
        let first = part(self)?;
        if !self.take(keyword) {
            return Ok(first);
        }
        let mut parts = vec![first, part(self)?];
        while self.take(keyword) {
            parts.push(part(self)?);
        }
        Ok(join(parts))
    }

    /// `"(" any ")" | field "eq" literal`
    fn one(&mut self) -> Result<Filter, Refused> {
        match self.next()? {
            Some(Piece::Open) if self.depth < MAX_DEPTH => {
                self.depth += 1;
                let inner = self.any()?;
                self.depth -= 1;
                match self.next()? {
                    Some(Piece::Close) => Ok(inner),
                    _ => Err(Refused),
                }
            }
            Some(Piece::Word(word)) if self.leaves < MAX_LEAVES => {
                self.leaves += 1;
                let field = self.field(word)?;
                if !self.take("eq") {
                    return Err(Refused);
                }
                Ok(Filter::Eq(field, self.literal()?))
            }
            _ => Err(Refused),
        }
    }

    fn field(&self, word: &str) -> Result<Field, Refused> {
        // CREST decodes percent escapes in a pointer: a second spelling that nobody needs.
        let field = Field::new(word);
        let known = !field.as_str().is_empty() && !word.contains('%') && self.allowed.contains(&field);
        if known { Ok(field) } else { Err(Refused) }
    }

    fn literal(&mut self) -> Result<Literal, Refused> {
        match self.next()? {
            Some(Piece::Quoted(text)) if !text.trim().is_empty() => Ok(Literal::Text(text.trim().to_owned())),
            Some(Piece::Word(word)) if is_number(word) => Ok(Literal::Number(word.to_owned())),
            _ => Err(Refused),
        }
    }

    /// Takes the next piece if it is that keyword.
    fn take(&mut self, keyword: &str) -> bool {
        let start = self.rest.trim_start_matches(' ');
        let (word, rest) = split_word(start);
        let found = word.eq_ignore_ascii_case(keyword);
        if found {
            self.rest = rest;
        }
        found
    }

    fn next(&mut self) -> Result<Option<Piece<'a>>, Refused> {
        self.rest = self.rest.trim_start_matches(' ');
        let mut chars = self.rest.chars();
        let (piece, rest) = match chars.next() {
            None => return Ok(None),
            Some('(') => (Piece::Open, chars.as_str()),
            Some(')') => (Piece::Close, chars.as_str()),
            Some(quote @ ('"' | '\'')) => {
                let text = unquote(&mut chars, quote)?;
                (Piece::Quoted(text), chars.as_str())
            }
            Some(_) => {
                let (word, rest) = split_word(self.rest);
                (Piece::Word(word), rest)
            }
        };
        self.rest = rest;
        Ok(Some(piece))
    }
}

/// The text up to the closing quote; a backslash makes the next character literal, whatever it is.
fn unquote(chars: &mut std::str::Chars<'_>, quote: char) -> Result<String, Refused> {
    let mut text = String::new();
    loop {
        match chars.next() {
            Some(c) if c == quote => return Ok(text),
            Some('\\') => text.push(chars.next().ok_or(Refused)?),
            Some(c) => text.push(c),
            None => return Err(Refused),
        }
    }
}

/// The text up to the next separator, and the rest from there.
fn split_word(text: &str) -> (&str, &str) {
    text.split_at(text.find([' ', '(', ')']).unwrap_or(text.len()))
}

/// A 64-bit integer, or digits with a point among them.
fn is_number(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = word.strip_prefix('-').unwrap_or(word);
    match unsigned.split_once('.') {
        Some((whole, part)) => digits(whole) && digits(part),
        None => digits(unsigned) && word.parse::<i64>().is_ok(),
    }
}

#[cfg(test)]
mod tests;
