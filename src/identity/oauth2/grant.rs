//! The client credentials grant on the wire: RFC 6749 §4.4 and §5.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded::{Serializer, byte_serialize};

use crate::{
    config::{ClientAuth, OAuth2},
    identity::Unusable,
    outbound::{self, Outgoing},
    reset::ports::Secret,
};

/// Of a token that does not say how long it lives.
const DEFAULT_LIFE: Duration = Duration::from_secs(300);
/// However long it says: a token that outlives its client's secret by months is renewed at least once a day.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The request for a token.
pub(super) fn request(settings: &OAuth2) -> Result<Outgoing, Unusable> {
    let OAuth2 { client_id, client_secret, .. } = settings;
    let secret = client_secret.expose();
    let mut headers = HeaderMap::from_iter([
        (ACCEPT, HeaderValue::from_static("application/json")),
        (CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")),
    ]);
    // Room enough from the start never to be moved: what is left behind is not wiped.
    let room = 256 + 3 * (client_id.len() + secret.len() + lengths(settings));
    let mut form = Serializer::new(String::with_capacity(room));
    form.append_pair("grant_type", "client_credentials");
    for (name, value) in
        [("scope", &settings.scope), ("audience", &settings.audience), ("resource", &settings.resource)]
    {
        if let Some(value) = value {
            form.append_pair(name, value);
        }
    }
    match settings.client_auth {
        ClientAuth::Post => {
            form.append_pair("client_id", client_id).append_pair("client_secret", secret);
        }
        ClientAuth::Basic => {
            let mut pair = Secret::new(String::with_capacity(room));
            let text = pair.expose_mut();
            text.extend(byte_serialize(client_id.as_bytes()));
            text.push(':');
            text.extend(byte_serialize(secret.as_bytes()));
            headers.insert(AUTHORIZATION, basic(pair.expose())?);
        }
    }
    let uri = Uri::try_from(settings.token_url.as_str()).map_err(|_| outbound::Unusable::Url)?;
    let body = Secret::new(form.finish()).into_bytes();
    Ok(Outgoing { method: Method::POST, uri, headers: Arc::new(headers), own: Vec::new(), body })
}

fn lengths(settings: &OAuth2) -> usize {
    let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    of(&settings.scope) + of(&settings.audience) + of(&settings.resource)
}

/// `Basic` and what it says, wiped when the last request with it has gone.
pub(in crate::identity) fn basic(pair: &str) -> Result<HeaderValue, Unusable> {
    let mut text = Secret::new(String::with_capacity(16 + pair.len() * 2));
    text.expose_mut().push_str("Basic ");
    STANDARD.encode_string(pair, text.expose_mut());
    header(text.into_bytes())
}

/// `Bearer` and the token, wiped likewise.
pub(in crate::identity) fn bearer(token: &str) -> Result<HeaderValue, Unusable> {
    let mut text = Secret::new(String::with_capacity(16 + token.len()));
    text.expose_mut().push_str("Bearer ");
    text.expose_mut().push_str(token);
    header(text.into_bytes())
}

fn header(text: Bytes) -> Result<HeaderValue, Unusable> {
    let mut value = HeaderValue::from_maybe_shared(text).map_err(|_| Unusable::Credentials)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A token that was given, and for how long it is good.
pub(super) struct Granted {
    pub(super) header: HeaderValue,
    pub(super) life: Duration,
}

/// What a successful answer gives; `None` if it is none that can be used.
pub(super) fn granted(body: &[u8]) -> Option<Granted> {
    #[derive(Deserialize)]
    struct Body {
        access_token: String,
        token_type: String,
        expires_in: Option<Value>,
    }
    let Body { access_token, token_type, expires_in } = serde_json::from_slice(body).ok()?;
    let token = Secret::new(access_token);
    let life = match expires_in {
        None | Some(Value::Null) => DEFAULT_LIFE,
        // A text, as some servers write it.
        Some(Value::String(text)) => Duration::from_secs(text.parse().ok()?),
        Some(number) => Duration::try_from_secs_f64(number.as_f64()?).ok()?,
    };
    let usable = !token.expose().is_empty() && token.expose().bytes().all(|byte| byte.is_ascii_graphic());
    if !usable || !token_type.eq_ignore_ascii_case("bearer") || life.is_zero() {
        return None;
    }
    Some(Granted { header: bearer(token.expose()).ok()?, life: life.min(LONGEST_LIFE) })
}

/// The code of a refusal, where it is one of the standard's, and what it points at.
pub(super) fn refusal(body: &[u8]) -> Option<(&'static str, &'static str)> {
    /// RFC 6749 §5.2, RFC 8707 §2
    const CODES: [(&str, &str); 7] = [
        ("invalid_client", "see identity.auth.client_id, client_secret and client_auth"),
        ("unauthorized_client", "the client may not use the client credentials grant: see how the server knows it"),
        ("invalid_scope", "see identity.auth.scope"),
        ("invalid_target", "see identity.auth.resource and audience"),
        ("invalid_request", "see identity.auth.client_auth, scope, audience and resource"),
        ("invalid_grant", "the server refuses the client credentials grant"),
        ("unsupported_grant_type", "the server does not know the client credentials grant"),
    ];
    #[derive(Deserialize)]
    struct Body {
        error: String,
    }
    let Body { error } = serde_json::from_slice(body).ok()?;
    CODES.into_iter().find(|(code, _)| *code == error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(body: &str) -> Option<u64> {
        granted(body.as_bytes()).map(|granted| granted.life.as_secs())
    }

    #[test]
    fn what_is_granted() {
        let good =
            granted(br#"{"access_token":"a.b-c~d+e/f==","token_type":"bEaReR","expires_in":3600,"x":1}"#).unwrap();
        assert_eq!(good.header, "Bearer a.b-c~d+e/f==");
        assert!(good.header.is_sensitive());
        assert_eq!(good.life.as_secs(), 3600);
        assert_eq!(life(r#"{"access_token":"a","token_type":"Bearer"}"#), Some(300));
        assert_eq!(life(r#"{"access_token":"a","token_type":"Bearer","expires_in":null}"#), Some(300));
        assert_eq!(life(r#"{"access_token":"a","token_type":"Bearer","expires_in":"60"}"#), Some(60));
        assert_eq!(life(r#"{"access_token":"a","token_type":"Bearer","expires_in":1e300}"#), None);
        assert_eq!(life(r#"{"access_token":"a","token_type":"Bearer","expires_in":864000}"#), Some(86_400));
        for body in [
            "",
            "[]",
            r#"{"access_token":"a"}"#,
            r#"{"token_type":"Bearer"}"#,
            r#"{"access_token":"","token_type":"Bearer"}"#,
            r#"{"access_token":"a b","token_type":"Bearer"}"#,
            r#"{"access_token":"a\r\nx: y","token_type":"Bearer"}"#,
            r#"{"access_token":"é","token_type":"Bearer"}"#,
            r#"{"access_token":7,"token_type":"Bearer"}"#,
            r#"{"access_token":"a","token_type":"mac"}"#,
            r#"{"access_token":"a","token_type":"Bearer","expires_in":0}"#,
            r#"{"access_token":"a","token_type":"Bearer","expires_in":-1}"#,
            r#"{"access_token":"a","token_type":"Bearer","expires_in":"soon"}"#,
            r#"{"access_token":"a","token_type":"Bearer","expires_in":[]}"#,
        ] {
            assert!(granted(body.as_bytes()).is_none(), "{body}");
        }
    }

    #[test]
    fn only_codes_of_the_standard_pass() {
        assert_eq!(refusal(br#"{"error":"invalid_scope","error_description":"s3cret"}"#).unwrap().0, "invalid_scope");
        for body in
            ["", "{}", r#"{"error":"s3cret"}"#, r#"{"error":["invalid_scope"]}"#, r#"{"error":"Invalid_Scope"}"#]
        {
            assert!(refusal(body.as_bytes()).is_none(), "{body}");
        }
    }
}
