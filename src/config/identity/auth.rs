//! `[identity.auth]`: as whom the store is asked.

use std::fmt;

use url::Url;

use crate::config::{
    Secret,
    plaintext::check_plaintext_url,
    raw::Section,
    secret::{EXPOSED, Surroundings},
    tls::{ClientTls, check_name, client_tls},
    units,
};

/// `[identity.auth]`
pub enum Auth {
    /// `X-OpenIDM-Username` and `X-OpenIDM-Password`.
    OpenIdm {
        /// The service user.
        username: String,
        /// Its password.
        password: Secret,
    },
    /// HTTP Basic (RFC 7617).
    Basic {
        /// The service user, without a colon.
        username: String,
        /// Its password.
        password: Secret,
    },
    /// A token that stays as it is until the configuration is read again (RFC 6750).
    Bearer {
        /// The token.
        token: Secret,
    },
    /// A token of an authorization server: the client credentials grant (RFC 6749 §4.4).
    OAuth2(Box<OAuth2>),
}

/// The kind alone.
impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenIdm { .. } => "OpenIdm",
            Self::Basic { .. } => "Basic",
            Self::Bearer { .. } => "Bearer",
            Self::OAuth2(_) => "OAuth2",
        })
    }
}

/// Where access tokens come from, and as which client to ask.
pub struct OAuth2 {
    /// The token endpoint.
    pub token_url: Url,
    /// The client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// What to ask for; the server's own default where there is none.
    pub scope: Option<String>,
    /// `audience`, as some servers want it.
    pub audience: Option<String>,
    /// `resource` (RFC 8707).
    pub resource: Option<String>,
    /// Where the client's id and secret go.
    pub client_auth: ClientAuth,
    /// Whom to believe where the URL is `https`, and what to show.
    pub tls: ClientTls,
}

/// How a client says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// In a header: `client_secret_basic`.
    Basic,
    /// In the body: `client_secret_post`.
    Post,
}

/// Reads the section.
pub(super) fn auth(mut section: Section<'_>, around: &Surroundings<'_>) -> Option<Auth> {
    #[derive(Clone, Copy)]
    enum Kind {
        OpenIdm,
        Basic,
        Bearer,
        OAuth2,
    }
    let kinds =
        [("openidm", Kind::OpenIdm), ("basic", Kind::Basic), ("bearer", Kind::Bearer), ("oauth2", Kind::OAuth2)];
    let given = section.has("kind");
    for key in ["password", "token", "client_secret"] {
        section.hide(key);
    }
    let kind = section.required("kind", |text| units::one_of(text, &kinds));
    let auth = match kind {
        Some(Kind::Bearer) => secret(&mut section, "token", around, bearer).map(|token| Auth::Bearer { token }),
        Some(Kind::OAuth2) => oauth2(&mut section, around).map(|oauth2| Auth::OAuth2(Box::new(oauth2))),
        Some(Kind::Basic) => user(&mut section, around).and_then(|(username, password)| {
            let plain = !username.contains(':');
            if !plain {
                section.fault("username", "must have no colon: Basic ends it there");
            }
            plain.then_some(Auth::Basic { username, password })
        }),
        Some(Kind::OpenIdm) => openidm(&mut section, around),
        // Which keys it has nobody knows, as long as its kind is none.
        None if given => return None,
        None => openidm(&mut section, around),
    };
    section.finish();
    kind.and(auth)
}

fn openidm(section: &mut Section<'_>, around: &Surroundings<'_>) -> Option<Auth> {
    user(section, around).map(|(username, password)| Auth::OpenIdm { username, password })
}

/// `username` and `password`
fn user(section: &mut Section<'_>, around: &Surroundings<'_>) -> Option<(String, Secret)> {
    let username = section.required("username", |text| match text.to_ascii_lowercase().as_str() {
        "anonymous" => Err("must be a user who may read and patch accounts, which anonymous may not".to_owned()),
        _ => units::printable(text),
    });
    if username.as_deref() == Some("openidm-admin") {
        section
            .warn("username", "may do everything: make a user that may read accounts and set passwords, and no more");
    }
    let password = secret(section, "password", around, no_controls);
    Some((username?, password?))
}

fn oauth2(section: &mut Section<'_>, around: &Surroundings<'_>) -> Option<OAuth2> {
    let methods = [("basic", ClientAuth::Basic), ("post", ClientAuth::Post)];
    let token_url = section.required("token_url", units::endpoint);
    check_plaintext_url(section, "token_url", token_url.as_ref());
    let client_id = section.required("client_id", units::printable);
    let client_secret = secret(section, "client_secret", around, no_controls);
    let scope = section.optional("scope", units::printable);
    let audience = section.optional("audience", units::printable);
    let resource = section.optional("resource", |text| match Url::parse(text) {
        Ok(url) if url.fragment().is_none() => Ok(text.to_owned()),
        _ => Err("must be an absolute URI without a fragment".to_owned()),
    });
    let client_auth = section.or("client_auth", "basic", |text| units::one_of(text, &methods));
    let encrypted = token_url.as_ref().is_none_or(|url| url.scheme() == "https");
    let tls = client_tls(section.section("tls"), encrypted, "an https://", around);
    check_name(section, "token_url", token_url.as_ref(), tls.as_ref());
    Some(OAuth2 {
        token_url: token_url?,
        client_id: client_id?,
        client_secret: client_secret?,
        scope: scope?,
        audience: audience?,
        resource: resource?,
        client_auth: client_auth?,
        tls: tls?,
    })
}

fn secret(
    section: &mut Section<'_>,
    key: &'static str,
    around: &Surroundings<'_>,
    rule: fn(&str) -> Result<(), &'static str>,
) -> Option<Secret> {
    let found = section.required(key, |text| {
        let found = around.secret(text)?;
        rule(found.text.expose())?;
        Ok(found)
    })?;
    if found.exposed {
        section.warn(key, EXPOSED);
    }
    Some(found.text)
}

fn no_controls(text: &str) -> Result<(), &'static str> {
    match text.chars().any(char::is_control) {
        true => Err("must not lead to control characters: it goes in a header"),
        false => Ok(()),
    }
}

/// RFC 6750 §2.1, `b64token`
fn bearer(text: &str) -> Result<(), &'static str> {
    let token = text.trim_end_matches('=');
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    match !token.is_empty() && token.bytes().all(plain) {
        true => Ok(()),
        false => Err("must lead to a token: A-Z a-z 0-9 - . _ ~ + / and = at its end"),
    }
}
