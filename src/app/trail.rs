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
    let keys = match &config.hash_key {
        Some(key) => Keys::lasting(&key.0),
        // It goes over with the open resets, where they do.
        None => Keys::passing(&names.ids),
    };
    let keys = keys.map_err(|_| KeysError::Crypto)?;
    Ok(Trail::start(to, keys, draw::bytes(), Arc::clone(clock), Arc::clone(metrics))?)
}
