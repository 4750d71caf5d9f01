//! Where a request stands in a trace, on its way through the gate.

use std::sync::Arc;

use http::HeaderMap;
use pingora::http::RequestHeader;

use crate::{
    reset::ports::Trace,
    telemetry::trace::{Errands, Place, Said, TraceId, Tracer, is_told, said},
};

/// Who says where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// Anybody.
    Stranger,
    /// Who may speak for others.
    Trusted,
    /// Another process of ours, which tells of the request itself.
    Former,
}

/// Its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trail {
    /// Whether there is anything that others could be told.
    told: bool,
    said: Said,
    /// Where it is recorded, if spans are.
    pub(super) at: Option<Place>,
    /// Where what the upstream does for it is.
    pub(super) up: Option<Place>,
}

impl Default for Trail {
    fn default() -> Self {
        Self { told: false, said: Said::Nothing, at: None, up: None }
    }
}

impl Trail {
    /// Of a request. What cannot be read is taken out: others could read it in another way.
    pub(super) fn of(request: &mut RequestHeader, tracer: Option<&Tracer>, sender: Sender) -> Self {
        let told = is_told(&request.headers);
        let said = if told { said(&request.headers) } else { Said::Nothing };
        if said == Said::Nonsense {
            request.remove_header("traceparent");
            request.remove_header("tracestate");
        }
        let at = tracer.and_then(|tracer| match sender {
            Sender::Former => said.place(),
            Sender::Trusted => Some(tracer.enter(said.place(), true)),
            Sender::Stranger => Some(tracer.enter(said.place(), false)),
        });
        let up = tracer.zip(at).map(|(tracer, at)| tracer.below(at));
        Self { told, said, at, up }
    }

    /// The trace's id.
    pub(super) fn id(&self) -> Option<TraceId> {
        self.at.or(self.said.place()).map(|place| TraceId(place.trace))
    }

    /// The span that the request was sent by.
    pub(super) fn parent(&self) -> Option<[u8; 8]> {
        self.said.place().map(|place| place.span)
    }

    /// Tells the upstream, or the process that answers, where it belongs.
    pub(super) fn send_up(&self, request: &mut RequestHeader, there: bool) -> pingora::Result<()> {
        match if there { self.at } else { self.up } {
            Some(place) => request.insert_header("traceparent", place.text()),
            None => Ok(()),
        }
    }

    /// What the engine takes along for others.
    pub(super) fn errands(&self, headers: &HeaderMap, tracer: Option<&Arc<Tracer>>) -> Option<Arc<dyn Trace>> {
        if !self.told && self.at.is_none() {
            return None;
        }
        let recorded = tracer.cloned().zip(self.at);
        Errands::of(headers, self.said, recorded).map(|errands| Arc::new(errands) as _)
    }
}
