//! A record on its way to the trail: names are in it as they are, until whoever writes it down has hashed them.

use super::{
    super::labels::{lane, rule, service},
    keys::{Keys, hex},
    line::{self, Line},
    words::{name, reason},
};
use crate::{
    reset::ports::{About, Client, Event, RequestId, Secret, Time},
    telemetry::access::Named,
};

/// What is to be written.
pub(super) struct Entry {
    at: Time,
    event: &'static str,
    reason: Option<String>,
    request: Option<RequestId>,
    client: Option<Client>,
    flow: Option<[u8; 16]>,
    account: Option<Secret>,
    mail: Option<Secret>,
    asked: Vec<Secret>,
    lane: Option<&'static str>,
    rule: Option<&'static str>,
    service: Option<&'static str>,
    skipped: Option<u64>,
}

impl Entry {
    /// Of an event, before which `skipped` of its kind were not written.
    pub(super) fn new(at: Time, event: Event, about: &About<'_>, skipped: u64) -> Self {
        let mut entry = Self {
            at,
            event: name(event),
            reason: reason(event, about.reason),
            request: about.request.cloned(),
            client: about.client,
            flow: about.flow.copied(),
            account: about.account.map(|account| Secret::new(account.0.as_str())),
            mail: about.mail.map(|mail| Secret::new(mail.expose().as_str())),
            asked: about.asked.map(|asked| asked.literals().into_iter().map(Secret::new).collect()).unwrap_or_default(),
            lane: None,
            rule: None,
            service: None,
            skipped: Some(skipped).filter(|skipped| *skipped > 0),
        };
        match event {
            Event::CodeRight { lane: of, .. } | Event::CodeWrong { lane: of, .. } => entry.lane = Some(lane(of)),
            Event::Limited { rule: of } | Event::LimitObserved { rule: of } | Event::LimitNear { rule: of } => {
                entry.rule = Some(rule(of));
            }
            Event::ServiceDown { service: of } => entry.service = Some(service(of)),
            _ => {}
        }
        entry
    }

    /// As it is written, but for what makes it a link of the chain.
    pub(super) fn line(&self, keys: &Keys) -> Line {
        let text = |text: Option<&'static str>| text.map(str::to_owned);
        let name = |name: &Secret| keys.name(name.expose());
        let mut asked: Vec<_> = self.asked.iter().map(name).collect();
        asked.sort();
        asked.dedup();
        Line {
            time: line::time(self.at),
            event: self.event.to_owned(),
            reason: self.reason.clone(),
            request: self.request.as_ref().map(ToString::to_string),
            client: self.client.map(|client| Named::Exactly(client).to_string()),
            flow: self.flow.map(|flow| keys.name(&hex(&flow))),
            account: self.account.as_ref().map(name),
            mail: self.mail.as_ref().map(name),
            asked,
            lane: text(self.lane),
            rule: text(self.rule),
            service: text(self.service),
            skipped: self.skipped,
            ..Line::default()
        }
    }
}
