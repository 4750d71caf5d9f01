//! `[upstream]`: where every other path goes.

use std::net::{IpAddr, Ipv4Addr};

use url::{Host, Url};

use super::{Address, Listen, Upstream, plaintext::check_plaintext, raw::Section, units};

/// Reads the section.
pub(super) fn upstream(mut section: Section<'_>, listen: Option<&Listen>) -> Option<Upstream> {
    let url = section.required("url", units::server_url);
    if let (Some(url), Some(listen)) = (&url, listen)
        && listen.addresses.iter().any(|address| is_at(address, url))
    {
        section.fault("url", "must not be one of listen.addresses: every request would go round until nothing is left");
    }
    check_plaintext(&mut section, url.as_ref());
    section.finish();
    Some(Upstream { url: url? })
}

/// Whether a URL leads to the very address that is listened on.
fn is_at(address: &Address, url: &Url) -> bool {
    let Some(address) = address.tcp() else { return false };
    let ip = match url.host() {
        Some(Host::Ipv4(ip)) => Some(IpAddr::from(ip)),
        Some(Host::Ipv6(ip)) => Some(IpAddr::from(ip)),
        Some(Host::Domain("localhost")) => Some(IpAddr::from(Ipv4Addr::LOCALHOST)),
        Some(Host::Domain(_)) | None => None,
    };
    let here = |ip: IpAddr| ip == address.ip() || (ip.is_loopback() && address.ip().is_unspecified());
    address.port() != 0 && url.port_or_known_default() == Some(address.port()) && ip.is_some_and(here)
}
