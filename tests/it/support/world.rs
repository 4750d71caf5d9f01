//! A whole deployment in one test: an identity store that behaves as IDM, a mailbox that receives over SMTP, and the
//! gate between them, configured by files as an operator would.

use std::{net::SocketAddr, path::Path, sync::Arc};

use resetgate::{
    app::{App, Reloader},
    config::{self, Address},
    demo::{
        mailbox::{Mail, Mailbox},
        store::Store,
    },
    keys::install_crypto,
    serve::Ended,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

pub(crate) use super::answer::Answer;
use super::{clock::ManualClock, link::Link};

pub(crate) const PATH: &str = "/openidm/selfservice/reset";
const PASSWORD: &str = "service-password";
/// For worlds that open each other's tokens: `Plan { token: KEPT_KEY, .. }`.
pub(crate) const KEPT_KEY: &str = "keys = [\"file:key\"]";

/// What to change of the usual set-up: lines for the TOML's sections.
pub(crate) struct Plan {
    pub(crate) reset: &'static str,
    pub(crate) listen: &'static str,
    /// Addresses beside the usual two, such as `"tls:127.0.0.1:0"`.
    pub(crate) addresses: &'static [&'static str],
    /// Files beside the configuration's.
    pub(crate) files: Vec<(&'static str, String)>,
    pub(crate) limits: &'static str,
    pub(crate) token: &'static str,
    pub(crate) codes: &'static str,
    pub(crate) mail: &'static str,
    /// In the place of the mailbox and the usual sender, where it says something.
    pub(crate) transport: &'static str,
    /// `[after]` and what is below it.
    pub(crate) after: String,
    /// From `[audit]` on.
    pub(crate) audit: &'static str,
    pub(crate) edge: &'static str,
    pub(crate) store: &'static str,
    /// As whom the store is asked.
    pub(crate) auth: String,
    /// The gate's, where it is not the system's.
    pub(crate) clock: Option<Arc<ManualClock>>,
    /// Where passed requests go, if not to the store.
    pub(crate) upstream: Option<String>,
    /// Where accounts are, if not in the store.
    pub(crate) identity: Option<SocketAddr>,
    /// Who takes mails, if not the mailbox.
    pub(crate) relay: Option<SocketAddr>,
    /// `[tracing]`
    pub(crate) tracing: String,
    /// `[policy]`
    pub(crate) policy: String,
    pub(crate) process: fn(&mut Value),
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            // Short, so that no story waits long for an answer.
            reset: "answer_floor = \"20ms\"",
            listen: "",
            addresses: &[],
            files: Vec::new(),
            limits: "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_total = \"0\"",
            token: "ephemeral = true",
            codes: "",
            mail: "",
            transport: "",
            after: String::new(),
            audit: "[audit]\nto = \"off\"",
            edge: "",
            store: "",
            auth: r#"kind = "openidm", username = "resetgate", password = "env:IDENTITY_PASSWORD""#.to_owned(),
            clock: None,
            upstream: None,
            identity: None,
            relay: None,
            tracing: String::new(),
            policy: String::new(),
            process: |_| {},
        }
    }
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) mailbox: Mailbox,
    /// The wires from the gate to the store and to the mailbox.
    pub(crate) store_link: Link,
    pub(crate) smtp_link: Link,
    pub(crate) gate: SocketAddr,
    /// Where it speaks HTTP/2 as well.
    pub(crate) http2: SocketAddr,
    /// Where [`Plan::addresses`] are.
    pub(crate) more: Vec<SocketAddr>,
    pub(crate) admin: SocketAddr,
    pub(crate) http: reqwest::Client,
    stop: watch::Sender<u8>,
    running: JoinHandle<Ended>,
    reloader: Arc<Reloader>,
    folder: TempDir,
}

impl World {
    pub(crate) async fn usual() -> Self {
        Self::with(Plan::default()).await
    }

    pub(crate) async fn with(plan: Plan) -> Self {
        install_crypto();
        let listener = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let store = Store::start(listener().await, PASSWORD);
        let mailbox = Mailbox::start(listener().await, listener().await);
        let store_link = Link::to(store.address()).await;
        let smtp_link = Link::to(mailbox.smtp_address()).await;
        let folder = tempfile::tempdir().unwrap();
        let file = write(
            folder.path(),
            &plan,
            store.address(),
            plan.identity.unwrap_or(store_link.address),
            plan.relay.unwrap_or(smtp_link.address),
        );
        let config = load(&file)
            .unwrap_or_else(|faults| panic!("{}", faults.iter().map(|fault| format!("{fault}\n")).collect::<String>()));
        let app = match plan.clock {
            Some(clock) => App::start_by(config, clock).await.unwrap(),
            None => App::start(config).await.unwrap(),
        };
        let addresses: Vec<_> = app.addresses().iter().filter_map(Address::tcp).collect();
        let [gate, http2, ref more @ ..] = addresses[..] else { panic!("two TCP addresses") };
        let (more, reloader) = (more.to_vec(), app.reloader());
        let admin = app.admin_address();
        let stop = watch::Sender::new(0_u8);
        let urgency = |level| {
            let mut stop = stop.subscribe();
            async move {
                let _ = stop.wait_for(|urgency| *urgency >= level).await;
            }
        };
        let (drain, cut) = (urgency(1), urgency(2));
        let running = tokio::spawn(async move { app.run(drain, cut).await.unwrap() });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { store, mailbox, store_link, smtp_link, gate, http2, more, admin, http, stop, running, reloader, folder }
    }

    /// A file beside the configuration, or itself.
    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// Puts other texts in the place of files, and has all of it read anew. False if it does not hold.
    pub(crate) async fn change(&self, files: &[(&str, &str)]) -> bool {
        self.reload(files).await.is_some()
    }

    /// The same, and which keys take a restart.
    pub(crate) async fn reload(&self, files: &[(&str, &str)]) -> Option<Vec<&'static str>> {
        for (name, text) in files {
            std::fs::write(self.folder.path().join(name), text).unwrap();
        }
        let config = load(&self.folder.path().join("resetgate.toml")).ok()?;
        self.reloader.reload(config).await.ok()
    }

    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.gate)
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        Answer::of(self.http.get(self.url(target)).send().await.unwrap()).await
    }

    /// `submitRequirements`
    pub(crate) async fn post(&self, body: &Value) -> Answer {
        self.post_as(&[], body.to_string()).await
    }

    /// The same with headers of the caller's, and with a body that need not be JSON.
    pub(crate) async fn post_as(&self, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Answer {
        let mut request = self.http.post(self.url(&format!("{PATH}?_action=submitRequirements")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("content-type", "application/json").body(body);
        Answer::of(request.send().await.unwrap()).await
    }

    /// Posts as somebody who leaves without waiting for an answer: what is returned is the connection, to be dropped.
    pub(crate) async fn post_and_leave(&self, body: &Value) -> TcpStream {
        let body = body.to_string();
        let mut connection = TcpStream::connect(self.gate).await.unwrap();
        let request = format!(
            "POST {PATH}?_action=submitRequirements HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.gate,
            body.len()
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        connection
    }

    /// A fresh token at the user query.
    pub(crate) async fn begin(&self) -> String {
        self.post(&json!({"input": {}})).await.token()
    }

    pub(crate) async fn query(&self, user: &str) -> Answer {
        let token = self.begin().await;
        self.query_with(&token, user).await
    }

    pub(crate) async fn query_with(&self, token: &str, user: &str) -> Answer {
        self.filter_with(token, &format!("userName eq \"{user}\"")).await
    }

    /// A query by any filter.
    pub(crate) async fn filter(&self, filter: &str) -> Answer {
        let token = self.begin().await;
        self.filter_with(&token, filter).await
    }

    pub(crate) async fn filter_with(&self, token: &str, filter: &str) -> Answer {
        self.post(&json!({"token": token, "input": {"queryFilter": filter}})).await
    }

    pub(crate) async fn show(&self, token: &str, code: &str) -> Answer {
        self.post(&json!({"input": {"token": token, "code": code}, "token": token})).await
    }

    pub(crate) async fn set(&self, token: &str, password: &str) -> Answer {
        self.post(&json!({"input": {"password": password}, "token": token})).await
    }

    /// Token and code of the `nth` mail that has a link, when it is there; the first is 1.
    pub(crate) async fn mailed(&self, nth: usize) -> (String, String) {
        link(&self.letter(nth).await)
    }

    /// That mail.
    pub(crate) async fn letter(&self, nth: usize) -> Mail {
        let linked = || self.mailbox.mails().into_iter().filter(|mail| !mail.links.is_empty()).nth(nth - 1);
        self.until(async || linked().is_some()).await;
        linked().unwrap()
    }

    pub(crate) async fn mail(&self, nth: usize) -> Mail {
        self.mailbox.arrived(nth as u64).await;
        self.mailbox.mails()[nth - 1].clone()
    }

    /// From the start to a token that may set the password, by the mailed link; `nth` mails will have come by then.
    pub(crate) async fn proven(&self, user: &str, nth: usize) -> String {
        assert_eq!(self.query(user).await.status, 200);
        let (token, code) = self.mailed(nth).await;
        self.show(&token, &code).await.token()
    }

    pub(crate) async fn metric(&self, name: &str) -> String {
        let metrics = self.http.get(format!("http://{}/metrics", self.admin)).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let line = metrics.lines().find(|line| line.starts_with(&format!("resetgate_{name} ")));
        line.and_then(|line| line.split(' ').nth(1)).unwrap_or_else(|| panic!("{name} in {metrics}")).to_owned()
    }

    /// Waits for what has no event to wait for, such as a count in the metrics.
    pub(crate) async fn until(&self, mut holds: impl AsyncFnMut() -> bool) {
        let wait = async {
            while !holds().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("it comes to hold");
    }

    /// Resolves when the drain has begun: nothing new is let in.
    pub(crate) fn stopping(&self) -> impl Future<Output = ()> + use<> {
        let gate = self.gate;
        async move {
            while TcpStream::connect(gate).await.is_ok() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// As SIGTERM does. The world goes on without its gate.
    pub(crate) async fn drain(&mut self) -> Ended {
        self.stop.send_replace(1);
        (&mut self.running).await.unwrap()
    }
}

/// Token and code of a mail's link.
pub(crate) fn link(mail: &Mail) -> (String, String) {
    let link = mail.links.iter().find(|link| link.contains("&token=")).expect("a link");
    let (_, rest) = link.split_once("&token=").unwrap();
    let (token, code) = rest.split_once("&code=").unwrap();
    (token.to_owned(), code.to_owned())
}

fn load(file: &Path) -> Result<config::Config, Vec<config::Fault>> {
    let environment = |name: &str| (name == "IDENTITY_PASSWORD").then(|| PASSWORD.to_owned());
    config::load(file, &environment).map(|(config, _)| config)
}

fn write(folder: &Path, plan: &Plan, upstream: SocketAddr, store: SocketAddr, smtp: SocketAddr) -> std::path::PathBuf {
    let mut process: Value = serde_json::from_str(include_str!("../../../conf/selfservice-reset.json")).unwrap();
    (plan.process)(&mut process);
    std::fs::write(folder.join("selfservice-reset.json"), process.to_string()).unwrap();
    std::fs::write(folder.join("key"), format!("{}A", "a".repeat(42))).unwrap();
    for (name, text) in &plan.files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let addresses = [&["127.0.0.1:0", "h2c:127.0.0.1:0"], plan.addresses].concat();
    let toml = format!(
        r#"
[listen]
addresses = {addresses:?}
{listen}
[admin]
address = "127.0.0.1:0"
[upstream]
{upstream}
[edge]
{edge}
{watch}
[identity]
kind = "crest"
url = "http://{store}/openidm"
auth = {{ {auth} }}
{store_lines}
[reset]
process = "selfservice-reset.json"
{reset}
[token]
{token}
[codes]
{codes}
[limits]
{limits}
[tracing]
{tracing}
[policy]
{policy}
[drain]
linger = "0s"
[mail]
{transport}
{mail}
{after}
{audit}
"#,
        upstream = plan.upstream.clone().unwrap_or_else(|| format!("url = \"http://{upstream}\"")),
        listen = plan.listen,
        edge = plan.edge,
        store_lines = plan.store,
        auth = plan.auth,
        // Else whatever looks at all that comes to the upstream would see the questions.
        watch = if plan.edge.contains("watch_upstream") { "" } else { "watch_upstream = \"0s\"" },
        reset = plan.reset,
        token = plan.token,
        codes = plan.codes,
        limits = plan.limits,
        transport = match plan.transport {
            "" => format!("transport = \"smtp://{smtp}\"\nfrom = \"info@example.com\""),
            other => other.to_owned(),
        },
        mail = plan.mail,
        tracing = plan.tracing,
        policy = plan.policy,
        after = plan.after,
        audit = plan.audit,
    );
    let file = folder.join("resetgate.toml");
    std::fs::write(&file, toml).unwrap();
    file
}
