//! `traceparent` and B3: read with distrust, written anew.

use std::fmt;

use http::{HeaderMap, HeaderName};

/// W3C Trace Context §3.2.
pub(super) const PARENT: HeaderName = HeaderName::from_static("traceparent");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// One span's place: what a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The trace.
    pub trace: [u8; 16],
    /// The span in it.
    pub span: [u8; 8],
    /// Whether it is recorded.
    pub sampled: bool,
}

/// A trace's id, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

/// What a request says of its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing.
    Nothing,
    /// Where it stands.
    At(Place),
    /// Nothing that can be read: whoever takes part begins anew, and forgets `tracestate` (§4.2).
    Nonsense,
}

impl Said {
    /// The place, if there is one.
    pub const fn place(self) -> Option<Place> {
        match self {
            Self::At(place) => Some(place),
            Self::Nothing | Self::Nonsense => None,
        }
    }
}

/// Whether a request has any header that tells of traces. Most have none, and need not be asked for each.
pub fn is_told(headers: &HeaderMap) -> bool {
    let tells = |name: &str| name == "b3" || name.starts_with("trace") || name.starts_with("x-b3-");
    headers.keys().any(|name| tells(name.as_str()))
}

/// Reads a request's place.
pub fn said(headers: &HeaderMap) -> Said {
    let mut all = headers.get_all(PARENT).iter();
    match (all.next(), all.next()) {
        (None, _) => b3(headers).map_or(Said::Nothing, Said::At),
        (Some(one), None) => one.to_str().ok().and_then(Place::parse).map_or(Said::Nonsense, Said::At),
        (Some(_), Some(_)) => Said::Nonsense,
    }
}

impl Place {
    /// A `traceparent` of any version; of a later one than ours, what it has in common with it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim_matches([' ', '\t']).splitn(5, '-');
        let [version, trace, span, flags] =
            [parts.next(), parts.next(), parts.next(), parts.next()].map(Option::unwrap_or_default);
        let [version] = bytes::<1>(version)?;
        let [flags] = bytes::<1>(flags)?;
        let whole = parts.next().is_none() || version > 0;
        let place = Self { trace: bytes(trace)?, span: bytes(span)?, sampled: flags & 1 == 1 };
        (version != 0xff && whole && place.is_one()).then_some(place)
    }

    /// The same as a header has it.
    pub fn text(&self) -> String {
        self.to_string()
    }

    fn is_one(&self) -> bool {
        self.trace != [0; 16] && self.span != [0; 8]
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        hex(&self.trace, f)?;
        f.write_str("-")?;
        hex(&self.span, f)?;
        f.write_str(if self.sampled { "-01" } else { "-00" })
    }
}

/// One header or several (<https://github.com/openzipkin/b3-propagation>). Who leaves the decision open is recorded.
fn b3(headers: &HeaderMap) -> Option<Place> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let (trace, span, sampled) = match text(&B3) {
        Some(one) => {
            let mut parts = one.split('-');
            (parts.next()?, parts.next()?, parts.next())
        }
        None => {
            let (trace, span) = (text(&B3_TRACE)?, text(&B3_SPAN)?);
            let debug = text(&B3_FLAGS).filter(|flags| *flags == "1");
            (trace, span, debug.or_else(|| text(&B3_SAMPLED)))
        }
    };
    let trace = bytes(trace).or_else(|| {
        let mut whole = [0; 16];
        let (_, low) = whole.split_last_chunk_mut::<8>()?;
        *low = bytes(trace)?;
        Some(whole)
    })?;
    let place = Place { trace, span: bytes(span)?, sampled: !matches!(sampled, Some("0" | "false")) };
    place.is_one().then_some(place)
}

/// So many bytes in lower-case hex.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut found = [0; N];
    if pairs.len() != N {
        return None;
    }
    for (to, [high, low]) in found.iter_mut().zip(pairs) {
        *to = digit(*high)? << 4 | digit(*low)?;
    }
    Some(found)
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn of(lines: &[(&'static str, &str)]) -> Said {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
            assert!(is_told(&headers), "{name}");
        }
        said(&headers)
    }

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let text = format!("00-{TRACE}-{SPAN}-01");
        let place = Place::parse(&text).unwrap();
        assert_eq!((place.text(), TraceId(place.trace).to_string(), place.sampled), (text.clone(), TRACE.into(), true));
        assert!(!Place::parse(&format!("00-{TRACE}-{SPAN}-02")).unwrap().sampled);
        assert!(Place::parse(&format!("01-{TRACE}-{SPAN}-03-what-ever")).unwrap().sampled);
        assert_eq!(of(&[("traceparent", &format!(" {text}"))]), Said::At(place));
        for bad in [
            "",
            "00",
            TRACE,
            &format!("ff-{TRACE}-{SPAN}-01"),
            &format!("00-{TRACE}-{SPAN}-01-more"),
            &format!("00-{TRACE}-{SPAN}-1"),
            &format!("00-{TRACE}-{SPAN}"),
            &format!("0-{TRACE}-{SPAN}-01"),
            &format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            &format!("00-{}-{SPAN}-01", "0".repeat(32)),
            &format!("00-{TRACE}-{}-01", "0".repeat(16)),
            &format!("00-{TRACE}0-{SPAN}-01"),
            &format!("00-{TRACE}-{SPAN}é-01"),
        ] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
        assert_eq!(of(&[("traceparent", &text), ("traceparent", &text)]), Said::Nonsense);
        assert_eq!(of(&[("traceparent", "x"), ("b3", &format!("{TRACE}-{SPAN}-1"))]), Said::Nonsense);
        assert_eq!(of(&[]), Said::Nothing);
    }

    #[test]
    fn b3_is_read_where_there_is_nothing_else() {
        let place = |sampled| Said::At(Place { sampled, ..Place::parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap() });
        assert_eq!(of(&[("b3", &format!("{TRACE}-{SPAN}-1-{SPAN}"))]), place(true));
        assert_eq!(of(&[("b3", &format!("{TRACE}-{SPAN}"))]), place(true));
        assert_eq!(of(&[("b3", &format!("{TRACE}-{SPAN}-0"))]), place(false));
        let several = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
        assert_eq!(of(&several), place(true));
        assert_eq!(of(&[&several[..], &[("x-b3-sampled", "0")]].concat()), place(false));
        assert_eq!(of(&[&several[..], &[("x-b3-sampled", "0"), ("x-b3-flags", "1")]].concat()), place(true));
        let short = of(&[("b3", &format!("{}-{SPAN}-1", &TRACE[16..]))]).place().unwrap();
        assert_eq!(TraceId(short.trace).to_string(), format!("{}{}", "0".repeat(16), &TRACE[16..]));
        for nothing in ["0", "1", "d", "", "x-y-1"] {
            assert_eq!(of(&[("b3", nothing)]), Said::Nothing, "{nothing}");
        }
    }
}
