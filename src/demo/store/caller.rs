//! Who asks: IDM's `X-OpenIDM-Username` and `X-OpenIDM-Password`, or an access token, where the store takes one.

use http::{HeaderMap, header::AUTHORIZATION};
use percent_encoding::percent_decode_str;

use super::idm::Idm;

/// The name of the service user, who alone may touch accounts.
pub const SERVICE_USER: &str = "resetgate";

/// Who asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Nobody, or IDM's `anonymous`.
    Anonymous,
    /// [`SERVICE_USER`].
    Service,
    /// The account with that `_id`.
    Person(String),
    /// Credentials that are wrong.
    Unknown,
}

impl Caller {
    pub(super) fn of(headers: &HeaderMap, idm: &Idm) -> Self {
        if let Some(taken) = &*idm.token.lock()
            && let Some(token) =
                headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok()?.strip_prefix("Bearer "))
        {
            return if taken.is(token) { Self::Service } else { Self::Unknown };
        }
        let user = credential(headers, "x-openidm-username");
        let password = credential(headers, "x-openidm-password");
        match (user.as_deref(), password.as_deref()) {
            (None, None) | (Some("anonymous"), Some("anonymous")) => Self::Anonymous,
            (Some(SERVICE_USER), Some(password)) if idm.service_password.is(password) => Self::Service,
            (Some(user), Some(password)) => {
                idm.people.lock().sign_in(user, password).map_or(Self::Unknown, |id| Self::Person(id.to_owned()))
            }
            _ => Self::Unknown,
        }
    }
}

/// A header's text: as it is, or in IDM 7's form for other than ASCII, `UTF-8''` and percent-encoding (RFC 5987).
fn credential(headers: &HeaderMap, name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned();
    match text.split_at_checked("UTF-8''".len()) {
        Some((form, encoded)) if form.eq_ignore_ascii_case("UTF-8''") => {
            Some(percent_decode_str(encoded).decode_utf8_lossy().into_owned())
        }
        _ => Some(text),
    }
}
