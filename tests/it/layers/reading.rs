//! That the two tests beside this can fail.

use super::{File, breaches, source};

/// The paths that a text names in the module `reset::wire`, each as `line path`.
fn named(text: &str) -> Vec<String> {
    let paths = source::read(text, &["reset", "wire"]).paths;
    paths.iter().map(|path| format!("{} {}", path.line, path.names.join("::"))).collect()
}

#[test]
fn uses_are_read_with_their_nested_groups() {
    let text = "use std::fmt;\nuse crate::{\n    config::{self, Rate as R},\n    reset::ports::*,\n};\npub use ::bytes::Bytes;\nuse moka;";
    let paths = [
        "1 std::fmt",
        "3 crate::config",
        "3 crate::config::Rate",
        "4 crate::reset::ports::*",
        "6 bytes::Bytes",
        "7 moka",
    ];
    assert_eq!(named(text), paths);
    assert_eq!(named("use {a::b, c::{d, e::f},};\nuse g::h;"), ["1 a::b", "1 c::d", "1 c::e::f", "2 g::h"]);
}

#[test]
fn paths_in_code_are_read() {
    assert_eq!(
        named("fn f(x: &crate::config::Rate) -> u8 { crate::keys::random() }"),
        ["1 crate::config::Rate", "1 crate::keys::random"]
    );
    assert_eq!(
        named("debug!(at = %crate::keys::now());\nring::digest::<u8>(::moka::X)"),
        ["1 crate::keys::now", "2 ring::digest", "2 moka::X"]
    );
    assert_eq!(named("fn f(at: <T as ring::Trait>::X, v: Vec::<u8>) {}"), ["1 ring::Trait", "1 Vec"]);
    assert_eq!(
        named("pub(in crate::reset) fn f() -> impl Fn() + use<'a> {}\npub(crate) const X: u8 = 1;"),
        ["1 crate::reset"]
    );
    assert_eq!(named("r#async_trait::x; use r#mod::y;"), ["1 async_trait::x", "1 mod::y"]);
}

#[test]
fn paths_from_the_parent_are_read_from_the_root() {
    assert_eq!(
        named("use super::ports::Time; use self::body::X;"),
        ["1 crate::reset::ports::Time", "1 crate::reset::wire::body::X"]
    );
    assert_eq!(named("super::super::config::x()"), ["1 crate::config::x"]);
    assert_eq!(
        named("mod a { mod b { use super::super::super::super::c; } } use super::d;"),
        ["1 crate::c", "1 crate::reset::d"]
    );
    assert_eq!(named("use resetgate::cli;"), ["1 crate::cli"]);
}

#[test]
fn comments_and_literals_name_nothing() {
    let text = r####"
        //! crate::a::b
        /* crate::a /* crate::b */ crate::c */
        let a = "crate::a \" crate::b";
        let b = r#"crate::a " crate::b"#;
        let c = b"crate::a"; let d = br##"crate::"# b"##; let e = c"crate::a";
        let f = ['"', '\'', '\\', b'"', 'ß'];
        fn g<'a>(x: &'a str, y: &'static str) { 'outer: loop { real::path(); } }
    "####;
    assert_eq!(named(text), ["8 real::path"]);
}

#[test]
fn test_modules_are_left_out() {
    let text = "use a::b;\n#[cfg(test)]\nmod tests {\n    use crate::{x, y};\n    fn f() { [1; 2]; }\n}\nuse c::d;\n";
    assert_eq!(named(text), ["1 a::b", "7 c::d"]);
    assert_eq!(source::read(text, &[]).lines, 2);
    assert_eq!(named("#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests;\nuse c::d;"), ["4 c::d"]);
    assert_eq!(named("#[cfg(test)]\nuse crate::{x, y};\nuse c::d;"), ["3 c::d"]);
    assert_eq!(named("#[cfg(test)]\npub(crate) fn f(x: [u8; 2]) -> crate::Y { crate::x() }\nuse c::d;"), ["3 c::d"]);
    assert_eq!(named("#[cfg(unix)] use c::d;"), ["1 c::d"]);
}

fn faults(path: &str, text: &str) -> Vec<String> {
    let dependencies = ["bytes", "moka", "ring"].map(str::to_owned);
    breaches(&File { path: path.to_owned(), text: text.to_owned() }, &dependencies)
}

#[test]
fn a_breach_is_reported_with_its_line_and_rule() {
    let expected = [
        "src/flows/memory.rs:2: crate::reset::wire::Reply → flows may name reset::ports, reset::filter, reset::process, config, telemetry, tls, endpoints, outbound, kv of this crate",
    ];
    assert_eq!(
        faults("src/flows/memory.rs", "use crate::reset::ports::Flows;\nuse crate::reset::wire::Reply;"),
        expected
    );
    assert_eq!(faults("src/flows/memory.rs", "use crate::reset;").len(), 1);
    assert_eq!(faults("src/flows/memory.rs", "use super::super::proxy::X;").len(), 1);
    assert_eq!(faults("src/flows/memory.rs", "use super::record;").len(), 0);
}

#[test]
fn the_engine_names_few_foreign_crates() {
    assert_eq!(
        faults("src/reset/x.rs", "use std::fmt; use bytes::Bytes; use super::ports::Time; Moka::new()").len(),
        0
    );
    assert_eq!(faults("src/reset.rs", "fn f() { ring::x() }").len(), 1);
    assert_eq!(faults("src/reset/x.rs", "use moka;").len(), 1);
    assert_eq!(faults("src/reset/x.rs", "crate::keys::x()").len(), 1);
    assert_eq!(faults("src/keys.rs", "use ring::x;").len(), 0);
}

#[test]
fn pingora_stays_with_the_server() {
    assert_eq!(faults("src/demo/page.rs", "use pingora::prelude::*;").len(), 1);
    assert_eq!(faults("src/app.rs", "pingora_core::x()").len(), 1);
    assert_eq!(faults("src/proxy/route.rs", "use pingora::prelude::*;").len(), 0);
}

#[test]
fn the_program_is_above_the_library_and_a_new_module_needs_a_rule() {
    assert_eq!(faults("src/main.rs", "use resetgate::{cli, telemetry::log};").len(), 0);
    assert_eq!(faults("src/main.rs", "use resetgate::keys;").len(), 1);
    assert_eq!(faults("src/lib.rs", "pub mod cli;").len(), 0);
    assert_eq!(faults("src/new/x.rs", "").len(), 1);
}
