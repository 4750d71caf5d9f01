//! `[tracing]`: where spans go, and of which requests there are any.

use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use url::Url;

use super::{
    plaintext::check_plaintext_url,
    raw::Section,
    secret::{EXPOSED, Surroundings},
    tls::{ClientTls, check_name, client_tls},
    units,
};

/// `[tracing]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// The collector's `…/v1/traces`; none, if there are no spans.
    pub otlp: Option<Url>,
    /// Which part of the requests is recorded of which nobody who is trusted says it: of 2^56.
    pub sample: u64,
    /// `service.name`
    pub service_name: String,
    /// Sent with each export; their values may be secret.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// A whole export.
    pub timeout: Duration,
    /// How often spans are exported.
    pub interval: Duration,
    /// `[tracing.tls]`
    pub tls: ClientTls,
}

/// All of them.
const WHOLE: u64 = 1 << 56;
/// What each export says of itself.
const OWN: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::USER_AGENT,
];

/// Reads the section.
pub(super) fn tracing(mut section: Section<'_>, around: &Surroundings<'_>) -> Option<Tracing> {
    let otlp = section.optional("otlp", units::base_url);
    let url = otlp.as_ref().and_then(Option::as_ref);
    check_plaintext_url(&mut section, "otlp", url);
    let sample = section.or("sample", "100%", sample);
    let service_name = section.or("service_name", "resetgate", units::printable);
    section.hide("headers");
    let found = section.list("headers", &[], |text| sent(text, around));
    let mut headers = Vec::new();
    for (index, (header, exposed)) in found.into_iter().flatten().enumerate() {
        if exposed {
            section.item_warn("headers", index, EXPOSED);
        }
        headers.push(header);
    }
    let timeout = section.or("timeout", "10s", units::duration_in("100ms"..="1m"));
    let interval = section.or("interval", "5s", units::duration_in("100ms"..="1m"));
    let encrypted = url.is_some_and(|url| url.scheme() == "https");
    let tls = client_tls(section.section("tls"), encrypted, "an https://", around);
    check_name(&section, "otlp", url, tls.as_ref());
    section.finish();
    let otlp = otlp?.map(|url| format!("{}/v1/traces", url.as_str().trim_end_matches('/'))).map(|url| Url::parse(&url));
    Some(Tracing {
        otlp: otlp.transpose().ok()?,
        sample: sample?,
        service_name: service_name?,
        headers,
        timeout: timeout?,
        interval: interval?,
        tls: tls?,
    })
}

/// `12.5%`
fn sample(text: &str) -> Result<u64, String> {
    const RULE: &str = "must be from \"0%\" to \"100%\", such as \"12.5%\"";
    let number = text.strip_suffix('%').filter(|text| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
    let part: f64 = number.and_then(|number| number.parse().ok()).ok_or(RULE)?;
    if part > 100.0 {
        return Err(RULE.to_owned());
    }
    Ok((part / 100.0 * WHOLE as f64) as u64)
}

/// `authorization: env:NAME`
fn sent(text: &str, around: &Surroundings<'_>) -> Result<((HeaderName, HeaderValue), bool), String> {
    const RULE: &str = "must be \"name: env:NAME\" or \"name: file:path\"";
    let (name, reference) = text.split_once(':').ok_or(RULE)?;
    let name = name.trim().parse().map_err(|_| RULE)?;
    if OWN.contains(&name) {
        return Err("must not be a header that an export has anyway".to_owned());
    }
    let found = around.secret(reference.trim())?;
    let mut value = HeaderValue::from_str(found.text.expose()).map_err(|_| "must lead to a header's value")?;
    value.set_sensitive(true);
    Ok(((name, value), found.exposed))
}
