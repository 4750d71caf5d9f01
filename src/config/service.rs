//! A service outside that is asked over HTTP: the keys that all sections of such have in common.

use std::{ops::RangeInclusive, time::Duration};

use url::Url;

use super::{
    Place,
    endpoints::{host, own},
    plaintext::check_plaintext_url,
    raw::Section,
    secret::Surroundings,
    tls::{ClientTls, check_name, client_tls},
    units,
};

/// Where a service is, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `url`, as it is asked for, query included.
    pub url: Url,
    /// `timeout`: of a whole call, the wait for its turn and the time to connect included.
    pub timeout: Duration,
    /// `[….tls]`, if the URL is `https`.
    pub tls: Option<ClientTls>,
}

impl Service {
    /// Where its URL leads.
    pub fn place(&self) -> Place {
        own(&self.url)
    }

    /// The URL's host as it stands in a certificate.
    pub fn host(&self) -> &str {
        host(&self.url)
    }
}

/// How long a call may take: from 100 ms to 30 s.
const TIMEOUT: RangeInclusive<&str> = "100ms"..="30s";

/// Reads `url`, which must be there, `allow_plaintext`, `timeout` and `[….tls]`.
pub(super) fn service(section: &mut Section<'_>, timeout: &'static str, around: &Surroundings<'_>) -> Option<Service> {
    let url = section.required("url", units::endpoint);
    service_at(section, "url", url, timeout, around)
}

/// The same but for the URL, which `key` says, or what its faults are told of.
pub(super) fn service_at(
    section: &mut Section<'_>,
    key: &str,
    url: Option<Url>,
    timeout: &'static str,
    around: &Surroundings<'_>,
) -> Option<Service> {
    service_within(section, (key, url), (timeout, TIMEOUT), around)
}

/// The same of a service that may take no longer than somebody who waits for it.
pub(super) fn service_within(
    section: &mut Section<'_>,
    (key, url): (&str, Option<Url>),
    (timeout, within): (&'static str, RangeInclusive<&str>),
    around: &Surroundings<'_>,
) -> Option<Service> {
    check_plaintext_url(section, key, url.as_ref());
    let timeout = section.or("timeout", timeout, units::duration_in(within));
    let encrypted = url.as_ref().is_none_or(|url| url.scheme() == "https");
    let tls = client_tls(section.section("tls"), encrypted, "an https://", around);
    check_name(section, key, url.as_ref(), tls.as_ref());
    Some(Service { url: url?, timeout: timeout?, tls: tls.map(|tls| encrypted.then_some(tls))? })
}
