//! The webhook: one POST that says that a password was set, signed as Standard Webhooks has it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use ring::digest;
use serde::Serialize;

use super::{Outcome, Target, What, signing::Signer};
use crate::{
    config::{self, Called},
    outbound::{Client, Name, Unusable},
    reset::ports::{Done, Reason, Time},
    telemetry::{
        audit::{Keys, time},
        metrics::Metrics,
    },
};

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// Of an answer, which nobody reads.
const ANSWER: usize = 16 * 1024;

/// Who wants to hear of it.
pub(super) struct Webhook {
    client: Client,
    signer: Signer,
    called: Called,
    names: Arc<Keys>,
}

#[derive(Serialize)]
struct Body<'a> {
    event: &'static str,
    time: String,
    id: &'a str,
    account: &'a str,
    request: &'a str,
    outcome: &'static str,
}

impl Webhook {
    pub(super) fn new(config: &config::Webhook, names: &Arc<Keys>, metrics: &Arc<Metrics>) -> Result<Self, Unusable> {
        Ok(Self {
            client: Client::new(&config.service, Name::Webhook, ANSWER, Arc::clone(metrics))?,
            signer: Signer::new(&config.secrets),
            called: config.account,
            names: Arc::clone(names),
        })
    }

    /// Always the same of the same password.
    fn body(&self, id: &str, done: &Done) -> Bytes {
        let account = &done.source.account.0;
        let hashed = match self.called {
            Called::Id => None,
            Called::Hash => Some(self.names.name(account)),
        };
        let body = Body {
            event: "password_reset",
            time: time(done.at),
            id,
            account: hashed.as_ref().unwrap_or(account),
            request: done.source.request.as_str(),
            outcome: if done.certain { "set" } else { "unknown" },
        };
        serde_json::to_vec(&body).unwrap_or_default().into()
    }
}

/// The call's name, by which its receiver tells a second attempt from another password. Of the flow, it tells nothing.
fn id(done: &Done) -> String {
    let named = [b"resetgate webhook id v1".as_slice(), &done.source.flow].concat();
    let digest = digest::digest(&digest::SHA256, &named);
    let hex: String = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("msg_{hex}")
}

#[async_trait]
impl Target for Webhook {
    fn what(&self) -> What {
        What::Webhook
    }

    async fn call(&self, done: &Done, now: Time) -> Outcome {
        let id = id(done);
        let body = self.body(&id, done);
        let signature = self.signer.sign(&id, now, &body);
        let stamp = HeaderValue::from(now.secs());
        let (Ok(id), Ok(signature)) = (HeaderValue::try_from(id), HeaderValue::try_from(signature)) else {
            return Outcome::Refused(Reason::Word("request"));
        };
        let json = HeaderValue::from_static("application/json");
        let headers = vec![(CONTENT_TYPE, json), (ID, id), (TIMESTAMP, stamp), (SIGNATURE, signature)];
        match self.client.send(Method::POST, None, headers, body).await {
            Ok(answer) if answer.status.is_success() => Outcome::Done,
            // It wants to hear of nothing any more.
            Ok(answer) if answer.status == StatusCode::GONE => Outcome::Refused(Reason::Word("gone")),
            Ok(answer) => Outcome::Failed(Reason::Status(answer.status.as_u16())),
            Err(failure) => Outcome::Failed(Reason::Word(failure.kind.as_str())),
        }
    }
}
