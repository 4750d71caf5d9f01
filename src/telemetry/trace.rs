//! Traces: where a request stands in one (W3C Trace Context, or B3 where that is all there is), and what is told to
//! whoever is asked for it.

mod context;
mod errand;

pub use self::{
    context::{Place, Said, TraceId, said},
    errand::Errands,
};
