//! `[drain]`, `[reload]` and `[upgrade]`: how the program ends, changes, and hands over.

use std::{path::PathBuf, time::Duration};

use super::{raw::Section, secret::Surroundings, units};

/// `[drain]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// How long it still accepts, while it says that it is not ready.
    pub linger: Duration,
    /// How long all of it may take, the lingering included.
    pub within: Duration,
}

/// Reads `[drain]`.
pub(super) fn drain(mut section: Section<'_>) -> Option<Drain> {
    let linger = section.or("linger", "5s", units::duration_in("0s"..="5m"));
    let within = section.or("within", "25s", units::duration_in("1s"..="1h"));
    if let (Some(linger), Some(within)) = (linger, within)
        && linger >= within
    {
        section.fault("linger", "must be shorter than drain.within, or nothing that runs could be finished");
    }
    section.finish();
    Some(Drain { linger: linger?, within: within? })
}

/// Reads `[reload]`: how often the files that the configuration names are looked at; zero is never.
pub(super) fn reload(mut section: Section<'_>) -> Option<Duration> {
    let watch = section.or("watch", "5s", units::duration_in("0s"..="1h"));
    section.finish();
    watch
}

/// Reads `[upgrade]`: the folder in which a process finds the one that it takes over from.
#[allow(clippy::option_option, reason = "missing and wrong are two things")]
pub(super) fn upgrade(mut section: Section<'_>, around: &Surroundings<'_>) -> Option<Option<PathBuf>> {
    let folder = section.optional("folder", |text| around.place(text));
    section.finish();
    folder
}
