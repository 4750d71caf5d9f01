//! As a sidecar: a pod is a network namespace of its own, with the store, the gate by the configuration that is shipped, and
//! HAProxy as the mesh's proxy; clients come from outside, each from an address of its own.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener as Std},
    os::fd::AsFd,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use resetgate::demo::{mailbox::Mailbox, store::Store};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::{
    answer::Answer,
    program::Program,
    setup::{PATH, SERVICE_PASSWORD, link},
    skip, soon,
};

const POD: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// Set where the test runs inside a namespace of its own.
const INSIDE: &str = "RESETGATE_TEST_INSIDE";
/// Whose requests are many.
const LOAD: u8 = 100;

/// Runs that test again, by itself, as the root of namespaces of its own. Nothing of this machine is touched.
fn in_a_world_of_its_own(test: &str) {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net"]);
        command
    };
    let has = |command: &mut Command| command.output().is_ok_and(|ran| ran.status.success());
    if skip("haproxy", Path::new("/usr/sbin/haproxy").exists())
        || skip("iproute2", has(Command::new("ip").arg("-V")))
        || skip("a network namespace of its own", has(unshare().arg("true")))
    {
        return;
    }
    let mut command = unshare();
    command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let ran = command.output().unwrap();
    let told = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
    assert!(ran.status.success() && told.contains("1 passed"), "{told}");
}

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

fn ip(arguments: &str) {
    let ran = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(ran.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// A network namespace: it lasts as long as the program that waits in it.
struct Pod {
    _waits: Program,
    namespace: String,
}

impl Pod {
    fn start() -> Self {
        let mut waiting = Command::new("unshare");
        waiting.args(["--net", "--", "sh", "-c", "echo there; exec sleep 600"]);
        let mut waits = Program::spawn(waiting);
        let namespace = format!("/proc/{}/ns/net", waits.id());
        // Before that it may be in ours yet.
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(waits.stdout.find("there")));
        ip(&format!("link add world type veth peer name eth0 netns {}", waits.id()));
        ip("link set lo up");
        ip("link set world up");
        for host in [3, 4, 5, LOAD] {
            ip(&format!("address add 10.9.0.{host}/24 dev world"));
        }
        let pod = Self { _waits: waits, namespace };
        for line in ["link set lo up", "link set eth0 up", &format!("address add {POD}/24 dev eth0")] {
            let ran = pod.command("ip").args(line.split(' ')).output().unwrap();
            assert!(ran.status.success(), "{ran:?}");
        }
        pod
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace)).arg("--").arg(program);
        command.env_remove("RESETGATE_LOG").env_remove("NOTIFY_SOCKET");
        command
    }

    /// A socket of the pod's.
    fn listen(&self, address: &'static str) -> TcpListener {
        let namespace = File::open(&self.namespace).unwrap();
        let bound = std::thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            Std::bind(address).unwrap()
        });
        let bound = bound.join().unwrap();
        bound.set_nonblocking(true).unwrap();
        TcpListener::from_std(bound).unwrap()
    }
}

/// The shipped configuration, but for where mail and state go, and with budgets that can be used up.
fn configure(folder: &TempDir, more: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let shipped = include_str!("../../conf/sidecar.toml");
    let changed = [
        ("smtp://smtp.mail.svc.cluster.local:25", "smtp://127.0.0.1:2525"),
        ("/var/lib/resetgate/codes", folder.path().join("codes").to_str().unwrap()),
    ]
    .iter()
    .fold(shipped.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "{old}");
        text.replace(old, new)
    });
    put("keys/current", &format!("{}A", "k".repeat(42)));
    put("keys/audit", &format!("{}A", "a".repeat(42)));
    put("keys/identity", SERVICE_PASSWORD);
    put("selfservice-reset.json", include_str!("../../conf/selfservice-reset.json"));
    put("resetgate.toml", &format!("{changed}\n{more}"))
}

/// A pod with all that is in it.
struct Sidecar {
    pod: Pod,
    store: Store,
    mailbox: Mailbox,
    config: String,
    gate: Program,
    _haproxy: Program,
    _folder: TempDir,
}

impl Sidecar {
    async fn start(more: &str) -> Self {
        let pod = Pod::start();
        let store = Store::start(pod.listen("127.0.0.1:8081"), SERVICE_PASSWORD);
        let mailbox = Mailbox::start(pod.listen("127.0.0.1:2525"), pod.listen("127.0.0.1:0"));
        let folder = tempfile::tempdir().unwrap();
        let config = configure(&folder, more);
        let gate = run(&pod, &["run", "--config", &config]).await;
        let mut haproxy = pod.command("/usr/sbin/haproxy");
        haproxy.args(["-db", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/haproxy.cfg")]);
        let haproxy = Program::spawn(haproxy);
        soon("haproxy", async { while tokio::net::TcpStream::connect((POD, 80)).await.is_err() {} }).await;
        Self { pod, store, mailbox, config, gate, _haproxy: haproxy, _folder: folder }
    }
}

async fn run(pod: &Pod, arguments: &[&str]) -> Program {
    let mut command = pod.command(env!("CARGO_BIN_EXE_resetgate"));
    command.args(arguments);
    let mut gate = Program::spawn(command);
    gate.stderr.find("\"ready\"").await;
    gate
}

/// Somebody outside, at an address of their own.
struct Client(reqwest::Client);

impl Client {
    fn at(host: u8) -> Self {
        resetgate::keys::install_crypto();
        let own = Ipv4Addr::new(10, 9, 0, host);
        Self(reqwest::Client::builder().no_proxy().local_address(std::net::IpAddr::from(own)).build().unwrap())
    }

    async fn get(&self, url: &str, says: Option<&str>) -> Answer {
        let mut request = self.0.get(url);
        if let Some(says) = says {
            request = request.header("X-Forwarded-For", says);
        }
        Answer::of(soon(url, request.send()).await.unwrap()).await
    }

    async fn post(&self, body: &Value) -> Answer {
        let url = format!("http://{POD}{PATH}?_action=submitRequirements");
        let request = self.0.post(url).header("content-type", "application/json").body(body.to_string());
        Answer::of(soon("an answer", request.send()).await.unwrap()).await
    }

    async fn start(&self, user: &str) {
        let token = self.post(&json!({"input": {}})).await.token();
        let query = json!({"queryFilter": format!("userName eq \"{user}\"")});
        let answer = self.post(&json!({"token": token, "input": query})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    async fn finish(&self, (token, code): &(String, String), password: &str) {
        let shown = self.post(&json!({"token": token, "input": {"code": code}})).await;
        assert_eq!(shown.status, 200, "{}", shown.body);
        let set = self.post(&json!({"token": shown.token(), "input": {"password": password}})).await;
        assert_eq!(set.json()["status"], json!({"success": true}), "{}", set.body);
    }
}

async fn mailed(mailbox: &Mailbox, nth: usize) -> (String, String) {
    let linked = || mailbox.mails().into_iter().filter(|mail| !mail.links.is_empty()).nth(nth - 1);
    let arrived = async {
        while linked().is_none() {
            tokio::task::yield_now().await;
        }
    };
    soon("a mail", arrived).await;
    let mail = linked().unwrap();
    link(mail.links.iter().find(|found| found.contains("&token=")).unwrap())
}

/// The client's own address is what the limits see, whatever the client says; operators are answered on the pod's address.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_knows_its_clients_from_each_other() {
    if !is_inside() {
        return in_a_world_of_its_own("sidecar::a_sidecar_knows_its_clients_from_each_other");
    }
    let sidecar = Sidecar::start("[limits]\nclient = \"6/1h\"\n").await;
    let (busy, quiet) = (Client::at(3), Client::at(4));
    let reset = format!("http://{POD}{PATH}");
    for _ in 0..6 {
        assert_eq!(busy.get(&reset, None).await.status, 200);
    }
    // To say that one is somebody else, or the proxy, or many, is of no use; nor does it cost the other anything.
    for says in [None, Some("10.9.0.4"), Some("203.0.113.9"), Some("127.0.0.1"), Some("10.9.0.4, 127.0.0.1, ::1")] {
        assert_eq!(busy.get(&reset, says).await.status, 429, "{says:?}");
    }
    // Not even past the mesh's proxy, to the pod's own port, which a policy closes: nobody is trusted there.
    for says in [None, Some("10.9.0.4")] {
        assert_eq!(busy.get(&format!("http://{POD}:8080{PATH}"), says).await.status, 429, "{says:?}");
    }
    quiet.start("bjensen").await;
    let proof = mailed(&sidecar.mailbox, 1).await;
    quiet.finish(&proof, "Passw0rd-new").await;
    assert!(sidecar.store.password_is("bjensen", "Passw0rd-new"));
    // Two to start, two to finish; a mail says nothing of who opens it.
    assert_eq!(quiet.get(&reset, None).await.status, 200);
    assert_eq!(quiet.get(&reset, None).await.status, 200);
    assert_eq!(quiet.get(&reset, None).await.status, 429);
    // Every other path goes on.
    assert_eq!(busy.get(&format!("http://{POD}/openidm/info/ping"), None).await.status, 200);

    let other = Client::at(5);
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(other.get(&format!("http://{POD}:9090{path}"), None).await.status, 200, "{path}");
    }
    let config = other.get(&format!("http://{POD}:9090/config"), None).await;
    assert!(matches!(config.status, 403 | 404), "{} {}", config.status, config.body);
}

/// Requests without a pause until it is told to stop: how many, and what went wrong.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(paths: &[&'static str]) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = paths.iter().map(|path| {
            let (stop, done, client) = (Arc::clone(&stop), Arc::clone(&done), Client::at(LOAD));
            let url = format!("http://{POD}{path}");
            tokio::spawn(async move {
                let mut faults = Vec::new();
                // After a few, enough is known.
                while !stop.load(Ordering::Acquire) && faults.len() < 5 {
                    match soon(&url, client.0.get(&url).send()).await {
                        Ok(answer) if answer.status() == 200 => drop(answer.bytes().await),
                        Ok(answer) => faults.push(format!("{url}: {}", answer.status())),
                        Err(fault) => faults.push(format!("{url}: {fault:?}")),
                    }
                    done.fetch_add(1, Ordering::AcqRel);
                }
                faults
            })
        });
        let tasks = tasks.collect();
        Self { stop, done, tasks }
    }

    /// So many more have been answered.
    async fn goes_on(&self, more: u64) {
        let aim = self.done.load(Ordering::Acquire) + more;
        soon("more answers", async {
            while self.done.load(Ordering::Acquire) < aim {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn end(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Release);
        let mut faults = Vec::new();
        for task in self.tasks {
            faults.extend(task.await.unwrap());
        }
        (self.done.load(Ordering::Acquire), faults)
    }
}

/// Restarted as a container is, and then replaced by an upgrade, while requests come and a link is out: no request fails, and
/// both links lead to a new password.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_request_and_ends_no_link() {
    if !is_inside() {
        return in_a_world_of_its_own("sidecar::a_rolling_restart_fails_no_request_and_ends_no_link");
    }
    let many = format!("[[limits.override]]\nclients = [\"10.9.0.{LOAD}\"]\nclient = \"1000000/1m\"\n");
    let mut sidecar = Sidecar::start(&format!("{many}[upgrade]\nfolder = \"run\"\n")).await;
    let client = Client::at(3);
    client.start("bjensen").await;
    let first = mailed(&sidecar.mailbox, 1).await;
    let load = Load::start(&["/openidm/info/ping", "/openidm/info/ping", PATH, PATH]);
    load.goes_on(200).await;

    sidecar.gate.signal("TERM");
    assert_eq!(sidecar.gate.ended().await, 0);
    sidecar.gate = run(&sidecar.pod, &["run", "--config", &sidecar.config]).await;
    load.goes_on(200).await;
    client.finish(&first, "Passw0rd-first").await;
    assert!(sidecar.store.password_is("bjensen", "Passw0rd-first"));

    client.start("sam").await;
    let second = mailed(&sidecar.mailbox, 2).await;
    let next = run(&sidecar.pod, &["run", "--upgrade", "--config", &sidecar.config]).await;
    assert_eq!(sidecar.gate.ended().await, 0);
    sidecar.gate = next;
    load.goes_on(200).await;
    client.finish(&second, "Passw0rd-second").await;
    assert!(sidecar.store.password_is("sam", "Passw0rd-second"));

    let (requests, faults) = load.end().await;
    assert!(faults.is_empty(), "{} of {requests}: {faults:#?}", faults.len());
    eprintln!("{requests} requests, none failed");
}
