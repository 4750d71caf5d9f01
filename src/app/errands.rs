//! What the identity store does beside finding accounts and setting passwords, asked by its own client.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::{
    after,
    identity::{Action, Crest},
    mail::Service,
    outbound::Failure,
    reset::{
        ports::{Resource, Secret},
        process::{Process, StageSettings},
        stages::user_query,
    },
};

/// The mail service of a store.
struct OfStore {
    store: Arc<Crest>,
    path: String,
    parameters: Vec<(String, String)>,
    accounts: Resource,
}

/// The store itself.
struct Errands {
    store: Arc<Crest>,
    accounts: Resource,
}

/// The user query's settings: where accounts are, and what holds an address.
pub(super) fn query(process: &Process) -> Option<&user_query::Settings> {
    process.stages.iter().find_map(|stage| match stage {
        StageSettings::UserQuery(settings) => Some(settings),
        _ => None,
    })
}

/// For what follows when a password is set.
pub(super) fn store(store: &Arc<Crest>, accounts: Resource) -> Arc<dyn after::Store> {
    Arc::new(Errands { store: Arc::clone(store), accounts })
}

/// IDM's own mail service, where the process file says that it is; none, if it does not.
pub(super) fn service(store: &Arc<Crest>, process: &Process) -> Option<Arc<dyn Service>> {
    let email = process.email()?;
    let accounts = query(process)?.resource.clone();
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

#[async_trait]
impl after::Store for Errands {
    async fn call(
        &self,
        method: Method,
        below: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
    ) -> Result<StatusCode, Failure> {
        self.store.call_below((method, below), headers, body, &self.accounts).await
    }
}
