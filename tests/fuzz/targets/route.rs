//! Where a request goes: what passes is not the reset path in the eyes of a reader far simpler than the router, which
//! decodes everything, cuts parameters off and resolves dots, as often as anything is left to decode.
//!
//! Nor is it, to such a reader, one of the paths that are never passed. The input is a target, or a Host header, a line
//! feed and a target.
#![no_main]
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use resetgate::{
    config::PathPattern,
    proxy::route::{Route, Router, Why},
};

const PATH: &str = "/openidm/selfservice/reset";
const DENIED: &str = "/openidm/config";
const DENIED_ALONE: &str = "/openidm/selfservice/username";

static ROUTER: LazyLock<Router> = LazyLock::new(|| {
    let pattern = |path: &str, below| PathPattern { path: path.to_owned(), below };
    Router::new(PATH).denying(&[pattern(DENIED, true), pattern(DENIED_ALONE, false)])
});
static BARE: LazyLock<Router> = LazyLock::new(|| Router::new(PATH));

fuzz_target!(|data: &[u8]| {
    let (host, given) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (Some(&data[..end]), &data[end + 1..]),
        None => (None, data),
    };
    let route = ROUTER.route(given, host);
    match BARE.route(given, host) {
        Route::Pass { .. } => assert!(matches!(route, Route::Pass { .. } | Route::Reject(Why::Denied))),
        other => assert_eq!(route, other, "what is denied changes nothing else"),
    }
    match route {
        Route::Pass { target } => {
            assert!(target.starts_with(b"/") && given.ends_with(target));
            assert!(!target.iter().any(u8::is_ascii_control), "a target that ends early");
            assert!(!is_read_as(target, PATH, true), "{}", target.escape_ascii());
            assert!(!is_read_as(target, DENIED, true), "{}", target.escape_ascii());
            assert!(!is_read_as(target, DENIED_ALONE, false), "{}", target.escape_ascii());
            assert_eq!(ROUTER.route(target, None), Route::Pass { target }, "what passed once passes again");
        }
        Route::Intercept { query } | Route::Policy { query } => {
            let fragment = given.iter().position(|byte| *byte == b'#').unwrap_or(given.len());
            assert!(given[..fragment].ends_with(query));
        }
        Route::Reject(_) => {}
    }
});

fn is_read_as(target: &[u8], path: &str, or_below: bool) -> bool {
    let wanted: Vec<&[u8]> = path.split('/').skip(1).map(str::as_bytes).collect();
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
        let read: Vec<&[u8]> = segments.iter().map(Vec::as_slice).collect();
        if read == wanted || (or_below && read.starts_with(&wanted)) {
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
