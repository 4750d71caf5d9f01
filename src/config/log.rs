//! `[log]`: what is printed, and how.

use super::{raw::Section, units};

/// `[log]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// One JSON object a line, or text for people.
    pub format: LogFormat,
    /// Which requests get a line.
    pub access: Access,
    /// What such a line says of the client.
    pub client: ClientLog,
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Which requests get a line when they are over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Each.
    #[default]
    All,
    /// Those to the reset path.
    Reset,
    /// None.
    Off,
}

/// What an access line says of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientLog {
    /// The IPv4 address or the IPv6 /64 that the limits take it for.
    #[default]
    Address,
    /// The IPv4 /24 or the IPv6 /48 that it is in.
    Network,
    /// Nothing.
    Off,
}

/// Reads the section.
pub(super) fn log(mut section: Section<'_>) -> Option<Log> {
    let formats = [("json", LogFormat::Json), ("text", LogFormat::Text)];
    let format = section.or("format", "json", |text| units::one_of(text, &formats));
    let accesses = [("all", Access::All), ("reset", Access::Reset), ("off", Access::Off)];
    let access = section.or("access", "all", |text| units::one_of(text, &accesses));
    let clients = [("address", ClientLog::Address), ("network", ClientLog::Network), ("off", ClientLog::Off)];
    let client = section.or("client", "address", |text| units::one_of(text, &clients));
    section.finish();
    Some(Log { format: format?, access: access?, client: client? })
}
