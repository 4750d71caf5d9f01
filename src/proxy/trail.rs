//! Where a request stands in a trace, on its way through the gate.

use std::sync::Arc;

use http::HeaderMap;
use pingora::http::RequestHeader;

use crate::{
    reset::ports::Trace,
    telemetry::trace::{Errands, Said, TraceId, said},
};

/// Its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trail {
    said: Said,
}

impl Default for Trail {
    fn default() -> Self {
        Self { said: Said::Nothing }
    }
}

impl Trail {
    /// Of a request. What cannot be read is taken out: others could read it in another way.
    pub(super) fn of(request: &mut RequestHeader) -> Self {
        let said = said(&request.headers);
        if said == Said::Nonsense {
            request.remove_header("traceparent");
            request.remove_header("tracestate");
        }
        Self { said }
    }

    /// The trace's id.
    pub(super) fn id(&self) -> Option<TraceId> {
        self.said.place().map(|place| TraceId(place.trace))
    }

    /// What the engine takes along for others.
    pub(super) fn errands(&self, headers: &HeaderMap) -> Option<Arc<dyn Trace>> {
        Errands::of(headers, self.said).map(|errands| Arc::new(errands) as _)
    }
}
