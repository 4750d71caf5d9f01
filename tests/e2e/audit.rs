//! The audit trail of the real program: files that are put aside, ends that nobody expects, sinks that take nothing, and
//! what operators read of it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::support::{
    program::Program,
    setup::{Around, Files, Gate, Plan, SERVICE_PASSWORD, link},
    soon,
};

const WRITTEN: &str = "resetgate_audit_written_total";
const DROPPED: &str = "resetgate_audit_dropped_total";

const UNLIMITED: &str = "[limits]\nclient = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\n";

/// A trail in that place, by a key in a file; `more` sections may follow.
fn files(plan: Plan, to: &str, more: &str) -> Files {
    let sections = format!("[log]\nhash_key = \"file:audit-key\"\n[audit]\nto = \"{to}\"\n{more}");
    let files = Files::of(&Plan { more: sections, ..plan });
    files.write("audit-key", &format!("{}A", "h".repeat(42)));
    files
}

/// `resetgate audit …` with the configuration's key, and how it went.
fn audit(files: &Files, what: &[&str], trail: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_resetgate"));
    command.arg("audit").args(what).args(["--config", &files.config()]);
    let Output { status, stdout, stderr } =
        command.args(trail.iter().map(|name| files.path().join(name))).output().unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

fn lines(files: &Files, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(files.path().join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}"))).collect()
}

fn events(lines: &[Value]) -> Vec<String> {
    let word = |line: &Value| match line["reason"].as_str() {
        Some(reason) => format!("{} {reason}", line["event"].as_str().unwrap()),
        None => line["event"].as_str().unwrap().to_owned(),
    };
    lines.iter().map(word).collect()
}

async fn end(mut gate: Gate) -> Files {
    gate.program.signal("TERM");
    assert_eq!(gate.program.ended().await, 0, "{:#?}", gate.program.stderr.seen);
    gate.files.clone()
}

#[tokio::test]
async fn no_mail_came_is_answered_from_the_trail() {
    let around = Around::start().await;
    let gate = Gate::run(files(around.plan(), "file:log/trail", ""), &[]).await;
    let asked = gate.query("bjensen").await;
    let mailed = link(&around.mail(1).await.links[0]);
    assert_eq!(gate.query("bjensen").await.status, 200);
    assert_eq!(gate.query("canary-nobody").await.status, 200);
    assert_eq!(gate.show(&(asked.token(), "canary-code".into())).await.status, 400);
    let shown = gate.show(&mailed).await;
    let weak = gate.set(&shown.token(), "canary").await;
    assert_eq!(gate.set(&weak.token(), "Canary-Pass1").await.json()["status"], json!({"success": true}));
    gate.counts("resetgate_mail_messages_total{outcome=\"sent\"}", 1).await;
    let files = end(gate).await;

    let mode = |name: &str| fs::metadata(files.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("log"), mode("log/trail")), (0o700, 0o600));
    let all = lines(&files, "log/trail");
    let mut found = events(&all);
    // A busy machine's look-ups outlast the answer floor.
    found.retain(|event| event != "floor_missed");
    // The mail is sent while other things happen.
    let sent = found.iter().position(|event| event == "mail_sent").unwrap();
    assert!(sent > 2);
    found.remove(sent);
    assert_eq!(
        found,
        [
            "run_started",
            "reset_started",
            "mail_queued",
            "reset_started",
            "mail_joined gap",
            "reset_started",
            "decoyed nobody",
            "code_wrong wrong",
            "code_right",
            "password_refused MIN_LENGTH,AT_LEAST_X_CAPITAL_LETTERS,AT_LEAST_X_NUMBERS",
            "password_set",
            "notice_sent",
            "run_ended",
        ]
    );
    let text = fs::read_to_string(files.path().join("log/trail")).unwrap().to_lowercase();
    let (token, code) = &mailed;
    for word in
        ["canary", "bjensen", "example.com", SERVICE_PASSWORD, &token[..16].to_lowercase(), &code.to_lowercase()]
    {
        assert!(!text.contains(word), "{word} in {text}");
    }

    for name in ["bjensen", "BJensen@example.com"] {
        let (code, told) = audit(&files, &["find", "--account", name], &["log/trail"]);
        assert_eq!(code, 0, "{told}");
        for sentence in [
            "a mail waits to be sent",
            "within reset.mail_gap of an earlier one",
            "the relay took the mail",
            "the password was set",
            "a mail that says that the password was set",
        ] {
            assert!(told.contains(sentence), "{sentence} in {told}");
        }
        assert!(!told.contains("nobody is called that"), "{told}");
    }
    let (code, told) = audit(&files, &["find", "--account", "canary-nobody"], &[]);
    assert!(code == 0 && told.contains("no mail is sent: nobody is called that"), "{told}");
    let (code, told) = audit(&files, &["find", "--account", "somebody-else"], &["log/trail"]);
    assert!(code == 1 && told.contains("nothing about that name"), "{told}");
    let (code, told) = audit(&files, &["find", "--json", "--account", "bjensen"], &["log/trail"]);
    let count = told.lines().filter(|line| !line.contains("floor_missed")).count();
    assert_eq!((code, count), (0, 10), "{told}");
    assert!(told.lines().all(|line| all.contains(&serde_json::from_str(line).unwrap())));

    let (code, told) = audit(&files, &["verify"], &["log/trail"]);
    assert!(code == 0 && told.ends_with("\nok\n"), "{told}");
    let trail = files.path().join("log/trail");
    let whole = fs::read_to_string(&trail).unwrap();
    fs::write(&trail, whole.replacen("mail_joined", "mail_queued", 1)).unwrap();
    let (code, told) = audit(&files, &["verify"], &["log/trail"]);
    let changed = 1 + all.iter().position(|line| line["event"] == "mail_joined").unwrap();
    assert!(code == 1 && told.contains(&format!("log/trail:{changed}: BROKEN: was changed")), "{told}");
}

#[tokio::test]
async fn what_the_outbox_does_later_bears_the_id_of_the_request_that_queued_it() {
    let around = Around::start().await;
    let gate = Gate::run(
        files(Plan { mail: "transport = \"smtp://127.0.0.1:1\"".into(), ..around.plan() }, "file:trail", ""),
        &[],
    )
    .await;
    assert_eq!(gate.query("bjensen").await.status, 200);
    gate.counts("resetgate_mail_messages_total{outcome=\"delayed\"}", 1).await;
    gate.program.signal("TERM");
    soon("the end of its trail", async {
        while !fs::read_to_string(gate.files.path().join("trail")).unwrap().contains("mail_delayed") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (code, told) = audit(&gate.files, &["find", "--account", "bjensen"], &["trail"]);
    assert!(code == 0 && told.contains("is tried again: the relay cannot be reached"), "{told}");
    let all = lines(&gate.files, "trail");
    let of = |event: &str| all.iter().find(|line| line["event"] == event).unwrap();
    assert_eq!(of("mail_delayed")["request"], of("mail_queued")["request"]);
    assert_eq!(of("mail_delayed")["account"], of("mail_queued")["account"]);
}

#[tokio::test]
async fn a_trail_that_is_put_aside_under_load_goes_on_in_the_next_file() {
    let around = Around::start().await;
    let gate = Gate::run(files(around.plan(), "file:trail", UNLIMITED), &[]).await;
    let busy = async {
        for _ in 0..60 {
            assert_eq!(gate.query("canary-nobody").await.status, 200);
        }
    };
    let rotated = async {
        for number in 1..=3 {
            gate.counts(WRITTEN, number * 25).await;
            fs::rename(gate.files.path().join("trail"), gate.files.path().join(format!("trail.{number}"))).unwrap();
            gate.program.signal("HUP");
            soon("the next file", async {
                while !gate.files.path().join("trail").exists() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
    };
    tokio::join!(busy, rotated);
    let files = end(gate).await;
    let names = ["trail.1", "trail.2", "trail.3", "trail"];
    let (code, told) = audit(&files, &["verify"], &names);
    assert!(code == 0 && told.ends_with("\nok\n") && !told.contains("BROKEN"), "{told}");
    let counts: Vec<_> = names.iter().map(|name| lines(&files, name)).collect();
    assert!(counts[1..].iter().all(|all| all[0]["event"] == "reopened"), "{counts:#?}");
    let all = counts.concat();
    assert_eq!(all.iter().filter(|line| line["event"] == "reset_started").count(), 60);
    let (code, told) = audit(&files, &["verify"], &["trail.1", "trail.3", "trail"]);
    assert!(code == 1 && told.contains("are missing before it"), "{told}");
}

#[tokio::test]
async fn a_killed_process_and_an_heir_leave_a_trail_that_holds() {
    let around = Around::start().await;
    let files = files(around.plan(), "file:trail", "[upgrade]\nfolder = \"run\"").with_keys("a");
    let gate = Gate::run(files, &[]).await;
    gate.query("canary-nobody").await;
    gate.counts(WRITTEN, 3).await;
    let files = gate.killed();
    // As if it had been killed in the middle of a line.
    let trail = files.path().join("trail");
    let text = fs::read_to_string(&trail).unwrap();
    fs::write(&trail, &text[..text.len() - 30]).unwrap();
    let last = text.lines().count();
    let mut former = Gate::run(files, &[]).await;
    former.query("canary-nobody").await;
    let heir = former.upgrade().await;
    heir.query("canary-nobody").await;
    assert_eq!(former.program.ended().await, 0);
    let files = end(heir).await;
    let (code, told) = audit(&files, &["verify"], &["trail"]);
    assert!(code == 0 && told.ends_with("\nok\n"), "{told}");
    assert!(told.contains(&format!("trail:{last}: is the rest of a line that was not finished")), "{told}");
    assert!(
        told.contains("ended here without its last line: it was killed") && told.contains(" of 3 processes"),
        "{told}"
    );
}

#[tokio::test]
async fn a_sink_that_takes_nothing_stops_no_request() {
    let around = Around::start().await;
    let made = |name: &str| {
        let files = files(around.plan(), &format!("file:{name}"), "[reload]\nwatch = \"0s\"");
        (files, name.to_owned())
    };
    let (full, _) = made("/dev/full");
    let (pipe, name) = made("pipe");
    assert!(Command::new("mkfifo").arg(pipe.path().join(name)).status().unwrap().success());
    for files in [full, pipe] {
        let mut gate = Gate::run(files, &[]).await;
        for _ in 0..5 {
            assert_eq!(gate.query("canary-nobody").await.status, 200);
        }
        // What waits is given up after a while.
        gate.counts(DROPPED, 10).await;
        assert_eq!(gate.query("canary-nobody").await.status, 200);
        gate.program.signal("TERM");
        assert_eq!(gate.program.ended().await, 0);
        // In all that time, once.
        let told = gate.program.stderr.seen.iter().filter(|line| line.contains("the audit trail cannot be written"));
        assert_eq!(told.count(), 1, "{:#?}", gate.program.stderr.seen);
    }
}

#[tokio::test]
async fn a_blocked_standard_output_stops_no_request() {
    let around = Around::start().await;
    let files = files(around.plan(), "stdout", "");
    // A pipe that is full, and that nobody reads.
    let script = "mkfifo pipe && exec 3<>pipe && head -c 65536 /dev/zero >&3 && exec \"$0\" run --config \"$1\" >&3";
    let mut gate = Command::new("sh");
    gate.args(["-c", script, env!("CARGO_BIN_EXE_resetgate"), &files.config()]).current_dir(files.path());
    let mut gate = Gate::ready(Program::spawn(gate), files).await;
    for _ in 0..5 {
        assert_eq!(gate.query("canary-nobody").await.status, 200);
    }
    assert_eq!(gate.metric(WRITTEN).await, 0);
    gate.program.signal("TERM");
    assert_eq!(gate.program.ended().await, 0);
    let told = gate.program.stderr.seen.concat();
    assert!(told.contains("the audit trail could not be written to its end"), "{told}");
}

#[tokio::test]
async fn the_trail_on_standard_output_is_read_among_other_lines() {
    let around = Around::start().await;
    let mut gate = Gate::run(files(around.plan(), "stdout", ""), &[]).await;
    gate.query("bjensen").await;
    gate.counts("resetgate_mail_messages_total{outcome=\"sent\"}", 1).await;
    gate.program.signal("TERM");
    assert_eq!(gate.program.ended().await, 0);
    let (out, err) = (&gate.program.stdout.seen, &gate.program.stderr.seen);
    assert!(out.len() >= 5, "{out:#?}");
    // As a container's output.
    let mixed: Vec<_> = [&err[..1], &out[..2], &err[1..], &out[2..]].concat();
    gate.files.write("mixed", &(mixed.join("\n") + "\n"));
    let (code, told) = audit(&gate.files, &["verify"], &["mixed"]);
    assert!(code == 1 && told.contains("is not a line of the trail"), "{told}");
    let (code, told) = audit(&gate.files, &["verify", "--mixed"], &["mixed"]);
    assert!(code == 0 && told.contains(&format!("{} lines of 1 processes, between ", out.len())), "{told}");
    let (code, told) = audit(&gate.files, &["find", "--account", "bjensen"], &["mixed"]);
    assert!(code == 0 && told.contains("the relay took the mail"), "{told}");
    // Without the key, or with another, nothing can be said.
    let run = |args: &[&str]| {
        let mixed = gate.files.path().join("mixed");
        let ran = Command::new(env!("CARGO_BIN_EXE_resetgate")).arg("audit").args(args).arg(mixed).output().unwrap();
        (ran.status.code().unwrap(), String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap())
    };
    let (code, told) = run(&["verify", "--mixed"]);
    assert!(code == 1 && told.contains("name it with --config or --key"), "{told}");
    let (code, told) = run(&["find", "--account", "bjensen"]);
    assert!(code == 64 && told.contains("names are hashed"), "{told}");
    let key = format!("file:{}", gate.files.path().join("audit-key").display());
    assert_eq!(run(&["verify", "--mixed", "--key", &key]).0, 0);
    assert_eq!(run(&["verify", "--mixed", "--key", "audit-key"]).0, 64);
}

#[tokio::test]
async fn a_trail_that_cannot_be_begun_is_refused_at_the_start() {
    let around = Around::start().await;
    let files = files(around.plan(), "file:audit-key/trail", "");
    let mut program = Program::resetgate(&["run", "--config", &files.config()]);
    assert_eq!(program.ended().await, 1);
    let told = program.stderr.seen.concat();
    assert!(told.contains("audit.to ") && told.contains("audit-key/trail: "), "{told}");
}
