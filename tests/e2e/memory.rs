//! What a crash leaves behind, which is nothing, and what is taken.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::Command,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    program::{Program, resident},
    setup::{Around, Files, Gate, Plan},
    soon,
};

/// Somebody who is not root; tests may well run as root, whom no such rule binds.
const NOBODY: u32 = 65534;

/// A demo in `folder`, of a user who would get core files without limit.
async fn demo(folder: &Path) -> Program {
    // Where everybody may read it: what cannot be read is not dumped in any case.
    let program = folder.join("resetgate");
    if !program.exists() {
        fs::copy(env!("CARGO_BIN_EXE_resetgate"), &program).unwrap();
    }
    for path in [folder, program.as_path()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut command = Command::new("sh");
    // What runs in the background of a shell may have been told to ignore SIGQUIT, and would pass that on.
    let run = "ulimit -c unlimited 2>/dev/null; exec env --default-signal=ABRT,QUIT,TRAP ./resetgate demo";
    command.args(["-c", run]).current_dir(folder);
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut demo = Program::spawn(command);
    demo.stderr.find("ready").await;
    demo
}

#[tokio::test]
async fn its_memory_is_nobodys() {
    let folder = tempfile::tempdir().unwrap();
    let demo = demo(folder.path()).await;
    let proc = format!("/proc/{}", demo.id());
    let limits = fs::read_to_string(format!("{proc}/limits")).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"]);
    // The kernel takes away from its user what is not dumpable (proc(5)).
    let user = fs::read_to_string(format!("{proc}/status")).unwrap();
    assert!(user.lines().any(|line| line.starts_with("Uid:") && !line.contains("\t0\t")), "{user}");
    assert_eq!(fs::metadata(format!("{proc}/mem")).unwrap().uid(), 0);
}

#[tokio::test]
async fn it_takes_no_huge_pages() {
    let folder = tempfile::tempdir().unwrap();
    let demo = demo(folder.path()).await;
    let status = fs::read_to_string(format!("/proc/{}/status", demo.id())).unwrap();
    assert!(status.lines().any(|line| line == "THP_enabled:\t0"), "{status}");
}

/// Pingora has a thread that wakes a hundred times a second, once there is a timer of its own.
#[tokio::test]
async fn nothing_wakes_it_for_those_that_have_been_answered() {
    let around = Around::start().await;
    let gate = Gate::run(Files::of(&around.plan()), &[]).await;
    for _ in 0..2 {
        assert_eq!(gate.get("/elsewhere").await.status, 200);
    }
    let threads = fs::read_dir(format!("/proc/{}/task", gate.program.id())).unwrap();
    let names: Vec<_> =
        threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")).unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with("Timer")), "{names:?}");
}

#[tokio::test]
async fn what_a_crowd_took_is_given_back_when_it_has_gone_and_nobody_asks_any_more() {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let files = Files::of(&Plan { listen: "127.0.0.1:0\", \"h2c:127.0.0.1:0".into(), ..Plan::alone() });
    // With more, what one has freed of another's is given back when that one is at work again.
    let gate = Gate::run(files, &[("TOKIO_WORKER_THREADS", "1")]).await;
    let (door, process) = (gate.door("h2c"), gate.program.id());
    let (before, mut crowd) = (resident(process), Vec::new());
    for _ in 0..400 {
        let mut client = TcpStream::connect(door).await.unwrap();
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        client.write_all(&SETTINGS).await.unwrap();
        client.read_exact(&mut [0; 9]).await.unwrap();
        crowd.push(client);
    }
    let taken = resident(process) - before;
    assert!(taken > 10_000, "{taken} KiB");
    drop(crowd);
    let given_back = async {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(50));
        while resident(process) > before + taken / 3 {
            look.tick().await;
        }
    };
    soon("memory that is given back", given_back).await;
}

#[tokio::test]
async fn a_crash_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    for signal in ["ABRT", "QUIT", "TRAP"] {
        let mut demo = demo(folder.path()).await;
        demo.signal(signal);
        let status = demo.killed().await;
        assert!(!status.core_dumped(), "{signal}: {status}");
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["resetgate"], "{signal}");
    }
}
