//! The program, or another one, as a child: what it prints, line by line, and how it ends.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::soon;

/// A running child. It ends with this, if it has not before.
pub(crate) struct Program {
    child: Child,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
}

/// What a child prints, and what it has printed.
pub(crate) struct Lines {
    coming: UnboundedReceiver<String>,
    pub(crate) seen: Vec<String>,
}

impl Program {
    /// `resetgate` with those arguments, and nothing of the environment that it reads.
    pub(crate) fn resetgate(args: &[&str]) -> Self {
        Self::with(args, &[])
    }

    pub(crate) fn with(args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_resetgate"));
        command.args(args).env_remove("RESETGATE_LOG").env_remove("NOTIFY_SOCKET").envs(environment.iter().copied());
        Self::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
        let (stdout, stderr) = (Lines::of(child.stdout.take().unwrap()), Lines::of(child.stderr.take().unwrap()));
        Self { child, stdout, stderr }
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let kill =
            Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success(), "SIG{name}");
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// `SIGKILL`
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// How it ended, when it was a signal that ended it.
    pub(crate) async fn killed(&mut self) -> std::process::ExitStatus {
        self.stdout.end().await;
        self.stderr.end().await;
        self.child.wait().unwrap()
    }

    /// The exit code, when it has ended by itself. All that it printed is `seen` then.
    pub(crate) async fn ended(&mut self) -> i32 {
        self.stdout.end().await;
        self.stderr.end().await;
        let status = self.child.wait().unwrap();
        status.code().unwrap_or_else(|| panic!("{status}: {:#?}", self.stderr.seen))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lines {
    fn of(printed: impl Read + Send + 'static) -> Self {
        let (sender, coming) = unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(printed).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { coming, seen: Vec::new() }
    }

    async fn next(&mut self) -> Option<String> {
        let line = soon("another line", self.coming.recv()).await?;
        self.seen.push(line.clone());
        Some(line)
    }

    /// The next line with that in it.
    pub(crate) async fn find(&mut self, what: &str) -> String {
        while let Some(line) = self.next().await {
            if line.contains(what) {
                return line;
            }
        }
        panic!("it ended without {what:?}: {:#?}", self.seen);
    }

    /// Reads to the end.
    pub(crate) async fn end(&mut self) {
        while self.next().await.is_some() {}
    }
}

/// What a process has in memory, in KiB.
pub(crate) fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    resident.trim().trim_end_matches(" kB").parse().unwrap()
}
