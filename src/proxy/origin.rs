//! Which web pages may use the reset path: those of this very host, and those of `[reset.cors] origins`.

use http::{HeaderMap, HeaderValue, header};

/// Whose page a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// This host's own, or no page at all.
    Own,
    /// A listed one; the value is its origin, to be told in the answer.
    Listed(HeaderValue),
    /// Another.
    Foreign,
}

/// `[reset.cors] origins`
#[derive(Debug)]
pub(super) struct Origins(Vec<String>);

impl Origins {
    pub(super) fn new(listed: &[String]) -> Self {
        Self(listed.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect())
    }

    /// Whether answers differ by origin at all.
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Judges by `Origin` (RFC 6454 §7) and by `Sec-Fetch-Site` (W3C Fetch Metadata), which no page can forge.
    pub(super) fn page(&self, headers: &HeaderMap) -> Page {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let origin = origins.next();
        if origins.next().is_some() {
            return Page::Foreign;
        }
        if let Some(listed) = origin.filter(|origin| self.lists(origin)) {
            return Page::Listed(listed.clone());
        }
        match (headers.get("sec-fetch-site").map(HeaderValue::as_bytes), origin) {
            (Some(b"same-origin" | b"none"), _) => Page::Own,
            (Some(b"cross-site"), _) => Page::Foreign,
            (_, None) => Page::Own,
            (_, Some(origin)) if is_host(origin, headers.get(header::HOST)) => Page::Own,
            (_, Some(_)) => Page::Foreign,
        }
    }

    fn lists(&self, origin: &HeaderValue) -> bool {
        self.0.iter().any(|listed| origin.as_bytes().eq_ignore_ascii_case(listed.as_bytes()))
    }
}

/// Whether an origin's host and port are the Host header's. The scheme is not compared: TLS may end before us.
fn is_host(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
    let (origin, default) = if let Some(rest) = origin.strip_prefix("https://") {
        (rest, ":443")
    } else if let Some(rest) = origin.strip_prefix("http://") {
        (rest, ":80")
    } else {
        return false;
    };
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let bare = |text: &str| text.strip_suffix(default).unwrap_or(text).to_owned();
    !origin.is_empty() && bare(origin) == bare(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(headers: &[(&'static str, &'static str)]) -> Page {
        let mut map = HeaderMap::new();
        map.insert(header::HOST, HeaderValue::from_static("idm.example.com"));
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        Origins::new(&["https://Login.example.com".to_owned()]).page(&map)
    }

    #[test]
    fn own_pages() {
        for headers in [
            &[][..],
            &[("origin", "https://idm.example.com")],
            &[("origin", "https://IDM.example.com:443")],
            &[("origin", "http://idm.example.com")],
            &[("sec-fetch-site", "same-origin"), ("origin", "https://behind.a.proxy")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "same-site")],
        ] {
            assert_eq!(page(headers), Page::Own, "{headers:?}");
        }
    }

    #[test]
    fn foreign_pages() {
        for headers in [
            &[("origin", "null")][..],
            &[("origin", "")],
            &[("origin", "https://")],
            &[("origin", "https://evil.example")],
            &[("origin", "https://idm.example.com.evil.example")],
            &[("origin", "https://idm.example.com:8443")],
            &[("origin", "https://idm.example.com"), ("origin", "https://evil.example")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "cross-site"), ("origin", "https://idm.example.com")],
            &[("sec-fetch-site", "same-site"), ("origin", "https://other.example.com")],
        ] {
            assert_eq!(page(headers), Page::Foreign, "{headers:?}");
        }
    }

    #[test]
    fn listed_pages() {
        let listed = HeaderValue::from_static("https://login.example.com");
        let headers = [("origin", "https://login.example.com"), ("sec-fetch-site", "cross-site")];
        assert_eq!(page(&headers), Page::Listed(listed));
    }
}
