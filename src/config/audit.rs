//! `[audit]`, and the key of `[log]` that goes with it: where the audit trail goes, and what its names are hashed with.

use std::path::PathBuf;

use super::{
    TokenKey,
    raw::Section,
    secret::{self, Surroundings},
};

/// `[audit]` and `log.hash_key`
#[derive(Debug)]
pub struct Audit {
    /// Where the trail goes.
    pub to: AuditTo,
    /// What names in it are hashed with and its lines are vouched for; if there is none, one is drawn at start.
    pub hash_key: Option<TokenKey>,
}

/// Where an audit trail goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditTo {
    /// To standard output.
    Stdout,
    /// To the end of a file.
    File(PathBuf),
    /// There is none.
    Off,
}

impl Audit {
    /// Whether two are the same.
    pub fn same_key(&self, other: &Self) -> bool {
        match (&self.hash_key, &other.hash_key) {
            (Some(one), Some(two)) => one.0 == two.0,
            (one, two) => one.is_none() == two.is_none(),
        }
    }
}

/// Reads both.
pub(super) fn audit(mut section: Section<'_>, log: &mut Section<'_>, around: &Surroundings<'_>) -> Option<Audit> {
    let to = section.or("to", "stdout", |text| match text.split_once(':') {
        None if text == "stdout" => Ok(AuditTo::Stdout),
        None if text == "off" => Ok(AuditTo::Off),
        Some(("file", path)) if !path.trim().is_empty() => Ok(AuditTo::File(around.path(path))),
        _ => Err("must be \"stdout\", \"file:path\" or \"off\"".to_owned()),
    });
    section.finish();
    log.hide("hash_key");
    let found = log.optional("hash_key", |text| {
        let found = around.secret(text)?;
        Ok((secret::key(found.text.expose())?, found.exposed))
    });
    match &found {
        Some(None) if to != Some(AuditTo::Off) => log.warn("hash_key", UNSET),
        Some(Some((_, true))) => log.warn("hash_key", secret::EXPOSED),
        _ => {}
    }
    Some(Audit { to: to?, hash_key: found?.map(|(key, _)| key) })
}

const UNSET: &str = "is not set, so one is drawn at start: names in the audit trail cannot be looked for or compared after \
                     a restart, and nobody vouches for its lines; `resetgate key` makes one";
