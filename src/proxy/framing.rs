//! Where a request's body begins and ends, judged by its raw head alone. A pure function: nothing here does I/O.

/// Whether a request's head, as it came, frames its body and ends its lines in the one way that nobody reads
/// differently (RFC 9112 §2.2, §6.3). Pingora is more lenient, and so may the upstream be in another way.
pub fn is_framed_clearly(head: &[u8]) -> bool {
    let (mut lengths, mut codings) = (0, 0);
    for line in head.split_inclusive(|byte| *byte == b'\n').skip(1) {
        let Some(line) = line.strip_suffix(b"\r\n") else { return false };
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths += 1;
            let number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            if !number || (value.len() > 1 && value.starts_with(b"0")) {
                return false;
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            codings += 1;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return false;
            }
        }
    }
    lengths + codings <= 1 && head.split(|byte| *byte == b'\n').next().is_none_or(|line| line.ends_with(b"\r"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing() {
        let framed = |lines: &str| is_framed_clearly(format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes());
        for lines in ["", "Content-Length: 0\r\n", "content-length:12\r\n", "Transfer-Encoding: Chunked\r\n"] {
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
            "X: y\n",
        ] {
            assert!(!framed(lines), "{lines:?}");
        }
        assert!(!is_framed_clearly(b"GET / HTTP/1.1\nHost: a\r\n\r\n"));
    }
}
