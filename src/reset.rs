//! The reset engine: token ▸ stage ▸ token. It knows no server, mail library, cache or crypto library.

pub mod filter;
pub mod ports;
pub mod process;
pub mod stages;
pub mod wire;
