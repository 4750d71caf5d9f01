//! The framing guard: of a head that the proxy can read and the guard lets through, every other reader makes the same
//! lines and the same body.
#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use resetgate::proxy::framing::is_framed_clearly;

fuzz_target!(|data: &[u8]| {
    // As Pingora reads it.
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(end)) = request.parse(data) else { return };
    let head = &data[..end];
    if !is_framed_clearly(head) {
        return;
    }
    let read: Vec<_> = request.headers.iter().map(|header| (header.name.as_bytes(), header.value)).collect();
    let body = body(&read, false);
    assert!(!matches!(body, Body::Unclear), "{}", head.escape_ascii());
    for reader in READERS {
        let lines = reader.lines(head);
        let lines: Vec<_> = lines.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
        assert_eq!(self::body(&lines, true), body, "{reader:?}: {}", head.escape_ascii());
        assert_eq!(lines.len(), read.len(), "{reader:?}: {}", head.escape_ascii());
    }
});

#[derive(Debug, PartialEq, Eq)]
enum Body {
    None,
    Length(u64),
    Chunks,
    /// Readers would differ.
    Unclear,
}

/// To some readers an underscore is a dash.
fn body(lines: &[(&[u8], &[u8])], dashes: bool) -> Body {
    let dashed = |byte: &u8| if dashes && *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    let of = |wanted: &[u8]| -> Vec<&[u8]> {
        lines
            .iter()
            .filter(|(name, _)| name.iter().map(dashed).eq(wanted.iter().copied()))
            .map(|(_, value)| value.trim_ascii())
            .collect()
    };
    match (of(b"content-length").as_slice(), of(b"transfer-encoding").as_slice()) {
        ([], []) => Body::None,
        ([length], []) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
            // What no number can hold is refused by whoever must count it.
            let length = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
            length.map_or(Body::None, Body::Length)
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Body::Chunks,
        _ => Body::Unclear,
    }
}

/// A reader that is more lenient than RFC 9112 allows.
#[derive(Clone, Copy, Debug)]
struct Reader {
    /// Ends lines at a bare CR, too.
    cr: bool,
    /// Takes a line that begins with a blank for more of the one before.
    folds: bool,
    /// Skips lines without a colon, in place of ending there.
    skips: bool,
}

const READERS: [Reader; 4] = [
    Reader { cr: false, folds: false, skips: true },
    Reader { cr: true, folds: false, skips: true },
    Reader { cr: false, folds: true, skips: false },
    Reader { cr: true, folds: true, skips: true },
];

impl Reader {
    fn lines(self, head: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut lines: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        // Empty lines before the first one are everybody's to skip (§2.2).
        let start = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(head.len());
        let head = &head[start..];
        let text: Vec<u8> = match self.cr {
            true => head.iter().map(|byte| if *byte == b'\r' { b'\n' } else { *byte }).collect(),
            false => head.to_vec(),
        };
        for line in text.split(|byte| *byte == b'\n').skip(1) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if self.folds
                && (line.starts_with(b" ") || line.starts_with(b"\t"))
                && let Some((_, value)) = lines.last_mut()
            {
                value.extend_from_slice(line);
                continue;
            }
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                if self.skips || line.is_empty() {
                    continue;
                }
                break;
            };
            lines.push((line[..colon].trim_ascii().to_vec(), line[colon + 1..].to_vec()));
        }
        lines
    }
}
