//! What a running `resetgate` needs: its files, and the servers around it.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use resetgate::{
    demo::{
        mailbox::{Mail, Mailbox},
        store::Store,
    },
    keys::install_crypto,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{answer::Answer, program::Program, soon, wire::Wire};

pub(crate) const PATH: &str = "/openidm/selfservice/reset";
pub(crate) const SERVICE_PASSWORD: &str = "canary-service-password";
/// An address that nobody listens on: a port of the system's own, which only root may take.
pub(crate) const NOBODY: &str = "127.0.0.1:1";

/// A configuration's files in a folder of their own, which goes with the last who has it.
#[derive(Clone)]
pub(crate) struct Files {
    folder: Arc<TempDir>,
}

/// What differs from one configuration to the next.
pub(crate) struct Plan {
    pub(crate) listen: String,
    pub(crate) upstream: String,
    /// Lines of `[upstream]` after its URL.
    pub(crate) upstream_lines: String,
    pub(crate) identity: String,
    /// Lines of `[reset]`.
    pub(crate) reset: String,
    /// Lines of `[mail]`.
    pub(crate) mail: String,
    /// Lines to end with.
    pub(crate) more: String,
}

impl Plan {
    /// Everything that is outside is down.
    pub(crate) fn alone() -> Self {
        Self {
            listen: "127.0.0.1:0".into(),
            upstream: format!("http://{NOBODY}"),
            upstream_lines: String::new(),
            identity: format!("http://{NOBODY}/openidm"),
            reset: "answer_floor = \"20ms\"".into(),
            mail: format!("transport = \"smtp://{NOBODY}\""),
            more: String::new(),
        }
    }
}

impl Files {
    pub(crate) fn of(plan: &Plan) -> Self {
        let files = Self { folder: Arc::new(tempfile::tempdir().unwrap()) };
        let Plan { listen, upstream, upstream_lines, identity, reset, mail, more } = plan;
        // Else what a wire holds could be a question of the gate's own.
        let quiet = if more.contains("[edge]") { "" } else { "[edge]\nwatch_upstream = \"0s\"" };
        files.write("selfservice-reset.json", include_str!("../../../conf/selfservice-reset.json"));
        files.write("service-password", SERVICE_PASSWORD);
        files.write(
            "resetgate.toml",
            &format!(
                r#"
[listen]
addresses = ["{listen}"]
[admin]
address = "127.0.0.1:0"
[upstream]
url = "{upstream}"
{upstream_lines}
[identity]
kind = "crest"
url = "{identity}"
auth = {{ kind = "openidm", username = "resetgate", password = "file:service-password" }}
[reset]
process = "selfservice-reset.json"
{reset}
[token]
ephemeral = true
[drain]
linger = "0s"
[mail]
{mail}
{quiet}
{more}
"#
            ),
        );
        files
    }

    /// The same with a token key in a file, which another run may have as well. Made of one letter.
    pub(crate) fn with_keys(self, letters: &str) -> Self {
        let keys: Vec<_> = letters
            .chars()
            .map(|letter| {
                let name = format!("key-{letter}");
                self.write(&name, &format!("{}A", letter.to_string().repeat(42)));
                format!("\"file:{name}\"")
            })
            .collect();
        let text = fs::read_to_string(self.config()).unwrap();
        let is_token = |line: &str| line.starts_with("ephemeral = ") || line.starts_with("keys = ");
        let lines = text
            .lines()
            .map(|line| if is_token(line) { format!("keys = [{}]\n", keys.join(", ")) } else { format!("{line}\n") });
        self.write("resetgate.toml", &lines.collect::<String>());
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) fn config(&self) -> String {
        self.path().join("resetgate.toml").to_str().unwrap().to_owned()
    }
}

/// A running `resetgate run`, and where it listens.
pub(crate) struct Gate {
    pub(crate) program: Program,
    /// The first of them.
    pub(crate) address: SocketAddr,
    /// As the configuration has them, with their ports.
    pub(crate) addresses: Vec<String>,
    pub(crate) admin: SocketAddr,
    http: reqwest::Client,
    pub(crate) files: Files,
}

impl Gate {
    pub(crate) async fn run(files: Files, environment: &[(&str, &str)]) -> Self {
        let program = Program::with(&["run", "--config", &files.config()], environment);
        Self::ready(program, files).await
    }

    /// The next process, in this one's place.
    pub(crate) async fn upgrade(&self) -> Self {
        let files = self.files.clone();
        Self::ready(Program::resetgate(&["run", "--upgrade", "--config", &files.config()]), files).await
    }

    pub(crate) async fn ready(mut program: Program, files: Files) -> Self {
        let ready = program.stderr.find("\"ready\"").await;
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let text = |name: &str| ready["fields"][name].as_str().unwrap();
        let addresses: Vec<_> = text("addresses").split(", ").map(str::to_owned).collect();
        let address = addresses[0].trim_start_matches(|kind: char| !kind.is_ascii_digit()).parse().unwrap();
        Self { address, addresses, admin: text("admin").parse().unwrap(), program, http: client(), files }
    }

    /// Where it listens for that, such as `h2c`.
    pub(crate) fn door(&self, kind: &str) -> SocketAddr {
        let own = self.addresses.iter().find_map(|address| address.strip_prefix(kind)?.strip_prefix(':'));
        own.unwrap_or_else(|| panic!("{kind} in {:?}", self.addresses)).parse().unwrap()
    }

    /// Ends it as `SIGKILL` does; its files are left for another run.
    pub(crate) fn killed(self) -> Files {
        let Self { mut program, files, .. } = self;
        program.kill();
        files
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        answer(self.http.get(format!("http://{}{target}", self.address))).await
    }

    pub(crate) async fn ask_admin(&self, path: &str) -> Answer {
        answer(self.http.get(format!("http://{}{path}", self.admin))).await
    }

    /// `submitRequirements`
    pub(crate) async fn post(&self, body: &Value) -> Answer {
        let url = format!("http://{}{PATH}?_action=submitRequirements", self.address);
        answer(self.http.post(url).header("content-type", "application/json").body(body.to_string())).await
    }

    /// A fresh token at the user query.
    pub(crate) async fn begin(&self) -> String {
        self.post(&json!({"input": {}})).await.token()
    }

    pub(crate) async fn query(&self, user: &str) -> Answer {
        let filter = format!("userName eq \"{user}\"");
        self.post(&json!({"token": self.begin().await, "input": {"queryFilter": filter}})).await
    }

    pub(crate) async fn show(&self, (token, code): &(String, String)) -> Answer {
        self.post(&json!({"input": {"code": code}, "token": token})).await
    }

    pub(crate) async fn set(&self, token: &str, password: &str) -> Answer {
        self.post(&json!({"input": {"password": password}, "token": token})).await
    }

    /// A series of `/metrics`, by all that stands before its value.
    pub(crate) async fn metric(&self, series: &str) -> u64 {
        let metrics = self.ask_admin("/metrics").await.body;
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} in {metrics}")).parse().unwrap()
    }

    /// Waits until a series is at least that.
    pub(crate) async fn counts(&self, series: &str, least: u64) {
        soon(series, async { while self.metric(series).await < least {} }).await;
    }
}

pub(crate) fn client() -> reqwest::Client {
    install_crypto();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = soon("an answer", request.send()).await.unwrap();
    soon("a body", Answer::of(response)).await
}

/// An identity store, which is the upstream as well, and a mailbox, each behind a wire.
pub(crate) struct Around {
    pub(crate) store: Store,
    pub(crate) mailbox: Mailbox,
    pub(crate) upstream: Wire,
    pub(crate) identity: Wire,
    pub(crate) smtp: Wire,
}

impl Around {
    pub(crate) async fn start() -> Self {
        let listener = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let store = Store::start(listener().await, SERVICE_PASSWORD);
        let mailbox = Mailbox::start(listener().await, listener().await);
        let (upstream, identity) = (Wire::to(store.address()).await, Wire::to(store.address()).await);
        let smtp = Wire::to(mailbox.smtp_address()).await;
        Self { store, mailbox, upstream, identity, smtp }
    }

    pub(crate) fn plan(&self) -> Plan {
        Plan {
            upstream: format!("http://{}", self.upstream.address),
            identity: format!("http://{}/openidm", self.identity.address),
            mail: format!("transport = \"smtp://{}\"", self.smtp.address),
            ..Plan::alone()
        }
    }

    /// The `nth` mail with a link; the first is 1.
    pub(crate) async fn mail(&self, nth: usize) -> Mail {
        let mail = async {
            loop {
                if let Some(mail) = self.linked().get(nth - 1) {
                    return mail.clone();
                }
                tokio::task::yield_now().await;
            }
        };
        soon("a mail", mail).await
    }

    /// All mails but those that say that a password was set.
    pub(crate) fn linked(&self) -> Vec<Mail> {
        self.mailbox.mails().into_iter().filter(|mail| !mail.links.is_empty()).collect()
    }
}

/// Token and code of a mailed link.
pub(crate) fn link(link: &str) -> (String, String) {
    let (_, rest) = link.split_once("&token=").unwrap_or_else(|| panic!("a token in {link}"));
    let (token, code) = rest.split_once("&code=").unwrap();
    (token.to_owned(), code.to_owned())
}
