//! When to try again, by some chance.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

/// Waits between attempts: doubled each time, up to the second.
const FIRST_WAIT: Duration = Duration::from_secs(1);
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Random bits from the system; zero if it has none, which jitter and names can live with.
pub(in crate::mail) fn random() -> u64 {
    let mut bytes = [0; 8];
    let _ = SystemRandom::new().fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

/// 1 s, 2 s, 4 s … 30 s, less up to a quarter, so that what failed together does not come back together.
pub(super) fn backoff(attempts: u32, random: u64) -> Duration {
    let full = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempts)).min(LONGEST_WAIT);
    let thousandths = u32::try_from(random % 251).unwrap_or_default();
    full - full / 1000 * thousandths
}
