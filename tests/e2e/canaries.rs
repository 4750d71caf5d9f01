//! Whatever happens, and however much the log is told to say: no secret gets into it, nor into the metrics.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use resetgate::demo::store::User;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    setup::{Around, Files, Gate, NOBODY, PATH, Plan, SERVICE_PASSWORD, link},
    soon,
    upstream::Upstream,
};

const USER: &str = "canary-login";
const ID: &str = "canary-account-id";
const MAIL: &str = "canary.mail@example.com";
const OLD: &str = "Canary-Old-Pass1";
const NEW: &str = "Canary-New-Pass1";
const WEAK: &str = "canaryweak";
const SMTP_PASSWORD: &str = "canary-smtp-password";
/// Of the requests' targets, headers and bodies, and of what others answer.
const OTHERS: [&str; 16] = [
    "canary-path",
    "canary-query",
    "canary-cookie",
    "canary-basic-user",
    "canary-header-user",
    "canary-header-password",
    "canary-nobody",
    "canary-wrong-code",
    "canary-broken-token",
    "canary-broken-password",
    "canary-twin-password",
    "canary-left-password",
    "canary-large",
    "canary-upstream-line",
    "canary-upstream-cookie",
    "canary-relay-words",
];

/// Everything that a filter can be, and what people would try who look for something.
const FILTERS: [&str; 2] = [
    "trace",
    "trace,hyper=trace,hyper_util=trace,pingora_proxy=trace,pingora_core=trace,pingora=trace,lettre=trace,reqwest=trace,\
     rustls=trace,tokio=trace,moka=trace,h2=trace,mio=trace,resetgate=trace,resetgate::proxy[{password}]=trace",
];

/// A request with credentials of all kinds.
fn request(method: &str, target: &str, body: &str) -> String {
    let basic = BASE64_STANDARD.encode("canary-basic-user:canary-header-password");
    format!(
        "{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Cookie: session-jwt=canary-cookie\r\nAuthorization: Basic {basic}\r\nX-OpenIDM-Username: canary-header-user\r\n\
         X-OpenIDM-Password: canary-header-password\r\nReferer: http://a/?code=canary-query\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends the bytes, and all but the last few of them where the client is to leave before its end.
async fn send(gate: &Gate, bytes: &str, leaves: bool) -> String {
    let mut stream = TcpStream::connect(gate.address).await.unwrap();
    let end = if leaves { bytes.len() - 3 } else { bytes.len() };
    stream.write_all(&bytes.as_bytes()[..end]).await.unwrap();
    let mut answer = Vec::new();
    if !leaves {
        // Whoever sends too much is answered, and then cut off.
        let _ = soon("an answer", stream.read_to_end(&mut answer)).await;
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// What a secret may look like in a line, in lower case.
fn guises(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let each = |form: fn(u8) -> String| bytes.iter().map(|byte| form(*byte)).collect::<String>();
    let mut guises = vec![
        secret.to_owned(),
        json!(secret).to_string().trim_matches('"').to_owned(),
        each(|byte| format!("%{byte:02x}")),
        each(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { format!("%{byte:02x}") }),
        each(|byte| format!("\\u{{{byte:x}}}")),
        each(|byte| format!("\\u00{byte:02x}")),
        each(|byte| format!("{byte:02x}")),
        each(|byte| format!("{byte}, ")).trim_end_matches(", ").to_owned(),
    ];
    // In Base64 of something longer, whichever byte of three it begins at.
    for skip in 0..3 {
        let whole = (bytes.len() - skip) / 3 * 3;
        for text in [
            BASE64_STANDARD.encode(&bytes[skip..skip + whole]),
            BASE64_URL_SAFE_NO_PAD.encode(&bytes[skip..skip + whole]),
        ] {
            guises.push(text);
        }
    }
    // Shorter ones would turn up by chance.
    guises.iter().filter(|guise| guise.len() >= 6).map(|guise| guise.to_lowercase()).collect()
}

/// Ends the program, and looks through all that it has ever said.
async fn nothing_told(mut gate: Gate, secrets: &[String]) {
    let mut said = vec![gate.ask_admin("/metrics").await.body];
    gate.program.signal("TERM");
    gate.program.signal("TERM");
    assert_eq!(gate.program.ended().await, 0);
    // The audit trail, and nothing else.
    for line in &gate.program.stdout.seen {
        let read: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("JSON, not {line}"));
        assert!(read["event"].is_string() && read["hash"].is_string(), "{line}");
    }
    said.extend(gate.program.stdout.seen.iter().cloned());
    let lines = &gate.program.stderr.seen;
    let events = lines.iter().filter(|line| !line.starts_with("warning: "));
    for line in events {
        let read: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("JSON, not {line}"));
        let (target, level) = (read["target"].as_str().unwrap(), read["level"].as_str().unwrap());
        let ours = target == "resetgate" || target.starts_with("resetgate::");
        assert!(ours || ["INFO", "WARN", "ERROR"].contains(&level), "{line}");
        assert!(read["fields"]["withheld"].is_null(), "{line}");
    }
    said.extend(lines.iter().cloned());
    for secret in secrets {
        assert!(secret.len() >= 6, "{secret:?} is no canary");
        for guise in guises(secret) {
            let told: Vec<_> = said.iter().filter(|line| line.to_lowercase().contains(&guise)).collect();
            assert!(told.is_empty(), "{secret} as {guise} in {told:#?}");
        }
    }
}

fn secrets(more: &[&str]) -> Vec<String> {
    let all =
        [&[USER, ID, MAIL, OLD, NEW, WEAK, SMTP_PASSWORD, SERVICE_PASSWORD, "canary"], &OTHERS[..], more].concat();
    all.into_iter().map(str::to_owned).collect()
}

async fn around() -> Around {
    let around = Around::start().await;
    around.store.insert(User::new(ID, USER, OLD).with("mail", MAIL));
    around
}

/// Of whoever says which passwords are good enough: the gate by the service user, or by rules of its own.
fn policies(breach: std::net::SocketAddr) -> [String; 3] {
    [
        String::new(),
        "[policy]\nsource = \"service\"".to_owned(),
        format!(
            "[policy]\nsource = \"local\"\nmin_length = 11\nbad_passwords = \"bad-passwords\"\n\
             [policy.breach]\nurl = \"http://{breach}/canary-range\""
        ),
    ]
}

#[tokio::test]
async fn what_is_typed_on_the_way_to_a_new_password_is_told_to_nobody() {
    const KNOWN: &str = "Canary-Known-Pass1";
    // The rest of its SHA-1.
    let breach = Upstream::answering(|_| {
        let lines = "1ED303A3D30720A328C336CDD0EBB56996F:7";
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{lines}", lines.len()).into_bytes()
    })
    .await;
    let typed = ["canary", "canary-typed-1", "Canary-Typed-Pass1", KNOWN, NEW];
    for (filter, policy) in FILTERS.iter().flat_map(|filter| policies(breach.address).map(|policy| (filter, policy))) {
        let around = around().await;
        let files = Files::of(&Plan { more: policy.clone(), ..around.plan() });
        files.write("bad-passwords", "canary-listed-password\n");
        let gate = Gate::run(files, &[("RESETGATE_LOG", *filter)]).await;
        let page = "/openidm/policy/selfservice/reset";
        assert!(gate.get(page).await.status == 200);
        let validate = format!("{page}/?_action=validateObject&x=canary-query");
        for password in typed.iter().chain(&["canary-listed-password"]) {
            let body = json!({"password": password}).to_string();
            let answer = send(&gate, &request("POST", &validate, &body), false).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            send(&gate, &request("POST", &validate, &body), true).await;
        }
        for body in
            ["{\"password\":\"canary-broken-password\"", "[\"canary-twin-password\"]", &"canary-large".repeat(2000)]
        {
            send(&gate, &request("POST", &validate, body), false).await;
        }
        gate.query(USER).await;
        let mail = around.mail(1).await;
        let (token, code) = link(mail.links.iter().find(|found| found.contains("&token=")).unwrap());
        let shown = gate.show(&(token, code)).await;
        let mut token = shown.token();
        for bad in
            [WEAK, "canary-login-11X", "canary-listed-password", KNOWN].iter().filter(|_| policy.contains("local"))
        {
            let refused = gate.set(&token, bad).await;
            assert!(refused.json()["requirements"]["error"].is_object(), "{bad}: {}", refused.body);
            token = refused.token();
        }
        assert_eq!(gate.set(&token, NEW).await.json()["status"], json!({"success": true}));
        nothing_told(gate, &secrets(&["canary-typed", "canary-known", "canary-listed", "canary-range"])).await;
    }
    let seen = breach.seen();
    assert_eq!(seen.len(), 4, "twice for each of the filters: what is known, and what is not");
    for seen in seen {
        let head = String::from_utf8_lossy(&seen.head).to_lowercase();
        assert!(!head.contains("pass") && !head.contains("1ed303a3d30720a328c336cdd0ebb56996f"), "{head}");
    }
}

#[tokio::test]
async fn a_whole_flow_with_all_its_slips_tells_nothing() {
    for filter in FILTERS {
        let around = around().await;
        let more = format!(
            "[after.webhook]\nurl = \"http://{NOBODY}/canary-hook?x=canary-query\"\nsecrets = [\"file:hook\"]\n\
             [[after.revoke]]\nurl = \"http://{NOBODY}/{{id}}/{{mail}}?x=canary-query\"\nheaders = [\"cookie: file:am\"]\n"
        );
        let files = Files::of(&Plan { more, ..around.plan() });
        files.write("hook", "Y2FuYXJ5LWhvb2stc2VjcmV0LW9mLTI0LWJ5dGVzLi4u");
        files.write("am", "canary-am-session");
        let gate = Gate::run(files, &[("RESETGATE_LOG", filter)]).await;
        let reset = format!("{PATH}?_action=submitRequirements&x=canary-query");

        let passed =
            send(&gate, &request("POST", "/canary-path?x=canary-query", "{\"a\":\"canary-large\"}"), false).await;
        assert!(passed.starts_with("HTTP/1.1 200 "), "{passed}");
        send(&gate, &request("GET", "/%2e/openidm/selfservice/%72eset?x=canary-query", ""), false).await;
        for (body, leaves) in [
            ("{\"token\":\"canary-broken-token\",\"input\":{\"password\":\"canary-broken-password\"}", false),
            ("{\"input\":{\"password\":\"canary-twin-password\",\"password\":\"canary-twin-password\"}}", false),
            ("{\"token\":\"canary-broken-token\",\"input\":{\"password\":\"canary-broken-password\"}}", false),
            ("{\"token\":\"canary-broken-token\",\"input\":{\"password\":\"canary-left-password\"}}", true),
            (&format!("{{\"token\":\"{}\"}}", "canary-large".repeat(2000)), false),
        ] {
            let answer = send(&gate, &request("POST", &reset, body), leaves).await;
            assert!(leaves || answer.starts_with("HTTP/1.1 4"), "{answer}");
            send(&gate, &request("POST", "/canary-path?x=canary-query", body), true).await;
        }

        assert_eq!(gate.query("canary-nobody").await.status, 200);
        let asked = gate.query(USER).await;
        let mail = around.mail(1).await;
        let (token, code) = link(mail.links.iter().find(|found| found.contains("&token=")).unwrap());
        assert_eq!(gate.show(&(asked.token(), "canary-wrong-code".into())).await.status, 400);
        let shown = gate.show(&(token.clone(), code.clone())).await;
        let weak = gate.set(&shown.token(), WEAK).await;
        assert!(weak.json()["requirements"]["error"].is_object());
        assert_eq!(gate.set(&weak.token(), NEW).await.json()["status"], json!({"success": true}));
        assert!(around.store.password_is(USER, NEW));
        for what in ["webhook", "revocation"] {
            gate.counts(&format!("resetgate_after_password_total{{outcome=\"delayed\",what=\"{what}\"}}"), 1).await;
        }
        gate.counts("resetgate_after_password_total{outcome=\"done\",what=\"notice\"}", 1).await;

        let drawn = [token, code, asked.token(), shown.token(), weak.token()];
        // The parts of a token that differ from one to the next.
        let parts = drawn.iter().flat_map(|text| {
            text.split('.').skip(1).chain([text.as_str()]).map(|part| {
                let middle = part.len() / 2;
                part[middle.saturating_sub(8)..(middle + 8).min(part.len())].to_owned()
            })
        });
        let all: Vec<String> = parts.filter(|part| part.len() >= 8).chain(secrets(&["Y2FuYXJ5LWhvb2st"])).collect();
        nothing_told(gate, &all).await;
    }
}

/// A relay that lets people in by their password and then quotes the address in its refusal.
async fn quoting_relay() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let relay = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let _ = stream.write_all(b"220 canary-relay-words\r\n").await;
                let mut line = String::new();
                while let Ok(1..) = stream.read_line(&mut line).await {
                    let answer = match line.split([' ', '\r']).next().unwrap() {
                        "EHLO" => "250-canary-relay-words\r\n250 AUTH PLAIN LOGIN\r\n".to_owned(),
                        "AUTH" => "235 canary-relay-words\r\n".to_owned(),
                        "RCPT" => format!("550 5.1.1 <{MAIL}> canary-relay-words: {}\r\n", line.trim()),
                        _ => "250 canary-relay-words\r\n".to_owned(),
                    };
                    line.clear();
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, relay)
}

/// An upstream whose answers are none.
async fn broken_upstream() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let upstream = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut some = [0; 16 << 10];
            let _ = stream.read(&mut some).await;
            let _ =
                stream.write_all(b"HTTP/1.1 canary-upstream-line\r\nSet-Cookie: canary-upstream-cookie\r\n\r\n").await;
        }
    });
    (address, upstream)
}

#[tokio::test]
async fn services_that_fail_and_quote_tell_nothing() {
    for filter in FILTERS {
        let around = around().await;
        let ((relay, _relay), (upstream, _upstream)) = (quoting_relay().await, broken_upstream().await);
        let mail = format!("transport = \"smtp://{relay}\"\nusername = \"canary-smtp-user\"\npassword = \"file:smtp\"");
        let plan = Plan { upstream: format!("http://{upstream}"), mail, ..around.plan() };
        let files = Files::of(&plan);
        files.write("smtp", SMTP_PASSWORD);
        let gate = Gate::run(files, &[("RESETGATE_LOG", filter)]).await;
        let answer = send(&gate, &request("GET", "/canary-path?x=canary-query", ""), false).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert_eq!(gate.query(USER).await.status, 200);
        gate.counts("resetgate_mail_messages_total{outcome=\"dropped\"}", 1).await;
        nothing_told(gate, &secrets(&["canary-smtp-user"])).await;

        // Nobody is there at all.
        let gate = Gate::run(Files::of(&Plan::alone()), &[("RESETGATE_LOG", filter)]).await;
        let answer = send(&gate, &request("GET", "/canary-path?x=canary-query", ""), false).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert_eq!(gate.query(USER).await.status, 503);
        assert_eq!(gate.set("canary-broken-token", NEW).await.status, 400);
        nothing_told(gate, &secrets(&[])).await;
    }
}
