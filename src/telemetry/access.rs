//! The access log: a line for each request, when it is over. It is on the way of every request, so it is put together by
//! hand, in a buffer that is used again, and handed to the log as one piece.
//!
//! Nothing in it is a client's own words but the request's id, which is harmless by its kind: the method is one of those
//! that are known, and the path is where it leads, without the names and ids in it.

use std::{cell::RefCell, fmt, io::Write as _, net::Ipv4Addr, time::Duration};

use tracing::Level;

use super::{
    log::{self, Format, padded},
    trace::TraceId,
};
use crate::reset::ports::{Client, RequestId};

/// The target of the lines, for filters.
pub const TARGET: &str = "resetgate::access";

/// What became of a request. What is not known is left out.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "each is the line's field of that name, or says more")]
pub struct Line<'a> {
    pub method: &'static str,
    pub route: &'static str,
    /// In parts.
    pub path: [&'a str; 3],
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
    pub upstream: Option<&'a str>,
    pub tries: u32,
    /// From the first try, or the end of the request's body if that is later, to the head of the answer.
    pub upstream_took: Option<Duration>,
    pub request: Option<&'a RequestId>,
    pub trace: Option<TraceId>,
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
        use std::net::Ipv6Addr;
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
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What stands before a field's value, in either format.
#[derive(Clone, Copy)]
struct Name {
    json: &'static str,
    text: &'static str,
}

macro_rules! name {
    ($name:literal) => {
        Name { json: concat!("\"", $name, "\":"), text: concat!(" ", $name, "=") }
    };
}

/// The same, of what is quoted.
macro_rules! quoted {
    ($name:literal) => {
        Name { json: concat!("\"", $name, "\":\""), text: concat!(" ", $name, "=\"") }
    };
}

impl Line<'_> {
    /// Puts it into the log.
    pub fn write(&self) {
        let Some(format) = log::format().filter(|_| is_on()) else { return };
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            self.put(buffer, format);
            log::put(buffer);
        });
    }

    fn put(&self, line: &mut Vec<u8>, format: Format) {
        let json = format == Format::Json;
        line.extend_from_slice(if json { b"{\"timestamp\":\"" } else { b"" });
        log::now(line);
        line.extend_from_slice(if json { b"\",\"level\":\"INFO\",\"target\":\"" } else { b"  INFO " });
        line.extend_from_slice(TARGET.as_bytes());
        line.extend_from_slice(if json { b"\",\"fields\":{" } else { b":" });
        let mut fields = Fields { line, json };
        fields.word(quoted!("method"), Some(self.method));
        fields.word(quoted!("route"), Some(self.route));
        fields.path(quoted!("path"), &self.path);
        fields.number(name!("status"), self.status);
        fields.word(quoted!("why"), self.why);
        fields.millis(name!("duration_ms"), Some(self.took));
        fields.number(name!("bytes_received"), self.received);
        fields.number(name!("bytes_sent"), self.sent);
        fields.client(quoted!("client"), self.client);
        fields.word(quoted!("protocol"), Some(self.protocol));
        fields.word(quoted!("tls"), self.tls);
        if let Some(upstream) = self.upstream {
            fields.path(quoted!("upstream"), &[upstream]);
        }
        fields.millis(name!("upstream_ms"), self.upstream_took);
        fields.number(name!("tries"), Some(self.tries).filter(|tries| *tries > 1));
        fields.word(quoted!("request"), self.request.map(RequestId::as_str));
        fields.trace(quoted!("trace"), self.trace);
        if json {
            // There is a comma after each field.
            line.pop();
            line.extend_from_slice(b"}}");
        }
        line.push(b'\n');
    }
}

/// A line's fields, one after the other.
struct Fields<'a> {
    line: &'a mut Vec<u8>,
    json: bool,
}

impl Fields<'_> {
    #[inline]
    fn begin(&mut self, name: Name) {
        self.line.extend_from_slice(if self.json { name.json } else { name.text }.as_bytes());
    }

    #[inline]
    fn end(&mut self, json: &'static str, text: &'static str) {
        self.line.extend_from_slice(if self.json { json } else { text }.as_bytes());
    }

    #[inline]
    fn quoted(&mut self, name: Name, value: impl FnOnce(&mut Vec<u8>)) {
        self.begin(name);
        value(self.line);
        self.end("\",", "\"");
    }

    /// What is harmless by its kind.
    #[inline]
    fn word(&mut self, name: Name, word: Option<&str>) {
        if let Some(word) = word {
            self.quoted(name, |line| line.extend_from_slice(word.as_bytes()));
        }
    }

    fn path(&mut self, name: Name, parts: &[&str]) {
        self.quoted(name, |line| parts.iter().for_each(|part| escaped(part, line)));
    }

    fn client(&mut self, name: Name, client: Option<Named>) {
        let Some(client) = client else { return };
        self.quoted(name, |line| match client {
            Named::Exactly(Client::V4(octets)) => dotted(octets, line),
            // It cannot fail: there is no end to a Vec.
            other => drop(write!(line, "{other}")),
        });
    }

    fn trace(&mut self, name: Name, trace: Option<TraceId>) {
        if let Some(trace) = trace {
            self.quoted(name, |line| drop(write!(line, "{trace}")));
        }
    }

    #[inline]
    fn number(&mut self, name: Name, value: Option<impl Into<u64>>) {
        let Some(value) = value else { return };
        self.begin(name);
        digits(value, self.line);
        self.end(",", "");
    }

    fn millis(&mut self, name: Name, value: Option<Duration>) {
        let Some(value) = value else { return };
        self.begin(name);
        digits(u64::try_from(value.as_millis()).unwrap_or(u64::MAX), self.line);
        self.line.push(b'.');
        self.line.extend_from_slice(&padded::<3>(value.subsec_micros()));
        self.end(",", "");
    }
}

/// Writes an IPv4 address.
pub(crate) fn dotted([a, b, c, d]: [u8; 4], to: &mut Vec<u8>) {
    for (octet, end) in [(a, "."), (b, "."), (c, "."), (d, "")] {
        digits(octet, to);
        to.extend_from_slice(end.as_bytes());
    }
}

#[inline]
fn digits(number: impl Into<u64>, line: &mut Vec<u8>) {
    line.extend_from_slice(itoa::Buffer::new().format(number.into()).as_bytes());
}

/// Whatever is written stays within its quotes, and within its line.
fn escaped(text: &str, line: &mut Vec<u8>) {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        line.extend_from_slice(text.as_bytes());
        return;
    }
    for ch in text.chars() {
        match ch {
            '"' | '\\' => line.extend([b'\\', ch as u8]),
            ' '..='~' => line.push(ch as u8),
            _ => {
                let mut units = [0; 2];
                for unit in ch.encode_utf16(&mut units) {
                    // It cannot fail: there is no end to a Vec.
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
        }
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
            path: ["/openidm", "/managed/user", "/*"],
            protocol: "HTTP/1.1",
            tls: Some("1.3"),
            status: Some(200),
            why: Some("client_gone"),
            received: Some(1),
            sent: Some(1 << 40),
            took: Duration::from_micros(12_034),
            client: Some(Named::Exactly(Client::V4([192, 0, 2, 7]))),
            upstream: Some("unix:/run/\"idm\"\n\\ü\u{1f512}"),
            tries: 2,
            upstream_took: Some(Duration::from_nanos(1)),
            request: Some(request),
            trace: Some(TraceId(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes())),
        }
    }

    fn said(line: &Line<'_>, format: Format) -> String {
        let mut text = Vec::new();
        line.put(&mut text, format);
        let text = String::from_utf8(text).unwrap();
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
