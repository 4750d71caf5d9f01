//! The CREST query filter.

use super::ports::Field;

/// A filter that was allowed: `eq` only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// `field eq "literal"`
    Eq(Field, String),
    /// All of them.
    And(Vec<Self>),
    /// Any of them; every literal in it is the same.
    Or(Vec<Self>),
}
