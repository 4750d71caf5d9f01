//! The demo: what it prints, taken at its word.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::program::Program;

/// A running demo.
pub(crate) struct Demo {
    pub(crate) program: Program,
    pub(crate) page: String,
    pub(crate) mailbox: String,
}

impl Demo {
    pub(crate) async fn start() -> Self {
        let mut program = Program::resetgate(&["demo"]);
        program.stdout.find("/any//other%2Fpath?x=%20y").await;
        program.stderr.find("ready").await;
        let place = |name: &str| {
            let named = |line: &&String| line.trim_start().starts_with(name);
            let line = program.stdout.seen.iter().find(named).unwrap();
            let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
            url.trim_end_matches('/').to_owned()
        };
        Self { page: place("Reset page"), mailbox: place("Mailbox"), program }
    }
}

#[tokio::test]
async fn the_printed_walk_resets_a_password() {
    let mut demo = Demo::start().await;
    let printed = &demo.program.stdout.seen;
    for name in ["Reset page", "Mailbox", "Gate", "Upstream", "Admin", "bjensen", "dormant"] {
        assert!(printed.iter().any(|line| line.trim_start().starts_with(name)), "{name} in {printed:#?}");
    }
    let first = printed.iter().position(|line| line.starts_with("export ")).unwrap();
    let walk = printed[first..].join("\n");

    let mut bash = Command::new("bash");
    bash.args(["--noprofile", "--norc", "-c", &walk]);
    let mut bash = Program::spawn(bash);
    assert_eq!(bash.ended().await, 0, "{:#?}", bash.stderr.seen);
    assert!(bash.stderr.seen.is_empty(), "{:#?}", bash.stderr.seen);
    let [begin, asked, mail, weak, set, new, old, ping, other] = bash.stdout.seen.as_slice() else {
        panic!("nine lines: {:#?}", bash.stdout.seen);
    };
    let read = |line: &String| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("JSON, not {line}"));

    assert_eq!((&read(begin)["type"], &read(begin)["tag"]), (&json!("parameters"), &json!("initial")));
    assert_eq!((&read(asked)["type"], &read(asked)["tag"]), (&json!("emailValidation"), &json!("validateCode")));
    let mails = read(mail);
    assert_eq!(mails.as_array().unwrap().len(), 1);
    assert_eq!(mails[0]["to"], json!(["bjensen@example.com"]));
    let weak = read(weak);
    assert_eq!((&weak["type"], &weak["tag"]), (&json!("resetStage"), &json!("initial")));
    assert!(
        weak["requirements"]["error"]["detail"]["failedPolicyRequirements"].as_array().is_some_and(|a| !a.is_empty())
    );
    let end = json!({"type": "resetStage", "tag": "end", "status": {"success": true}, "additions": {}});
    assert_eq!(read(set), end);
    assert_eq!((new.as_str(), old.as_str()), ("200", "401"));
    assert_eq!(read(ping)["state"], "ACTIVE_READY");
    assert_eq!(read(other)["target"], "/any//other%2Fpath?x=%20y");
    // And the owner is told of it.
    let client = crate::support::setup::client();
    let told = client.get(format!("{}/mails?after=1", demo.mailbox)).send().await.unwrap().text().await.unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told.as_array().unwrap().len(), 1, "{told:#}");
    assert_eq!((&told[0]["subject"], &told[0]["links"]), (&json!("Your password was changed"), &json!([])));

    demo.program.signal("INT");
    assert_eq!(demo.program.ended().await, 0);
}

#[tokio::test]
async fn demos_do_not_get_in_each_others_way() {
    let starting: Vec<_> = (0..3).map(|_| tokio::spawn(Demo::start())).collect();
    // All at once: one that has ended gives its addresses back.
    let mut demos = Vec::new();
    for demo in starting {
        demos.push(demo.await.unwrap());
    }
    let mut pages: Vec<_> = demos.iter().map(|demo| demo.page.clone()).collect();
    pages.sort();
    pages.dedup();
    assert_eq!(pages.len(), 3);
    for mut demo in demos {
        demo.program.signal("INT");
        assert_eq!(demo.program.ended().await, 0);
    }
}
