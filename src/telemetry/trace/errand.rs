//! What is done for a request elsewhere, and by which headers it is known there.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use super::{
    Place,
    context::{PARENT, Said},
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
    /// The headers that go along as they are.
    along: Vec<(&'static str, Bytes)>,
}

impl Errands {
    /// Of a request with these headers; `None` if it is in no trace.
    pub fn of(headers: &HeaderMap, said: Said) -> Option<Self> {
        let mut along = Vec::new();
        for name in CARRIED {
            along.extend(one(headers, name).map(|value| (name, value)));
        }
        let parent = headers.contains_key(PARENT);
        let at = said.place().filter(|_| parent);
        if at.is_some() {
            along.extend(one(headers, STATE).map(|value| (STATE, value)));
        }
        (at.is_some() || !along.is_empty()).then_some(Self { at, along })
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
    fn begin(&self, _: Errand) -> Box<dyn Span> {
        Box::new(Unrecorded { at: self.at, along: self.along.clone() })
    }
}

/// Who records nothing says what was said to it.
struct Unrecorded {
    at: Option<Place>,
    along: Vec<(&'static str, Bytes)>,
}

impl Span for Unrecorded {
    fn headers(&self) -> Vec<(&'static str, Bytes)> {
        let parent = self.at.map(|place| ("traceparent", place.text().into()));
        parent.into_iter().chain(self.along.iter().cloned()).collect()
    }

    fn end(self: Box<Self>, _: Option<u16>, _: Option<&'static str>) {}
}
