//! What the admin listener shows of the inside: of what is present, and of what outlives it.

use std::fmt::Write;

use super::Reloader;
use crate::{
    admin::{Inside, Part, State},
    config::ConfigReaders,
    identity::Health,
    telemetry::metrics::{Breaking, MetricsError},
};

/// Attempts to send a mail that fail in a row before it is more than one mail's bad luck.
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
        text.push_str(&present.effective.toml());
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

const fn identity(Health { breaker, addresses, up }: Health) -> Part {
    let (state, reason) = match breaker {
        Breaking::Open => (State::Failing, "breaker_open"),
        Breaking::HalfOpen => (State::Failing, "breaker_half_open"),
        Breaking::Closed if addresses == 0 => (State::Failing, "no_address_known"),
        Breaking::Closed if up == 0 => (State::Failing, "every_address_down"),
        Breaking::Closed if up < addresses => (State::Degraded, "some_addresses_down"),
        Breaking::Closed => (State::Ok, "no_failure_known"),
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

    #[test]
    fn a_store_is_as_its_breaker_and_its_addresses_are() {
        for (breaker, addresses, up, expected) in [
            (Breaking::Closed, 2, 2, State::Ok),
            (Breaking::Closed, 2, 1, State::Degraded),
            (Breaking::Closed, 2, 0, State::Failing),
            (Breaking::Closed, 0, 0, State::Failing),
            (Breaking::HalfOpen, 1, 1, State::Failing),
            (Breaking::Open, 1, 1, State::Failing),
        ] {
            assert_eq!(identity(Health { breaker, addresses, up }).state, expected, "{breaker:?} {up}/{addresses}");
        }
    }

    #[test]
    fn one_mail_that_fails_is_not_all_mail() {
        assert_eq!([0, 1, 2, 3, u32::MAX].map(|failures| mail(failures).state.number()), [2, 1, 1, 0, 0]);
    }
}
