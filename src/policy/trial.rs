//! Whether the breach service answers, for an operator's check.

use std::sync::Arc;

use super::breach::Breach;
use crate::{config::Breach as Config, telemetry::metrics::Metrics};

/// Digits that no password of anybody's is told by: those of all services have some that begin so.
const ANY: &str = "00000";

/// Asks it; how many known passwords it has told of.
///
/// # Errors
/// Why it has told of none, in words that are ours.
pub async fn ask(config: &Config, metrics: &Arc<Metrics>) -> Result<usize, String> {
    let breach = Breach::new(config, Arc::clone(metrics)).map_err(|fault| fault.to_string())?;
    breach.known(ANY).await
}
