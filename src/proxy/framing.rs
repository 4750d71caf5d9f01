//! Where a body begins and ends, judged by what stands before it. Pure functions: nothing here does I/O.

use http::{HeaderMap, HeaderValue, StatusCode, Version, header};

/// Whether a request's head, as it came, frames its body and ends its lines in the one way that nobody reads
/// differently (RFC 9112 §2.2, §6.3). Pingora is more lenient, and so may the upstream be in another way.
pub fn is_framed_clearly(head: &[u8]) -> bool {
    let (mut lengths, mut codings) = (0, 0);
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', head) {
        let line = head.get(start..end).and_then(|line| line.strip_suffix(b"\r"));
        let Some(line) = line else { return false };
        let first = start == 0;
        start = end + 1;
        // Neither name nor any twin of theirs begins otherwise.
        if first || !matches!(line, [b'C' | b'c' | b'T' | b't', ..]) {
            continue;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(LENGTH) {
            lengths += 1;
            if !is_length(value) {
                return false;
            }
        } else if name.eq_ignore_ascii_case(CODING) {
            codings += 1;
            if !is_chunked(value) {
                return false;
            }
        } else if name.contains(&b'_') && (is_twin(name, LENGTH) || is_twin(name, CODING)) {
            return false;
        }
    }
    // There is a line, and what comes after the last one is none.
    lengths + codings <= 1 && start > 0 && start == head.len()
}

/// Whether an upstream's answer frames its body in the one way that the client and we read alike (RFC 9112 §6.3), and
/// switches to no other protocol, for which [`goes_over_to_websocket`] is asked first. What is not so may end with the next client's answer. That
/// an answer had a length besides its chunks, Pingora does not tell; it reads the chunks, as it should.
pub fn is_answered_clearly(version: Version, status: StatusCode, headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter().map(HeaderValue::as_bytes);
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter().map(HeaderValue::as_bytes);
    let (length, coding) = (lengths.next(), codings.next());
    let several = lengths.next().is_some() || codings.next().is_some() || (length.is_some() && coding.is_some());
    if several || status == StatusCode::SWITCHING_PROTOCOLS {
        return false;
    }
    let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT;
    length.is_none_or(|length| is_length(length) && (!bodiless || length == b"0"))
        && coding.is_none_or(|coding| is_chunked(coding) && !bodiless && version >= Version::HTTP_11)
}

/// Whether a 101 is to WebSocket, as it was asked for, and has no body.
pub fn goes_over_to_websocket(headers: &HeaderMap) -> bool {
    let mut to = headers.get_all(header::UPGRADE).iter();
    let websocket = to.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let body = headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING);
    websocket && to.next().is_none() && !body
}

const LENGTH: &[u8] = b"content-length";
const CODING: &[u8] = b"transfer-encoding";

/// A number as everybody writes it.
fn is_length(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(u8::is_ascii_digit) && (value.len() == 1 || !value.starts_with(b"0"))
}

const fn is_chunked(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"chunked")
}

/// Whether a reader in CGI's tradition takes it for that name.
fn is_twin(name: &[u8], other: &[u8]) -> bool {
    let dashed = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.iter().map(dashed).eq(other.iter().copied())
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn framing() {
        let framed = |lines: &str| is_framed_clearly(format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes());
        for lines in
            ["", "X_Length: a\r\n", "Content-Length: 0\r\n", "content-length:12\r\n", "Transfer-Encoding: Chunked\r\n"]
        {
            assert!(framed(lines), "{lines:?}");
        }
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: 05\r\n",
            "Content-Length: +5\r\n",
            "Content-Length:\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer_Encoding: chunked\r\n",
            "content_length: 5\r\n",
            "X: y\n",
        ] {
            assert!(!framed(lines), "{lines:?}");
        }
        assert!(!is_framed_clearly(b"GET / HTTP/1.1\nHost: a\r\n\r\n"));
    }

    #[test]
    fn answers() {
        let clear = |version, status: u16, lines: &[(HeaderName, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(name.clone(), HeaderValue::from_static(value));
            }
            is_answered_clearly(version, StatusCode::from_u16(status).unwrap(), &headers)
        };
        let length = |value| (header::CONTENT_LENGTH, value);
        let coding = |value| (header::TRANSFER_ENCODING, value);
        let (old, now) = (Version::HTTP_10, Version::HTTP_11);
        for (version, status, lines) in [
            (now, 200, &[][..]),
            (old, 200, &[length("12")]),
            (now, 200, &[length("0")]),
            (now, 206, &[coding("Chunked")]),
            (now, 103, &[]),
            (now, 204, &[]),
            (now, 204, &[length("0")]),
            (now, 304, &[length("12")]),
        ] {
            assert!(clear(version, status, lines), "{status} {lines:?}");
        }
        for (version, status, lines) in [
            (now, 101, &[][..]),
            (now, 102, &[length("4")]),
            (now, 204, &[length("4")]),
            (now, 204, &[coding("chunked")]),
            (old, 200, &[coding("chunked")]),
            (now, 200, &[length("2"), length("2")]),
            (now, 200, &[length("2"), coding("chunked")]),
            (now, 200, &[length("2, 2")]),
            (now, 200, &[length("02")]),
            (now, 200, &[length("+2")]),
            (now, 200, &[length("")]),
            (now, 200, &[coding("gzip, chunked")]),
            (now, 200, &[coding("identity")]),
            (now, 200, &[coding("chunked"), coding("chunked")]),
        ] {
            assert!(!clear(version, status, lines), "{status} {lines:?}");
        }
    }
}
