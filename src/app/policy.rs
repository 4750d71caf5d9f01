//! Whose rules a new password has to meet, and who tells clients of them.

use std::sync::Arc;

use async_trait::async_trait;

use super::StartError;
use crate::{
    config::{Config, PolicySource},
    identity::Crest,
    policy::{Local, Page, Store},
    reset::{
        ports::{
            AnyPassword, Caller, Clock, Down, Field, Passwords, PolicyFailure, PolicyPage, PolicyRule, Resource, Secret,
        },
        process::StageSettings,
    },
    telemetry::metrics::Metrics,
};

/// The rules that hold before the store is asked, and the page that tells clients of rules, where that is ours.
type Judges = (Arc<dyn Passwords>, Option<Arc<dyn PolicyPage>>);

/// Those of the configuration.
pub(super) fn policy(
    config: &Config,
    store: &Arc<Crest>,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<Judges, StartError> {
    // A checked process ends with that stage.
    let settings = config.reset.process.stages.iter().find_map(|stage| match stage {
        StageSettings::ResetStage(settings) => Some((settings.resource.clone(), settings.password_field.clone())),
        _ => None,
    });
    let Some((accounts, field)) = settings else { return Ok((Arc::new(AnyPassword), None)) };
    Ok(match &config.policy.source {
        PolicySource::Upstream => (Arc::new(AnyPassword), None),
        PolicySource::Service { cache } => {
            let of = OfStore { store: Arc::clone(store), accounts, field: field.clone() };
            let calls = config.identity.max_concurrent;
            (
                Arc::new(AnyPassword),
                Some(Arc::new(Page::of_store(field, Arc::new(of), calls, *cache, Arc::clone(clock)))),
            )
        }
        PolicySource::Local(rules) => {
            let rules = Arc::new(Local::new(rules, metrics).map_err(StartError::Breach)?);
            (Arc::clone(&rules) as _, Some(Arc::new(Page::of(field, rules))))
        }
    })
}

/// The policy of a store.
struct OfStore {
    store: Arc<Crest>,
    accounts: Resource,
    field: Field,
}

#[async_trait]
impl Store for OfStore {
    async fn rules(&self, caller: &Caller) -> Result<Vec<PolicyRule>, Down> {
        self.store.policy_rules(caller, &self.accounts, &self.field).await
    }

    async fn broken(&self, password: &Secret, caller: &Caller) -> Result<Vec<PolicyFailure>, Down> {
        self.store.policy_failures(caller, &self.accounts, &self.field, password).await
    }
}
