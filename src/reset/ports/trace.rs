//! Following what is done for a request, from one program to the next.

use std::fmt;

use bytes::Bytes;

/// A request's place in a trace.
pub trait Trace: fmt::Debug + Send + Sync {
    /// Something begins that is done for the request.
    fn begin(&self, errand: Errand) -> Box<dyn Span>;
}

/// What may be done for a request elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// A call of the identity store.
    Call {
        /// What for: `find`, `read`, `patch`.
        name: &'static str,
        /// The method of HTTP.
        method: &'static str,
    },
    /// A mail is sent, some time later.
    Mail,
}

/// Something that is done for a request. Dropped without [`Span::end`], it has been given up.
pub trait Span: Send {
    /// The headers that tell whoever is asked where it belongs; names in lower case.
    fn headers(&self) -> Vec<(&'static str, Bytes)>;
    /// It is over: with what status it was answered, and what kind of failure it was, if it was one.
    fn end(self: Box<Self>, status: Option<u16>, failed: Option<&'static str>);
}
