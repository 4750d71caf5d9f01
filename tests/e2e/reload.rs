//! What changes while it runs, and what outlives it.

use std::{fs, os::unix::fs::MetadataExt};

use serde_json::json;

use crate::support::setup::{Around, Files, Gate, Plan, SERVICE_PASSWORD, link};

fn change(gate: &Gate, from: &str, to: &str) {
    let text = fs::read_to_string(gate.files.config()).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    gate.files.write("resetgate.toml", &text.replace(from, to));
}

const DONE: &str = "resetgate_reloads_total{outcome=\"done\"}";
const FAILED: &str = "resetgate_reloads_total{outcome=\"failed\"}";

#[tokio::test]
async fn sighup_takes_up_what_holds_and_names_what_does_not() {
    let around = Around::start().await;
    let plan = Plan { more: "[edge]\nwatch_upstream = \"0s\"\ndeny = []\n".into(), ..around.plan() };
    let mut gate = Gate::run(Files::of(&plan), &[]).await;
    assert_eq!(gate.get("/elsewhere").await.status, 200);
    gate.query("bjensen").await;
    let mailed = link(&around.mail(1).await.links[0]);

    change(&gate, "deny = []", "deny = [\"/elsewhere\"]\nnonsense = 1");
    gate.program.signal("HUP");
    gate.counts(FAILED, 1).await;
    let told = gate.program.stderr.find("edge.nonsense").await;
    assert!(told.contains("resetgate.toml:") && told.contains("is not a key"), "{told}");
    assert_eq!(gate.get("/elsewhere").await.status, 200);

    change(&gate, "nonsense = 1", "");
    gate.program.signal("HUP");
    gate.counts(DONE, 1).await;
    assert_eq!(gate.get("/elsewhere").await.status, 403);
    assert_eq!(gate.show(&mailed).await.status, 200);

    // What cannot change is named.
    change(&gate, "[admin]", "header_timeout = \"9s\"\n[admin]");
    gate.program.signal("HUP");
    gate.program.stderr.find("listen: the bounds of connections").await;
    gate.counts(DONE, 2).await;
}

#[tokio::test]
async fn a_credential_is_taken_up_when_its_file_changes_and_what_is_being_written_is_not() {
    let around = Around::start().await;
    let plan =
        Plan { more: "[edge]\nwatch_upstream = \"0s\"\ndeny = []\n[reload]\nwatch = \"20ms\"".into(), ..around.plan() };
    let files = Files::of(&plan);
    files.write("service-password", "not yet");
    let gate = Gate::run(files, &[]).await;
    assert_eq!(gate.query("bjensen").await.status, 503);
    change(&gate, "deny = []", "deny = [\"/elsewhere\"]");
    gate.files.write("service-password", SERVICE_PASSWORD);
    gate.counts(DONE, 1).await;
    assert_eq!(gate.query("bjensen").await.status, 200);
    assert_eq!(gate.get("/elsewhere").await.status, 200);
    // A file that is gone for a moment, as while it is replaced, is a fault and no harm.
    fs::remove_file(gate.files.path().join("service-password")).unwrap();
    gate.counts(FAILED, 1).await;
    assert_eq!(gate.query("bjensen").await.status, 200);
}

#[tokio::test]
async fn what_began_before_a_reload_mails_after_it() {
    let around = Around::start().await;
    let mut gate = Gate::run(Files::of(&around.plan()), &[]).await;
    // By a generation that is neither the first nor the last.
    gate.program.signal("HUP");
    gate.counts(DONE, 1).await;
    let token = gate.begin().await;
    around.identity.hold();
    around.smtp.hold();
    let body = json!({"token": token, "input": {"queryFilter": "userName eq \"bjensen\""}});
    let query = gate.post(&body);
    let reload = async {
        around.identity.holds().await;
        gate.program.signal("HUP");
        gate.counts(DONE, 2).await;
        around.identity.release();
    };
    let (answer, ()) = tokio::join!(query, reload);
    assert_eq!(answer.status, 200);
    around.smtp.holds().await;
    // Nor does an end forget it.
    gate.program.signal("TERM");
    gate.program.stderr.find("\"draining\"").await;
    around.smtp.release();
    assert_eq!(gate.program.ended().await, 0);
    assert_eq!(around.mail(1).await.to, ["bjensen@example.com"]);
}

#[tokio::test]
async fn r2_a_link_and_its_tries_outlive_a_restart_with_a_state_file() {
    let around = Around::start().await;
    let plan = Plan { more: "[codes]\nstate_file = \"state/codes\"".into(), ..around.plan() };
    let mut gate = Gate::run(Files::of(&plan).with_keys("a"), &[]).await;
    let asked = gate.query("bjensen").await.token();
    let mailed = link(&around.mail(1).await.links[0]);
    for wrong in ["a", "b", "c", "d", "e"] {
        assert_eq!(gate.show(&(asked.clone(), wrong.into())).await.status, 400);
    }
    gate.program.signal("TERM");
    assert_eq!(gate.program.ended().await, 0);
    let state = gate.files.path().join("state/codes");
    assert!(state.exists());
    assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o600);
    let copy = fs::read(&state).unwrap();

    let mut gate = Gate::run(gate.files.clone(), &[]).await;
    assert!(!state.exists());
    assert_eq!(gate.show(&(asked, mailed.1.clone())).await.status, 400, "its tries are used up");
    let proven = gate.show(&mailed).await;
    assert_eq!(proven.status, 200);
    // Within the gap of that mail, a start sends none.
    assert_eq!(gate.query("bjensen").await.status, 200);
    assert_eq!(gate.set(&proven.token(), "Passw0rd-new").await.status, 200);
    gate.program.signal("TERM");
    assert_eq!(gate.program.ended().await, 0);
    assert_eq!(around.linked().len(), 1);

    // With another key it means nothing, and is put aside.
    fs::write(&state, copy).unwrap();
    let gate = Gate::run(gate.files.clone().with_keys("b"), &[]).await;
    assert!(gate.files.path().join("state/codes.unreadable").exists());
    assert_eq!(gate.show(&mailed).await.status, 400);
}
