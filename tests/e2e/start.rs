//! How the program starts, or does not.

use std::{net::TcpListener, os::unix::fs::PermissionsExt};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use crate::support::{
    program::Program,
    setup::{Around, Files, Gate, Plan},
    soon,
};

#[tokio::test]
async fn a_good_configuration_is_ok() {
    let files = Files::of(&Plan::alone());
    let mut check = Program::resetgate(&["check", "--config", &files.config()]);
    assert_eq!(check.ended().await, 0, "{:?}", check.stderr.seen);
    assert_eq!(check.stdout.seen, ["ok"]);
    for example in ["sidecar.toml", "resetgate.toml"] {
        let mut check = Program::resetgate(&["check", "--config", &format!("conf/{example}")]);
        let code = check.ended().await;
        // Its secrets are the operator's; nothing else is missing.
        let faults: Vec<_> = check.stderr.seen.iter().filter(|line| !line.starts_with("warning: ")).collect();
        assert_eq!(code, 64, "{faults:?}");
        assert!(faults.iter().all(|line| line.contains("keys/") || line.contains("env:")), "{faults:#?}");
    }
}

/// What the README says to do for a public edge, and nothing else.
#[tokio::test]
async fn the_readmes_steps_make_a_configuration_that_holds() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("keys")).unwrap();
    std::fs::copy("conf/edge.toml", at("resetgate.toml")).unwrap();
    std::fs::copy("conf/selfservice-reset.json", at("selfservice-reset.json")).unwrap();
    for made in ["keys/current", "keys/audit"] {
        let mut key = Program::resetgate(&["key"]);
        assert_eq!(key.ended().await, 0);
        std::fs::write(at(made), format!("{}\n", key.stdout.seen.concat())).unwrap();
    }
    for secret in ["keys/identity", "keys/smtp"] {
        std::fs::write(at(secret), "secret").unwrap();
    }
    for secret in ["keys/current", "keys/audit", "keys/identity", "keys/smtp"] {
        std::fs::set_permissions(at(secret), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let mut check = Program::resetgate(&["check", "--config", at("resetgate.toml").to_str().unwrap()]);
    assert_eq!(check.ended().await, 0, "{:#?}", check.stderr.seen);
    // Of IDM's own file it is told what means something else here.
    assert!(check.stderr.seen.iter().all(|line| line.starts_with("note: ")), "{:#?}", check.stderr.seen);
}

/// What the system does not grant is told at once, and nothing is bound.
#[tokio::test]
async fn more_connections_than_files_end_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let files = Files::of(&Plan { listen: taken.local_addr().unwrap().to_string(), ..Plan::alone() });
    let text = std::fs::read_to_string(files.config()).unwrap();
    files.write("resetgate.toml", &text.replace("[admin]", "max_connections = 1000\n[admin]"));
    let mut command = std::process::Command::new("sh");
    let run = "ulimit -n 1000 && exec \"$0\" run --config \"$1\"";
    command.args(["-c", run, env!("CARGO_BIN_EXE_resetgate"), &files.config()]);
    let mut program = Program::spawn(command);
    assert_eq!(program.ended().await, 1);
    let said = program.stderr.seen.last().unwrap();
    let expected = "listen.max_connections = 1000 needs 2256 file descriptors, and the process may have 1000";
    assert!(said.ends_with(expected), "{said}");
}

#[tokio::test]
async fn r14_every_fault_of_a_bad_configuration_has_its_line() {
    // Were anything bound, this would be what it fails at.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let plan = Plan {
        listen: taken.local_addr().unwrap().to_string(),
        mail: "transport = \"ftp://127.0.0.1\"\ncolour = \"red\"".into(),
        more: "[codes]\nstore = \"redis://127.0.0.1/0\"\n[limits]\nclient = \"many\"".into(),
        ..Plan::alone()
    };
    let files = Files::of(&plan);
    let config = files.config();
    let process = include_str!("../../conf/selfservice-reset.json").replace("https://id.example.com", "&{link.host}");
    let process = files.write("selfservice-reset.json", &process).to_str().unwrap().to_owned();
    let at = |file: &str, what: &str| {
        let text = std::fs::read_to_string(file).unwrap();
        let line = text.lines().position(|line| line.contains(what)).unwrap_or_else(|| panic!("{what} in {text}"));
        format!("{file}:{}: ", line + 1)
    };
    let faults = [
        (at(&config, "ftp:"), "mail.transport"),
        (at(&config, "colour"), "mail.colour"),
        (at(&config, "redis:"), "codes.store"),
        (at(&config, "many"), "limits.client"),
        (at(&process, "&{"), "verificationLink"),
    ];
    for command in ["check", "run"] {
        let mut program = Program::resetgate(&[command, "--config", &config]);
        assert_eq!(program.ended().await, 64);
        assert!(program.stdout.seen.is_empty());
        let told: Vec<_> = program.stderr.seen.iter().filter(|line| !line.starts_with("warning: ")).collect();
        assert_eq!(told.len(), faults.len(), "{told:#?}");
        for (place, key) in &faults {
            let holds = |line: &&&String| line.starts_with(place) && line.contains(key);
            assert_eq!(told.iter().filter(holds).count(), 1, "{place}{key} in {told:#?}");
        }
    }
}

#[tokio::test]
async fn a_bad_command_line_is_64_and_a_question_is_not() {
    for line in [&[][..], &["serve"], &["run"], &["key", "x"], &["run", "--config", "/nowhere/resetgate.toml"]] {
        let mut program = Program::resetgate(line);
        assert_eq!(program.ended().await, 64, "{line:?}");
        assert!(!program.stderr.seen.is_empty() && program.stdout.seen.is_empty(), "{line:?}");
    }
    let mut version = Program::resetgate(&["--version"]);
    assert_eq!(version.ended().await, 0);
    assert_eq!(version.stdout.seen, [concat!("resetgate ", env!("CARGO_PKG_VERSION"))]);
    let mut filter = Program::with(&["demo"], &[("RESETGATE_LOG", "resetgate=loud")]);
    assert_eq!(filter.ended().await, 64);
}

#[tokio::test]
async fn every_key_is_another() {
    let mut keys = Vec::new();
    for _ in 0..3 {
        let mut key = Program::resetgate(&["key"]);
        assert_eq!(key.ended().await, 0);
        assert_eq!(key.stdout.seen.len(), 1);
        let key = key.stdout.seen.remove(0);
        assert_eq!((key.len(), BASE64_STANDARD.decode(&key).unwrap().len()), (44, 32));
        keys.push(key);
    }
    keys.dedup();
    assert_eq!(keys.len(), 3);
    // And one is a key that a configuration takes.
    let files = Files::of(&Plan::alone());
    files.write("current", &format!("{}\n", keys[0]));
    let text = std::fs::read_to_string(files.config()).unwrap();
    files.write("resetgate.toml", &text.replace("ephemeral = true", "keys = [\"file:current\"]"));
    let mut check = Program::resetgate(&["check", "--config", &files.config()]);
    assert_eq!(check.ended().await, 0, "{:?}", check.stderr.seen);
}

/// The one line that the program leaves behind.
async fn last_words(files: &Files) -> String {
    let mut program = Program::resetgate(&["run", "--config", &files.config()]);
    assert_eq!(program.ended().await, 1, "{:#?}", program.stderr.seen);
    program.stderr.seen.iter().find(|line| line.starts_with("resetgate: ")).unwrap().clone()
}

#[tokio::test]
async fn a_taken_address_ends_it_at_once() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = last_words(&Files::of(&Plan { listen: address.clone(), ..Plan::alone() })).await;
    assert_eq!(said, format!("resetgate: cannot listen on {address}: Address already in use (os error 98)"));

    let files = Files::of(&Plan::alone());
    let text = std::fs::read_to_string(files.config()).unwrap();
    files.write("resetgate.toml", &text.replace("address = \"127.0.0.1:0\"", &format!("address = \"{address}\"")));
    assert!(last_words(&files).await.contains(&format!("cannot listen on {address}: ")));

    let folder = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}/none/http.sock", folder.path().display());
    let said = last_words(&Files::of(&Plan { listen: socket.clone(), ..Plan::alone() })).await;
    assert!(said.contains(&format!("{socket}: No such file or directory")), "{said}");
}

#[tokio::test]
async fn a_mail_folder_that_cannot_be_used_ends_it() {
    let plan = |folder: &str| Plan { mail: format!("transport = \"file:{folder}\""), ..Plan::alone() };
    let files = Files::of(&plan("outbox"));
    files.write("outbox", "not a folder");
    let said = last_words(&files).await;
    assert!(said.starts_with("resetgate: cannot start mail: the mail folder cannot be used: "), "{said}");
    assert_eq!(said.matches("os error").count(), 1, "{said}");
    // It is there, and nobody can write into it.
    let said = last_words(&Files::of(&plan("/proc/self"))).await;
    assert!(said.contains("the mail folder cannot be used: "), "{said}");
}

#[tokio::test]
async fn it_starts_with_everything_around_it_down() {
    // Longer than a label of a name may be, so no name server is asked, and the look-up fails.
    let nowhere = format!("{}.invalid", "x".repeat(64));
    let upstream = format!("https://idm.example\"\naddresses = [\"{nowhere}:443\"] # ");
    let plan = Plan { upstream, ..Plan::alone() };
    let gate = Gate::run(Files::of(&plan), &[]).await;
    assert_eq!(gate.ask_admin("/readyz").await.status, 200);
    assert_eq!(gate.get(crate::support::setup::PATH).await.status, 200);
    assert_eq!(gate.get("/elsewhere").await.status, 502);
    let down = gate.query("bjensen").await;
    assert_eq!((down.status, &down.json()["code"]), (503, &Value::from(503)));
    assert_eq!(gate.ask_admin("/readyz").await.status, 200);

    let gate = Gate::run(Files::of(&Plan::alone()), &[]).await;
    assert_eq!(gate.ask_admin("/readyz").await.status, 200);
    assert_eq!(gate.get("/elsewhere").await.status, 502);
}

#[tokio::test]
async fn it_asks_the_upstream_for_a_reset_of_its_own_where_nothing_is_said() {
    let around = Around::start().await;
    let gate = Gate::run(Files::of(&Plan { more: "[edge]".into(), ..around.plan() }), &[]).await;
    let told = |text: &str| text.contains("resetgate_upstream_process_open{process=\"reset\"} 0");
    soon("an answer", async { while !told(&gate.ask_admin("/metrics").await.body) {} }).await;
    assert!(around.store.stock_reset_hits() > 0);
}
