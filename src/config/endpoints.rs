//! Where a service is: the keys that `[upstream]` and `[identity]` have in common.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use url::{Host, Url};

use super::{
    plaintext::check_plaintext,
    raw::Section,
    secret::Surroundings,
    tls::{ClientTls, check_name, client_tls},
    units,
};

/// The most addresses of one service: each is a series of a gauge, and a check now and then.
pub const MAX_ADDRESSES: usize = 64;

/// Where a service is, and how its addresses are judged.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// `url`: the scheme, the name that requests and TLS call it by, and, without `addresses`, where it is.
    pub url: Url,
    /// `addresses`, or else the URL's own. Never empty.
    pub addresses: Vec<Place>,
    /// `connect_timeout`: until a connection is there, TLS included.
    pub connect_timeout: Duration,
    /// `[….health]`
    pub health: Health,
    /// `[….tls]`, if the URL is `https`.
    pub tls: Option<ClientTls>,
}

impl Endpoints {
    /// The URL's host as it stands in a certificate or in SNI: without a port, and without the brackets of IPv6.
    pub fn host(&self) -> &str {
        host(&self.url)
    }
}

/// Where one server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// `10.0.0.1:8443`, `[::1]:8443`
    Ip(SocketAddr),
    /// `idm-1.internal:8443`: every address that it has.
    Name(String, u16),
    /// `unix:/run/idm.sock`
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `[….health]`: when an address is left alone, and when it is used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// `path`: what a check asks for. Without it, a check connects.
    pub path: Option<String>,
    /// `interval`: from one check to the next; zero is none.
    pub interval: Duration,
    /// `timeout`: of one check.
    pub timeout: Duration,
    /// `healthy`: checks in a row that bring an address back.
    pub healthy: u32,
    /// `unhealthy`: checks in a row, or requests in a row, whose failure takes it out.
    pub unhealthy: u32,
}

/// Reads the keys of a section that say where its service is; `parse` judges the URL.
pub(super) fn endpoints(
    section: &mut Section<'_>,
    parse: impl Fn(&str) -> Result<Url, String>,
    around: &Surroundings<'_>,
) -> Option<Endpoints> {
    let url = section.required("url", parse);
    let places = section.list("addresses", &[], place);
    if let Some(places) = &places {
        for (index, place) in places.iter().enumerate() {
            if let Some(twin) = places.iter().take(index).position(|earlier| earlier == place) {
                section.item_fault("addresses", index, &format!("must differ from addresses[{twin}]"));
            }
        }
        section.means("addresses", None);
        if section.has("addresses") && places.is_empty() {
            section.fault("addresses", "must have at least one address; leave it out to use the URL's own");
        }
        if places.len() > MAX_ADDRESSES {
            section.fault("addresses", &format!("must be {MAX_ADDRESSES} at most"));
        }
    }
    let addresses = match places {
        Some(places) if places.is_empty() => url.as_ref().map(|url| vec![own(url)]),
        places => places,
    };
    check_plaintext(section, url.as_ref(), addresses.as_deref().unwrap_or_default());
    let connect_timeout = section.or("connect_timeout", "2s", units::duration_in("10ms"..="30s"));
    let health = health(section.section("health"));
    let https = url.as_ref().is_some_and(|url| url.scheme() == "https");
    // A URL that is wrong says nothing of whether TLS is wanted.
    let tls = client_tls(section.section("tls"), https || url.is_none(), "an https://", around);
    check_name(section, "url", url.as_ref(), tls.as_ref());
    Some(Endpoints {
        url: url?,
        addresses: addresses?,
        connect_timeout: connect_timeout?,
        health: health?,
        tls: tls.map(|tls| https.then_some(tls))?,
    })
}

fn health(mut section: Section<'_>) -> Option<Health> {
    let path = section.optional("path", |text| {
        let plain = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if plain { Ok(text.to_owned()) } else { Err("must be a path such as /openidm/info/ping".to_owned()) }
    });
    let interval = section.or("interval", "5s", units::duration_in("0s"..="1h"));
    let timeout = section.or("timeout", "2s", units::duration_in("10ms"..="1m"));
    let healthy = section.number("healthy", 2, 1..=100);
    let unhealthy = section.number("unhealthy", 3, 1..=100);
    if interval == Some(Duration::ZERO) && section.has("path") {
        section.fault("path", "means nothing beside interval = \"0s\", which is no checks");
    }
    section.finish();
    Some(Health { path: path?, interval: interval?, timeout: timeout?, healthy: healthy?, unhealthy: unhealthy? })
}

/// `10.0.0.1:8443`, `idm-1.internal:8443`, `unix:/run/idm.sock`.
pub(super) fn place(text: &str) -> Result<Place, String> {
    const RULE: &str = "must be host:port, ip:port or unix:/path";
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return match path.is_absolute() && path.file_name().is_some() && text.len() <= MAX_UNIX {
            true => Ok(Place::Unix(path)),
            false => Err("must have an absolute path after unix:, of 100 bytes at most".to_owned()),
        };
    }
    let (host, port) = text.rsplit_once(':').ok_or(RULE)?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port != 0).ok_or(RULE)?;
    match Host::parse(host) {
        Ok(host) => Ok(at(&host, port)),
        Err(_) => Err(RULE.to_owned()),
    }
}

/// With `unix:` before it. The system takes 107 bytes.
const MAX_UNIX: usize = 105;

/// A URL's host without the brackets of IPv6.
pub(super) fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_matches(['[', ']'])
}

/// Where the URL itself leads.
pub(super) fn own(url: &Url) -> Place {
    let port = url.port_or_known_default().unwrap_or(80);
    url.host().map_or_else(|| Place::Name(String::new(), port), |host| at(&host, port))
}

pub(super) fn at<S: AsRef<str>>(host: &Host<S>, port: u16) -> Place {
    match host {
        Host::Ipv4(ip) => Place::Ip(SocketAddr::new((*ip).into(), port)),
        Host::Ipv6(ip) => Place::Ip(SocketAddr::new((*ip).into(), port)),
        // No name server is asked who this machine is.
        Host::Domain(name) if name.as_ref().eq_ignore_ascii_case("localhost") => {
            Place::Ip(SocketAddr::from(([127, 0, 0, 1], port)))
        }
        Host::Domain(name) => Place::Name(name.as_ref().to_owned(), port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (text, shown) in [
            ("10.0.0.1:8443", "10.0.0.1:8443"),
            ("[::1]:80", "[::1]:80"),
            ("localhost:8081", "127.0.0.1:8081"),
            ("IDM-1.internal:8443", "idm-1.internal:8443"),
            ("unix:/run/idm.sock", "unix:/run/idm.sock"),
        ] {
            assert_eq!(place(text).unwrap().to_string(), shown);
        }
        let long = format!("unix:/{}", "x".repeat(100));
        for wrong in ["", "idm", "idm:", "idm:0", "idm:+1", "idm:65536", ":80", "::1:80", "a b:80", "unix:run", &long] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
        for (url, shown) in [
            ("http://a.example", "a.example:80"),
            ("https://[::1]", "[::1]:443"),
            ("http://localhost:1", "127.0.0.1:1"),
        ] {
            assert_eq!(own(&Url::parse(url).unwrap()).to_string(), shown);
        }
    }
}
