//! `[after]`: what is done when a password is set.

pub(super) mod headers;
mod template;

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http::{HeaderName, HeaderValue, Method};
use url::Url;

pub use self::template::{Piece, Template};
use super::{
    Mail, Secret, Service, Transport,
    raw::{MISSING, Section},
    secret::{EXPOSED, Surroundings},
    service::service_at,
    tls::client_tls,
    units,
};

/// `[after]`
#[derive(Debug)]
pub struct After {
    /// For how long it is tried.
    pub lifetime: Duration,
    /// What its owner is told; none, if nothing.
    pub notice: Option<Notice>,
    /// Who wants to hear of it.
    pub webhook: Option<Webhook>,
    /// What ends the account's sessions.
    pub revoke: Vec<Revoke>,
}

/// `[after.notice]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Attributes with more addresses, beside the process file's own.
    pub attributes: Vec<String>,
    /// Whether it says where it was done from.
    pub client: bool,
}

/// `[after.webhook]`
pub struct Webhook {
    /// Where it is.
    pub service: Service,
    /// What its calls are signed with; at least one.
    pub secrets: Vec<Secret<Vec<u8>>>,
    /// What the account is called there.
    pub account: Called,
}

/// All but what signs.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("service", &self.service)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// What an account is called to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// As the store has it.
    Id,
    /// As the audit trail has it: by a keyed hash.
    Hash,
}

/// One `[[after.revoke]]`.
#[derive(Clone)]
pub struct Revoke {
    /// Whom it asks.
    pub at: At,
    /// How.
    pub method: Method,
    /// The URL; below the store's own, where the store is asked.
    pub url: Template,
    /// Its headers; their values may be secret.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body: JSON, once it is filled in.
    pub body: Option<Template>,
}

/// All but its headers' values.
impl fmt::Debug for Revoke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revoke").field("at", &self.at).field("method", &self.method).finish_non_exhaustive()
    }
}

/// Whom a call asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// A service of its own.
    Service(Box<Service>),
    /// The identity store, as its service user.
    Identity,
}

/// Signing keys are as long as Standard Webhooks wants them.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// More calls would be a program.
const MOST_CALLS: usize = 8;

/// Reads the section.
pub(super) fn after(mut section: Section<'_>, mail: Option<&Mail>, around: &Surroundings<'_>) -> Option<After> {
    let lifetime = section.or("lifetime", "1h", units::duration_in("1m"..="24h"));
    let notice = notice(section.section("notice"), mail);
    let webhook = webhook(section.section("webhook"), around);
    let sections = section.sections("revoke");
    if sections.len() > MOST_CALLS {
        section.fault("revoke", &format!("must be {MOST_CALLS} calls at most"));
    }
    let read: Vec<_> = sections.into_iter().map(|section| revoke(section, around)).collect();
    section.finish();
    let revoke = read.into_iter().collect::<Option<_>>();
    Some(After { lifetime: lifetime?, notice: notice?, webhook: webhook?, revoke: revoke? })
}

#[allow(clippy::option_option, reason = "off and wrong are two things")]
fn notice(mut section: Section<'_>, mail: Option<&Mail>) -> Option<Option<Notice>> {
    let on = section.or("mail", "on", |text| match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("must be \"on\" or \"off\"".to_owned()),
    });
    let attributes = section.list("attributes", &[], |text| {
        if template::is_attribute(text) { Ok(text.to_owned()) } else { Err("must be an attribute's name".to_owned()) }
    });
    let client = section.flag("client");
    if on == Some(true) && mail.is_some_and(|mail| mail.from.is_none() && !matches!(mail.transport, Transport::Idm)) {
        section.warn("mail", "tells nobody that a password was set: there is no mail.from");
    }
    if on == Some(false) {
        for key in ["attributes", "client"] {
            section.means(key, None);
            if section.has(key) {
                section.fault(key, "means nothing with mail = \"off\"");
            }
        }
    }
    section.finish();
    let notice = Notice { attributes: attributes?, client };
    Some(on?.then_some(notice))
}

#[allow(clippy::option_option, reason = "missing and wrong are two things")]
fn webhook(mut section: Section<'_>, around: &Surroundings<'_>) -> Option<Option<Webhook>> {
    let url = section.optional("url", units::endpoint);
    let off = url.as_ref().is_some_and(Option::is_none);
    section.hide("secrets");
    let found = section.list("secrets", &[], |text| {
        let found = around.secret(text)?;
        Ok((signing_key(found.text.expose())?, found.exposed))
    });
    for (index, _) in found.iter().flatten().enumerate().filter(|(_, (_, exposed))| *exposed) {
        section.item_warn("secrets", index, EXPOSED);
    }
    let account = section.or("account", "id", |text| match text {
        "id" => Ok(Called::Id),
        "hash" => Ok(Called::Hash),
        _ => Err("must be \"id\" or \"hash\"".to_owned()),
    });
    if off {
        unused(&mut section, &["secrets", "account"], "without after.webhook.url", around);
        section.finish();
        return Some(None);
    }
    if found.as_ref().is_some_and(Vec::is_empty) {
        section.fault("secrets", &format!("{MISSING}: at least one, which `resetgate key` makes"));
    }
    let service = service_at(&mut section, "url", url.flatten(), "5s", around);
    section.finish();
    let secrets = found?.into_iter().map(|(secret, _)| secret).collect();
    Some(Some(Webhook { service: service?, secrets, account: account? }))
}

/// Base64 of enough bytes, with Standard Webhooks' prefix or without.
fn signing_key(text: &str) -> Result<Secret<Vec<u8>>, String> {
    let text = text.trim().trim_end_matches('=');
    let bytes = STANDARD_NO_PAD.decode(text.strip_prefix("whsec_").unwrap_or(text)).map(Secret::of);
    let rule = "must lead to the base64 of 24 to 64 bytes, such as `resetgate key` makes, with whsec_ before it or not";
    bytes.ok().filter(|bytes| KEY_BYTES.contains(&bytes.expose().len())).ok_or_else(|| rule.to_owned())
}

fn revoke(mut section: Section<'_>, around: &Surroundings<'_>) -> Option<Revoke> {
    const IDENTITY: &str = "identity:";
    let url = section.required("url", |text| match text.strip_prefix(IDENTITY) {
        Some(path) => below(path).map(|template| (template, None)),
        None => absolute(text).map(|(template, url)| (template, Some(url))),
    });
    let method = section.or("method", "POST", |text| match text {
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "PATCH" => Ok(Method::PATCH),
        "DELETE" => Ok(Method::DELETE),
        _ => Err("must be POST, PUT, PATCH or DELETE".to_owned()),
    });
    section.hide("headers");
    let found = section.list("headers", &[], |text| headers::header(text, around));
    let mut headers = Vec::new();
    for (index, (header, exposed)) in found.iter().flatten().enumerate() {
        if *exposed {
            section.item_warn("headers", index, EXPOSED);
        }
        headers.push(header.clone());
    }
    let body = section.optional("body", template::json);
    let at = match &url {
        Some((_, None)) => {
            unused(&mut section, &[], "with identity:, which is asked as [identity] says", around);
            Some(At::Identity)
        }
        url => {
            let place = url.as_ref().and_then(|(_, url)| url.clone());
            service_at(&mut section, "url", place, "5s", around).map(|service| At::Service(Box::new(service)))
        }
    };
    section.finish();
    found?;
    Some(Revoke { at: at?, method: method?, url: url?.0, headers, body: body? })
}

/// Keys that mean nothing, and those of a service that is not asked.
fn unused(section: &mut Section<'_>, keys: &[&'static str], why: &str, around: &Surroundings<'_>) {
    section.flag("allow_plaintext");
    section.or("timeout", "5s", |text| Ok(text.to_owned()));
    client_tls(section.section("tls"), false, "an https://", around);
    for key in keys.iter().copied().chain(["allow_plaintext", "timeout"]) {
        section.means(key, None);
        if section.has(key) {
            section.fault(key, &format!("means nothing {why}"));
        }
    }
}

/// A URL that is one when it is filled in, on a host that nobody fills in.
fn absolute(text: &str) -> Result<(Template, Url), String> {
    let template = Template::parse(text)?;
    let (one, other) = (units::endpoint(&template.sample("a"))?, units::endpoint(&template.sample("b"))?);
    if one.origin() == other.origin() {
        return Ok((template, one));
    }
    Err("must not have a placeholder in its host".to_owned())
}

/// A path below the store's base URL, with a query or without.
fn below(text: &str) -> Result<Template, String> {
    const RULE: &str = "must have a relative path after identity:, such as identity:managed/user/{id}?_action=logout";
    let template = Template::parse(text)?;
    let sample = template.sample("a");
    let odd = |byte: u8| !byte.is_ascii_graphic() || matches!(byte, b'\\' | b'#');
    let (path, _) = sample.split_once('?').unwrap_or((&sample, ""));
    let dots = path.split('/').any(|segment| matches!(segment, "" | "." | ".."));
    if dots || sample.bytes().any(odd) { Err(RULE.to_owned()) } else { Ok(template) }
}
