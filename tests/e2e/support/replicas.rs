//! Three gates with their codes on one server, behind HAProxy, which sends each request to the next one.

use std::{net::SocketAddr, path::Path, process::Command, sync::Arc};

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{
    answer::Answer,
    program::Program,
    redis::RedisServer,
    reserved::Reserved,
    setup::{Around, Files, Gate, PATH, Plan, client},
    skip, soon,
};

pub(crate) const LIMITS: &str = "[limits]\nclient = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\n\
                                 mail_per_account = \"0\"\nmail_total = \"0\"\n";
const HAPROXY: &str = "/usr/sbin/haproxy";

pub(crate) struct Replicas {
    pub(crate) around: Arc<Around>,
    pub(crate) server: RedisServer,
    pub(crate) gates: Vec<Gate>,
    pub(crate) front: SocketAddr,
    http: reqwest::Client,
    _haproxy: Program,
    _folder: tempfile::TempDir,
    _reserved: Reserved,
}

/// How they differ from the usual.
pub(crate) struct Set {
    /// Lines of `[codes]`.
    pub(crate) codes: &'static str,
    /// All sections after it.
    pub(crate) more: String,
    pub(crate) reset: &'static str,
    pub(crate) linger: &'static str,
}

impl Default for Set {
    fn default() -> Self {
        Self { codes: "", more: LIMITS.to_owned(), reset: "answer_floor = \"20ms\"\nmail_gap = \"0s\"", linger: "0s" }
    }
}

impl Set {
    /// Of the `nth`, which listens at a socket as well.
    pub(crate) fn files(&self, around: &Around, server: &RedisServer, socket: &Path) -> Files {
        let Self { codes, more, reset, linger } = self;
        let plan = Plan {
            listen: format!("127.0.0.1:0\", \"unix:{}", socket.display()),
            reset: (*reset).into(),
            more: format!("[codes]\nstore = \"{}\"\n{codes}\n{more}", server.url()),
            ..around.plan()
        };
        let files = Files::of(&plan).with_keys("a");
        let text = std::fs::read_to_string(files.config()).unwrap();
        files.write("resetgate.toml", &text.replace("linger = \"0s\"", &format!("linger = \"{linger}\"")));
        files
    }
}

impl Replicas {
    /// None where a program is missing.
    pub(crate) async fn start(set: &Set) -> Option<Self> {
        if skip("haproxy", Path::new(HAPROXY).exists()) {
            return None;
        }
        let server = RedisServer::start().await?;
        let around = Arc::new(Around::start().await);
        let folder = tempfile::tempdir().unwrap();
        let (mut gates, mut text) = (Vec::new(), CONFIG.to_owned());
        let reserved = Reserved::new();
        let front = reserved.address;
        text += &format!(
            "frontend front\n bind {front}\n default_backend gates\nbackend gates\n balance roundrobin\n http-response set-header X-Replica %s\n"
        );
        for name in ["a", "b", "c"] {
            let socket = folder.path().join(format!("{name}.sock"));
            gates.push(Gate::run(set.files(&around, &server, &socket), &[]).await);
            text += &format!(" server {name} unix@{}\n", socket.display());
        }
        let config = folder.path().join("haproxy.cfg");
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(HAPROXY);
        command.args(["-db", "-f"]).arg(config);
        let haproxy = Program::spawn(command);
        soon("haproxy", async { while TcpStream::connect(front).await.is_err() {} }).await;
        Some(Self {
            around,
            server,
            gates,
            front,
            http: client(),
            _haproxy: haproxy,
            _folder: folder,
            _reserved: reserved,
        })
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        let asked = self.http.get(format!("http://{}{target}", self.front)).send();
        Answer::of(soon("an answer", asked).await.unwrap()).await
    }

    /// `submitRequirements`, to whoever's turn it is.
    pub(crate) async fn post(&self, body: &Value) -> Answer {
        let url = format!("http://{}{PATH}?_action=submitRequirements", self.front);
        let posted = self.http.post(url).header("content-type", "application/json").body(body.to_string()).send();
        Answer::of(soon("an answer", posted).await.unwrap()).await
    }

    pub(crate) async fn begin(&self) -> String {
        self.post(&json!({"input": {}})).await.token()
    }

    pub(crate) async fn query(&self, user: &str) -> Answer {
        self.post(&query(&self.begin().await, user)).await
    }

    pub(crate) async fn show(&self, (token, code): &(String, String)) -> Answer {
        self.post(&json!({"input": {"code": code}, "token": token})).await
    }

    pub(crate) async fn set(&self, token: &str, password: &str) -> Answer {
        self.post(&json!({"input": {"password": password}, "token": token})).await
    }

    /// Token and code of the `nth` mail's link.
    pub(crate) async fn mailed(&self, nth: usize) -> (String, String) {
        super::setup::link(&self.around.mail(nth).await.links[0])
    }

    /// A token that may set the password, by the `nth` mail.
    pub(crate) async fn proven(&self, user: &str, nth: usize) -> String {
        assert_eq!(self.query(user).await.status, 200);
        self.show(&self.mailed(nth).await).await.token()
    }

    /// The same of so many posts at once, each at the next gate.
    pub(crate) async fn at_once(&self, bodies: impl IntoIterator<Item = Value>) -> Vec<Answer> {
        let posts = bodies.into_iter().enumerate().map(|(n, body)| {
            let gate = &self.gates[n % self.gates.len()];
            async move { gate.post(&body).await }
        });
        futures_util::future::join_all(posts).await
    }
}

pub(crate) fn query(token: &str, user: &str) -> Value {
    json!({"token": token, "input": {"queryFilter": format!("userName eq \"{user}\"")}})
}

/// Who it was is told, each request has a connection of its own, and one that is refused goes to another.
const CONFIG: &str = "global
defaults
 mode http
 timeout connect 5s
 timeout client 60s
 timeout server 60s
 option http-server-close
 option redispatch 1
 retries 3
 retry-on conn-failure
";
