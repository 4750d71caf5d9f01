//! Spans, as OTLP has them, on their way to whoever exports them. There is room for so many; others are dropped and
//! counted, and nobody waits.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{
        Span, Status,
        span::{Link, SpanKind},
        status::StatusCode,
    },
};
use tokio::{sync::mpsc, time::Instant};

use super::Place;
use crate::{reset::ports::Time, telemetry::draw};

/// Spans that wait to be exported.
const WAITING: usize = 4096;

/// Makes spans.
#[derive(Debug)]
pub struct Tracer {
    spans: mpsc::Sender<Span>,
    dropped: AtomicU64,
    part: u64,
    /// The same moment by both clocks.
    anchor: (Instant, u64),
}

/// Something that is over.
pub struct Done {
    /// Its span.
    pub place: Place,
    /// The span that it was a part of.
    pub parent: Option<[u8; 8]>,
    /// What it is called: one of few names.
    pub name: String,
    /// Who asked whom.
    pub kind: SpanKind,
    /// When it began.
    pub began: Instant,
    /// By the semantic conventions.
    pub attributes: Vec<KeyValue>,
    /// What kind of failure it was.
    pub failed: Option<&'static str>,
    /// Whether it was done some time later than what it was a part of.
    pub later: bool,
}

impl Tracer {
    /// One that records such a part, of 2^56, of the requests of which nobody who is trusted says it, and what it records.
    pub fn new(part: u64, now: Time) -> (Arc<Self>, mpsc::Receiver<Span>) {
        let (spans, all) = mpsc::channel(WAITING);
        let anchor = (Instant::now(), now.millis().saturating_mul(1_000_000));
        (Arc::new(Self { spans, dropped: AtomicU64::new(0), part, anchor }), all)
    }

    /// A request's place: below the span that it was sent by, or at the beginning of a trace. Only who is trusted says
    /// whether it is recorded: any other could have all of it recorded, or none.
    pub fn enter(&self, sender: Option<Place>, trusted: bool) -> Place {
        let span = draw::bytes();
        match sender {
            Some(sender) if trusted => Place { span, ..sender },
            // Not by the trace's id, which is the stranger's own.
            Some(sender) => Place { span, sampled: self.takes(draw::bytes()), ..sender },
            None => {
                let trace = draw::bytes::<16>();
                let [.., a, b, c, d, e, f, g] = trace;
                Place { trace, span, sampled: self.takes([a, b, c, d, e, f, g]) }
            }
        }
    }

    /// The place of a part of that.
    pub fn below(&self, whole: Place) -> Place {
        Place { span: draw::bytes(), ..whole }
    }

    fn takes(&self, [a, b, c, d, e, f, g]: [u8; 7]) -> bool {
        u64::from_be_bytes([0, a, b, c, d, e, f, g]) < self.part
    }

    /// Takes note of a span that is recorded.
    pub fn record(&self, done: Done) {
        let Done { place, parent, name, kind, began, mut attributes, failed, later } = done;
        if !place.sampled {
            return;
        }
        attributes.extend(failed.map(|failed| text("error.type", failed)));
        let link = parent.filter(|_| later).map(|parent| Link {
            trace_id: place.trace.to_vec(),
            span_id: parent.to_vec(),
            ..Link::default()
        });
        let span = Span {
            trace_id: place.trace.to_vec(),
            span_id: place.span.to_vec(),
            parent_span_id: parent.map(Vec::from).unwrap_or_default(),
            flags: 1,
            name,
            kind: kind as i32,
            start_time_unix_nano: self.nanos(began),
            end_time_unix_nano: self.nanos(Instant::now()),
            attributes,
            links: link.into_iter().collect(),
            status: failed.map(|_| Status { code: StatusCode::Error as i32, message: String::new() }),
            ..Span::default()
        };
        if self.spans.try_send(span).is_err() {
            self.drop_some(1);
        }
    }

    /// To be told of spans that could not be exported.
    pub fn drop_some(&self, count: usize) {
        self.dropped.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Spans that nobody got.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn nanos(&self, at: Instant) -> u64 {
        let (instant, _) = self.anchor;
        let nanos = |span: std::time::Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        match at.checked_duration_since(instant) {
            Some(later) => self.anchor.1.saturating_add(nanos(later)),
            None => self.anchor.1.saturating_sub(nanos(instant.duration_since(at))),
        }
    }
}

/// An attribute.
pub fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

/// An attribute that is a number.
pub fn number(key: &str, value: impl Into<i64>) -> KeyValue {
    attribute(key, Value::IntValue(value.into()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
