//! IDM's own mail service, asked by the store's client.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;

use crate::{
    identity::{Action, Crest},
    mail::Service,
    outbound::Failure,
    reset::{
        ports::{Resource, Secret},
        process::{Process, StageSettings},
    },
};

/// The mail service of a store.
struct OfStore {
    store: Arc<Crest>,
    path: String,
    parameters: Vec<(String, String)>,
    accounts: Resource,
}

/// Where the process file says that it is; none, if it does not.
pub(super) fn service(store: &Arc<Crest>, process: &Process) -> Option<Arc<dyn Service>> {
    let email = process.email()?;
    let accounts = process.stages.iter().find_map(|stage| match stage {
        StageSettings::UserQuery(settings) => Some(settings.resource.clone()),
        _ => None,
    })?;
    let (path, parameters) = (email.service.clone()?, email.parameters.clone());
    Some(Arc::new(OfStore { store: Arc::clone(store), path, parameters, accounts }))
}

impl OfStore {
    fn action(&self) -> Action<'_> {
        Action { path: &self.path, action: "send", parameters: &self.parameters, accounts: &self.accounts }
    }
}

#[async_trait]
impl Service for OfStore {
    async fn send(&self, letter: Bytes) -> Result<(StatusCode, Secret<Vec<u8>>), Failure> {
        self.store.send_letter(&self.action(), letter).await
    }

    async fn answers(&self) -> bool {
        self.store.answers(&self.accounts).await
    }
}
