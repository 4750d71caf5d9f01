//! What an operator's templates become for one account.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::value;
use crate::{
    config::{Piece, Template},
    reset::ports::Done,
    telemetry::audit::time,
};

/// Everything but what RFC 3986 never gives a meaning.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A URL, or a part of one. `None` if something has no value, or one that a path would take for its own.
pub(super) fn url(template: &Template, done: &Done) -> Option<String> {
    let time = time(done.at);
    let segment = |piece: &Piece| value(piece, done, &time).filter(|text| !matches!(*text, "" | "." | ".."));
    template.fill(segment, |text| utf8_percent_encode(text, ENCODED).to_string())
}

/// JSON, whose placeholders stand within texts. `None` if something has no value.
pub(super) fn json(template: &Template, done: &Done) -> Option<String> {
    let time = time(done.at);
    template.fill(
        |piece| value(piece, done, &time),
        |text| {
            let quoted = serde_json::Value::from(text).to_string();
            quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
        },
    )
}
