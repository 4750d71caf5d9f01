//! The headers of a call: those that say nothing of anybody as they are, all others by where they are kept.

use http::{HeaderName, HeaderValue, header};

use crate::config::secret::{Surroundings, is_reference};

/// What every call says of itself.
const OWN: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::USER_AGENT,
    header::TE,
];
/// Headers that are never a secret.
const PLAIN: [&str; 7] = [
    "accept",
    "accept-api-version",
    "content-type",
    "if-match",
    "x-openidm-nosession",
    "x-openidm-username",
    "x-requested-with",
];

/// Whether a text is a header that is never a secret, with its value.
pub(in crate::config) fn is_plain(text: &str) -> bool {
    text.split_once(':').is_some_and(|(name, _)| PLAIN.contains(&name.trim().to_ascii_lowercase().as_str()))
}

/// `Accept-API-Version: resource=5.1` or `authorization: file:keys/am`, and whether others may read that file.
pub(super) fn header(text: &str, around: &Surroundings<'_>) -> Result<((HeaderName, HeaderValue), bool), String> {
    const RULE: &str = "must be \"name: env:NAME\" or \"name: file:path\"";
    let (name, value) = text.split_once(':').ok_or(RULE)?;
    let (name, value): (HeaderName, &str) = (name.trim().parse().map_err(|_| RULE)?, value.trim());
    if OWN.contains(&name) {
        return Err("must not be a header that a call has anyway".to_owned());
    }
    if is_reference(value) {
        let found = around.secret(value)?;
        let mut value = HeaderValue::from_str(found.text.expose()).map_err(|_| "must lead to a header's value")?;
        value.set_sensitive(true);
        return Ok(((name, value), found.exposed));
    }
    if !PLAIN.contains(&name.as_str()) {
        return Err(format!("{RULE}: only {} may stand in this file", PLAIN.join(", ")));
    }
    let value = HeaderValue::from_str(value).map_err(|_| "must have a value that fits into a header")?;
    Ok(((name, value), false))
}
