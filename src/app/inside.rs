//! What the admin listener shows of the inside: of what is present, and of what outlives it.

use std::fmt::Write;

use super::Reloader;
use crate::{
    admin::{Inside, Part, State},
    config::ConfigReaders,
    identity::Health,
    telemetry::metrics::{Breaking, MetricsError},
};

/// Attempts to send a mail, or calls to the store, that fail in a row before it is more than one's bad luck.
const FEW: u32 = 3;

impl Inside for Reloader {
    fn parts(&self) -> Vec<Part> {
        let present = self.present.load();
        let codes = &self.lasting.codes;
        vec![
            identity(present.accounts.health()),
            Part::of_room("outbox", present.outbox.taken(), present.config.mail.capacity),
            mail(present.outbox.failures()),
            match codes.is_up() {
                true => Part::of_room("codes", codes.starts(), codes.capacity()),
                false => Part { name: "codes", state: State::Failing, reason: "server_down" },
            },
        ]
    }

    fn config(&self) -> String {
        let present = self.present.load();
        let mut text = String::new();
        let _ = writeln!(
            text,
            "# What resetgate {} runs by, with what is set by default. Read from {}; generation {}.\n\
             # Of secrets it has only where they come from.",
            env!("CARGO_PKG_VERSION"),
            present.config.texts.path.display(),
            self.generations(),
        );
        let mut effective = present.effective.clone();
        effective.comes_to("listen.max_connections", self.lasting.connections);
        text.push_str(&effective.toml());
        text
    }

    fn config_readers(&self) -> ConfigReaders {
        self.present.load().config.admin.config
    }
}

/// The same as a gauge.
pub(super) fn show(reloader: &std::sync::Arc<Reloader>) -> Result<(), MetricsError> {
    let help = "How what a reset needs is: 2 as it should be, 1 degraded, 0 failing; as /readyz/reset says";
    for (index, part) in reloader.parts().iter().enumerate() {
        let of = std::sync::Arc::downgrade(reloader);
        let read = move || Some(of.upgrade()?.parts().get(index)?.state.number().into());
        reloader.lasting.metrics.labelled_gauge("reset_health", help, ("part", part.name), read)?;
    }
    Ok(())
}

const fn identity(Health { breaker, addresses, up, calls }: Health) -> Part {
    let (state, reason) = match breaker {
        Breaking::Open => (State::Failing, "breaker_open"),
        Breaking::HalfOpen => (State::Failing, "breaker_half_open"),
        Breaking::Closed if addresses == 0 => (State::Failing, "no_address_known"),
        Breaking::Closed if up == 0 => (State::Failing, "every_address_down"),
        Breaking::Closed if calls.refused => (State::Failing, "credentials_refused"),
        Breaking::Closed => match calls.failures {
            FEW.. if calls.no_token => (State::Failing, "no_access_token"),
            FEW.. => (State::Failing, "calls_fail"),
            1..FEW => (State::Degraded, "last_call_failed"),
            0 if up < addresses => (State::Degraded, "some_addresses_down"),
            0 => (State::Ok, "no_failure_known"),
        },
    };
    Part { name: "identity", state, reason }
}

const fn mail(failures: u32) -> Part {
    let (state, reason) = match failures {
        0 => (State::Ok, "no_failure_known"),
        1..FEW => (State::Degraded, "last_attempt_failed"),
        FEW.. => (State::Failing, "attempts_fail"),
    };
    Part { name: "mail", state, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Outcome;

    #[test]
    fn a_store_is_as_its_breaker_its_addresses_and_its_answers_are() {
        let well = Health { breaker: Breaking::Closed, addresses: 2, up: 2, calls: Outcome::default() };
        let calls = |failures, refused, no_token| Health { calls: Outcome { failures, refused, no_token }, ..well };
        for (health, state, reason) in [
            (well, State::Ok, "no_failure_known"),
            (Health { up: 1, ..well }, State::Degraded, "some_addresses_down"),
            (Health { up: 0, ..well }, State::Failing, "every_address_down"),
            (Health { addresses: 0, up: 0, ..well }, State::Failing, "no_address_known"),
            (Health { breaker: Breaking::HalfOpen, ..well }, State::Failing, "breaker_half_open"),
            (Health { breaker: Breaking::Open, ..calls(9, true, false) }, State::Failing, "breaker_open"),
            (calls(1, false, false), State::Degraded, "last_call_failed"),
            (calls(2, false, true), State::Degraded, "last_call_failed"),
            (calls(3, false, false), State::Failing, "calls_fail"),
            (calls(u32::MAX, false, true), State::Failing, "no_access_token"),
            (calls(1, true, false), State::Failing, "credentials_refused"),
            (calls(0, true, false), State::Failing, "credentials_refused"),
            (Health { up: 1, ..calls(3, false, false) }, State::Failing, "calls_fail"),
        ] {
            assert_eq!(identity(health), Part { name: "identity", state, reason }, "{health:?}");
        }
    }

    #[test]
    fn one_mail_that_fails_is_not_all_mail() {
        assert_eq!([0, 1, 2, 3, u32::MAX].map(|failures| mail(failures).state.number()), [2, 1, 1, 0, 0]);
    }
}
