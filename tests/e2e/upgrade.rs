//! A process that takes over from another.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use crate::support::{
    program::Program,
    redis::RedisServer,
    setup::{Around, Files, Gate, PATH, Plan, link},
    soon,
};

const UPGRADE: &str = "[upgrade]\nfolder = \"run\"";

fn files(plan: Plan) -> Files {
    Files::of(&Plan { more: UPGRADE.into(), ..plan }).with_keys("a")
}

/// An answer on a connection that may go on.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    loop {
        let byte = soon("an answer", stream.read_u8()).await.unwrap();
        text.push(byte);
        let Some(head) = text.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let lines = String::from_utf8_lossy(&text[..head]).to_lowercase();
        let length: usize = lines.split_once("content-length: ").unwrap().1.lines().next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        soon("a body", stream.read_exact(&mut body)).await.unwrap();
        text.extend(body);
        return String::from_utf8(text).unwrap();
    }
}

async fn post(stream: &mut TcpStream, body: &Value) -> String {
    let body = body.to_string();
    let request = format!(
        "POST {PATH}?_action=submitRequirements HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    answer(stream).await
}

#[tokio::test]
async fn r12_an_upgrade_keeps_sockets_links_and_tries() {
    let around = Around::start().await;
    let mut former = Gate::run(files(around.plan()), &[]).await;
    let asked = former.query("bjensen").await.token();
    let mailed = link(&around.mail(1).await.links[0]);
    for wrong in ["a", "b", "c", "d", "e"] {
        assert_eq!(former.show(&(asked.clone(), wrong.into())).await.status, 400);
    }
    let mut kept = TcpStream::connect(former.address).await.unwrap();
    assert!(post(&mut kept, &json!({"input": {}})).await.starts_with("HTTP/1.1 200 "));

    let gate = former.upgrade().await;
    assert_eq!((gate.address, gate.admin), (former.address, former.admin));
    // Who is still connected to the former is answered by what the heir knows, and then let go.
    let right = json!({"input": {"code": mailed.1}, "token": asked});
    let told = post(&mut kept, &right).await;
    assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("Invalid code"), "{told}");
    assert!(told.to_lowercase().contains("connection: close"), "{told}");
    assert_eq!(former.program.ended().await, 0);

    let proven = gate.show(&mailed).await;
    assert_eq!(proven.status, 200, "{}", proven.body);
    assert_eq!(gate.set(&proven.token(), "Passw0rd-new").await.status, 200);
    assert_eq!(gate.set(&proven.token(), "Other-passw0rd").await.status, 400);
    assert_eq!(gate.ask_admin("/readyz").await.status, 200);
}

/// Both have them there, and neither keeps the other from it.
#[tokio::test]
async fn an_upgrade_with_codes_on_a_server_goes_on_with_them() {
    let Some(server) = RedisServer::start().await else { return };
    let around = Around::start().await;
    let more = format!("{UPGRADE}\n[codes]\nstore = \"{}\"", server.url());
    let mut former = Gate::run(Files::of(&Plan { more, ..around.plan() }).with_keys("a"), &[]).await;
    let asked = former.query("bjensen").await.token();
    let mailed = link(&around.mail(1).await.links[0]);
    for wrong in ["a", "b", "c", "d", "e"] {
        assert_eq!(former.show(&(asked.clone(), wrong.into())).await.status, 400);
    }
    let gate = former.upgrade().await;
    assert_eq!(former.program.ended().await, 0);
    assert_eq!((gate.address, gate.admin), (former.address, former.admin));
    // The tries of that token are used up, the link's are not.
    let tried = gate.show(&(asked, mailed.1.clone())).await;
    assert_eq!((tried.status, tried.message()), (400, "Invalid code".into()));
    let proven = gate.show(&mailed).await;
    assert_eq!(proven.status, 200, "{}", proven.body);
    assert_eq!(gate.set(&proven.token(), "Passw0rd-new").await.status, 200);
    assert_eq!(gate.set(&proven.token(), "Other-passw0rd").await.status, 400);
    assert_eq!(around.store.patches(), 1);
}

/// Its file is the heir's as well, and goes with the last who listens there.
#[tokio::test]
async fn a_unix_socket_goes_over_and_stays() {
    let around = Around::start().await;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("http.sock");
    let files = files(Plan { listen: format!("unix:{}", socket.display()), ..around.plan() });
    let ask = async || {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        let request = format!("GET {PATH} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
        answer
    };
    let mut running = Program::resetgate(&["run", "--config", &files.config()]);
    running.stderr.find("\"ready\"").await;
    for _ in 0..2 {
        let mut heir = Program::resetgate(&["run", "--upgrade", "--config", &files.config()]);
        heir.stderr.find("\"ready\"").await;
        assert_eq!(running.ended().await, 0);
        assert!(ask().await.starts_with("HTTP/1.1 200 "));
        running = heir;
    }
    running.signal("TERM");
    assert_eq!(running.ended().await, 0);
    assert!(!socket.exists());
}

/// Each may still have clients of its own when the next one takes over.
#[tokio::test]
async fn steps_find_their_way_through_two_upgrades() {
    let around = Around::start().await;
    let files = files(around.plan());
    let text = std::fs::read_to_string(files.config()).unwrap();
    files.write("resetgate.toml", &text.replace("linger = \"0s\"", "linger = \"20s\""));
    let first = Gate::run(files, &[]).await;
    let asked = first.query("bjensen").await.token();
    let (_, code) = link(&around.mail(1).await.links[0]);
    let mut kept = TcpStream::connect(first.address).await.unwrap();
    assert!(post(&mut kept, &json!({"input": {}})).await.starts_with("HTTP/1.1 200 "));
    let second = first.upgrade().await;
    let third = second.upgrade().await;
    let proven = post(&mut kept, &json!({"input": {"code": code}, "token": asked})).await;
    assert!(proven.starts_with("HTTP/1.1 200 ") && proven.contains("resetStage"), "{proven}");
    for mut former in [first, second] {
        former.program.signal("INT");
        former.program.ended().await;
    }
    let left: Vec<_> = std::fs::read_dir(third.files.path().join("run")).unwrap().flatten().collect();
    assert_eq!(left.len(), 2, "the third's own: {left:?}");
}

/// Their requests were to be answered by the former, and are the heir's before they are read.
#[tokio::test]
async fn who_is_slow_to_send_a_step_is_answered_by_the_heir() {
    let around = Around::start().await;
    let mut former = Gate::run(files(around.plan()), &[]).await;
    let asked = former.query("bjensen").await.token();
    let (_, code) = link(&around.mail(1).await.links[0]);
    let step = json!({"input": {"code": code}, "token": asked}).to_string();
    let (half, rest) = step.split_at(20);
    let head =
        format!("POST {PATH}?_action=submitRequirements HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n");
    let mut plain = TcpStream::connect(former.address).await.unwrap();
    let begin = format!("{head}Content-Length: {}\r\n\r\n{half}", step.len());
    plain.write_all(begin.as_bytes()).await.unwrap();
    let mut chunked = TcpStream::connect(former.address).await.unwrap();
    let begin = format!("{head}Transfer-Encoding: chunked\r\n\r\n6\r\n{{\"inpu\r\n");
    chunked.write_all(begin.as_bytes()).await.unwrap();
    former.counts("resetgate_requests_in_flight{route=\"reset\"}", 2).await;

    let _heir = former.upgrade().await;
    plain.write_all(rest.as_bytes()).await.unwrap();
    let proven = answer(&mut plain).await;
    assert!(proven.starts_with("HTTP/1.1 200 ") && proven.contains("resetStage"), "{proven}");
    chunked.write_all(b"8\r\nt\": {} }\r\n0\r\n\r\n").await.unwrap();
    let begun = answer(&mut chunked).await;
    assert!(begun.starts_with("HTTP/1.1 200 ") && begun.contains("userQuery"), "{begun}");
    assert_eq!(former.program.ended().await, 0);
}

#[tokio::test]
async fn a_step_that_runs_is_finished_before_the_heir_goes_on() {
    let around = Around::start().await;
    let mut former = Gate::run(files(around.plan()), &[]).await;
    former.query("bjensen").await;
    let mailed = link(&around.mail(1).await.links[0]);
    let proven = former.show(&mailed).await.token();
    around.identity.hold();
    let (address, body) = (former.address, json!({"input": {"password": "Passw0rd-new"}, "token": proven}));
    let setting = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        post(&mut stream, &body).await
    });
    around.identity.holds().await;
    let files = former.files.clone();
    let heir = tokio::spawn(async move {
        let mut program = Program::resetgate(&["run", "--upgrade", "--config", &files.config()]);
        program.stderr.find("\"ready\"").await;
        program
    });
    former.program.stderr.find("asks to take over").await;
    around.identity.release();
    let set = setting.await.unwrap();
    assert!(set.starts_with("HTTP/1.1 200 ") && set.contains("\"success\":true"), "{set}");
    let mut heir = heir.await.unwrap();
    assert_eq!(former.program.ended().await, 0);
    // The heir knows that the link is used.
    let mut stream = TcpStream::connect(address).await.unwrap();
    let again = post(&mut stream, &json!({"input": {"code": mailed.1}, "token": mailed.0})).await;
    assert!(again.starts_with("HTTP/1.1 400 "), "{again}");
    heir.signal("TERM");
    assert_eq!(heir.ended().await, 0);
}

#[tokio::test]
async fn an_heir_that_cannot_start_leaves_everything_as_it_was() {
    let around = Around::start().await;
    let gate = Gate::run(files(around.plan()), &[]).await;
    gate.query("bjensen").await;
    let mailed = link(&around.mail(1).await.links[0]);
    // It takes the sockets, and then cannot have one more.
    let text = std::fs::read_to_string(gate.files.config()).unwrap();
    let taken = around.store.address();
    gate.files.write("broken.toml", &text.replace("addresses = [", &format!("addresses = [\"{taken}\", ")));
    let broken = gate.files.path().join("broken.toml");
    let mut heir = Program::resetgate(&["run", "--upgrade", "--config", broken.to_str().unwrap()]);
    assert_eq!(heir.ended().await, 1);
    assert!(heir.stderr.seen.concat().contains(&taken.to_string()), "{:?}", heir.stderr.seen);
    assert_eq!(gate.show(&mailed).await.status, 200);
    assert_eq!(gate.upgrade().await.show(&mailed).await.status, 200);
}

/// It dies after it was given everything: the former has held steps back for it, and goes on with them.
#[tokio::test]
async fn an_heir_that_dies_at_the_last_moment_leaves_everything_as_it_was() {
    let around = Around::start().await;
    let mut gate = Gate::run(files(around.plan()), &[]).await;
    gate.query("bjensen").await;
    let mailed = link(&around.mail(1).await.links[0]);
    for said_all in [false, true] {
        die(&mut gate, said_all).await;
    }
    assert_eq!(gate.show(&mailed).await.status, 200);
    let mut stranger = UnixStream::connect(gate.files.path().join("run/upgrade.sock")).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    gate.program.stderr.find("it did not take over").await;
    assert_eq!(gate.upgrade().await.show(&mailed).await.status, 200);
}

/// As an heir that has its sockets, or all that there is to have, and serves nobody yet.
pub(crate) async fn die(gate: &mut Gate, said_all: bool) {
    let mut heir = UnixStream::connect(gate.files.path().join("run/upgrade.sock")).await.unwrap();
    say(&mut heir, b"resetgate upgrade 1").await;
    let all = [&gate.addresses[..], &[format!("admin:{}", gate.admin)]].concat();
    assert_eq!(
        usize::from(heir.read_u8().await.unwrap()),
        all.len(),
        "its sockets: those to listen, one of the admin's"
    );
    let addresses: Vec<String> = serde_json::from_slice(&hear(&mut heir).await).unwrap();
    assert_eq!(addresses, all);
    hear(&mut heir).await;
    assert_eq!(hear(&mut heir).await, b"0 ", "nobody looks after it");
    if said_all {
        say(&mut heir, b"take /nowhere").await;
        assert!(hear(&mut heir).await.starts_with(b"resetgate estate 2\n"));
    }
    drop(heir);
    gate.program.stderr.find("it did not take over").await;
}

async fn say(stream: &mut UnixStream, words: &[u8]) {
    stream.write_u32(words.len() as u32).await.unwrap();
    stream.write_all(words).await.unwrap();
}

async fn hear(stream: &mut UnixStream) -> Vec<u8> {
    let mut words = vec![0; stream.read_u32().await.unwrap() as usize];
    stream.read_exact(&mut words).await.unwrap();
    words
}

#[tokio::test]
async fn who_cannot_take_over_says_why() {
    let around = Around::start().await;
    let lonely = files(around.plan());
    let mut heir = Program::resetgate(&["run", "--upgrade", "--config", &lonely.config()]);
    assert_eq!(heir.ended().await, 1);
    assert!(heir.stderr.seen.concat().contains("no process to take over from"), "{:?}", heir.stderr.seen);

    let without = Files::of(&around.plan());
    let mut heir = Program::resetgate(&["run", "--upgrade", "--config", &without.config()]);
    assert_eq!(heir.ended().await, 1);
    assert!(heir.stderr.seen.concat().contains("upgrade.folder"), "{:?}", heir.stderr.seen);

    // A second one by mistake does not steal the first one's place.
    let gate = Gate::run(lonely, &[]).await;
    let mut second = Program::resetgate(&["run", "--config", &gate.files.config()]);
    assert_eq!(second.ended().await, 1);
    assert!(second.stderr.seen.concat().contains("--upgrade"), "{:?}", second.stderr.seen);
    assert_eq!(gate.get("/elsewhere").await.status, 200);
}
