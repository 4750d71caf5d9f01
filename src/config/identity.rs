//! `[identity]`: where accounts are, and as whom to ask.

mod auth;

use std::{fmt, time::Duration};

pub use self::auth::{Auth, ClientAuth, OAuth2};
use super::{
    endpoints::{Endpoints, endpoints},
    raw::Section,
    secret::Surroundings,
    units,
};

/// `[identity]`
pub struct Identity {
    /// Where it is. Below the URL lies the process file's `identityServiceUrl`; no trailing slash in its path.
    pub endpoints: Endpoints,
    /// As whom to ask.
    pub auth: Auth,
    /// Calls under way at a time.
    pub max_concurrent: usize,
    /// `timeout`: a whole call, the wait for its turn included; longer than it takes to connect.
    pub timeout: Duration,
    /// `idle_timeout`: how long a connection is kept that nobody uses.
    pub idle_timeout: Duration,
    /// `pool_size`: how many of them.
    pub pool_size: usize,
    /// When not to ask at all.
    pub breaker: Breaker,
}

/// `[identity.breaker]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// So many calls that failed, and none that did not, ask for a look; none at all is never.
    pub failures: Option<u32>,
    /// How long nothing is asked, at first.
    pub open: Duration,
}

/// All but as whom to ask.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("url", &self.endpoints.url.as_str()).finish_non_exhaustive()
    }
}

/// Reads the section.
pub(super) fn identity(mut section: Section<'_>, around: &Surroundings<'_>) -> Option<Identity> {
    section.required("kind", |text| match text {
        "crest" => Ok(()),
        "scim" => Err("is not built yet; must be \"crest\"".to_owned()),
        _ => Err("must be \"crest\"".to_owned()),
    });
    let endpoints = endpoints(&mut section, units::base_url, around);
    let auth = auth::auth(section.section("auth"), around);
    let max_concurrent = section.number("max_concurrent", 256, 1..=10_000);
    let timeout = section.or("timeout", "5s", units::duration_in("100ms"..=LONGEST_CALL));
    let idle_timeout = section.or("idle_timeout", "20s", units::duration_in("1s"..="10m"));
    let pool_size = section.number("pool_size", 32, 0..=10_000);
    if let (Some(endpoints), Some(timeout)) = (&endpoints, timeout)
        && timeout <= endpoints.connect_timeout
    {
        let key = if section.has("timeout") { "timeout" } else { "connect_timeout" };
        section.fault(key, "leaves a call no time: timeout must be longer than connect_timeout");
    }
    let breaker = breaker(section.section("breaker"));
    section.finish();
    Some(Identity {
        endpoints: endpoints?,
        auth: auth?,
        max_concurrent: usize::try_from(max_concurrent?).ok()?,
        timeout: timeout?,
        idle_timeout: idle_timeout?,
        pool_size: usize::try_from(pool_size?).ok()?,
        breaker: breaker?,
    })
}

/// The longest call: eight of them, which setting a password may take, are less than the minute for which the engine
/// keeps a flow for it.
const LONGEST_CALL: &str = "7s";

fn breaker(mut section: Section<'_>) -> Option<Breaker> {
    let failures = section.number("failures", 10, 0..=10_000);
    let open = section.or("open", "5s", units::duration_in("100ms"..="30s"));
    section.finish();
    Some(Breaker { failures: Some(failures?).filter(|failures| *failures > 0), open: open? })
}
