//! The audit trail of this process.

use std::sync::Arc;

use super::{StartError, estate::Names};
use crate::{
    config::{Audit, AuditTo},
    keys::KeysError,
    reset::ports::Clock,
    telemetry::{
        audit::{Keys, To, Trail},
        draw,
        metrics::Metrics,
    },
};

/// Begins it, where the configuration says.
pub(super) fn start(
    config: &Audit,
    names: &Names,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<Trail, StartError> {
    let to = match &config.to {
        AuditTo::Off => return Ok(Trail::off()),
        AuditTo::Stdout => To::Stdout,
        AuditTo::File(path) => To::File(path.clone()),
    };
    Ok(Trail::start(to, keys(config, names)?, draw::bytes(), Arc::clone(clock), Arc::clone(metrics))?)
}

/// What names are hashed with, there and wherever else they are told by hash.
pub(super) fn keys(config: &Audit, names: &Names) -> Result<Keys, KeysError> {
    let keys = match &config.hash_key {
        Some(key) => Keys::lasting(&key.0),
        // It goes over with the open resets, where they do.
        None => Keys::passing(&names.ids),
    };
    keys.map_err(|_| KeysError::Crypto)
}
