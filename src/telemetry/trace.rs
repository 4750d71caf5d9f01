//! Traces: where a request stands in one (W3C Trace Context, or B3 where that is all there is), what is told to whoever is
//! asked for it, and the spans that tell how long all of it took.

mod context;
mod errand;
mod tracer;

pub use opentelemetry_proto::tonic::{common::v1::KeyValue, trace::v1::span::SpanKind};

pub use self::{
    context::{Place, Said, TraceId, is_told, said},
    errand::Errands,
    tracer::{Done, Tracer, number, text},
};
