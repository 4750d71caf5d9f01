//! What the stories share.

pub(crate) mod answer;
pub(crate) mod authority;
pub(crate) mod clock;
pub(crate) mod connections;
pub(crate) mod engine;
pub(crate) mod http2;
pub(crate) mod link;
pub(crate) mod raw;
#[allow(dead_code)] // the stories of the program use the rest
pub(crate) mod redis;
pub(crate) mod reserved;
pub(crate) mod tls;
pub(crate) mod upstream;
pub(crate) mod world;
