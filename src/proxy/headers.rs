//! What a passed request's headers say to the upstream about where it came from.

use http::{HeaderName, HeaderValue, header};
use pingora::http::RequestHeader;

use super::client::Caller;

/// Say that a request is for another path than its target; several frameworks believe them.
const URL_OVERRIDES: [&str; 6] =
    ["x-original-url", "x-original-uri", "x-rewrite-url", "x-override-url", "x-forwarded-path", "x-forwarded-prefix"];
/// Say who the client is and what it asked for; only trusted proxies may.
const FORWARDING: [&str; 8] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-server",
    "x-real-ip",
    "x-client-ip",
    "forwarded",
];
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Takes out what only misleads, and tells who the peer is: in place of what an untrusted one says, after what a
/// trusted one says. Everything else goes up as it came.
///
/// # Errors
/// pingora's, for a value that cannot be a header; ours cannot.
pub(super) fn forward(request: &mut RequestHeader, caller: &Caller) -> pingora::Result<()> {
    let named = |name: &HeaderName, list: &[&str]| list.contains(&name.as_str().replace('_', "-").as_str());
    let drop: Vec<HeaderName> = request
        .headers
        .keys()
        .filter(|name| {
            // Some servers read `_` as `-` (CGI), so a twin is the header itself, and no proxy of ours writes it.
            let forwarding = named(name, &FORWARDING) && (!caller.trusted || name.as_str().contains('_'));
            named(name, &URL_OVERRIDES) || forwarding
        })
        .cloned()
        .collect();
    for name in drop {
        request.remove_header(&name);
    }
    if let Some(address) = caller.peer {
        let said = request.headers.get_all(&FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
        let chain: Vec<&[u8]> = said.filter(|value| !value.is_empty()).collect();
        let mut value = chain.join(&b", "[..]);
        if !value.is_empty() {
            value.extend_from_slice(b", ");
        }
        value.extend_from_slice(address.to_string().as_bytes());
        request.insert_header(FORWARDED_FOR, value.as_slice())?;
    }
    if !caller.trusted {
        // Nothing terminates TLS here.
        request.insert_header(FORWARDED_PROTO, "http")?;
        if let Some(host) = request.headers.get(header::HOST).cloned() {
            request.insert_header(FORWARDED_HOST, host)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reset::ports::Client;

    fn forwarded(trusted: bool, headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in headers {
            request.append_header(*name, *value).unwrap();
        }
        let caller = Caller { client: Client::Unknown, peer: Some([192, 0, 2, 7].into()), trusted };
        forward(&mut request, &caller).unwrap();
        request
    }

    fn values(request: &RequestHeader, name: &str) -> Vec<String> {
        request.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_stranger_says_nothing_of_where_he_comes_from() {
        let lies = [
            ("host", "id.example.com"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x_forwarded_for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "https"),
        ];
        let request = forwarded(false, &lies);
        assert_eq!(values(&request, "x-forwarded-for"), ["192.0.2.7"]);
        assert_eq!(values(&request, "x-forwarded-host"), ["id.example.com"]);
        assert_eq!(values(&request, "x-forwarded-proto"), ["http"]);
        for name in ["x_forwarded_for", "forwarded", "x-real-ip"] {
            assert!(values(&request, name).is_empty(), "{name}");
        }
    }

    #[test]
    fn a_trusted_proxys_words_are_kept_and_continued() {
        let words =
            [("x-forwarded-for", "203.0.113.5"), ("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "https")];
        let request = forwarded(true, &words);
        assert_eq!(values(&request, "x-forwarded-for"), ["203.0.113.5, 10.0.0.1, 192.0.2.7"]);
        assert_eq!(values(&request, "x-forwarded-proto"), ["https"]);
    }

    #[test]
    fn no_header_moves_a_request_to_another_path() {
        for name in ["x-original-url", "x-rewrite-url", "x_original_url", "x-rewrite_url"] {
            for trusted in [false, true] {
                assert!(
                    values(&forwarded(trusted, &[(name, "/openidm/selfservice/reset")]), name).is_empty(),
                    "{name}"
                );
            }
        }
        assert_eq!(
            values(&forwarded(false, &[("x-http-method-override", "PATCH")]), "x-http-method-override"),
            ["PATCH"]
        );
    }
}
