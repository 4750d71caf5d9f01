//! `[edge]`: what goes up to the upstream, and what never does.

use std::time::Duration;

use super::{Edge, MethodOverride, PathPattern, raw::Section, units};

/// Headers by which some program behind a trusted proxy believes that somebody is somebody.
const TRUST_HEADERS: [&str; 24] = [
    // IDM's own: to act as another, and to be let in without a password.
    "X-OpenIDM-RunAs",
    "X-Special-Trusted-User",
    // The client's certificate, as whatever ends TLS tells it (RFC 9440; nginx, Apache, IIS, Envoy, Traefik, AWS).
    "Client-Cert",
    "Client-Cert-Chain",
    "X-Client-Cert",
    "X-SSL-Client-Verify",
    "X-SSL-Client-Cert",
    "X-SSL-Client-S-DN",
    "SSL-Client-Verify",
    "SSL-Client-Cert",
    "SSL-Client-S-DN",
    "X-ARR-ClientCert",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-TLS-Client-Cert",
    "X-Forwarded-TLS-Client-Cert-Info",
    "X-Amzn-Mtls-Clientcert",
    // The user, as whatever signs people in tells it.
    "Remote-User",
    "X-Remote-User",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Groups",
    "X-Auth-Request-User",
    "X-WebAuth-User",
];

/// Headers without which there is no request, or with which clients sign in.
const NEEDED: [&str; 8] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "authorization",
    "cookie",
    "x-openidm-username",
    "x-openidm-password",
];

/// `watch_upstream`, where nothing is said.
const WATCH_UPSTREAM: Duration = Duration::from_secs(600);
/// Segments that the judge of paths tells apart.
const MAX_SEGMENTS: usize = 8;

impl Default for Edge {
    fn default() -> Self {
        Self {
            trust_headers: TRUST_HEADERS.map(str::to_ascii_lowercase).to_vec(),
            method_override: MethodOverride::default(),
            deny_users: Vec::new(),
            deny: Vec::new(),
            watch_upstream: WATCH_UPSTREAM,
        }
    }
}

/// Reads the section.
pub(super) fn edge(mut section: Section<'_>) -> Option<Edge> {
    let trust_headers = section.list("trust_headers", &TRUST_HEADERS, trust_header);
    let overrides = [("pass", MethodOverride::Pass), ("refuse", MethodOverride::Refuse)];
    let method_override = section.or("method_override", "pass", |text| units::one_of(text, &overrides));
    let deny_users = section.list("deny_users", &[], user);
    let deny = section.list("deny", &[], pattern);
    let watch_upstream = section.or("watch_upstream", "10m", units::duration_in("0s"..="24h"));
    section.finish();
    Some(Edge {
        trust_headers: trust_headers?,
        method_override: method_override?,
        deny_users: deny_users?,
        deny: deny?,
        watch_upstream: watch_upstream?,
    })
}

/// A header's name, in lower case.
fn trust_header(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err("must be the name of a header, such as \"X-Remote-User\"".to_owned());
    }
    if NEEDED.contains(&name.replace('_', "-").as_str()) {
        return Err("must not be a header that every client may send".to_owned());
    }
    Ok(name)
}

/// A user's name, as it stands.
fn user(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { units::printable(text) }
}

/// `/admin/**`, `/openidm/selfservice/username`
pub(super) fn pattern(text: &str) -> Result<PathPattern, String> {
    const RULE: &str = "must be a path such as /openidm/info, or /admin/** with all below it: one to eight plain \
                        segments of A-Z a-z 0-9 . _ ~ -, none of them dots alone, no other *, no slash at the end";
    let (path, below) = text.strip_suffix("/**").map_or((text, false), |path| (path, true));
    let path = units::path(path).map_err(|_| RULE)?;
    if path.split('/').count() > MAX_SEGMENTS + 1 {
        return Err(RULE.to_owned());
    }
    Ok(PathPattern { path, below })
}
