//! Who the client is: the peer, or whom a trusted peer names in the one configured header.
//!
//! A chain is read from its right end, where the nearest proxy wrote, up to the first address that is not a trusted
//! proxy's. What stands to the left of that is hearsay.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

use super::steps;
use crate::{
    config::{ClientHeader, Listen},
    listen::Peer,
    reset::ports::Client,
    telemetry::metrics::Metrics,
};

/// Elements of a chain that are looked at, from the right.
const MAX_ELEMENTS: usize = 32;
/// Bytes of a `Forwarded` line that are looked at; its quotes must be read from the left.
const MAX_LINE: usize = 4 << 10;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Names clients.
pub struct Clients {
    trusted: Vec<IpNet>,
    trust_unix: bool,
    header: ClientHeader,
    warned: AtomicBool,
    metrics: Arc<Metrics>,
}

/// Whom a request is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The client, as limits count.
    pub client: Client,
    /// The peer's address, if it has one.
    pub peer: Option<IpAddr>,
    /// Whether the peer may say who the client is.
    pub trusted: bool,
}

impl Clients {
    /// Trusts whom `[listen]` trusts.
    pub fn new(listen: &Listen, metrics: Arc<Metrics>) -> Self {
        Self {
            trusted: listen.trusted_proxies.clone(),
            trust_unix: listen.trust_unix,
            header: listen.client_header,
            warned: AtomicBool::new(false),
            metrics,
        }
    }

    /// The one header in which a trusted peer names the client.
    pub(super) const fn header(&self) -> ClientHeader {
        self.header
    }

    /// Names the client of a request with these headers, that came from this peer.
    pub fn caller(&self, peer: Option<Peer>, headers: &HeaderMap) -> Caller {
        let (ip, trusted) = match peer {
            Some(Peer::Tcp(address)) => {
                let ip = address.ip().to_canonical();
                (Some(ip), self.trusts(ip))
            }
            Some(Peer::Unix) => (None, self.trust_unix),
            Some(Peer::Former) => return Caller { client: steps::introduced(headers), peer: None, trusted: true },
            None => (None, false),
        };
        let client = if trusted {
            match self.named(headers) {
                Named::Nobody => bucket(ip),
                Named::Address(ip) => bucket(Some(ip)),
                Named::Unreadable => Client::Unknown,
            }
        } else {
            self.note_hearsay(headers);
            bucket(ip)
        };
        Caller { client, peer: ip, trusted }
    }

    /// Whether a peer at that address may speak for others, or one on a Unix socket.
    pub(super) fn trusts_peer(&self, ip: Option<IpAddr>) -> bool {
        ip.map_or(self.trust_unix, |ip| self.trusts(ip))
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&ip))
    }

    /// Either a client plays tricks, or an operator forgot `trusted_proxies` and everybody shares one budget.
    fn note_hearsay(&self, headers: &HeaderMap) {
        if !headers.contains_key(X_FORWARDED_FOR) && !headers.contains_key(header::FORWARDED) {
            return;
        }
        self.metrics.hearsay();
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a peer that is not in trusted_proxies sent a forwarding header; it is ignored, here and from now on"
            );
        }
    }

    fn named(&self, headers: &HeaderMap) -> Named {
        let name = match self.header {
            ClientHeader::XForwardedFor => X_FORWARDED_FOR,
            ClientHeader::Forwarded => header::FORWARDED,
        };
        let mut left = MAX_ELEMENTS;
        let mut leftmost = Named::Nobody;
        for line in headers.get_all(name).iter().rev() {
            let elements = match self.header {
                ClientHeader::XForwardedFor => list(line),
                ClientHeader::Forwarded => forwarded(line),
            };
            let Some(elements) = elements else { return Named::Unreadable };
            for element in elements {
                let Some(rest) = left.checked_sub(1) else { return Named::Unreadable };
                left = rest;
                let Some(ip) = address(element) else { return Named::Unreadable };
                leftmost = Named::Address(ip);
                if !self.trusts(ip) {
                    return leftmost;
                }
            }
        }
        leftmost
    }
}

/// Whom a header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Nobody,
    Address(IpAddr),
    Unreadable,
}

/// `X-Forwarded-For`'s elements, the last one first.
fn list(line: &HeaderValue) -> Option<Vec<&str>> {
    let elements = line.to_str().ok()?.rsplit(',').map(str::trim).filter(|element| !element.is_empty());
    Some(elements.take(MAX_ELEMENTS + 1).collect())
}

/// The `for=` nodes of a `Forwarded` line (RFC 7239 §4), the last one first; `None` if the line breaks its grammar.
fn forwarded(line: &HeaderValue) -> Option<Vec<&str>> {
    let mut rest = line.to_str().ok().filter(|line| line.len() <= MAX_LINE)?;
    let mut nodes = Vec::new();
    let mut node = None;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let end = rest.find(|char: char| !is_token(char)).unwrap_or(rest.len());
        let (name, tail) = rest.split_at_checked(end)?;
        if !name.is_empty() {
            let (value, tail) = value(tail.strip_prefix('=')?)?;
            if name.eq_ignore_ascii_case("for") && node.replace(value).is_some() {
                return None;
            }
            rest = tail;
        }
        rest = rest.trim_start_matches([' ', '\t']);
        match rest.chars().next() {
            Some(';') => {}
            Some(',') | None => nodes.extend(node.take()),
            Some(_) => return None,
        }
        match rest.get(1..) {
            Some(tail) => rest = tail,
            None => break,
        }
    }
    nodes.reverse();
    Some(nodes)
}

/// A token or a quoted string without escapes, which no address needs; and what follows.
fn value(text: &str) -> Option<(&str, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (value, rest) = quoted.split_once('"')?;
        return (!value.contains('\\')).then_some((value, rest));
    }
    // Colons and brackets belong in quotes, but are seen without.
    let end = text.find(|char: char| !is_token(char) && !matches!(char, ':' | '[' | ']')).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(value, _)| !value.is_empty())
}

const fn is_token(char: char) -> bool {
    char.is_ascii_alphanumeric()
        || matches!(char, '!' | '#' | '$' | '%' | '&' | '\'' | '*' | '+' | '-' | '.' | '^' | '_' | '`' | '|' | '~')
}

/// An address with or without brackets and port.
fn address(text: &str) -> Option<IpAddr> {
    let ip = IpAddr::from_str(text)
        .ok()
        .or_else(|| SocketAddr::from_str(text).ok().map(|address| address.ip()))
        .or_else(|| IpAddr::from_str(text.strip_prefix('[')?.strip_suffix(']')?).ok())?;
    Some(ip.to_canonical())
}

fn bucket(ip: Option<IpAddr>) -> Client {
    ip.map_or(Client::Unknown, Client::of)
}

#[cfg(test)]
mod tests;
