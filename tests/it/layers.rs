//! Who may import whom, as the crate's documentation says it, and the shape of the tree. A breach names its line.

mod fields;
mod reading;
mod source;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each module's name, and what of this crate it may name besides itself; `*` is everything.
const MAY_NAME: [(&str, &[&str]); 28] = [
    ("main", &["cli", "config", "app", "telemetry", "demo", "memory", "supervisor"]),
    ("cli", &["config", "keys", "doctor", "telemetry::audit"]),
    ("app", &["*"]),
    // It asks what the adapters ask, by the adapters themselves, and starts a gate.
    (
        "doctor",
        &[
            "app",
            "clock",
            "config",
            "endpoints",
            "identity",
            "keys",
            "kv::trial",
            "listen",
            "mail::trial",
            "policy",
            "proxy",
            "reset::filter",
            "reset::ports",
            "reset::process",
            "reset::token",
            "telemetry::log",
            "telemetry::metrics",
            "tls",
        ],
    ),
    ("demo", &["app", "config"]),
    ("serve", SERVER),
    ("listen", SERVER),
    ("proxy", SERVER),
    ("admin", SERVER),
    ("identity", ADAPTER),
    ("mail", ADAPTER),
    ("after", ADAPTER),
    ("flows", ADAPTER),
    ("limits", ADAPTER),
    ("keys", ADAPTER),
    ("captcha", ADAPTER),
    ("reset", &[]),
    ("config", &["reset::process", "reset::secret"]),
    ("telemetry", &["reset::ports"]),
    ("clock", &["reset::ports"]),
    ("memory", &[]),
    ("supervisor", &[]),
    ("kv", &["reset::ports", "config", "telemetry", "tls"]),
    ("tls", &["config"]),
    ("otlp", &["config", "reset::ports", "telemetry", "tls"]),
    ("endpoints", &["config", "telemetry", "tls"]),
    ("policy", ADAPTER),
    ("outbound", &["config", "endpoints", "reset::ports", "telemetry", "tls"]),
];
const SERVER: &[&str] =
    &["serve", "listen", "proxy", "admin", "reset", "config", "telemetry", "tls", "endpoints", "supervisor"];
const ADAPTER: &[&str] =
    &["reset::ports", "reset::filter", "reset::process", "config", "telemetry", "tls", "endpoints", "outbound", "kv"];

/// Where Pingora's types stop.
const MAY_NAME_PINGORA: [&str; 4] = ["serve", "listen", "proxy", "admin"];

/// The dependencies that the engine may name: it knows no server, mail library, cache or crypto library.
const ENGINE_MAY_NAME: [&str; 10] =
    ["bytes", "serde", "serde_json", "time", "thiserror", "async_trait", "subtle", "zeroize", "base64", "tracing"];

/// Names that say nothing of what is in a file.
const EMPTY_NAMES: [&str; 5] = ["mod", "utils", "common", "helpers", "types"];

/// The most lines of a file, without its tests.
const MAX_LINES: usize = 400;

#[test]
fn modules_name_only_what_they_may() {
    let dependencies = dependencies();
    let breaches: Vec<String> = files().iter().flat_map(|file| breaches(file, &dependencies)).collect();
    assert!(breaches.is_empty(), "\n{}\nThe rules are in tests/it/layers.rs.", breaches.join("\n"));
}

/// A promise that nothing shows is none.
#[test]
fn promises_have_tests_by_their_number() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| R")?.split_once(' '));
    let sources: Vec<String> =
        all_rust_files().iter().map(|path| fs::read_to_string(root().join(path)).unwrap()).collect();
    let mut promises = 0;
    for (number, promise) in rows.filter(|(_, promise)| !promise.contains("not built yet")) {
        let test = format!("fn r{number}_");
        assert!(sources.iter().any(|text| text.contains(&test)), "R{number} {promise}");
        promises += 1;
    }
    assert!(promises >= 14, "{promises}");
}

/// What is not listed is not told: a line whose writer forgot that would miss its point.
#[test]
fn every_field_that_is_logged_is_listed() {
    let mut found = Vec::new();
    for file in files().iter().filter(|file| file.path != "src/telemetry/log.rs") {
        for (name, line) in fields::logged(&file.text) {
            if !resetgate::telemetry::log::FIELDS.contains(&name.as_str()) {
                found.push(format!("{}:{line}: {name}", file.path));
            }
        }
    }
    assert!(found.is_empty(), "not in telemetry::log::FIELDS:\n{}", found.join("\n"));
    let example = "tracing::warn!(\n target: T, %error, kind = ?f(a, b), status.code = 1, sent, \"a, b = {}\", c)";
    let names: Vec<_> = fields::logged(example).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["error", "kind", "status.code", "sent"]);
}

/// One type holds secrets ([`resetgate::reset::secret::Secret`]). Others that wipe can be printed or cloned.
#[test]
fn secrets_have_one_type() {
    let named = |text: &str| ["Zeroizing", "secrecy", "SecretString"].into_iter().find(|name| text.contains(name));
    let own = files().into_iter().filter(|file| file.path != "src/reset/secret.rs");
    let found: Vec<_> = own.filter_map(|file| Some(format!("{}: {}", file.path, named(&file.text)?))).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn files_hold_one_idea_each_and_are_named_after_it() {
    let mut faults = Vec::new();
    for file in files() {
        let lines = source::read(&file.text, &[]).lines;
        if lines > MAX_LINES {
            faults.push(format!("{}: {lines} lines without tests, {MAX_LINES} at most", file.path));
        }
    }
    for path in all_rust_files() {
        let is_empty = |name: &&str| EMPTY_NAMES.contains(&name.trim_end_matches(".rs"));
        if let Some(name) = path.split('/').find(is_empty) {
            faults.push(format!("{path}: `{name}` does not say what is in it"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// A file of the crate that is not a test.
struct File {
    /// From the crate's folder on.
    path: String,
    text: String,
}

/// One line for each path that the file must not name.
fn breaches(file: &File, dependencies: &[String]) -> Vec<String> {
    let module = module(&file.path);
    let Some(top) = module.first() else {
        // `lib.rs` only declares.
        return Vec::new();
    };
    let own = [*top];
    let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| name == top) else {
        return vec![format!("{}: `{top}` has no rule yet: say what it may name", file.path)];
    };
    let mut found = Vec::new();
    for path in source::read(&file.text, if *top == "main" { &[] } else { &module }).paths {
        let names: Vec<&str> = path.names.iter().map(String::as_str).collect();
        let rule = match names.as_slice() {
            ["crate", names @ ..] => {
                let may = |name: &&str| *name == "*" || names.starts_with(&name.split("::").collect::<Vec<_>>());
                if own.iter().chain(*allowed).any(may) {
                    continue;
                }
                format!(
                    "{top} may name {} of this crate",
                    if allowed.is_empty() { "nothing else".to_owned() } else { allowed.join(", ") }
                )
            }
            [name, ..] if name.starts_with("pingora") && !MAY_NAME_PINGORA.contains(top) => {
                format!("only {} may name pingora", MAY_NAME_PINGORA.join(", "))
            }
            [name, ..] if *top == "reset" && is_foreign(name, dependencies) => {
                format!("of other crates the engine may name {}", ENGINE_MAY_NAME.join(", "))
            }
            _ => continue,
        };
        found.push(format!("{}:{}: {} → {rule}", file.path, path.line, names.join("::")));
    }
    found
}

fn is_foreign(name: &str, dependencies: &[String]) -> bool {
    !ENGINE_MAY_NAME.contains(&name) && dependencies.iter().any(|dependency| dependency == name)
}

/// `src/reset/wire/body.rs` → `reset`, `wire`, `body`; nothing for the root.
fn module(path: &str) -> Vec<&str> {
    let inner = path.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs")).unwrap_or_default();
    if inner == "lib" { Vec::new() } else { inner.split('/').collect() }
}

/// As they are named in code.
fn dependencies() -> Vec<String> {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    manifest["dependencies"].as_table().unwrap().keys().map(|name| name.replace('-', "_")).collect()
}

fn files() -> Vec<File> {
    let is_test = |path: &String| path.split('/').any(|name| matches!(name, "tests" | "tests.rs"));
    let paths = all_rust_files().into_iter().filter(|path| path.starts_with("src/") && !is_test(path));
    let files: Vec<File> =
        paths.map(|path| File { text: fs::read_to_string(root().join(&path)).unwrap(), path }).collect();
    assert!(files.len() > 40, "the crate's files are not where this test looks for them");
    files
}

fn all_rust_files() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["src", "tests", "benches"].iter().map(|name| root().join(name)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
