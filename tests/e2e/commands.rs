//! What the program says to whoever runs it beside another, or before.

use std::process::Command;

use tokio::net::TcpListener;

use crate::support::{
    program::Program,
    setup::{Files, Gate, Plan},
    skip, soon,
};

/// How it ended, and what it said.
async fn run(arguments: &[&str]) -> (i32, String) {
    let mut program = Program::resetgate(arguments);
    let code = program.ended().await;
    (code, [program.stdout.seen.clone(), program.stderr.seen.clone()].concat().join("\n"))
}

#[tokio::test]
async fn a_probe_says_how_it_is() {
    let files = Files::of(&Plan::alone());
    let text = std::fs::read_to_string(files.config()).unwrap();
    files.write("resetgate.toml", &text.replace("linger = \"0s\"", "linger = \"20s\""));
    let mut gate = Gate::run(files, &[]).await;
    let url = format!("http://{}", gate.admin);
    assert_eq!(run(&["probe", &url]).await, (0, "ok".into()));
    assert_eq!(run(&["probe", "--live", &gate.admin.to_string()]).await, (0, "ok".into()));
    let (code, told) = run(&["probe", &format!("{url}/nowhere")]).await;
    assert_eq!((code, told.as_str()), (1, format!("{url}/nowhere: 404 Not Found: not found").as_str()));

    // By a configuration that does not hold any more, but for where to ask.
    let config = gate.files.write("probe.toml", &format!("[admin]\naddress = \"{}\"\n[mail]\nfrom = 1\n", gate.admin));
    let config = config.to_str().unwrap();
    assert_eq!(run(&["probe", "--config", config]).await, (0, "ok".into()));

    gate.program.signal("TERM");
    soon("not ready", async { while gate.ask_admin("/readyz").await.status != 503 {} }).await;
    assert_eq!(
        run(&["probe", "--config", config]).await,
        (1, format!("{url}/readyz: 503 Service Unavailable: draining"))
    );
    assert_eq!(run(&["probe", "--live", "--config", config]).await.0, 0);
    gate.program.signal("TERM");
    assert_eq!(gate.program.ended().await, 0);
    let (code, told) = run(&["probe", "--config", config]).await;
    assert!(code == 1 && told.contains("refused"), "{told}");
}

#[tokio::test]
async fn a_probe_waits_no_longer_than_it_may_and_names_a_slip() {
    // It accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = silent.local_addr().unwrap().to_string();
    let (code, told) = run(&["probe", "--within", "100ms", &at]).await;
    assert_eq!((code, told), (1, format!("http://{at}/readyz: no answer within 100ms")));

    let files = Files::of(&Plan::alone());
    let config = files.write("probe.toml", "[admin]\naddress = \"nowhere\"\n");
    let config = config.to_str().unwrap();
    let (code, told) = run(&["probe", "--config", config]).await;
    assert_eq!(code, 64);
    assert!(told.starts_with(&format!("{config}:2: admin.address = \"nowhere\": must be ")), "{told}");
    let (code, told) = run(&["probe", "https://127.0.0.1"]).await;
    assert_eq!(code, 64);
    assert!(told.starts_with("https://127.0.0.1: must be "), "{told}");
}

/// Real shells read what is to be completed, and man reads the pages.
#[tokio::test]
async fn shells_and_man_read_what_it_says_of_itself() {
    let folder = tempfile::tempdir().unwrap();
    let bash = folder.path().join("resetgate.bash");
    std::fs::write(&bash, run(&["completions", "bash"]).await.1).unwrap();
    let script = format!(
        "source {} && COMP_WORDS=(resetgate pr) COMP_CWORD=1 && _resetgate resetgate pr resetgate; echo ${{COMPREPLY[@]}}",
        bash.display()
    );
    let completed = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "probe", "{completed:?}");

    assert_eq!(run(&["man", "--into", folder.path().to_str().unwrap()]).await, (0, String::new()));
    let (code, told) = run(&["man", "--into", "/nowhere"]).await;
    assert!(code == 1 && told.starts_with("resetgate: "), "{told}");
    let has_man = Command::new("man").arg("--version").output().is_ok_and(|ran| ran.status.success());
    if skip("man", has_man) {
        return;
    }
    for page in ["resetgate.1", "resetgate-run.1", "resetgate-probe.1"] {
        let file = folder.path().join(page);
        let mut man = Command::new("man");
        let shown = man.args(["--warnings=all", "-P", "cat", "-l"]).arg(file).env("MANWIDTH", "100").output().unwrap();
        assert!(shown.status.success() && shown.stderr.is_empty(), "{page}: {shown:?}");
        assert!(String::from_utf8_lossy(&shown.stdout).contains("EXIT STATUS"), "{page}");
    }
}
