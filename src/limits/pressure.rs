//! Whether limits are about to be used up: what asks for a captcha, where that is asked for only then.

use super::Governor;
use crate::reset::ports::{Client, LimitKey, Rule};

impl Governor {
    /// [`crate::reset::ports::Limits::is_pressed`], which never waits.
    pub fn pressure(&self, client: Client) -> bool {
        let own = LimitKey::Client(client);
        let half_used = |(rule, key)| {
            let ladder = self.ladder(rule, key);
            ladder.is_some_and(|ladder| ladder.is_half_used(&self.keys(key, self.group(key))))
        };
        let rules = [(Rule::Client, own), (Rule::StartPerClient, own), (Rule::StartTotal, LimitKey::Everyone)];
        rules.into_iter().any(half_used)
    }
}
