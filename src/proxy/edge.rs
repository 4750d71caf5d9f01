//! Which requests are refused though their path passes: by what their headers say.

use http::HeaderMap;

use super::{headers::is_twin, users::Users};
use crate::{
    config::{self, MethodOverride},
    telemetry::metrics::Denial,
};

/// Headers that make some servers answer as if the request had another method.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// By these a proxy tells of the client's certificate (RFC 9440).
pub(super) const CERTIFICATE_HEADERS: [&str; 2] = ["client-cert", "client-cert-chain"];

/// `[edge]`, as far as it concerns a passed request's headers.
#[derive(Debug)]
pub(super) struct Edge {
    refuse_overrides: bool,
    denied_users: Users,
    /// Headers that only a trusted peer may send up, in lower case.
    pub(super) trust_headers: Vec<String>,
}

impl Edge {
    pub(super) fn new(config: &config::Edge) -> Self {
        Self {
            refuse_overrides: config.method_override == MethodOverride::Refuse,
            denied_users: Users::new(&config.deny_users),
            trust_headers: config.trust_headers.clone(),
        }
    }

    /// The same, where the upstream is told of clients' certificates: it believes what says so, wherever it comes from.
    pub(super) fn telling_of_certificates(mut self) -> Self {
        self.trust_headers.extend(CERTIFICATE_HEADERS.map(str::to_owned));
        self
    }

    /// Why a request with these headers must not pass; `None` if it may.
    pub(super) fn denies(&self, headers: &HeaderMap) -> Option<Denial> {
        let overrides = |name: &str| METHOD_OVERRIDES.iter().any(|listed| is_twin(name, listed));
        if self.refuse_overrides && headers.keys().any(|name| overrides(name.as_str())) {
            return Some(Denial::MethodOverride);
        }
        self.denied_users.sign_in(headers).then_some(Denial::User)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn denies(edge: &config::Edge, lines: &[(&'static str, &'static str)]) -> Option<Denial> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Edge::new(edge).denies(&headers)
    }

    #[test]
    fn method_overrides() {
        let refuse = config::Edge { method_override: MethodOverride::Refuse, ..config::Edge::default() };
        for name in ["x-http-method-override", "x-http-method", "x-method-override", "x_http_method_override"] {
            assert_eq!(denies(&refuse, &[("accept", "*/*"), (name, "")]), Some(Denial::MethodOverride), "{name}");
            assert_eq!(denies(&config::Edge::default(), &[(name, "PATCH")]), None, "{name}");
        }
        assert_eq!(denies(&refuse, &[("accept", "*/*"), ("x-http-methods", "PATCH")]), None);
    }

    #[test]
    fn certificates_are_told_of_by_the_trusted_alone() {
        let edge = config::Edge { trust_headers: vec!["x-remote-user".to_owned()], ..config::Edge::default() };
        let told = Edge::new(&edge).telling_of_certificates().trust_headers;
        assert_eq!(told, ["x-remote-user", "client-cert", "client-cert-chain"]);
    }

    #[test]
    fn users() {
        let edge = config::Edge { deny_users: vec!["openidm-admin".to_owned()], ..config::Edge::default() };
        assert_eq!(denies(&edge, &[("x-openidm-username", "UTF-8''%6fpenidm-admin")]), Some(Denial::User));
        assert_eq!(denies(&edge, &[("x-openidm-username", "bjensen")]), None);
        assert_eq!(denies(&config::Edge::default(), &[("x-openidm-username", "openidm-admin")]), None);
    }
}
