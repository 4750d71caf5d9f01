//! Where a request goes: what passes is not the reset path in the eyes of a reader far simpler than the router, which
//! decodes everything, cuts parameters off and resolves dots, as often as anything is left to decode.
//!
//! The input is a target, or a Host header, a line feed and a target.
#![no_main]
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use resetgate::proxy::route::{Route, Router};

const PATH: &str = "/openidm/selfservice/reset";

static ROUTER: LazyLock<Router> = LazyLock::new(|| Router::new(PATH));

fuzz_target!(|data: &[u8]| {
    let (host, given) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (Some(&data[..end]), &data[end + 1..]),
        None => (None, data),
    };
    match ROUTER.route(given, host) {
        Route::Pass { target } => {
            assert!(target.starts_with(b"/") && given.ends_with(target));
            assert!(!target.iter().any(u8::is_ascii_control), "a target that ends early");
            assert!(!is_read_as_reset(target), "{}", target.escape_ascii());
            assert_eq!(ROUTER.route(target, None), Route::Pass { target }, "what passed once passes again");
        }
        Route::Intercept { query } => assert!(given.ends_with(query)),
        Route::Reject(_) => {}
    }
});

fn is_read_as_reset(target: &[u8]) -> bool {
    let end = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
    let mut path = target[..end].to_vec();
    loop {
        let mut segments: Vec<Vec<u8>> = Vec::new();
        for segment in path.split(|byte| matches!(byte, b'/' | b'\\')) {
            let plain = segment.split(|byte| *byte == b';').next().unwrap_or_default();
            match plain {
                b"" | b"." => {}
                b".." => drop(segments.pop()),
                plain => segments.push(plain.to_ascii_lowercase()),
            }
        }
        if segments.iter().map(Vec::as_slice).eq(PATH.split('/').skip(1).map(str::as_bytes)) {
            return true;
        }
        let decoded = decoded(&path);
        if decoded == path {
            return false;
        }
        path = decoded;
    }
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let hex = |byte: &u8| char::from(*byte).to_digit(16);
    let (mut out, mut rest) = (Vec::new(), path);
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match after {
            [high, low, after @ ..] if *first == b'%' && hex(high).is_some() && hex(low).is_some() => {
                out.push((hex(high).unwrap_or_default() * 16 + hex(low).unwrap_or_default()) as u8);
                rest = after;
            }
            _ => out.push(*first),
        }
    }
    out
}
