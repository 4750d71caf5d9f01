//! `/metrics` of the program as Prometheus' own tools see it, and what is written of it in `conf/deploy`.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::json;

use crate::support::{
    setup::{Around, Files, Gate, Plan, link},
    skip,
};

/// From the `PATH`, or where `.ci/setup` puts it.
fn promtool() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo"))).map(|home| home.join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(cargo);
    places.map(|folder| folder.join("promtool")).find(|program| program.exists())
}

/// Its exit status, and all that it says.
fn checks(what: &[&str], input: &str) -> (bool, String) {
    let mut tool = Command::new(promtool().unwrap());
    let mut child =
        tool.args(what).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    (done.status.success(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
}

/// A gate that has all that there can be to measure, after a reset and some mischief.
async fn measured() -> (Gate, String) {
    let around = Around::start().await;
    let tls = "[listen.tls]\ncertificate = \"chain.pem\"\nkey = \"file:key.pem\"".into();
    let plan = Plan { listen: "127.0.0.1:0\", \"tls:127.0.0.1:0".into(), more: tls, ..around.plan() };
    let files = Files::of(&plan);
    let pair = rcgen::generate_simple_self_signed(["id.example.com".to_owned()]).unwrap();
    files.write("chain.pem", &pair.cert.pem());
    files.write("key.pem", &pair.signing_key.serialize_pem());
    let gate = Gate::run(files, &[]).await;
    assert_eq!(gate.get("/openidm/info/ping").await.status, 200);
    assert_eq!(gate.get("/openidm/selfservice;x/reset").await.status, 404);
    let asked = gate.query("bjensen").await;
    assert_eq!(gate.show(&(asked.token(), "wrong".into())).await.status, 400);
    let mail = around.mail(1).await;
    let shown = gate.show(&link(mail.links.iter().find(|found| found.contains("&token=")).unwrap())).await;
    let set = gate.set(&shown.token(), "Passw0rd-1").await;
    assert_eq!(set.json()["status"], json!({"success": true}));
    gate.counts("resetgate_mail_messages_total{outcome=\"sent\"}", 1).await;
    let text = gate.ask_admin("/metrics").await.body;
    (gate, text)
}

/// Every metric: its name, its kind, its labels and what it says of itself.
fn families(text: &str) -> BTreeMap<String, (String, BTreeSet<String>, String)> {
    let mut all: BTreeMap<String, (String, BTreeSet<String>, String)> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            all.entry(name.to_owned()).or_default().2 = help.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            all.entry(name.to_owned()).or_default().0 = kind.to_owned();
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            let ends = ["_bucket", "_count", "_sum"];
            let base = ends.iter().find_map(|end| name.strip_suffix(end)).filter(|base| all.contains_key(*base));
            let family = all.get_mut(base.unwrap_or(name)).unwrap_or_else(|| panic!("# TYPE before {line}"));
            let labels = line.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
            let names =
                labels.split("\",").filter_map(|label| label.split_once("=\"")).map(|(name, _)| name.to_owned());
            family.1.extend(names.filter(|name| name != "le"));
        }
    }
    all
}

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/deploy").join(name)).unwrap()
}

#[tokio::test]
async fn promtool_has_nothing_to_say_of_the_names() {
    if skip("promtool", promtool().is_some()) {
        return;
    }
    let (_gate, text) = measured().await;
    assert_eq!(checks(&["check", "metrics"], &text), (true, String::new()));
    // And would have.
    let (well, said) = checks(&["check", "metrics"], "# TYPE Bad_ms counter\nBad_ms 1\n");
    assert!(!well && said.contains("_total"), "{said}");
}

#[tokio::test]
async fn every_metric_is_listed_as_it_is() {
    let (_gate, text) = measured().await;
    let mut rows = String::new();
    for (name, (kind, labels, help)) in families(&text) {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        rows += &format!("| `{name}` | {kind} | {} | {} |\n", labels.join(" "), help.replace('|', "\\|"));
    }
    let listed: String =
        shipped("metrics.md").lines().filter(|line| line.starts_with("| `")).map(|line| format!("{line}\n")).collect();
    assert!(listed == rows, "conf/deploy/metrics.md should have these rows:\n\n{rows}");
}

#[tokio::test]
async fn alerts_are_rules_about_what_there_is() {
    let (_gate, text) = measured().await;
    let (families, alerts) = (families(&text), shipped("alerts.yaml"));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut named = 0;
    for line in alerts.lines().filter(|line| !line.trim_start().starts_with('#')) {
        for word in
            line.split(|c| !is_name(c)).filter(|word| word.starts_with("resetgate_") || word.starts_with("process_"))
        {
            let known = families.contains_key(word) || families.contains_key(word.trim_end_matches("_bucket"));
            assert!(known, "{word} in {line}");
            named += 1;
        }
    }
    assert!(named > 20, "{named}");
    if skip("promtool", promtool().is_some()) {
        return;
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/deploy/alerts.yaml");
    let (well, said) = checks(&["check", "rules", file.to_str().unwrap()], "");
    assert!(well && said.contains("SUCCESS") && !said.contains("duplicate"), "{said}");
}

#[tokio::test]
async fn the_configuration_that_it_shows_is_one() {
    let (gate, _) = measured().await;
    let shown = gate.ask_admin("/config").await;
    assert_eq!(shown.status, 200);
    let again = gate.files.write("again.toml", &shown.body);
    let checked =
        Command::new(env!("CARGO_BIN_EXE_resetgate")).arg("check").arg("--config").arg(again).output().unwrap();
    assert!(checked.status.success(), "{}\n{}", String::from_utf8_lossy(&checked.stderr), shown.body);
    assert!(!shown.body.contains(crate::support::setup::SERVICE_PASSWORD));
}
