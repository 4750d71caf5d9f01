//! What `[edge]` keeps from the upstream, and what it must not.

use std::{io, sync::Arc};

use parking_lot::Mutex;
use resetgate::serve::Ended;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{
    raw::{Raw, request},
    upstream::Upstream,
    world::{Answer, PATH, Plan, World},
};

struct Edge {
    world: World,
    upstream: Upstream,
}

impl Edge {
    async fn with(edge: &'static str, listen: &'static str) -> Self {
        let upstream = Upstream::start().await;
        let url = Some(format!("url = \"http://{}\"", upstream.address));
        Self { world: World::with(Plan { upstream: url, edge, listen, ..Plan::default() }).await, upstream }
    }

    async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        Raw::exchange(self.world.gate, request("GET", target, headers, None)).await.expect("an answer")
    }
}

const TRUST: [&str; 6] = [
    "X-OpenIDM-RunAs",
    "X-Special-Trusted-User",
    "X-Client-Cert",
    "X-SSL-Client-Verify",
    "X-Forwarded-Client-Cert",
    "Remote-User",
];

#[tokio::test]
async fn only_a_trusted_peer_says_who_somebody_is() {
    let twins = [TRUST.map(|name| name.replace('-', "_")), TRUST.map(|name| name.replace('-', "."))].concat();
    let all: Vec<_> = TRUST.into_iter().chain(twins.iter().map(String::as_str)).map(|name| (name, "admin")).collect();
    let own = [("X-OpenIDM-Username", "bjensen"), ("X-OpenIDM-Password", "secret"), ("Authorization", "Basic eDp5")];
    let headers = [all.as_slice(), &own].concat();

    let edge = Edge::with("", "").await;
    assert_eq!(edge.get("/openidm/info/login", &headers).await.status, 200);
    let seen = edge.upstream.last();
    for (name, _) in &all {
        assert!(seen.header(name).is_empty(), "{name}");
    }
    for (name, value) in own {
        assert_eq!(seen.header(name), [value]);
    }

    let edge = Edge::with("", "trusted_proxies = [\"127.0.0.1\"]").await;
    edge.get("/openidm/info/login", &headers).await;
    let seen = edge.upstream.last();
    for name in TRUST {
        assert_eq!(seen.header(name), ["admin"]);
    }
    for name in &twins {
        assert!(seen.header(name).is_empty(), "{name}");
    }

    let edge = Edge::with("trust_headers = [\"X-Own\"]", "").await;
    edge.get("/openidm/info/login", &[("X-Own", "a"), ("X_Own", "b"), ("Remote-User", "c")]).await;
    let seen = edge.upstream.last();
    assert!(seen.header("x-own").is_empty() && seen.header("x_own").is_empty());
    assert_eq!(seen.header("remote-user"), ["c"]);
}

#[tokio::test]
async fn a_method_in_disguise_is_passed_or_refused_and_never_dropped() {
    let lines = [
        ("X-HTTP-Method-Override", "PATCH"),
        ("X-HTTP-Method", "PATCH"),
        ("X_Method_Override", "PATCH"),
        ("X.HTTP-Method_Override", "PATCH"),
        ("X-Method-Override", ""),
    ];
    let edge = Edge::with("", "").await;
    edge.get("/openidm/managed/user/1", &lines).await;
    for (name, value) in lines {
        assert_eq!(edge.upstream.last().header(name), [value]);
    }

    let edge = Edge::with("method_override = \"refuse\"", "").await;
    let mut client = Raw::to(edge.world.gate).await;
    for line in lines {
        client.send(request("POST", "/openidm/managed/user/1", &[line], Some("[{\"operation\":\"replace\"}]"))).await;
        let answer = client.answer().await.expect("an answer");
        assert_eq!(answer.status, 403);
        let told = json!({"code": 403, "reason": "Forbidden", "message": "Method override is not allowed"});
        assert_eq!(answer.json(), told);
    }
    assert_eq!(edge.upstream.count(), 0);
    assert_eq!(edge.world.metric("denied_requests_total{why=\"method_override\"}").await, lines.len().to_string());
    client.send(request("POST", "/openidm/managed/user/1", &[("X-Requested-With", "x")], Some("{}"))).await;
    assert_eq!(client.answer().await.expect("an answer on the same connection").status, 200);
    let answer = Raw::exchange(edge.world.gate, request("GET", PATH, &lines, None)).await.expect("an answer");
    assert_eq!(answer.status, 200, "the reset path knows no such header");
}

#[tokio::test]
async fn the_mighty_do_not_sign_in_from_outside() {
    let edge = Edge::with("deny_users = [\"openidm-admin\"]", "").await;
    for line in [
        ("X-OpenIDM-Username", "openidm-admin"),
        ("x-openidm-username", "OPENIDM-Admin"),
        ("X_OpenIDM_Username", "openidm-admin"),
        ("X-OpenIDM-Username", "UTF-8''%6fpenidm-admin"),
        ("X-OpenIDM-Username", "utf-8'en'%6Fpenidm%2Dadmin"),
        ("X-OpenIDM-Username", "ISO-8859-1''openidm-admin"),
        ("X-OpenIDM-Username", "=?UTF-8?B?b3BlbmlkbS1hZG1pbg==?="),
        ("X.OpenIDM.Username", "openidm-admin"),
        ("Authorization", "Basic VVRGLTgnJyU2ZnBlbmlkbS1hZG1pbjpzZWNyZXQ="),
        ("Authorization", "Basic b3BlbmlkbS1hZG1pbjpzZWNyZXQ="),
        ("Authorization", "basic T3BlbklETS1BZG1pbjpzZWNyZXQ"),
    ] {
        let headers = [("X-OpenIDM-Username", "bjensen"), ("X-OpenIDM-Password", "secret"), line];
        let answer = edge.get("/openidm/info/login", &headers).await;
        let told = json!({"code": 403, "reason": "Forbidden", "message": "Access denied"});
        assert_eq!((answer.status, answer.json()), (403, told), "{line:?}");
    }
    assert_eq!(edge.upstream.count(), 0);
    assert_eq!(edge.world.metric("denied_requests_total{why=\"user\"}").await, "11");
    for line in [
        ("X-OpenIDM-Username", "bjensen"),
        ("X-OpenIDM-Username", "UTF-8''b%20jensen"),
        ("X-OpenIDM-Username", "o'neil"),
        ("Authorization", "Basic YmplbnNlbjpvcGVuaWRtLWFkbWlu"),
        ("Authorization", "Bearer openidm-admin"),
        ("X-OpenIDM-Password", "openidm-admin"),
    ] {
        assert_eq!(edge.get("/openidm/info/login", &[line]).await.status, 200, "{line:?}");
        assert_eq!(edge.upstream.last().header(line.0), [line.1]);
    }
}

#[tokio::test]
async fn what_is_denied_is_denied_in_every_spelling() {
    let deny = r#"deny = ["/openidm/config/**", "/admin/**", "/openidm/selfservice/username"]"#;
    let edge = Edge::with(deny, "").await;
    let told = json!({"code": 403, "reason": "Forbidden", "message": "Access denied"});
    let denied = [
        "/openidm/config",
        "/openidm/config/",
        "/openidm/config/audit?_fields=x",
        "/openidm/con%66ig/audit",
        "/openidm%2fconfig/audit",
        "//openidm/./Config/audit",
        "/openidm/info/../config/audit",
        "/openidm/config;a=b/audit",
        "/admin",
        "/admin/index.html",
        "/openidm/..;/admin/",
        "/openidm/selfservice/username",
        "/openidm/selfservice/username/",
        "/openidm/selfservice/username?_action=submitRequirements",
        "/openidm/selfservice/%75sername",
        "/openidm/selfservice/username;x",
        "/openidm/selfservice/username/x/..",
    ];
    for target in denied {
        let answer = edge.get(target, &[]).await;
        assert_eq!((answer.status, answer.json()), (403, told.clone()), "{target}");
    }
    assert_eq!(edge.upstream.count(), 0);
    assert_eq!(edge.world.metric("denied_requests_total{why=\"path\"}").await, denied.len().to_string());
    for target in [
        "/openidm/configs",
        "/openidm/info/config",
        "/x/admin",
        "/administration",
        "/openidm/selfservice/username/x",
        "/openidm/selfservice/usernames",
        "/openidm/selfservice",
        "/openidm/managed/user?x=/admin",
    ] {
        assert_eq!(edge.get(target, &[]).await.status, 200, "{target}");
        assert_eq!(edge.upstream.last().target(), target);
    }
    assert_eq!(edge.get(PATH, &[]).await.status, 200);
}

/// What is logged, a JSON object a line.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The lines that are about a process of the upstream's: the process, the rest of the fields.
    fn processes(&self, level: &str) -> Vec<(String, Value)> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of = |line: Value| Some((line["fields"]["process"].as_str()?.to_owned(), line["fields"].clone()));
        let mut found: Vec<_> = lines.filter(|line| line["level"] == level).filter_map(of).collect();
        found.sort_by_key(|(process, _)| process.clone());
        found
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Answers as a process does to what `open` names, as a page for lost visitors does to `/other`, and else with a no.
async fn with_processes_of_its_own(open: Arc<Mutex<Vec<&'static str>>>) -> Upstream {
    Upstream::answering(move |seen| {
        let signed_in = !seen.header("x-openidm-username").is_empty();
        let answers = |open: &&str| match open.strip_prefix("anonymous ") {
            Some(path) => signed_in && seen.target() == path,
            None => seen.target() == *open,
        };
        let (status, kind) = match open.lock().iter().any(answers) {
            true => (200, "application/json;charset=utf-8"),
            false if seen.target().ends_with("username") => (200, "text/html"),
            false => (401, "application/json"),
        };
        format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}")
            .into_bytes()
    })
    .await
}

#[tokio::test]
async fn the_upstreams_own_processes_are_watched() {
    const OWN: [&str; 3] = ["reset", "username", "registration"];
    let open = Arc::new(Mutex::new(vec!["/openidm/selfservice/reset", "anonymous /openidm/selfservice/registration"]));
    let upstream = with_processes_of_its_own(Arc::clone(&open)).await;
    let url = Some(format!("url = \"http://{}\"", upstream.address));
    // Everything in this test runs on its thread.
    let log = Log::default();
    let writer = log.clone();
    let _captured =
        tracing::subscriber::set_default(tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish());
    let edge = "watch_upstream = \"10ms\"\ndeny = [\"/openidm/selfservice/username\"]";
    let mut world = World::with(Plan { upstream: url, edge, ..Plan::default() }).await;
    let gauges = async |world: &World| {
        let mut told = Vec::new();
        for name in OWN {
            told.push(world.metric(&format!("upstream_process_open{{process=\"{name}\"}}")).await);
        }
        told.join(" ")
    };
    world.until(async || gauges(&world).await == "1 0 1").await;
    *open.lock() = vec!["anonymous /openidm/selfservice/username"];
    world.until(async || gauges(&world).await == "0 1 0").await;
    *open.lock() = vec!["/openidm/selfservice/reset"];
    world.until(async || gauges(&world).await == "1 0 0").await;
    for seen in upstream.seen() {
        assert!(OWN.contains(&seen.target().trim_start_matches("/openidm/selfservice/")), "{}", seen.line());
        assert_eq!((seen.method().as_str(), seen.header("host")), ("GET", vec![upstream.address.to_string()]));
        assert_eq!(seen.header("x-openidm-nosession"), ["true"]);
        assert_eq!(seen.header("user-agent"), [concat!("resetgate/", env!("CARGO_PKG_VERSION"))]);
        let user = seen.header("x-openidm-username");
        assert_eq!(user, seen.header("x-openidm-password"));
        assert!(user.is_empty() || user == ["anonymous"], "{user:?}");
        assert!(seen.header("authorization").is_empty() && seen.header("cookie").is_empty());
    }
    // What is no longer known is said to be so, and is no news.
    drop(upstream);
    world.until(async || gauges(&world).await == "-1 -1 -1").await;

    let names = |level| log.processes(level).into_iter().map(|(process, _)| process).collect::<Vec<_>>().join(" ");
    assert_eq!(names("WARN"), "registration reset reset username", "once each time that one begins");
    assert_eq!(names("INFO"), "registration reset username");
    for (process, fields) in log.processes("WARN") {
        // The one that is not denied, and that clients reach.
        let deny = if process == "registration" { json!("/openidm/selfservice/registration/**") } else { Value::Null };
        assert_eq!(fields["deny"], deny, "{process}");
    }
    assert_eq!(world.drain().await, Ended::Drained);
}

#[tokio::test]
async fn a_silent_upstream_holds_up_neither_start_nor_drain() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Some(format!("url = \"http://{}\"", silent.local_addr().unwrap()));
    let mut world = World::with(Plan { upstream: url, edge: "watch_upstream = \"24h\"", ..Plan::default() }).await;
    assert_eq!(world.get(PATH).await.status, 200);
    let asked = silent.accept().await.expect("a question");
    assert_eq!(world.metric("upstream_process_open{process=\"reset\"}").await, "-1");
    assert_eq!(world.drain().await, Ended::Drained);
    drop(asked);
}

#[tokio::test]
async fn a_trusted_peer_is_believed_in_one_header_only() {
    let headers = [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.2"), ("X_Forwarded_For", "192.0.2.3")];
    for (header, kept, dropped, chain) in [
        ("X-Forwarded-For", "x-forwarded-for", "forwarded", "192.0.2.1, 127.0.0.1"),
        ("Forwarded", "forwarded", "x-forwarded-for", "for=192.0.2.2, for=127.0.0.1"),
    ] {
        let listen = format!("trusted_proxies = [\"127.0.0.1\"]\nclient_header = \"{header}\"");
        let edge = Edge::with("", listen.leak()).await;
        edge.get("/openidm/info/login", &headers).await;
        let seen = edge.upstream.last();
        assert_eq!(seen.header(kept), [chain]);
        assert!(seen.header(dropped).is_empty() && seen.header("x_forwarded_for").is_empty(), "{:?}", seen.names());
    }
}
