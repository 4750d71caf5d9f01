//! A real Redis server of a test's own, on a Unix socket and a port of the system's choice, which ends with it.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use resetgate::config::{Place, Redis, RedisKind, Server};
use tempfile::TempDir;

/// A running server, which forgets everything when it ends.
pub(crate) struct RedisServer {
    folder: TempDir,
    shell: Child,
    pub(crate) process: u32,
    settings: Vec<String>,
}

/// Whoever is killed ends its input's other side, and so the server's life.
const SCRIPT: &str = "redis-server \"$@\" >\"$0\" 2>&1 & echo $!; cat >/dev/null; kill -KILL $!; wait";

impl RedisServer {
    /// None where there is no such program.
    pub(crate) async fn start() -> Option<Self> {
        Self::with(&[]).await
    }

    /// The same with more settings, as `redis-server` takes them.
    pub(crate) async fn with(settings: &[&str]) -> Option<Self> {
        Self::by(None, settings).await
    }

    /// The same with a file of settings, which it may write to.
    pub(crate) async fn by(file: Option<&Path>, settings: &[&str]) -> Option<Self> {
        let found = Command::new("redis-server").arg("--version").output().is_ok_and(|ran| ran.status.success());
        if skip(found) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = file.map(|file| file.to_str().unwrap().to_owned());
        let settings: Vec<_> =
            file.into_iter().chain(own(&folder)).chain(settings.iter().map(|setting| (*setting).to_owned())).collect();
        let (shell, process) = spawn(&folder, &settings);
        let server = Self { folder, shell, process, settings };
        server.answers().await;
        Some(server)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// As `codes.store` says it.
    pub(crate) fn url(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// What the configuration would be.
    pub(crate) fn config(&self) -> Redis {
        let place = Place::Unix(self.socket());
        Redis {
            kind: RedisKind::Server,
            servers: vec![Server { host: place.to_string(), place }],
            database: 0,
            username: None,
            password: None,
            tls: None,
            namespace: "resetgate".to_owned(),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            wait_replicas: 0,
        }
    }

    /// Sends a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &self.process.to_string()]).status();
        assert!(sent.unwrap().success(), "SIG{name}");
    }

    /// Ends it, and what it knew with it.
    pub(crate) fn kill(&mut self) {
        drop(self.shell.stdin.take());
        self.shell.wait().unwrap();
        let _ = std::fs::remove_file(self.socket());
    }

    /// Another one in its place.
    pub(crate) async fn again(&mut self) {
        (self.shell, self.process) = spawn(&self.folder, &self.settings);
        self.answers().await;
    }

    /// What it says to a command.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, words: &[impl redis::ToSingleRedisArg]) -> T {
        self.try_ask(words).await.unwrap()
    }

    pub(crate) async fn try_ask<T: redis::FromRedisValue>(
        &self,
        words: &[impl redis::ToSingleRedisArg],
    ) -> redis::RedisResult<T> {
        let client = redis::Client::open(format!("redis+unix://{}", self.socket().display())).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        command.query_async(&mut connection).await
    }

    async fn answers(&self) {
        let answers = async {
            while self.try_ask::<String>(&["PING"]).await.is_err() {
                tokio::task::yield_now().await
            }
        };
        let answered = tokio::time::timeout(Duration::from_secs(20), answers).await;
        let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        assert!(answered.is_ok(), "{}", log());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What each has.
fn own(folder: &TempDir) -> Vec<String> {
    let folder = folder.path().display();
    ["--port", "0", "--unixsocket", &format!("{folder}/redis.sock"), "--save", "", "--appendonly", "no"]
        .into_iter()
        .chain(["--dir", &folder.to_string()])
        .map(str::to_owned)
        .collect()
}

fn spawn(folder: &TempDir, settings: &[String]) -> (Child, u32) {
    let folder = folder.path();
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT]).arg(folder.join("log")).args(settings);
    let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
    shell.stdin.as_mut().unwrap().flush().unwrap();
    (shell, line.trim().parse().unwrap())
}

/// Whether to go on without it. On a server it must be there.
fn skip(found: bool) -> bool {
    if !found {
        assert!(std::env::var_os("CI").is_none(), "redis-server is missing; run .ci/setup");
        eprintln!("\n==== SKIPPED, NOT TESTED: redis-server is missing; run .ci/setup ====\n");
    }
    !found
}
