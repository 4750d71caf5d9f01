//! What the README promises of hard days, by number. Those that need no killing are told in other stories, which bear
//! their number as well.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::support::{
    answer::Answer,
    program::resident,
    setup::{Around, Files, Gate, PATH, Plan, client, link},
    soon,
};

/// Token and code of the `nth` mail's link.
async fn mailed(around: &Around, nth: usize) -> (String, String) {
    let mail = around.mail(nth).await;
    link(mail.links.iter().find(|found| found.contains("&token=")).unwrap())
}

fn message(answer: &Answer) -> (u16, Value) {
    (answer.status, answer.json()["message"].clone())
}

#[tokio::test]
async fn r2_a_kill_ends_open_resets_and_people_begin_again() {
    let around = Around::start().await;
    let gate = Gate::run(Files::of(&around.plan()).with_keys("a"), &[]).await;
    let asker = gate.query("bjensen").await.token();
    let proof = mailed(&around, 1).await;
    let shown = gate.show(&proof).await.token();

    let gate = Gate::run(gate.killed(), &[]).await;
    for answer in
        [gate.show(&proof).await, gate.show(&(asker, proof.1.clone())).await, gate.set(&shown, "Pass-123").await]
    {
        assert_eq!(message(&answer), (400, json!("Invalid code")));
    }
    assert_eq!(around.store.patches(), 0);

    assert_eq!(gate.query("bjensen").await.status, 200);
    let shown = gate.show(&mailed(&around, 2).await).await.token();
    assert_eq!(gate.set(&shown, "Fresh-Pass1").await.json()["status"], json!({"success": true}));
    assert!(around.store.password_is("bjensen", "Fresh-Pass1"));
}

#[tokio::test]
async fn r4_a_kill_at_the_patch_leaves_no_other_password_to_be_set() {
    let around = Around::start().await;
    let gate = Gate::run(Files::of(&around.plan()).with_keys("a"), &[]).await;
    gate.query("bjensen").await;
    let proof = mailed(&around, 1).await;
    let shown = gate.show(&proof).await.token();
    around.identity.hold_at_patch();
    let url = format!("http://{}{}?_action=submitRequirements", gate.address, PATH);
    let body = json!({"token": shown, "input": {"password": "First-Pass1"}}).to_string();
    let setting = tokio::spawn(client().post(url).header("content-type", "application/json").body(body).send());
    around.identity.holds().await;
    soon("the PATCH", async {
        while around.store.patches() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let files = gate.killed();
    assert!(soon("an end", setting).await.unwrap().is_err(), "nobody was told of a success");
    around.identity.release();
    let gate = Gate::run(files, &[]).await;
    assert_eq!(message(&gate.set(&shown, "Other-Pass2").await), (400, json!("Invalid code")));
    assert_eq!(message(&gate.show(&proof).await), (400, json!("Invalid code")));
    assert_eq!(around.store.patches(), 1);
    assert!(around.store.password_is("bjensen", "First-Pass1"));
}

#[tokio::test]
async fn r15_keys_rotate_and_no_token_is_lost() {
    let around = Around::start().await;
    let gate = Gate::run(Files::of(&around.plan()).with_keys("a"), &[]).await;
    let old = gate.begin().await;
    let filter = json!({"queryFilter": "userName eq \"bjensen\""});
    let gate = Gate::run(gate.killed().with_keys("ba"), &[]).await;
    assert_eq!(gate.post(&json!({"token": old, "input": filter})).await.status, 200);
    let new = gate.begin().await;
    let gate = Gate::run(gate.killed().with_keys("b"), &[]).await;
    assert_eq!(gate.post(&json!({"token": new, "input": filter})).await.status, 200);
    let answer = gate.post(&json!({"token": old, "input": filter})).await;
    assert_eq!(message(&answer), (400, json!("Snapshot token is invalid")));
}

#[tokio::test]
async fn r16_a_log_that_nobody_reads_holds_nothing_up() {
    let around = Around::start().await;
    let plan = Plan {
        more: "[limits]\nclient = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"".into(),
        ..around.plan()
    };
    let files = Files::of(&plan);
    let (read, write) = std::io::pipe().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_resetgate"));
    command.args(["run", "--config", &files.config()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(write);
    let mut child = Killed(command.spawn().unwrap());
    // Else it would hold the pipe's other end open.
    drop(command);
    let mut lines = BufReader::with_capacity(1, read).lines();
    let ready = lines.find_map(|line| line.ok().filter(|line| line.contains("\"ready\""))).unwrap();
    let address = serde_json::from_str::<Value>(&ready).unwrap()["fields"]["addresses"].as_str().unwrap().to_owned();
    // From here on nobody reads. A pipe holds 64 KiB.
    let url = format!("http://{address}{}?_action=submitRequirements", PATH);
    let http = client();
    let post = async |body: Value| {
        let posted = http.post(&url).header("content-type", "application/json").body(body.to_string()).send();
        let answer = soon("an answer", posted).await.unwrap();
        assert!(matches!(answer.status().as_u16(), 200 | 400), "{}", answer.status());
        serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap()["token"].clone()
    };
    let start = post(json!({"input": {}})).await;
    // Each makes a line for the query and one for the code.
    let asking = stream::iter(0..400).map(async |n| {
        let filter = format!("userName eq \"nobody {n}\"");
        let asker = post(json!({"token": start, "input": {"queryFilter": filter}})).await;
        post(json!({"token": asker, "input": {"code": "wrong"}})).await;
        let passed = http.get(format!("http://{address}/elsewhere?n={n}")).send();
        assert_eq!(soon("a passed answer", passed).await.unwrap().status(), 200);
    });
    asking.buffer_unordered(8).collect::<()>().await;
    let stopped = Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &child.0.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    let ended = tokio::task::spawn_blocking(move || child.0.wait().unwrap());
    assert_eq!(soon("its end", ended).await.unwrap().code(), Some(0));
}

/// A child that ends with this, if it has not before.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Resident memory in KiB, and open files.
fn size(process: u32) -> (u64, usize) {
    (resident(process), fs::read_dir(format!("/proc/{process}/fd")).unwrap().count())
}

#[tokio::test]
async fn r18_memory_and_files_stay_what_they_were() {
    let around = Around::start().await;
    let plan = Plan {
        more: "[limits]\nclient = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"".into(),
        ..around.plan()
    };
    let gate = Gate::run(Files::of(&plan), &[]).await;
    let round = async |rounds: usize| {
        for _ in 0..rounds {
            let asker = gate.query("nobody").await.token();
            assert_eq!(gate.show(&(asker, "wrong".into())).await.status, 400);
            assert_eq!(gate.get(PATH).await.status, 200);
            assert_eq!(gate.get("/elsewhere").await.status, 200);
        }
    };
    round(150).await;
    let (memory, files) = size(gate.program.id());
    round(300).await;
    let (more_memory, more_files) = size(gate.program.id());
    // What answers are kept for repeats weigh about 2 KiB each.
    assert!(more_memory < memory + 6 * 1024, "{memory} KiB, then {more_memory} KiB");
    assert!(more_files <= files + 4, "{files} open files, then {more_files}");
}
