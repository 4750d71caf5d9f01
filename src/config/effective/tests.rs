use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use toml::Table as Toml;

use super::*;
use crate::config::{Config, Fault, load};

const PROCESS: &str = include_str!("../../../conf/selfservice-reset.json");

/// A folder with all that the configurations of `conf` name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("selfservice-reset.json", PROCESS);
    put("keys/current", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
    put("keys/previous", "__________________________________________8");
    put("keys/smtp", "planted-smtp");
    put("keys/identity", "planted-identity");
    put("keys/client", "planted-client");
    put("keys/audit", "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=");
    for name in ["one", "two"] {
        let pair = rcgen::generate_simple_self_signed([format!("{name}.example")]).unwrap();
        put(&format!("tls/{name}.pem"), &pair.cert.pem());
        put(&format!("tls/{name}.key"), &pair.signing_key.serialize_pem());
    }
    folder
}

fn read(folder: &Path, toml: &str) -> Config {
    let file = folder.join("x.toml");
    fs::write(&file, toml).unwrap();
    let told = |faults: Vec<Fault>| faults.iter().map(|fault| format!("{fault}\n")).collect::<String>();
    let environment = |name: &str| match name {
        "TOKEN_KEY" => Some("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".to_owned()),
        _ => Some("planted-in-the-environment".to_owned()),
    };
    match load(&file, &environment) {
        Ok((config, _)) => config,
        Err(faults) => panic!("{}\n{toml}", told(faults)),
    }
}

/// One of each kind, and what has bounds that hang together.
fn all_kinds() -> Vec<String> {
    let of = |name: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)).unwrap();
    let reference = of("resetgate.toml");
    let with = |from: &str, to: &str| {
        assert!(reference.contains(from), "{from}");
        reference.replacen(from, to, 1)
    };
    let begin = reference.find("kind = \"openidm\"").unwrap();
    let end = reference.find("# token = \"file:keys/identity\"").unwrap();
    let auth = &reference[begin..end];
    let tls = "[listen.tls]\ncertificate = \"tls/one.pem\"\nkey = \"file:tls/one.key\"\n[[listen.tls.additional]]\n\
               certificate = \"tls/two.pem\"\nkey = \"file:tls/two.key\"\n";
    vec![
        reference.clone(),
        of("edge.toml"),
        of("sidecar.toml"),
        with(auth, "kind = \"bearer\"\ntoken = \"file:keys/identity\"\n"),
        with(
            auth,
            "kind = \"oauth2\"\ntoken_url = \"https://idp.example.com/token?hint=planted-query\"\nclient_id = \"x\"\n\
             client_secret = \"file:keys/client\"\n",
        ),
        with("keys = [\"file:keys/current\"]", "").replacen("ephemeral = false", "ephemeral = true", 1),
        with("transport = \"smtp://127.0.0.1:25\"", "transport = \"file:mails\"").replacen(
            "allow_plaintext = false             # smtp",
            "# smtp",
            1,
        ),
        with("# max_connections = 10_000", "max_connections = 500 ").replacen(
            "max_connections_per_client = 1000",
            "",
            1,
        ),
        with("headers = []", "headers = [\"authorization: env:COLLECTOR\", \"x-tenant: file:keys/client\"]")
            .replacen("# otlp =", "otlp =", 1),
        with("[admin]", &format!("{tls}[admin]")).replacen("\"0.0.0.0:8080\"", "\"tls:0.0.0.0:8443\"", 1),
        with("[after.webhook]\n# url", "[after.webhook]\nurl")
            .replacen("# secrets = [\"file:keys/webhook\"]", "secrets = [\"file:keys/audit\"]", 1)
            .replacen("# [after.webhook]\nurl", "[after.webhook]\nurl", 1),
        format!(
            "{reference}\n[[after.revoke]]\nurl = \"https://am.example.com/{{id}}?key=planted-query\"\n\
             headers = [\"cookie: file:keys/client\", \"Accept: a/b\"]\nbody = \"[\\\"{{userName}}\\\"]\"\n\
             [after.revoke.tls]\nserver_name = \"am.internal\"\n[[after.revoke]]\nurl = \"identity:sessions/{{id}}\"\n"
        ),
        format!("{reference}\n[[limits.override]]\nclients = [\"10.0.0.0/8\"]\nclient = \"0\"\n"),
    ]
}

#[test]
fn what_is_shown_is_a_configuration_that_comes_to_the_same() {
    let folder = folder();
    for toml in all_kinds() {
        let config = read(folder.path(), &toml);
        let shown = config.effective.toml();
        let again = read(folder.path(), &shown);
        assert_eq!(shown, again.effective.toml());
        // Where a query is hidden, it is another URL; and that one client can have no more than all is not said twice.
        if !toml.contains("planted-query") && !toml.contains("max_connections = 500") {
            let told = |config: &Config| {
                let all = format!("{config:?}");
                all.split("texts: ").next().unwrap().to_owned()
            };
            assert_eq!(told(&config), told(&again), "{shown}");
        }
    }
}

/// Every key of a document with its table, whether it is set or a comment that shows how it would be.
fn keys(text: &str) -> BTreeMap<String, usize> {
    let (mut table, mut found) = (String::new(), BTreeMap::new());
    for line in text.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            table = name.trim_start_matches('[').to_owned();
        }
        let end = line.find(" = ").or_else(|| line.find(": not set")).unwrap_or_default();
        let key = &line[..end];
        if !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            *found.entry(format!("{table}.{key}")).or_default() += 1;
        }
    }
    found
}

#[test]
fn every_key_of_the_reference_is_shown() {
    let folder = folder();
    let mut shown = BTreeMap::new();
    for toml in all_kinds() {
        let of_one = keys(&read(folder.path(), &toml).effective.toml());
        assert!(
            of_one.iter().all(|(key, times)| *times == 1 || key.contains("additional") || key.contains("revoke")),
            "{of_one:?}"
        );
        shown.extend(of_one);
    }
    let reference = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/resetgate.toml")).unwrap();
    let documented = keys(&reference);
    assert!(documented.len() > 80, "{documented:?}");
    let missing: Vec<_> = documented.keys().filter(|key| !shown.contains_key(*key)).collect();
    assert!(missing.is_empty(), "not shown: {missing:?}");
    let more: Vec<_> = shown.keys().filter(|key| !documented.contains_key(*key)).collect();
    // "As upstream.health" is what the reference says of these.
    let told_elsewhere = [
        "identity.health.",
        "identity.tls.",
        "identity.auth.tls.",
        "codes.tls.",
        "captcha.tls.",
        "tracing.tls.",
        "policy.breach.tls.",
        "after.webhook.tls.",
        "after.revoke.tls.",
    ];
    let is_list = |key: &&&String| documented.keys().any(|known| known.starts_with(&format!("{key}.")));
    let undocumented: Vec<_> =
        more.iter().filter(|key| !told_elsewhere.iter().any(|table| key.starts_with(table)) && !is_list(key)).collect();
    assert!(undocumented.is_empty(), "not in the reference: {undocumented:?}");
}

#[test]
fn no_secret_is_shown_wherever_it_is() {
    let folder = folder();
    let mut process: serde_json::Value = serde_json::from_str(PROCESS).unwrap();
    process["snapshotToken"]["sharedKey"] = "planted-shared-key".into();
    process["stageConfigs"][1]["recaptchaSecretKey"] = "planted-captcha".into();
    process["stageConfigs"][1]["nested"] = serde_json::json!({"a": ["planted-nested"]});
    process["stageConfigs"][3]["emailServiceUrl"] = "https://user:planted-mail@mail.example/send?key=planted".into();
    process["stageConfigs"][3]["emailServiceParameters"] = serde_json::json!({"token": "planted-parameter"});
    fs::write(folder.path().join("selfservice-reset.json"), process.to_string()).unwrap();
    for toml in all_kinds() {
        let toml = toml.replacen("[upstream.health]", "[upstream.health]\npath = \"/ping?key=planted-path\"", 1);
        let shown = read(folder.path(), &toml).effective.toml();
        let told: Vec<_> = shown.lines().filter(|line| line.contains("planted")).collect();
        assert!(told.is_empty(), "{told:#?}");
        for secret in ["AQEBAQ", "PRIVATE", "MII", "-----"] {
            assert!(!shown.contains(secret), "{secret}");
        }
        assert!(shown.contains("#       \"emailServiceUrl\": \"https://***@mail.example/send?***\""), "{shown}");
        assert!(shown.contains("\"recaptchaSecretKey\": \"***\"") && shown.contains("\"sharedKey\": \"***\""));
        assert!(shown.contains("\"verificationLink\": \"https://id.example.com/#/passwordreset/\""));
        assert!(shown.contains("Choose a new password"));
        assert_eq!(toml.contains("env:COLLECTOR"), shown.contains("[\"authorization: env:COLLECTOR\", "), "{shown}");
        assert!(shown.parse::<Toml>().is_ok());
    }
}

/// Of the process file; all other settings that it may have are shown.
const NOT_SHOWN: &[&str] = &["sharedKey", "emailServiceParameters", "recaptchaSecretKey"];

/// The names in the code that reads the process file.
fn settings() -> BTreeSet<String> {
    let reset = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/reset");
    let stages = fs::read_dir(reset.join("stages")).unwrap().map(|file| file.unwrap().path());
    let mut found = BTreeSet::new();
    for file in stages.chain([reset.join("process.rs")]) {
        let text = fs::read_to_string(&file).unwrap();
        let mut calls = text.split("reader.");
        calls.next();
        for call in calls {
            let arguments = call.split(';').next().unwrap();
            let literals = arguments.split('"').skip(1).step_by(2);
            let is_name = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
            found.extend(literals.filter(is_name).map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_setting_of_the_process_file_is_shown_or_known_to_be_a_secret() {
    let all = settings();
    assert!(all.len() > 25 && NOT_SHOWN.iter().all(|name| all.contains(*name)), "{all:?}");
    for name in all {
        let one = |value: serde_json::Value| {
            let text = serde_json::json!({"stageConfigs": [{&name: value}]}).to_string();
            process::shown(&text).contains(HIDDEN)
        };
        let hidden = one("x".into()) && one(serde_json::json!({"en": "x"})) && one(serde_json::json!([{"name": "x"}]));
        assert_eq!(hidden, NOT_SHOWN.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn what_takes_a_restart_is_shown_as_it_runs() {
    let table = |value: &str| {
        let mut effective = Effective::default();
        effective.table("codes".to_owned());
        effective.set("codes", "tries", Some(value.to_owned()));
        effective.set("codes", "digits", Some(value.to_owned()));
        effective
    };
    let (before, mut now) = (table("5"), table("7"));
    now.keep("codes.tries", &before);
    assert_eq!(now.toml(), "\n[codes]\ntries = 5 # after a restart: 7\ndigits = 7\n");
    let mut again = table("7");
    again.keep("codes", &now);
    assert_eq!(again.toml(), "\n[codes]\ntries = 5 # after a restart: 7\ndigits = 7\n");
}

#[test]
fn what_is_not_set_may_come_to_something_all_the_same() {
    let mut effective = Effective::default();
    effective.table("listen".to_owned());
    effective.set("listen", "max_connections", None);
    effective.set("listen", "max_requests", Some("7".to_owned()));
    effective.comes_to("listen.max_connections", 384);
    effective.comes_to("listen.max_requests", 9);
    assert_eq!(effective.toml(), "\n[listen]\n# max_connections: not set, which comes to 384\nmax_requests = 7\n");
}

#[test]
fn urls_lose_their_users_and_queries() {
    for (text, shown) in [
        ("https://a.example/x#/y", "https://a.example/x#/y"),
        ("https://u:p@a.example:1/x?y=z#w", "https://***@a.example:1/x?***#w"),
        ("https://u@a.example", "https://***@a.example"),
        ("u:p@a.example", "***@a.example"),
        ("help@example.com", "help@example.com"),
        ("/a/b?c=d", "/a/b?***"),
        ("/a#/b?c=d", "/a#/b?***"),
        ("external/email?p=x", "external/email?***"),
        ("Why not? Because", "Why not? Because"),
        ("Help Desk <help@example.com>", "Help Desk <help@example.com>"),
        ("Really?", "Really?"),
        ("see https://u:p@a.example/x?y=z or ask", "see https://***@a.example/x?*** or ask"),
        (" /a?b=c\td?e", " /a?***\td?***"),
    ] {
        assert_eq!(harmless(text), shown);
    }
}
