//! The access log: a line for each request, when it is over. It is on the way of every request, so it is put together by
//! hand, in a buffer that is used again, and handed to the log as one piece.
//!
//! Nothing in it is a client's own words but the request's id, which is harmless by its kind: the method is one of those
//! that are known, and the path is where it leads, without the names and ids in it.

use std::{
    cell::RefCell,
    fmt::{self, Write as _},
    time::Duration,
};

use tracing::Level;

use super::log::{self, Format};
use crate::reset::ports::{Client, RequestId};

/// The target of the lines, for filters.
pub const TARGET: &str = "resetgate::access";

/// What became of a request. What is not known is left out.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "each is the line's field of that name, or says more")]
pub struct Line<'a> {
    pub method: &'static str,
    pub route: &'static str,
    pub path: &'a dyn fmt::Display,
    pub protocol: &'static str,
    /// The version of TLS.
    pub tls: Option<&'static str>,
    /// None, if nothing was answered.
    pub status: Option<u16>,
    /// What cut it short, or why it was refused.
    pub why: Option<&'static str>,
    /// Bytes of the bodies, or of what went through a tunnel.
    pub received: Option<u64>,
    pub sent: Option<u64>,
    /// From the end of its head to the end of its answer.
    pub took: Duration,
    pub client: Option<Named>,
    /// The upstream's address that it went to last, and how often it was sent.
    pub upstream: Option<&'a dyn fmt::Display>,
    pub tries: u32,
    /// From the first try, or the end of the request's body if that is later, to the head of the answer.
    pub upstream_took: Option<Duration>,
    pub request: Option<&'a RequestId>,
    pub trace: Option<&'a dyn fmt::Display>,
}

/// A client, as a line has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// Whom the limits take it for.
    Exactly(Client),
    /// Only the network: an IPv4 /24 or an IPv6 /48.
    Roughly(Client),
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use std::net::{Ipv4Addr, Ipv6Addr};
        let (client, roughly) = match self {
            Self::Exactly(client) => (client, false),
            Self::Roughly(client) => (client, true),
        };
        match *client {
            Client::V4(octets) if !roughly => Ipv4Addr::from(octets).fmt(f),
            Client::V4([a, b, c, _]) => write!(f, "{}/24", Ipv4Addr::from([a, b, c, 0])),
            Client::V6([a, b, c, d, e, f_, g, h]) => {
                let (g, h, length) = if roughly { (0, 0, 48) } else { (g, h, 64) };
                let prefix = Ipv6Addr::from([a, b, c, d, e, f_, g, h, 0, 0, 0, 0, 0, 0, 0, 0]);
                write!(f, "{prefix}/{length}")
            }
            Client::Unknown => f.write_str("unknown"),
        }
    }
}

/// Whether lines are wanted at all.
pub fn is_on() -> bool {
    tracing::enabled!(target: TARGET, Level::INFO)
}

thread_local! {
    static BUFFER: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Line<'_> {
    /// Puts it into the log.
    pub fn write(&self) {
        let Some(format) = log::format().filter(|_| is_on()) else { return };
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            if self.put(buffer, format).is_ok() {
                log::put(buffer);
            }
        });
    }

    fn put(&self, line: &mut String, format: Format) -> fmt::Result {
        let json = format == Format::Json;
        line.push_str(if json { "{\"timestamp\":\"" } else { "" });
        log::now(line)?;
        line.push_str(if json { "\",\"level\":\"INFO\",\"target\":\"" } else { "  INFO " });
        line.push_str(TARGET);
        line.push_str(if json { "\",\"fields\":{" } else { ":" });
        let mut fields = Fields { line, json, first: true };
        fields.text("method", &self.method)?;
        fields.text("route", &self.route)?;
        fields.text("path", &self.path)?;
        fields.number("status", self.status)?;
        fields.some("why", self.why.as_ref())?;
        fields.millis("duration_ms", Some(self.took))?;
        fields.number("bytes_received", self.received)?;
        fields.number("bytes_sent", self.sent)?;
        fields.some("client", self.client.as_ref())?;
        fields.text("protocol", &self.protocol)?;
        fields.some("tls", self.tls.as_ref())?;
        fields.some("upstream", self.upstream.as_ref())?;
        fields.millis("upstream_ms", self.upstream_took)?;
        fields.number("tries", Some(self.tries).filter(|tries| *tries > 1))?;
        fields.some("request", self.request.as_ref())?;
        fields.some("trace", self.trace.as_ref())?;
        line.push_str(if json { "}}\n" } else { "\n" });
        Ok(())
    }
}

/// A line's fields, one after the other.
struct Fields<'a> {
    line: &'a mut String,
    json: bool,
    first: bool,
}

impl Fields<'_> {
    fn name(&mut self, name: &'static str) {
        match (self.json, self.first) {
            (true, true) => self.line.push('"'),
            (true, false) => self.line.push_str(",\""),
            (false, _) => self.line.push(' '),
        }
        self.first = false;
        self.line.push_str(name);
        self.line.push_str(if self.json { "\":" } else { "=" });
    }

    fn text(&mut self, name: &'static str, value: &dyn fmt::Display) -> fmt::Result {
        self.name(name);
        self.line.push('"');
        write!(Escaped(self.line), "{value}")?;
        self.line.push('"');
        Ok(())
    }

    fn some(&mut self, name: &'static str, value: Option<&impl fmt::Display>) -> fmt::Result {
        value.map_or(Ok(()), |value| self.text(name, value))
    }

    fn number(&mut self, name: &'static str, value: Option<impl Into<u64>>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        self.name(name);
        write!(self.line, "{}", value.into())
    }

    fn millis(&mut self, name: &'static str, value: Option<Duration>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        self.name(name);
        let micros = value.as_micros();
        write!(self.line, "{}.{:03}", micros / 1000, micros % 1000)
    }
}

/// Whatever is written to it stays within its quotes, and within its line.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
            self.0.push_str(text);
            return Ok(());
        }
        for ch in text.chars() {
            match ch {
                '"' | '\\' => {
                    self.0.push('\\');
                    self.0.push(ch);
                }
                ' '..='~' => self.0.push(ch),
                _ => {
                    let mut units = [0; 2];
                    for unit in ch.encode_utf16(&mut units) {
                        write!(self.0, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn whole(request: &RequestId) -> Line<'_> {
        Line {
            method: "GET",
            route: "passed",
            path: &"/openidm/managed/user/*",
            protocol: "HTTP/1.1",
            tls: Some("1.3"),
            status: Some(200),
            why: Some("client_gone"),
            received: Some(1),
            sent: Some(1 << 40),
            took: Duration::from_micros(12_034),
            client: Some(Named::Exactly(Client::V4([192, 0, 2, 7]))),
            upstream: Some(&"unix:/run/\"idm\"\n\\ü\u{1f512}"),
            tries: 2,
            upstream_took: Some(Duration::from_nanos(1)),
            request: Some(request),
            trace: Some(&"0af7651916cd43dd8448eb211c80319c"),
        }
    }

    fn said(line: &Line<'_>, format: Format) -> String {
        let mut text = String::new();
        line.put(&mut text, format).unwrap();
        assert!(text.ends_with('\n') && text.lines().count() == 1 && text.is_ascii(), "{text}");
        text
    }

    #[test]
    fn a_line_is_json() {
        let request = RequestId::parse("a/b").unwrap();
        let line: Value = serde_json::from_str(&said(&whole(&request), Format::Json)).unwrap();
        assert_eq!((&line["level"], &line["target"]), (&"INFO".into(), &TARGET.into()));
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
        let fields = json!({
            "method": "GET", "route": "passed", "path": "/openidm/managed/user/*", "status": 200, "why": "client_gone",
            "duration_ms": 12.034, "bytes_received": 1, "bytes_sent": 1_099_511_627_776_u64, "client": "192.0.2.7",
            "protocol": "HTTP/1.1", "tls": "1.3", "upstream": "unix:/run/\"idm\"\n\\ü\u{1f512}", "upstream_ms": 0.0,
            "tries": 2, "request": "a/b", "trace": "0af7651916cd43dd8448eb211c80319c",
        });
        assert_eq!(line["fields"], fields);
        for name in fields.as_object().unwrap().keys() {
            assert!(log::FIELDS.contains(&name.as_str()), "{name}");
        }
    }

    #[test]
    fn or_text_and_what_is_not_known_is_left_out() {
        let request = RequestId::parse("a/b").unwrap();
        let line = Line {
            status: None,
            why: None,
            client: None,
            tls: None,
            upstream: None,
            upstream_took: None,
            received: None,
            sent: None,
            tries: 1,
            request: None,
            trace: None,
            ..whole(&request)
        };
        let text = said(&line, Format::Text);
        let (at, rest) = text.split_once("  INFO ").unwrap();
        assert!(at.ends_with('Z'), "{text}");
        assert_eq!(
            rest,
            "resetgate::access: method=\"GET\" route=\"passed\" path=\"/openidm/managed/user/*\" duration_ms=12.034 \
             protocol=\"HTTP/1.1\"\n"
        );
    }

    #[test]
    fn clients_are_who_the_limits_take_them_for() {
        let of = |ip: &str| Named::Exactly(Client::of(ip.parse().unwrap())).to_string();
        assert_eq!(of("203.0.113.7"), "203.0.113.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(Named::Exactly(Client::Unknown).to_string(), "unknown");
    }

    #[test]
    fn a_client_is_told_as_exactly_as_is_wanted() {
        let clients = [Client::V4([192, 0, 2, 7]), Client::V6([0x20, 1, 0xd, 0xb8, 0, 1, 0, 2]), Client::Unknown];
        let all: Vec<_> = clients
            .iter()
            .flat_map(|one| [Named::Exactly(*one), Named::Roughly(*one)])
            .map(|one| one.to_string())
            .collect();
        let expected = ["192.0.2.7", "192.0.2.0/24", "2001:db8:1:2::/64", "2001:db8:1::/48", "unknown", "unknown"];
        assert_eq!(all, expected);
    }
}
