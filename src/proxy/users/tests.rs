use ::base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

const NAME: &str = "openidm-admin";

fn denied(lines: &[(&'static str, &[u8])]) -> bool {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    }
    Users::new(&[NAME.to_owned(), "Help Desk".to_owned()]).sign_in(&headers)
}

fn named(text: &str) -> bool {
    denied(&[("x-openidm-username", text.as_bytes())])
}

fn basic(user: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:secret")))
}

#[test]
fn spellings_of_a_denied_name() {
    for text in [
        "openidm-admin",
        "OpenIDM-Admin",
        "  openidm-admin\t",
        "\"openidm-admin\"",
        "\"open\\idm-admin\"",
        "UTF-8''openidm-admin",
        "UTF-8''%6fpenidm-admin",
        "utf-8'en'%6F%70enidm-admin",
        "UTF-8'de-CH'openidm%2dadmin",
        "iso-8859-1''%6fpenidm-admin",
        "''%6fpenidm-admin",
        "%6fpenidm-admin",
        "UTF-8%27%27%256fpenidm-admin",
        "UTF-16''%00o%00p%00e%00n",
        "IBM037''%96%97%85%95",
        "UTF-8''openidm-admin%00",
        "UTF-8''%EF%BD%8Fpenidm-admin",
        "UTF-8''help+desk",
        "HELP%20DESK",
        "=?UTF-8?B?b3BlbmlkbS1hZG1pbg==?=",
        "=?utf-8?b?b3BlbmlkbS1hZG1pbg?=",
        "=?UTF-8?Q?=6Fpenidm-admin?=",
        "=?iso-8859-1*en?q?openidm=2Dadmin?=",
        "=?UTF-8?Q?open?= =?UTF-8?B?aWRtLWFkbWlu?=",
        "open=?UTF-8?Q?idm-admin?=",
        "=?UTF-8?Q?Help_Desk?=",
        "=?UTF-16?B?AG8AcABlAG4=?=",
        "UTF-8''%3D%3FUTF-8%3FQ%3Fopenidm-admin%3F%3D",
    ] {
        assert!(named(text), "{text:?}");
        assert!(denied(&[("x_openidm-username", text.as_bytes())]), "{text:?}");
        assert!(denied(&[("x.openidm.username", text.as_bytes())]), "{text:?}");
        assert!(denied(&[("x-openidm-username", b"bjensen"), ("x_openidm_username", text.as_bytes())]), "{text:?}");
        assert!(denied(&[("authorization", basic(text).as_bytes())]), "{text:?}");
    }
    assert!(named("bjensen, openidm-admin") && named("openidm-admin,"));
    assert!(denied(&[("x-openidm-username", b"bjensen"), ("x-openidm-username", NAME.as_bytes())]));
    assert!(named(&"x".repeat(MAX_NAME + 1)));
    assert!(named(&format!("{}%78", "UTF-8''".repeat(9))));
}

#[test]
fn others_sign_in() {
    for text in [
        "",
        "bjensen",
        "openidm-admin2",
        "xopenidm-admin",
        "openidm admin",
        "openidm",
        "o'neil",
        "Conan O'Neil's",
        "a'b'c",
        "UTF-8''J%C3%BCrg",
        "UTF-8'en'b%20jensen%40example.com",
        "100%",
        "a+b@example.com",
        "Jürg",
        "doe, john",
        "%zz",
        "help desk 2",
        "+",
        "=?",
        "=?UTF-8?B?",
        "a=?b?c",
        "=?UTF-8?X?openidm-admin?=",
        "=?UTF-8?B?YmplbnNlbg==?=",
        "=?UTF-8?Q?J=C3=BCrg?=",
    ] {
        assert!(!named(text), "{text:?}");
        assert!(!denied(&[("authorization", basic(text).as_bytes())]), "{text:?}");
    }
    for authorization in ["Bearer openidm-admin", "Basic", "Basic ", "openidm-admin", "Basics b3BlbmlkbS1hZG1pbjp4"] {
        assert!(!denied(&[("authorization", authorization.as_bytes())]), "{authorization:?}");
    }
    assert!(!denied(&[("x-openidm-password", NAME.as_bytes()), ("x-user", NAME.as_bytes())]));
    let mut headers = HeaderMap::new();
    headers.insert("x-openidm-username", HeaderValue::from_static(NAME));
    assert!(!Users::new(&[]).sign_in(&headers));
}

#[test]
fn spellings_of_basic() {
    let plain = basic(NAME);
    let (_, code) = plain.split_once(' ').unwrap();
    let zero = BASE64_STANDARD.encode("openidm-admin:");
    for value in [
        plain.replace("Basic", "bAsIc"),
        format!("  Basic \t {code}"),
        format!("Bearer x, {plain}"),
        plain.replace("b3Bl", "b3!B-l"),
        plain.replace("b3Bl", "b3B=l"),
        format!("Basic b3BlbmlkbQ=={}", BASE64_STANDARD.encode("-admin:x")),
        format!("Basic {}", zero.trim_end_matches('=')),
        format!("Basic {}", BASE64_STANDARD.encode(NAME)),
    ] {
        assert!(denied(&[("authorization", value.as_bytes())]), "{value:?}");
    }
}

/// However a value is made, judging it stays cheap.
#[test]
fn effort_is_bounded() {
    let started = std::time::Instant::now();
    for unit in
        ["%25", "'", "\"", "+%2b", "UTF-8''", ",", "Basic ,", "%ef%bd%8f", "=?", "=?UTF-8?Q?=3D?=", "=?UTF-8?B?"]
    {
        let value = unit.repeat((60 << 10) / unit.len());
        let _ = named(&value);
        let _ = denied(&[("authorization", format!("Basic {value}").as_bytes())]);
        let inner = basic(&unit.repeat(1000 / unit.len()));
        let _ = denied(&[("authorization", inner.as_bytes())]);
    }
    assert!(started.elapsed().as_millis() < 2000, "{:?}", started.elapsed());
}

/// One way to spell a name; `at` picks the place.
fn respell(name: &str, how: u8, at: usize) -> String {
    let at = at % name.len().max(1);
    match how {
        0 if name.is_char_boundary(at) && name.is_char_boundary(at + 1) => {
            format!("{}%{:02x}{}", &name[..at], name.as_bytes()[at], &name[at + 1..])
        }
        1 => name.bytes().map(|byte| format!("%{byte:02X}")).collect(),
        2 => format!("UTF-8''{}", name.replace('%', "%25")),
        3 => format!("utf-8'en-GB'{}", name.replace('%', "%25")),
        4 => format!("iSo-8859-1'de'{}", name.replace('%', "%25")),
        5 if !name.contains(['%', '\'', '?']) => name.to_ascii_uppercase(),
        6 => format!(" {name}\t"),
        8 => format!("=?UTF-8?B?{}?=", BASE64_STANDARD.encode(name)),
        9 => format!("=?iso-8859-1?q?{}?=", name.bytes().map(|byte| format!("={byte:02X}")).collect::<String>()),
        _ => name.to_owned(),
    }
}

proptest! {
    #[test]
    fn every_encoding_of_a_denied_name_is_denied(
        chain in prop::collection::vec((0u8..10, 0usize..64), 0..=4),
        as_basic: bool,
        case in prop::collection::vec(any::<bool>(), NAME.len()),
    ) {
        let turn = |(char, up): (char, &bool)| if *up { char.to_ascii_uppercase() } else { char };
        let mut text: String = NAME.chars().zip(&case).map(turn).collect();
        for (how, at) in &chain {
            text = respell(&text, *how, *at);
        }
        if as_basic {
            prop_assert!(denied(&[("authorization", basic(&text).as_bytes())]), "{text}");
        } else {
            prop_assert!(named(&text), "{text}");
        }
    }

    #[test]
    fn names_without_the_letters_are_not_denied(text in "[a-ln-zA-LN-Z0-9 .@_'+-]{0,40}") {
        prop_assert!(!named(&text), "{text}");
        prop_assert!(!denied(&[("authorization", basic(&text).as_bytes())]), "{text}");
    }

    #[test]
    fn any_bytes_are_judged(value in prop::collection::vec(32u8..127, 0..300)) {
        let _ = denied(&[("x-openidm-username", &value), ("authorization", &value)]);
    }
}
