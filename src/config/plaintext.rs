//! `allow_plaintext`, wherever something may be beyond this machine.

use url::Url;

use super::{Place, raw::Section, units};

const RULE: &str = "is plaintext beyond loopback: use https, or set allow_plaintext = true beside it";

/// Plaintext beyond this machine is right where a mesh encrypts it, and nowhere else: the operator says so. Where
/// `addresses` are given, they say where the service is, and the URL only what it is called.
pub(super) fn check_plaintext(section: &mut Section<'_>, url: Option<&Url>, addresses: &[Place]) {
    let allowed = section.flag("allow_plaintext");
    let Some(url) = url.filter(|url| url.scheme() == "http" && !allowed) else { return };
    if section.has("addresses") {
        for (index, _) in addresses.iter().enumerate().filter(|(_, place)| is_beyond(place)) {
            section.item_fault("addresses", index, RULE);
        }
    } else if url.host().is_some_and(|host| !units::is_loopback(&host)) {
        section.fault("url", RULE);
    }
}

/// The same of a URL at `key` that nothing else says the place of.
pub(super) fn check_plaintext_url(section: &mut Section<'_>, key: &str, url: Option<&Url>) {
    let allowed = section.flag("allow_plaintext");
    let host = url.filter(|url| url.scheme() == "http").and_then(Url::host);
    if !allowed && host.is_some_and(|host| !units::is_loopback(&host)) {
        section.fault(key, RULE);
    }
}

/// Whether what is sent there leaves this machine.
pub(super) fn is_beyond(place: &Place) -> bool {
    match place {
        Place::Ip(address) => !address.ip().is_loopback(),
        Place::Name(..) => true,
        Place::Unix(_) => false,
    }
}
