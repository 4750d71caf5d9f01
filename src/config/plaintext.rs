//! `allow_plaintext`, wherever something may be beyond this machine.

use url::Url;

use super::{raw::Section, units};

/// Plaintext beyond this machine is right where a mesh encrypts it, and nowhere else: the operator says so.
pub(super) fn check_plaintext(section: &mut Section<'_>, url: Option<&Url>) {
    let allowed = section.flag("allow_plaintext");
    let plain = url.filter(|url| url.scheme() == "http");
    let beyond = plain.and_then(Url::host).is_some_and(|host| !units::is_loopback(&host));
    if beyond && !allowed {
        section.fault("url", "is plaintext beyond loopback: use https, or set allow_plaintext = true beside it");
    }
}
