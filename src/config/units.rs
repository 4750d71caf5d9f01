//! The values of the configuration, each from its text: durations, rates, addresses, URLs. The error is the rule.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use lettre::message::Mailbox;
use url::{Host, Url};

use super::{Address, At, Rate, SmtpTls, Speaks};

/// One of the values that a key knows.
pub(super) fn one_of<T: Copy>(text: &str, values: &[(&str, T)]) -> Result<T, String> {
    let found = values.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let names: Vec<_> = values.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        format!("must be {}", names.join(" or "))
    })
}

/// `250ms`, `60s`, `20m`, `1h`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at_checked(digits)?;
    let count: u64 = count.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    count.checked_mul(millis).map(Duration::from_millis)
}

/// A duration within bounds, which are written as durations are.
pub(super) fn duration_in(bounds: RangeInclusive<&str>) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let found =
            duration(text).ok_or("must be a number with a unit, such as \"250ms\", \"60s\", \"20m\" or \"1h\"")?;
        let inside = duration(bounds.start()).is_some_and(|min| found >= min)
            && duration(bounds.end()).is_some_and(|max| found <= max);
        if inside { Ok(found) } else { Err(format!("must be from {} to {}", bounds.start(), bounds.end())) }
    }
}

/// `2s`: how long somebody at a command line waits.
///
/// # Errors
/// The rule that the text breaks.
pub fn deadline(text: &str) -> Result<Duration, String> {
    duration_in("10ms"..="1m")(text)
}

/// `300/1m`; `0` is off.
pub(super) fn rate(text: &str) -> Result<Option<Rate>, String> {
    const RULE: &str = "must be \"count/period\", such as \"300/1m\", or \"0\" for off";
    const BOUNDS: &str = "must have a count from 1 to 1000000 and a period from 1ms to 24h";
    if text == "0" {
        return Ok(None);
    }
    let (count, period) = text.split_once('/').ok_or(RULE)?;
    if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) || duration(period).is_none() {
        return Err(RULE.to_owned());
    }
    let count = count.parse().ok().filter(|count| *count <= 1_000_000).and_then(NonZeroU32::new).ok_or(BOUNDS)?;
    let period = duration_in("1ms"..="24h")(period).map_err(|_| BOUNDS)?;
    Ok(Some(Rate { count, period }))
}

/// `0.0.0.0:8080`, `tls:[::]:8443`, `h2c:127.0.0.1:8082`, `proxy+tls:unix:/run/resetgate.sock`, `proxy:systemd:http`.
pub(super) fn address(text: &str) -> Result<Address, String> {
    const BEGINNINGS: [(&str, bool, Speaks); 5] = [
        ("proxy+tls:", true, Speaks::Tls),
        ("proxy+h2c:", true, Speaks::H2c),
        ("proxy:", true, Speaks::Plain),
        ("tls:", false, Speaks::Tls),
        ("h2c:", false, Speaks::H2c),
    ];
    let marked = BEGINNINGS
        .into_iter()
        .find_map(|(mark, proxied, speaks)| text.strip_prefix(mark).map(|place| (proxied, speaks, place)));
    let (proxied, speaks, place) = marked.unwrap_or((false, Speaks::Plain, text));
    Ok(Address { proxied, speaks, at: at(place)? })
}

fn at(text: &str) -> Result<At, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return match path.is_absolute() && path.file_name().is_some() {
            true => Ok(At::Unix(path)),
            false => Err("must have an absolute path after unix:".to_owned()),
        };
    }
    if let Some(name) = text.strip_prefix("systemd:") {
        // What systemd takes for FileDescriptorName=.
        let plain = !name.is_empty() && name.len() < 256 && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        return match plain {
            true => Ok(At::Systemd(name.to_owned())),
            false => Err("must have the FileDescriptorName= of a socket unit after systemd:".to_owned()),
        };
    }
    const RULE: &str = "must be ip:port, unix:/path or systemd:name, after tls:, h2c:, proxy:, proxy+tls: or \
                        proxy+h2c: where it is more than plain HTTP";
    text.parse().map(At::Tcp).map_err(|_| RULE.to_owned())
}

/// `127.0.0.1:9090`
pub(super) fn tcp_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be ip:port".to_owned())
}

/// Who may say who the client is.
pub(super) enum Trusted {
    /// Peers in a network.
    Net(IpNet),
    /// Peers on a Unix socket.
    Unix,
}

/// `10.0.0.0/8`, `::1`, `unix`.
pub(super) fn trusted(text: &str) -> Result<Trusted, String> {
    if text == "unix" {
        return Ok(Trusted::Unix);
    }
    network(text)
        .map(Trusted::Net)
        .ok_or_else(|| "must be an address, a network such as 10.0.0.0/8, or \"unix\"".to_owned())
}

/// `10.0.0.0/8`, `10.0.0.1`.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// A path as it comes in a request, that reads in one way only.
pub(super) fn path(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | '-');
    let segment = |s: &str| !s.is_empty() && !matches!(s, "." | "..") && s.chars().all(plain);
    match text.strip_prefix('/') {
        Some(rest) if rest.split('/').all(segment) => Ok(text.to_owned()),
        _ => Err("must be a path such as /openidm/selfservice/reset: plain segments of A-Z a-z 0-9 . _ ~ -, \
                  none of them dots alone, no slash at the end"
            .to_owned()),
    }
}

/// The base URL of an HTTP server, without a slash at its path's end.
pub(super) fn base_url(text: &str) -> Result<Url, String> {
    const RULE: &str = "must be an http:// or https:// URL without user, query and fragment";
    let (scheme, _) = text.split_once("://").ok_or(RULE)?;
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '\\';
    if text.contains(odd) || !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return Err(RULE.to_owned());
    }
    let mut url = Url::parse(text).map_err(|e| format!("{RULE}: {e}"))?;
    if has_user(&url) || url.query().is_some() || url.fragment().is_some() || url.port() == Some(0) {
        return Err(RULE.to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// An endpoint: unlike a base URL, it is asked as it stands, with its last slash or its query.
pub(super) fn endpoint(text: &str) -> Result<Url, String> {
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') && text.contains("://");
    let url = Url::parse(text).ok().filter(|url| {
        let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        plain && bare && matches!(url.scheme(), "http" | "https") && url.port() != Some(0)
    });
    url.ok_or_else(|| "must be an http:// or https:// URL without user and fragment".to_owned())
}

/// The base URL of a server whose paths are the client's own.
pub(super) fn server_url(text: &str) -> Result<Url, String> {
    let url = base_url(text)?;
    if url.path() == "/" { Ok(url) } else { Err("must have no path: requests keep their own".to_owned()) }
}

/// What a mail's link begins with. The code is appended to it as it stands, so it is judged as it stands.
pub(super) fn link(text: &str) -> Result<Url, String> {
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("must be ASCII without spaces".to_owned());
    }
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.filter(|_| text.contains("://")).ok_or("must be an absolute http:// or https:// URL")?;
    if has_user(&url) {
        return Err("must not have a user or a password in it".to_owned());
    }
    if text.contains("?token") || text.contains("&token") {
        return Err("must not have a token of its own: resetgate appends &token=…&code=…".to_owned());
    }
    Ok(url)
}

/// `https://login.example.com`, written as browsers do.
pub(super) fn origin(text: &str) -> Result<String, String> {
    const RULE: &str = "must be an origin such as https://login.example.com: scheme, host, port, no path, no *";
    let url = base_url(text).map_err(|_| RULE)?;
    let bare = text.split_once("://").is_some_and(|(_, host)| !host.contains(['/', '*']));
    if bare { Ok(url.origin().ascii_serialization()) } else { Err(RULE.to_owned()) }
}

/// `smtp://host:port`, `smtp+starttls://host`, `smtps://host`.
pub(super) fn relay(text: &str) -> Result<(SmtpTls, Host, u16), String> {
    const RULE: &str = "must be smtp://host:port, smtp+starttls://host:port, smtps://host:port, idm or file:dir";
    let (scheme, rest) = text.split_once("://").ok_or(RULE)?;
    let (tls, port) = match scheme {
        "smtp" => (SmtpTls::None, 25),
        "smtp+starttls" => (SmtpTls::StartTls, 587),
        "smtps" => (SmtpTls::Implicit, 465),
        _ => return Err(RULE.to_owned()),
    };
    if rest.contains('@') {
        return Err("must not have a user in it: use mail.username and mail.password".to_owned());
    }
    // The scheme's own name would make the URL's host an opaque text; `http` would swallow port 80.
    let url = Url::parse(&format!("smtp://{rest}")).map_err(|e| format!("{RULE}: {e}"))?;
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    let host = url.host_str().and_then(|host| Host::parse(host).ok());
    match host {
        Some(host) if bare && url.port() != Some(0) => Ok((tls, host, url.port().unwrap_or(port))),
        _ => Err(RULE.to_owned()),
    }
}

/// One mailbox, with or without a name.
pub(super) fn mailbox(text: &str) -> Result<String, String> {
    let text = text.trim();
    let one = !text.contains(|c: char| c.is_control()) && text.parse::<Mailbox>().is_ok();
    if one { Ok(text.to_owned()) } else { Err("must be one mailbox, such as Help <help@example.com>".to_owned()) }
}

/// A text that can stand in a header: printable ASCII.
pub(super) fn printable(text: &str) -> Result<String, String> {
    let printable = text.trim() == text && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if printable { Ok(text.to_owned()) } else { Err("must be printable ASCII, without spaces around it".to_owned()) }
}

/// Whether what is sent there never leaves this machine.
pub(super) fn is_loopback<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Domain(name) => name.as_ref().eq_ignore_ascii_case("localhost"),
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    }
}

fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}
