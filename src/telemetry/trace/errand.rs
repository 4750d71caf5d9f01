//! What is done for a request elsewhere, and by which headers it is known there.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use tokio::time::Instant;

use super::{
    Done, Place, SpanKind, Tracer,
    context::{PARENT, Said},
    number, text,
};
use crate::reset::ports::{Errand, Span, Trace};

const STATE: &str = "tracestate";
/// What goes along as it came, for those who know nothing else.
const CARRIED: [&str; 6] = ["b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"];
/// Of a header that goes along, in bytes: W3C Trace Context §3.3.1.5 asks for 512.
const LONGEST: usize = 512;

/// A request's errands.
#[derive(Clone, Debug)]
pub struct Errands {
    at: Option<Place>,
    tracer: Option<Arc<Tracer>>,
    /// The headers that go along as they are.
    along: Vec<(&'static str, Bytes)>,
}

impl Errands {
    /// Of a request with these headers, that is recorded there if it is; `None` if it is in no trace.
    pub fn of(headers: &HeaderMap, said: Said, recorded: Option<(Arc<Tracer>, Place)>) -> Option<Self> {
        let mut along = Vec::new();
        for name in CARRIED {
            along.extend(one(headers, name).map(|value| (name, value)));
        }
        let parent = headers.contains_key(PARENT);
        let at = said.place().filter(|_| parent);
        if at.is_some() {
            along.extend(one(headers, STATE).map(|value| (STATE, value)));
        }
        let (tracer, at) = match recorded {
            Some((tracer, at)) => (Some(tracer), Some(at)),
            None => (None, at),
        };
        (at.is_some() || !along.is_empty()).then_some(Self { at, tracer, along })
    }
}

/// A header that can go along: there is one of it, and it is not long.
fn one(headers: &HeaderMap, name: &'static str) -> Option<Bytes> {
    let mut all = headers.get_all(HeaderName::from_static(name)).iter();
    let (Some(one), None) = (all.next(), all.next()) else { return None };
    let plain = one.len() <= LONGEST && one.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'));
    plain.then(|| Bytes::copy_from_slice(one.as_bytes()))
}

impl Trace for Errands {
    fn begin(&self, errand: Errand) -> Box<dyn Span> {
        let recorded = self.tracer.as_ref().zip(self.at);
        let recorded = recorded.map(|(tracer, at)| (Arc::clone(tracer), at.span, errand, Instant::now()));
        let at = match &recorded {
            Some((tracer, ..)) => self.at.map(|at| tracer.below(at)),
            None => self.at,
        };
        Box::new(Doing { at, along: self.along.clone(), recorded })
    }
}

/// Who records nothing says what was said to it.
struct Doing {
    at: Option<Place>,
    along: Vec<(&'static str, Bytes)>,
    recorded: Option<(Arc<Tracer>, [u8; 8], Errand, Instant)>,
}

impl Span for Doing {
    fn headers(&self) -> Vec<(&'static str, Bytes)> {
        let parent = self.at.map(|place| ("traceparent", place.text().into()));
        parent.into_iter().chain(self.along.iter().cloned()).collect()
    }

    fn end(self: Box<Self>, status: Option<u16>, failed: Option<&'static str>) {
        let (Some(place), Some((tracer, parent, errand, began))) = (self.at, self.recorded) else { return };
        let (name, mut attributes) = match errand {
            Errand::Call { name, method } => {
                (format!("identity {name}"), vec![text("http.request.method", method), text("resetgate.call", name)])
            }
            Errand::Mail => ("mail send".to_owned(), Vec::new()),
        };
        attributes.extend(status.map(|status| number("http.response.status_code", status)));
        let failed = failed.or(status.filter(|status| *status >= 400).map(|_| "status"));
        tracer.record(Done {
            place,
            parent: Some(parent),
            name,
            kind: SpanKind::Client,
            began,
            attributes,
            failed,
            later: errand == Errand::Mail,
        });
    }
}
