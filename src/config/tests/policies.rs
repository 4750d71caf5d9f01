//! `[policy]`: rules of our own, and the files and services that they need.

use std::{fs, time::Duration};

use super::{Folder, GOOD};
use crate::config::PolicySource;

/// `[policy]` with that source, and what comes after it.
fn of_source(lines: &str) -> String {
    GOOD.replace("[policy]\n[policy.breach]\n", &format!("[policy]\nsource = {lines}\n"))
}

/// `[policy]` with its own rules.
fn of_policy(lines: &str) -> String {
    of_source(&format!("\"local\"\n{lines}"))
}

#[test]
fn a_policy_is_the_upstream_s_unless_it_is_said_to_be_another_s() {
    let folder = Folder::new();
    let policy = folder.good(GOOD).policy;
    assert!(matches!((policy.source, policy.path), (PolicySource::Upstream, None)));
    let policy = folder.good(&of_source("\"service\"\ncache = \"1m\"")).policy;
    assert_eq!(policy.path.as_deref(), Some("/openidm/policy/selfservice/reset"));
    let PolicySource::Service { cache } = policy.source else { panic!("the service's") };
    assert_eq!(cache, Duration::from_secs(60));
    folder.put("bad.txt", "password\r\n123456");
    let policy = folder
        .good(&of_policy("bad_passwords = \"bad.txt\"\n[policy.breach]\nurl = \"http://127.0.0.1:1/range\""))
        .policy;
    let PolicySource::Local(rules) = policy.source else { panic!("ours") };
    assert_eq!((rules.min_length, rules.max_length, rules.min_upper), (8, None, 0));
    assert_eq!(rules.forbid_user_data, ["userName", "givenName", "sn", "mail"]);
    assert!(rules.bad_passwords.unwrap().has("PASSWORD"));
    let breach = rules.breach.unwrap();
    assert_eq!((breach.min_count, breach.refuses, breach.service.timeout), (1, false, Duration::from_secs(2)));
}

/// It is looked at when it changes, as every file that the configuration names.
#[test]
fn a_list_of_bad_passwords_is_watched_bounded_and_not_empty() {
    let folder = Folder::new();
    folder.put("bad.txt", "password");
    let config = folder.good(&of_policy("bad_passwords = \"bad.txt\""));
    assert!(config.files.iter().any(|file| file.ends_with("bad.txt")));
    folder.put("bad.txt", "\n\n");
    let rule = "x.toml:{}: policy.bad_passwords = \"bad.txt\": must name a file with at least one word, one a line";
    let at = of_policy("").lines().count();
    assert_eq!(folder.faults(&of_policy("bad_passwords = \"bad.txt\"")), [rule.replace("{}", &at.to_string())]);
    let large = fs::File::create(folder.0.path().join("bad.txt")).unwrap();
    large.set_len((64 << 20) + 1).unwrap();
    let faults = folder.faults(&of_policy("bad_passwords = \"bad.txt\""));
    assert!(faults[0].ends_with("must name a file of 64 MB at most"), "{faults:?}");
    // Not UTF-8 throughout, as lists that were found somewhere are.
    fs::write(folder.0.path().join("bad.txt"), b"caf\xe9\npassword\n").unwrap();
    folder.good(&of_policy("bad_passwords = \"bad.txt\""));
}

#[test]
fn a_breach_service_has_a_url_and_little_time() {
    let folder = Folder::new();
    let at = of_policy("").lines().count() + 1;
    for (lines, fault) in [
        (
            "url = \"http://range.example\"",
            "url = \"http://range.example\": is plaintext beyond loopback: use https, or set allow_plaintext = true beside it",
        ),
        (
            "url = \"range.example\"",
            "url = \"range.example\": must be an http:// or https:// URL without user and fragment",
        ),
        ("timeout = \"1s\"", "timeout = \"1s\": means nothing without policy.breach.url"),
        ("min_count = 2", "min_count = 2: means nothing without policy.breach.url"),
        ("on_outage = \"refuse\"", "on_outage = \"refuse\": means nothing without policy.breach.url"),
        ("on_outage = \"hope\"\nurl = \"http://127.0.0.1\"", "on_outage = \"hope\": must be \"accept\" or \"refuse\""),
        ("min_count = 0\nurl = \"http://127.0.0.1\"", "min_count = 0: must be a whole number from 1 to 1000000"),
        ("timeout = \"4s\"\nurl = \"http://127.0.0.1\"", "timeout = \"4s\": must be from 100ms to 3s"),
    ] {
        let faults = folder.faults(&of_policy(&format!("[policy.breach]\n{lines}")));
        assert_eq!(faults, [format!("x.toml:{at}: policy.breach.{fault}")]);
    }
}

/// Else nobody could tell where clients ask for it.
#[test]
fn a_policy_of_ours_lies_beside_the_reset() {
    let folder = Folder::new();
    for (path, beside) in [
        ("/openidm/selfservice/reset", Some("/openidm/policy/selfservice/reset")),
        ("/selfservice/reset", Some("/policy/selfservice/reset")),
        ("/reset", None),
    ] {
        let toml = of_policy("").replacen("[reset]", &format!("[reset]\npath = \"{path}\""), 1);
        let loaded = folder.load(&toml);
        assert_eq!(loaded.as_ref().ok().and_then(|(config, _)| config.policy.path.as_deref()), beside);
        if beside.is_none() {
            let faults = loaded.err().unwrap();
            assert!(faults[0].ends_with("needs a reset.path that ends in /selfservice/reset: clients ask beside it"));
        }
    }
}
