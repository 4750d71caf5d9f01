//! As whom a store is asked.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use percent_encoding::utf8_percent_encode;

use super::{
    Unusable,
    crest::ENCODED,
    oauth2::{Token, Tokens, basic, bearer},
};
use crate::{
    config::Auth,
    outbound::{Bounds, Failure},
    reset::ports::{Clock, Secret},
};

const USERNAME: HeaderName = HeaderName::from_static("x-openidm-username");
const PASSWORD: HeaderName = HeaderName::from_static("x-openidm-password");

/// What goes with every call.
pub(super) enum Credentials {
    /// Always the same.
    Fixed {
        /// The headers.
        headers: HeaderMap,
        /// Said of a store that does not take them.
        hint: &'static str,
    },
    /// A token that is renewed.
    Tokens(Tokens),
}

/// What goes with one call beside what goes with each.
pub(super) enum Credential {
    /// Nothing.
    Fixed,
    /// A token.
    Token(Arc<Token>),
}

impl Credentials {
    /// Those of the configuration. Nothing is asked yet.
    ///
    /// # Errors
    /// [`Unusable`], where they fit into no header, or a token endpoint can never be asked.
    pub(super) fn new(auth: &Auth, bounds: Bounds, clock: Arc<dyn Clock>) -> Result<Self, Unusable> {
        let fixed = |headers: Vec<(HeaderName, HeaderValue)>, hint| Self::Fixed {
            headers: HeaderMap::from_iter(headers),
            hint,
        };
        const USER: &str = "the store does not take identity.auth.username with identity.auth.password";
        Ok(match auth {
            Auth::OpenIdm { username, password } => {
                fixed(vec![(USERNAME, openidm(username)?), (PASSWORD, openidm(password.expose())?)], USER)
            }
            Auth::Basic { username, password } => {
                let mut pair = Secret::new(String::with_capacity(username.len() + password.expose().len() + 1));
                pair.expose_mut().extend([username, ":", password.expose()]);
                fixed(vec![(AUTHORIZATION, basic(pair.expose())?)], USER)
            }
            Auth::Bearer { token } => {
                fixed(vec![(AUTHORIZATION, bearer(token.expose())?)], "the store does not take identity.auth.token")
            }
            Auth::OAuth2(settings) => Self::Tokens(Tokens::new(settings, bounds, clock)?),
        })
    }

    /// What goes with each call, whichever it is.
    pub(super) fn headers(&self) -> HeaderMap {
        match self {
            Self::Fixed { headers, .. } => headers.clone(),
            Self::Tokens(_) => HeaderMap::new(),
        }
    }

    /// What goes with a call that is made now. The caller bounds the wait.
    pub(super) async fn current(&self) -> Result<Credential, Failure> {
        match self {
            Self::Fixed { .. } => Ok(Credential::Fixed),
            Self::Tokens(tokens) => tokens.current().await.map(Credential::Token),
        }
    }

    /// Fetches a token and says why there is none; `None` where there are no tokens.
    pub(super) async fn fetch(&self) -> Option<Result<(), Failure>> {
        match self {
            Self::Fixed { .. } => None,
            Self::Tokens(tokens) => Some(tokens.fetch().await),
        }
    }

    /// Takes note of a 401. Whether it makes sense to try again with what is [`Self::current`] then.
    pub(super) fn refused(&self, credential: &Credential) -> bool {
        match (self, credential) {
            (Self::Tokens(tokens), Credential::Token(token)) => tokens.refused(token),
            _ => false,
        }
    }

    /// What an operator may look at when the store answers 401.
    pub(super) const fn hint(&self) -> &'static str {
        match self {
            Self::Fixed { hint, .. } => hint,
            Self::Tokens(_) => {
                "the store does not take the tokens of identity.auth.token_url: see scope, audience and resource, and \
                 whom the store trusts"
            }
        }
    }
}

impl Credential {
    /// The header that it is.
    pub(super) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Fixed => None,
            Self::Token(token) => Some((AUTHORIZATION, token.header.clone())),
        }
    }
}

/// A header that says the text. IDM reads what is not plain ASCII in RFC 5987's spelling only.
fn openidm(text: &str) -> Result<HeaderValue, Unusable> {
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.trim() == text;
    let spelled = match plain {
        true => Secret::new(text),
        false => {
            // Room enough never to be moved: what is left behind is not wiped.
            let mut spelled = Secret::new(String::with_capacity(16 + 3 * text.len()));
            spelled.expose_mut().push_str("UTF-8''");
            spelled.expose_mut().extend(utf8_percent_encode(text, ENCODED));
            spelled
        }
    };
    let mut value = HeaderValue::from_maybe_shared(spelled.into_bytes()).map_err(|_| Unusable::Credentials)?;
    value.set_sensitive(true);
    Ok(value)
}
