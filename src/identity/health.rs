//! How a store is, as far as is known without asking it.

use parking_lot::Mutex;

use super::calls::Name;
use crate::{
    outbound::{Failure, Kind},
    telemetry::metrics::Breaking,
};

/// How a store is, as far as is known without asking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// What its breaker does.
    pub breaker: Breaking,
    /// How many addresses it has.
    pub addresses: usize,
    /// How many of them are up.
    pub up: usize,
    /// What came of the calls.
    pub calls: Outcome,
}

/// What came of the calls to a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many have failed since one went well.
    pub failures: u32,
    /// Whether the last of these failed for want of an access token.
    pub no_token: bool,
    /// Whether it does not know us, or does not let us do something that a reset needs.
    pub refused: bool,
}

/// Takes note of the calls.
#[derive(Default)]
pub(super) struct Outcomes(Mutex<Noted>);

#[derive(Default)]
struct Noted {
    failures: u32,
    no_token: bool,
    /// It does not know us.
    unknown: bool,
    /// It knows us, and does not let us do that.
    forbidden: [bool; Name::ALL],
}

impl Outcomes {
    /// What came of a call. One that was not made says nothing of the store.
    pub(super) fn note(&self, name: Name, failed: Option<&Failure>) {
        let mut noted = self.0.lock();
        let status = failed.and_then(|failure| failure.status).map(|status| status.as_u16());
        match failed.map(|failure| failure.kind) {
            Some(Kind::Busy | Kind::Open | Kind::Request) => return,
            None => (noted.failures, noted.no_token, noted.unknown) = (0, false, false),
            Some(kind) => {
                noted.failures = noted.failures.saturating_add(1);
                noted.no_token = kind == Kind::Token;
                noted.unknown |= status == Some(401);
            }
        }
        // To be let look somebody up says nothing of the right to set a password.
        if let Some(forbidden) = noted.forbidden.get_mut(name as usize)
            && (failed.is_none() || status == Some(403))
        {
            *forbidden = failed.is_some();
        }
    }

    /// All of it.
    pub(super) fn outcome(&self) -> Outcome {
        let noted = self.0.lock();
        let refused = noted.unknown || noted.forbidden.contains(&true);
        Outcome { failures: noted.failures, no_token: noted.no_token, refused }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn after(calls: &[(Name, Option<Failure>)]) -> Outcome {
        let outcomes = Outcomes::default();
        calls.iter().for_each(|(name, failed)| outcomes.note(*name, failed.as_ref()));
        outcomes.outcome()
    }

    const fn says(status: StatusCode) -> Option<Failure> {
        Some(Failure::answered(Kind::Status, status, false))
    }

    #[test]
    fn failures_count_until_one_goes_well() {
        let lost = Some(Failure::unknown(Kind::Lost));
        assert_eq!(after(&[]), Outcome::default());
        assert_eq!(after(&[(Name::Find, lost), (Name::Read, lost)]).failures, 2);
        assert_eq!(after(&[(Name::Find, lost), (Name::Read, None)]), Outcome::default());
        for kind in [Kind::Busy, Kind::Open, Kind::Request] {
            let unasked = Some(Failure::unsent(kind));
            assert_eq!(after(&[(Name::Find, lost), (Name::Find, unasked)]).failures, 1);
        }
        let no_token = Some(Failure::unsent(Kind::Token));
        assert!(
            after(&[(Name::Find, no_token)]).no_token && !after(&[(Name::Find, no_token), (Name::Find, lost)]).no_token
        );
    }

    #[test]
    fn who_is_not_known_is_refused_until_one_goes_well_and_who_may_not_until_he_may() {
        let (unknown, forbidden) = (says(StatusCode::UNAUTHORIZED), says(StatusCode::FORBIDDEN));
        assert!(after(&[(Name::Find, unknown)]).refused);
        assert!(after(&[(Name::Find, unknown), (Name::Find, says(StatusCode::BAD_GATEWAY))]).refused);
        assert!(!after(&[(Name::Patch, unknown), (Name::Find, None)]).refused);
        let patch = (Name::Patch, forbidden);
        assert!(after(&[patch]).refused && after(&[patch, (Name::Find, None)]).refused);
        assert!(after(&[patch, (Name::Patch, says(StatusCode::BAD_GATEWAY))]).refused);
        assert!(!after(&[patch, (Name::Patch, None)]).refused);
        assert!(!after(&[(Name::Find, says(StatusCode::NOT_FOUND))]).refused);
    }
}
