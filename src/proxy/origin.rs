//! Which page a request comes from. A form on another site must not start resets in its visitors' browsers
//! (OWASP ASVS 3.5.1).

use http::{HeaderMap, HeaderName, header};

/// Where a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// A page of this very host, or no page at all.
    Here,
    /// A page that `[reset.cors] origins` names.
    Listed(String),
    /// Another site's page.
    Elsewhere,
}

/// Judges where a request comes from. `hosts` are the names under which it reached us.
pub(super) fn judge(headers: &HeaderMap, hosts: &[&str], listed: &[String]) -> From {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("null").trim().to_owned());
    let origin = text(header::ORIGIN);
    if let Some(origin) =
        origin.as_ref().filter(|origin| listed.iter().any(|listed| listed.eq_ignore_ascii_case(origin)))
    {
        return From::Listed(origin.clone());
    }
    // Browsers do not let pages set it, and it knows more than `Origin` does: a proxy may have changed the Host.
    match text(HeaderName::from_static("sec-fetch-site")).as_deref() {
        Some("cross-site") => return From::Elsewhere,
        Some("same-origin" | "none") => return From::Here,
        _ => {}
    }
    match origin {
        None => From::Here,
        Some(origin) if hosts.iter().any(|host| is_at(&origin, host)) => From::Here,
        Some(_) => From::Elsewhere,
    }
}

/// Headers for an answer to a listed page.
pub(super) fn allow(origin: &str) -> Vec<(HeaderName, String)> {
    vec![(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.to_owned()), (header::VARY, "Origin".to_owned())]
}

/// Headers for the answer to a listed page's preflight: what IDM's own client sends.
pub(super) fn allow_preflight(origin: &str) -> Vec<(HeaderName, String)> {
    const HEADERS: &str = "accept, accept-api-version, cache-control, content-type, x-openidm-nosession, \
                           x-openidm-password, x-openidm-username, x-requested-with";
    let mut headers = allow(origin);
    headers.push((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST".to_owned()));
    headers.push((header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS.to_owned()));
    headers.push((header::ACCESS_CONTROL_MAX_AGE, "600".to_owned()));
    headers
}

fn is_at(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default_port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    authority.eq_ignore_ascii_case(host.strip_suffix(default_port).unwrap_or(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(headers: &[(&'static str, &str)]) -> From {
        let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let listed = ["https://login.example.com".to_owned()];
        judge(&headers.collect(), &["id.example.com"], &listed)
    }

    #[test]
    fn a_page_is_known_by_its_origin_and_by_what_the_browser_says_of_it() {
        assert_eq!(from(&[]), From::Here, "no browser");
        assert_eq!(from(&[("origin", "https://id.example.com")]), From::Here);
        assert_eq!(from(&[("origin", "https://id.example.com:8443")]), From::Elsewhere);
        assert_eq!(from(&[("origin", "https://evil.example")]), From::Elsewhere);
        assert_eq!(from(&[("origin", "null")]), From::Elsewhere);
        assert_eq!(from(&[("sec-fetch-site", "cross-site")]), From::Elsewhere);
        assert_eq!(from(&[("sec-fetch-site", "none")]), From::Here);
        assert_eq!(from(&[("sec-fetch-site", "same-origin"), ("origin", "https://outer.example")]), From::Here);
        assert_eq!(from(&[("sec-fetch-site", "same-site"), ("origin", "https://evil.example.com")]), From::Elsewhere);
        let listed = From::Listed("https://login.example.com".to_owned());
        assert_eq!(from(&[("sec-fetch-site", "cross-site"), ("origin", "https://login.example.com")]), listed);
    }
}
