//! Captchas: who sets them, and who knows whether one was solved. Adapters of [`crate::reset::ports::Challenge`].

mod altcha;
mod siteverify;

use std::sync::Arc;

pub use self::{altcha::Altcha, siteverify::Siteverify};
use crate::{
    config::{Captcha, Judge},
    outbound::Unusable,
    reset::ports::{Challenge, Keys},
    telemetry::metrics::Metrics,
};

/// As configured.
///
/// # Errors
/// If the service can never be asked.
pub fn start(config: &Captcha, keys: Arc<dyn Keys>, metrics: &Arc<Metrics>) -> Result<Arc<dyn Challenge>, Unusable> {
    Ok(match &config.judge {
        Judge::Own { difficulty } => Arc::new(Altcha::new(*difficulty, keys)),
        Judge::Service(service) => Arc::new(Siteverify::new(service, keys, Arc::clone(metrics))?),
    })
}
