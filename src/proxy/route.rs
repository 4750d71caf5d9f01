//! Where a request goes, judged by its raw target alone. A pure function: nothing here does I/O.
//!
//! Four questions, in this order. Is the target short enough and of a form that everybody reads alike (RFC 9112 §3.2)?
//! Is it the reset path, spelled as IDM's clients spell it? Could anybody read it as the reset path though it is spelled
//! differently ([`super::reading`])? Could anybody read it as a path that is never passed? What is left passes, byte for
//! byte.

use super::reading::Guard;
use crate::config::PathPattern;

/// The longest target, in bytes (RFC 9112 §3 asks for 8000 at least).
pub const MAX_TARGET: usize = 8 << 10;

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// Answer it here. The query is without its `?`.
    Intercept {
        /// The query without its `?`, empty if there is none.
        query: &'a [u8],
    },
    /// Answer it here, as the page of the password policy. The query is without its `?`.
    Policy {
        /// As above.
        query: &'a [u8],
    },
    /// Forward it with this target: the given one, or its origin-form if it was in absolute-form.
    Pass {
        /// Path and query.
        target: &'a [u8],
    },
    /// Answer it with an error.
    Reject(Why),
}

/// Why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Somebody could take it for the reset path: 404.
    Disguised,
    /// Somebody could take it for a path that is never passed: 403.
    Denied,
    /// Not a target that everybody reads alike: 400.
    Malformed,
    /// Longer than [`MAX_TARGET`]: 414.
    TooLong,
}

/// Judges targets.
#[derive(Debug)]
pub struct Router {
    path: Vec<u8>,
    policy: Option<Vec<u8>>,
    guard: Guard,
    denied: Vec<Guard>,
}

impl Router {
    /// Intercepts that path: it starts with `/`, ends without one and needs no encoding.
    pub fn new(path: &str) -> Self {
        Self { path: path.as_bytes().to_vec(), policy: None, guard: Guard::new(path), denied: Vec::new() }
    }

    /// The path that it intercepts.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Answers that path as well, of the same kind. Other spellings of it pass: there is nothing to be had there.
    #[must_use]
    pub fn telling_policy_at(mut self, path: Option<&str>) -> Self {
        self.policy = path.map(|path| path.as_bytes().to_vec());
        self
    }

    /// Passes none of these either.
    #[must_use]
    pub fn denying(mut self, patterns: &[PathPattern]) -> Self {
        let guard = |pattern: &PathPattern| {
            if pattern.below { Guard::new(&pattern.path) } else { Guard::alone(&pattern.path) }
        };
        self.denied = patterns.iter().map(guard).collect();
        self
    }

    /// Judges a target as it came, with the request's Host.
    pub fn route<'a>(&self, target: &'a [u8], host: Option<&[u8]>) -> Route<'a> {
        if target.len() > MAX_TARGET {
            return Route::Reject(Why::TooLong);
        }
        let Some(target) = origin_form(target, host) else { return Route::Reject(Why::Malformed) };
        let end = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
        let (path, rest) = target.split_at(end);
        if !path.iter().all(|byte| matches!(byte, b'!'..=b'~') && *byte != b'\\')
            || rest.iter().any(|byte| *byte <= b' ' || *byte == 0x7f)
        {
            return Route::Reject(Why::Malformed);
        }
        let is = |own: &[u8]| path == own || path.strip_suffix(b"/") == Some(own);
        let query = || {
            let query = rest.split(|byte| *byte == b'#').next().unwrap_or_default();
            query.strip_prefix(b"?").unwrap_or_default()
        };
        if is(&self.path) {
            return Route::Intercept { query: query() };
        }
        if self.policy.as_ref().is_some_and(|policy| is(policy)) {
            return Route::Policy { query: query() };
        }
        if self.guard.claims(path) {
            Route::Reject(Why::Disguised)
        } else if self.denied.iter().any(|denied| denied.claims(path)) {
            Route::Reject(Why::Denied)
        } else {
            Route::Pass { target }
        }
    }
}

/// The target from its path on. Absolute-form (RFC 9112 §3.2.2) must name the very Host that the header names, since
/// nobody can tell which of two the upstream would believe.
fn origin_form<'a>(target: &'a [u8], host: Option<&[u8]>) -> Option<&'a [u8]> {
    if target.starts_with(b"/") {
        return Some(target);
    }
    let scheme = target.iter().position(|byte| *byte == b':')?;
    let (scheme, rest) = target.split_at_checked(scheme)?;
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return None;
    }
    let rest = rest.strip_prefix(b"://")?;
    let slash = rest.iter().position(|byte| !is_of_authority(*byte))?;
    let (authority, path) = rest.split_at_checked(slash)?;
    let same = host.is_some_and(|host| !host.is_empty() && host.eq_ignore_ascii_case(authority));
    (same && path.starts_with(b"/")).then_some(path)
}

/// Whether it is made as a host and a port are.
pub(super) fn is_authority(text: &[u8]) -> bool {
    text.iter().all(|byte| is_of_authority(*byte))
}

/// Bytes of a host and a port. No `@`: a user name in a target is a trap (RFC 9110 §4.2.4).
const fn is_of_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~' | b':' | b'[' | b']' | b'%')
}

#[cfg(test)]
mod tests;
