//! Ending an account's sessions: a call that the operator has written down, filled in for the account.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use url::Url;

use super::{Outcome, Store, Target, What, filling};
use crate::{
    config::{self, AfterAt, Template},
    outbound::{Client, Failure, Kind, Name, Unusable},
    reset::ports::{Done, Reason, Time},
    telemetry::metrics::Metrics,
};

/// Of an answer, which nobody reads.
const ANSWER: usize = 64 * 1024;

/// One call.
pub(super) struct Revocation {
    at: At,
    method: Method,
    url: Template,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<Template>,
}

enum At {
    Service(Box<Client>),
    Store(Arc<dyn Store>),
}

impl Revocation {
    pub(super) fn new(
        config: &config::Revoke,
        store: &Arc<dyn Store>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, Unusable> {
        let at = match &config.at {
            AfterAt::Service(service) => {
                At::Service(Box::new(Client::new(service, Name::Revocation, ANSWER, Arc::clone(metrics))?))
            }
            AfterAt::Identity => At::Store(Arc::clone(store)),
        };
        let mut headers = config.headers.clone();
        if config.body.is_some() && !headers.iter().any(|(name, _)| *name == CONTENT_TYPE) {
            headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        }
        let (method, url, body) = (config.method.clone(), config.url.clone(), config.body.clone());
        Ok(Self { at, method, url, headers, body })
    }

    async fn send(&self, url: &str, body: Bytes) -> Result<StatusCode, Failure> {
        let (method, headers) = (self.method.clone(), self.headers.clone());
        match &self.at {
            At::Service(client) => {
                let url = Url::parse(url).map_err(|_| Failure::unsent(Kind::Request))?;
                client.send(method, Some(&url), headers, body).await.map(|answer| answer.status)
            }
            At::Store(store) => store.call(method, url, headers, body).await,
        }
    }
}

#[async_trait]
impl Target for Revocation {
    fn what(&self) -> What {
        What::Revocation
    }

    async fn call(&self, done: &Done, _: Time) -> Outcome {
        let body = self.body.as_ref().map_or_else(|| Some(String::new()), |body| filling::json(body, done));
        let Some((url, body)) = filling::url(&self.url, done).zip(body) else {
            return Outcome::Refused(Reason::Word("no-attribute"));
        };
        match self.send(&url, body.into()).await {
            Ok(status) if status.is_success() => Outcome::Done,
            // It understands what it is asked for, and will not understand it better the next time.
            Ok(status) if matches!(status.as_u16(), 400 | 404 | 405 | 406 | 410 | 415 | 422) => {
                Outcome::Refused(Reason::Status(status.as_u16()))
            }
            Ok(status) => Outcome::Failed(Reason::Status(status.as_u16())),
            Err(failure) => Outcome::Failed(Reason::Word(failure.kind.as_str())),
        }
    }
}
