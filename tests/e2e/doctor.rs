//! `resetgate doctor`: a set-up that is right has nothing but `ok`, and is left as it was; one that is wrong is found out,
//! and its one line says how to mend it.

mod codes;
mod outside;
mod policy;
mod store;

use std::{fs, path::Path};

use serde_json::Value;

use self::store::{Idm, Veil};
use crate::{
    mail::Relay,
    support::{
        authority::{Authority, Shown},
        program::Program,
        setup::{Around, Files, Gate, NOBODY, Plan, SERVICE_PASSWORD},
        upstream::{Seen, Upstream},
    },
};

/// What it said.
struct Told {
    code: i32,
    lines: Vec<Value>,
    text: String,
}

impl Told {
    async fn of(files: &Files, more: &[&str]) -> Self {
        let config = files.config();
        let mut program = Program::resetgate(&[&["doctor", "--json", "--config", &config], more].concat());
        let code = program.ended().await;
        assert!(program.stderr.seen.is_empty(), "{:#?}", program.stderr.seen);
        let text = program.stdout.seen.join("\n");
        let lines = program.stdout.seen.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        Self { code, lines, text }
    }

    fn line(&self, check: &str) -> [&str; 3] {
        let line = self.lines.iter().find(|line| line["check"] == check);
        let line = line.unwrap_or_else(|| panic!("{check} in {}", self.text));
        ["outcome", "seen", "do"].map(|key| line[key].as_str().unwrap_or_default())
    }

    /// That check fails, having seen that, and says to do that. All else that fails or warns is not looked at.
    fn fails(&self, check: &str, seen: &str, cure: &str) {
        self.has(check, "fail", seen, cure);
        assert_eq!(self.code, 1);
    }

    fn has(&self, check: &str, outcome: &str, seen: &str, cure: &str) {
        let line = self.line(check);
        assert!(line[0] == outcome && line[1].contains(seen) && line[2].contains(cure), "{line:#?}");
    }

    /// The checks that are not `ok`.
    fn wrong(&self) -> Vec<&str> {
        let wrong = self.lines.iter().filter(|line| line["outcome"] != "ok");
        wrong.map(|line| line["check"].as_str().unwrap()).collect()
    }
}

/// A set-up in which nothing is wrong: a store that is the upstream as well, and the demo's mailbox.
struct Right {
    idm: Upstream,
    around: Around,
}

impl Right {
    async fn start() -> Self {
        Self::with(|_| None).await
    }

    /// The same, but for what `change` answers.
    async fn with(change: impl Fn(&Seen) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self { idm: Upstream::answering(Idm::but(change)).await, around: Around::start().await }
    }

    fn plan(&self) -> Plan {
        let url = format!("http://{}", self.idm.address);
        Plan { upstream: url.clone(), identity: format!("{url}/openidm"), ..self.around.plan() }.wise()
    }

    fn files(&self) -> Files {
        whole(&self.plan())
    }

    async fn told(&self) -> Told {
        Told::of(&self.files(), &[]).await
    }
}

impl Plan {
    /// With nothing in it that is unwise.
    fn wise(self) -> Self {
        let listen = format!("{}\"]\ntrusted_proxies = [\"127.0.0.1\"]\nmax_connections = 20 # [\"", self.listen);
        Self { listen, reset: "answer_floor = \"10s\"".into(), ..self }
    }
}

/// The files of a plan in which nothing is unwise.
fn whole(plan: &Plan) -> Files {
    wise(Files::of(plan))
}

/// With keys that last.
fn wise(files: Files) -> Files {
    let files = files.with_keys("B");
    let text = fs::read_to_string(files.config()).unwrap();
    files.write("resetgate.toml", &format!("{text}[log]\nhash_key = \"file:key-B\"\n"));
    files
}

/// Every file below, with what is in it.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(path).unwrap()))
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn all_is_well_and_left_as_it_was() {
    let right = Right::start().await;
    let plan = right.plan();
    let more =
        "[codes]\nstate_file = \"state/codes\"\n[upgrade]\nfolder = \"meeting\"\n[audit]\nto = \"file:audit/trail\""
            .into();
    let files = whole(&Plan { more, ..plan });
    let before = contents(files.path());
    let told = Told::of(&files, &["--canary", "canary"]).await;
    assert_eq!(told.wrong(), [""; 0], "{}", told.text);
    assert_eq!(told.code, 0);
    // One line a check, by its name.
    let mut names: Vec<_> = told.lines.iter().map(|line| line["check"].as_str().unwrap()).collect();
    assert!(names.len() > 30, "{names:?}");
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "{}", told.text);
    // Nothing was changed, at the store or here, and nobody got mail.
    let patches: Vec<_> = right.idm.seen().into_iter().filter(|seen| seen.method() == "PATCH").collect();
    assert_eq!(patches.len(), 1);
    assert!(
        patches[0].target().ends_with("/c1") && patches[0].header("if-match")[0].starts_with("\"resetgate-doctor-")
    );
    let wrote = right.idm.seen().iter().filter(|seen| !["GET", "PATCH"].contains(&seen.method().as_str())).count();
    assert_eq!((wrote, right.around.mailbox.mails().len()), (0, 0));
    assert_eq!(contents(files.path()), before);
    // No secret, and nothing of what is in an account.
    for secret in [SERVICE_PASSWORD, store::ADDRESS, store::ID] {
        assert!(!told.text.contains(secret), "{}", told.text);
    }

    // The same for people, and by its other name.
    let mut program = Program::resetgate(&["check", "--connect", "--config", &files.config()]);
    assert_eq!(program.ended().await, 0);
    assert!(program.stdout.seen.iter().any(|line| line.starts_with("ok    identity.query ")));
    assert!(program.stdout.seen.iter().any(|line| line.starts_with("skip  identity.canary ")));
}

#[tokio::test]
async fn it_takes_the_demo_s_store_for_idm_and_leaves_its_accounts_alone() {
    let around = Around::start().await;
    let files = whole(&around.plan().wise());
    let told = Told::of(&files, &["--canary", "bjensen"]).await;
    // It shows what it is sent for any path of no meaning to it.
    assert_eq!(told.wrong(), ["upstream.username", "upstream.registration"], "{}", told.text);
    assert_eq!(told.code, 0);
    assert!(around.store.patches() == 0 && around.store.password_is("bjensen", "Secret12"));
    assert!(around.store.queries().len() > 20);
    // As a stranger and as anonymous: what a running gate asks as well.
    assert_eq!((around.store.stock_reset_hits(), around.mailbox.mails().len()), (2, 0));
    let told = Told::of(&files, &["--canary", "dormant"]).await;
    told.fails("identity.canary", "accountStatus is another than \"active\"", "activate it");
    let told = Told::of(&files, &["--canary", "nomail"]).await;
    told.fails("identity.canary", "no mail that can be read", "identityEmailField");
    let told = Told::of(&files, &["--canary", "shared@example.com"]).await;
    told.fails("identity.canary", "several are called that by userName, mail", "alone");
    let told = Told::of(&files, &["--canary", "nemo"]).await;
    told.fails("identity.canary", "nobody is called that", "see its name");
    assert_eq!(around.store.patches(), 0);
}

#[tokio::test]
async fn a_configuration_that_does_not_hold_is_told_as_by_check() {
    let files = Files::of(&Plan { reset: "answer_floor = \"soon\"".into(), ..Plan::alone() });
    let config = files.config();
    let mut doctor = Program::resetgate(&["doctor", "--json", "--config", &config]);
    let mut check = Program::resetgate(&["check", "--config", &config]);
    assert_eq!((doctor.ended().await, check.ended().await), (64, 64));
    assert_eq!(doctor.stderr.seen, check.stderr.seen);
    assert!(doctor.stdout.seen.is_empty() && doctor.stderr.seen[0].contains("reset.answer_floor"));
}

#[tokio::test]
async fn a_role_that_is_missing_is_named_with_its_rule() {
    let rule = |path: &str, method: &str| {
        let only = if method == "patch" { r#", "customAuthz": "restrictPatchToFields(['password'])""# } else { "" };
        format!(
            r#"{{"pattern": "managed/user{path}", "roles": "internal/role/resetgate", "methods": "{method}", "actions": "*"{only}}}"#
        )
    };
    for (check, method, below, path, right) in [
        ("identity.query", "GET", false, "", "query"),
        ("identity.read", "GET", true, "/*", "read"),
        ("identity.patch", "PATCH", true, "/*", "patch"),
    ] {
        let deny = move |seen: &Seen| {
            let at = if below {
                seen.target().starts_with("/openidm/managed/user/")
            } else {
                seen.target().contains("_queryFilter")
            };
            (seen.method() == method && at).then(|| store::error(403, "Access denied"))
        };
        let told = Right::with(deny).await.told().await;
        told.fails(check, "403: the service user may not", &rule(path, right));
        told.has("identity.credentials", "ok", "the store takes", "");
    }
    // A canary tells as well.
    let right = Right::with(|seen| (seen.method() == "PATCH").then(|| store::error(403, "Access denied"))).await;
    let told = Told::of(&right.files(), &["--canary", "canary"]).await;
    told.fails("identity.patch", "403", &rule("/*", "patch"));
}

/// Without it no answer to a security question is ever looked at.
#[tokio::test]
async fn a_right_to_count_wrong_answers_that_is_missing() {
    let told = async |right: &Right| {
        let files = right.files();
        let file = Path::new(&files.config()).with_file_name("selfservice-reset.json");
        let mut process: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let stages = process["stageConfigs"].as_array_mut().unwrap();
        let stage = serde_json::json!({
            "name": "kbaSecurityAnswerVerificationStage", "identityServiceUrl": "managed/user", "kbaConfig": {
                "minimumAnswersToVerify": 1, "questions": {"1": {"en": "Colour?"}},
                "numberOfAttemptsAllowed": 3, "kbaAttemptsPropertyName": "kbaLockout",
            },
        });
        stages.insert(stages.len() - 1, stage);
        files.write("selfservice-reset.json", &process.to_string());
        Told::of(&files, &[]).await
    };
    let right = Right::start().await;
    told(&right).await.has("identity.count", "ok", "allowed: wrong answers can be counted in kbaLockout", "");
    let deny = |seen: &Seen| {
        let counts = seen.method() == "PATCH" && String::from_utf8_lossy(&seen.body).contains("kbaLockout");
        counts.then(|| store::error(403, "Access denied"))
    };
    let told = told(&Right::with(deny).await).await;
    told.fails("identity.count", "403: the service user may not", "restrictPatchToFields(['password', 'kbaLockout'])");
    told.has("identity.patch", "ok", "allowed", "");
}

#[tokio::test]
async fn credentials_that_are_wrong() {
    let right = Right::start().await;
    let files = right.files();
    files.write("service-password", "another");
    let told = Told::of(&files, &[]).await;
    told.fails("identity.credentials", "401: the store does not take identity.auth.username", "see both");
    assert!(told.wrong().iter().skip(1).all(|check| told.line(check)[0] == "skip"), "{}", told.text);
}

#[tokio::test]
async fn a_service_user_who_may_too_much() {
    let list = |seen: &Seen| {
        let list = serde_json::json!({"_id": "", "configurations": [{"_id": "audit"}]});
        (seen.target() == "/openidm/config").then(|| store::answer(200, &list))
    };
    let told = Right::with(list).await.told().await;
    told.has("identity.excess", "warn", "is an administrator", "query, read and patch");
}

/// Every answer of the token endpoint.
async fn with_tokens(right: &Right, status: u16, body: Value) -> Told {
    let server = Upstream::answering(move |_| store::answer(status, &body)).await;
    let auth = format!(
        "kind = \"oauth2\", token_url = \"http://{}/token\", client_id = \"gate\", client_secret = \"file:service-password\"",
        server.address
    );
    let files = right.files();
    let text = fs::read_to_string(files.config()).unwrap();
    let line = text.lines().find(|line| line.starts_with("auth = ")).unwrap();
    files.write("resetgate.toml", &text.replace(line, &format!("auth = {{ {auth} }}")));
    Told::of(&files, &[]).await
}

#[tokio::test]
async fn tokens_that_are_not_given_or_not_taken() {
    let token = serde_json::json!({"access_token": "secret-token", "token_type": "Bearer", "expires_in": 300});
    let right = Right::start().await;
    let told = with_tokens(&right, 401, serde_json::json!({"error": "invalid_client"})).await;
    told.fails("identity.auth.token", "the answer says no (401)", "identity.auth.client_id");
    told.has("identity.query", "skip", "no access token", "");
    // The store knows nobody but by IDM's own headers.
    let told = with_tokens(&right, 200, token.clone()).await;
    told.has("identity.auth.token", "ok", "gives an access token", "");
    told.fails("identity.credentials", "the tokens of identity.auth.token_url", "identity.auth.scope");
    assert!(!told.text.contains("secret-token"));

    let knows = |seen: &Seen| {
        let known = seen.header("authorization") == ["Bearer secret-token"];
        (known && seen.target().contains("_queryFilter")).then(|| store::answer(200, &store::page(&[])))
    };
    let told = with_tokens(&Right::with(knows).await, 200, token).await;
    told.has("identity.credentials", "ok", "takes the tokens", "");
    told.has("identity.query", "ok", "allowed", "");
}

#[tokio::test]
async fn those_who_say_nothing_hold_it_up_for_no_more_than_a_minute() {
    let right = Right::start().await;
    for wire in [&right.around.upstream, &right.around.identity, &right.around.smtp] {
        wire.hold();
    }
    let begun = std::time::Instant::now();
    let told = Told::of(&whole(&right.around.plan().wise()), &[]).await;
    assert!(begun.elapsed().as_secs() < 60);
    told.fails("upstream.answers", "no answer in", "upstream.url");
    told.fails("identity.url", "no answer came in time", "identity.url");
    told.fails("mail.hello", "it said nothing in time", "the relay's own");
}

#[tokio::test]
async fn a_store_that_does_not_heed_if_match_is_an_alarm() {
    let obey =
        |seen: &Seen| (seen.method() == "PATCH").then(|| store::answer(200, &serde_json::json!({"_id": store::ID})));
    let right = Right::with(obey).await;
    let told = Told::of(&right.files(), &["--canary", "canary"]).await;
    told.fails("identity.patch", "THE CANARY'S PASSWORD IS ANOTHER NOW", "give the canary a new one");
}

#[tokio::test]
async fn a_store_that_vouches_for_itself_or_has_expired() {
    let around = Around::start().await;
    let (authority, own) = (Authority::new(), Shown::own("127.0.0.1"));
    let idm = Upstream::answering(Idm::but(|_| None)).await;
    let plan = |store: &Veil, tls: &str| Plan {
        identity: format!("https://{}/openidm", store.address),
        more: format!("[identity.tls]\n{tls}"),
        ..around.plan().wise()
    };
    let files = |plan: &Plan| {
        let files = whole(plan);
        files.write("ca.pem", &authority.pem());
        files
    };
    let store = Veil::over(idm.address, own.serve(None)).await;
    let told = Told::of(&files(&plan(&store, "ca = \"ca.pem\"")), &[]).await;
    told.fails("identity.tls", "certificate", &format!("\"{}\"", own.pin()));
    assert!(told.line("identity.tls")[2].contains("identity.tls.pin"), "{}", told.text);
    told.has("identity.url", "skip", "cannot be reached", "");
    // What it said mends it.
    let told = Told::of(&files(&plan(&store, &format!("pin = \"{}\"", own.pin()))), &[]).await;
    told.has("identity.tls", "ok", "pinned", "");
    told.has("identity.query", "ok", "allowed", "");

    let stranger = Authority::new().certify("127.0.0.1");
    let store = Veil::over(idm.address, stranger.serve(None)).await;
    let told = Told::of(&files(&plan(&store, "ca = \"ca.pem\"")), &[]).await;
    told.fails("identity.tls", "nobody who is trusted vouches", "set identity.tls.ca to who does");

    let expired = authority.certify_until("127.0.0.1", 2020);
    let store = Veil::over(idm.address, expired.serve(None)).await;
    let told = Told::of(&files(&plan(&store, "ca = \"ca.pem\"")), &[]).await;
    told.fails("identity.tls", "has expired", "renew it");

    let elsewhere = authority.certify("idm.example.com");
    let store = Veil::over(idm.address, elsewhere.serve(None)).await;
    let told = Told::of(&files(&plan(&store, "ca = \"ca.pem\"")), &[]).await;
    told.fails("identity.tls", "for another name", "set identity.tls.server_name");
    let told = Told::of(&files(&plan(&store, "ca = \"ca.pem\"\nserver_name = \"idm.example.com\"")), &[]).await;
    told.has("identity.query", "ok", "allowed", "");

    // And where no TLS is.
    let plain =
        Plan { identity: format!("https://{}/openidm", around.store.address()), ..plan(&store, "ca = \"ca.pem\"") };
    let told = Told::of(&files(&plain), &[]).await;
    told.fails("identity.tls", "does not speak TLS", "http://");
}

#[tokio::test]
async fn a_clock_that_is_off() {
    let late = |_: &Seen| Some(store::answer_at(1_700_000_000, 200, &serde_json::json!({"result": []})));
    let told = Right::with(late).await.told().await;
    told.fails("identity.clock", "days behind ours", "chrony");
    told.fails("upstream.clock", "days behind ours", "chrony");
}

#[tokio::test]
async fn names_and_ports_that_lead_nowhere() {
    // Longer than a label of a name may be, so no name server is asked.
    let nowhere = format!("{}.invalid", "x".repeat(64));
    let right = Right::start().await;
    let identity = format!("http://idm.example/openidm\"\nallow_plaintext = true\naddresses = [\"{nowhere}:80\"] # ");
    let mail = "transport = \"smtp://127.0.0.1:1\"".into();
    let told = Told::of(&whole(&Plan { identity, mail, ..right.plan() }), &[]).await;
    told.fails("identity.dns", &nowhere, "name server");
    told.has("identity.query", "skip", "cannot be reached", "");
    told.fails("mail.connect", "127.0.0.1:1: Connection refused", "mail.transport has its port");
    let upstream = format!("http://{NOBODY}");
    let told = Told::of(&whole(&Plan { upstream, ..right.plan() }), &[]).await;
    told.fails("upstream.connect", "Connection refused", "see that it runs");
    told.has("upstream.reset", "skip", "cannot be reached", "");
    told.has("identity.query", "ok", "allowed", "");
}

#[tokio::test]
async fn what_answers_in_the_store_s_place() {
    let page = |seen: &Seen| {
        let html = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>".to_vec();
        seen.target().starts_with("/openidm/").then_some(html)
    };
    let told = Right::with(page).await.told().await;
    told.fails("identity.url", "200 with text/html: a page for people", "REST interface");

    let sign_in = |_: &Seen| {
        let to = "Location: https://am.example.com/login?goto=secret";
        Some(format!("HTTP/1.1 302 Found\r\n{to}\r\nContent-Length: 0\r\n\r\n").into_bytes())
    };
    let told = Right::with(sign_in).await.told().await;
    told.fails(
        "identity.url",
        "302: it sends whoever asks to https://am.example.com/login",
        "past whatever signs people in",
    );
    assert!(!told.text.contains("goto"));

    let down = |_: &Seen| Some(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_vec());
    let told = Right::with(down).await.told().await;
    told.fails("identity.url", "503", "not ready");
    told.fails("upstream.answers", "503", "not ready");

    let own = |seen: &Seen| {
        seen.target().contains("_queryFilter").then(|| store::answer(200, &store::page(&[store::canary()])))
    };
    let told = Right::with(own).await.told().await;
    told.fails("identity.query", "finds 1 for a name that nobody has", "validQueryFields");
}

#[tokio::test]
async fn a_path_or_an_object_that_is_not_there() {
    let right = Right::start().await;
    let identity = format!("http://{}", right.idm.address);
    let told = Told::of(&whole(&Plan { identity: identity.clone(), ..right.plan() }), &[]).await;
    told.fails("identity.url", "IDM is not there", &format!("set identity.url = \"{identity}/openidm\""));

    let files = right.files();
    let process = fs::read_to_string(files.path().join("selfservice-reset.json")).unwrap();
    files.write("selfservice-reset.json", &process.replace("managed/user", "managed/usr"));
    let told = Told::of(&files, &[]).await;
    told.fails("identity.url", "/openidm/managed/usr answers 404", "\"managed/usr\" is none");
}

#[tokio::test]
async fn a_reset_path_that_is_not_the_upstream_s_own() {
    let right = Right::start().await;
    let reset = "answer_floor = \"10s\"\npath = \"/idm/selfservice/reset\"".into();
    let told = Told::of(&whole(&Plan { reset, ..right.plan() }), &[]).await;
    told.fails("upstream.answers", "IDM is at /openidm there", "set reset.path = \"/openidm/selfservice/reset\"");
}

#[tokio::test]
async fn an_address_that_is_not_of_this_machine() {
    let right = Right::start().await;
    // Reserved for documentation (RFC 5737).
    let plan = Plan { listen: "192.0.2.1:8080".into(), ..right.plan() }.wise();
    let told = Told::of(&whole(&plan), &[]).await;
    told.fails("gate.bind", "192.0.2.1:8080: Cannot assign requested address", "an address of this machine");
    told.has("gate.spellings", "ok", "an upstream of our own", "");
}

#[tokio::test]
async fn a_floor_that_is_too_low() {
    let slow = |seen: &Seen| {
        let begun = std::time::Instant::now();
        while seen.target().contains("_queryFilter") && begun.elapsed().as_millis() < 30 {}
        None
    };
    let right = Right::with(slow).await;
    let files = whole(&Plan { reset: "answer_floor = \"20ms\"".into(), ..right.plan() });
    let told = Told::of(&files, &[]).await;
    told.has("identity.floor", "warn", "20 look-ups took", "set reset.answer_floor = \"");
    assert_eq!(told.code, 0);
}

#[tokio::test]
async fn doors_of_the_upstream_that_stand_open() {
    let open = |seen: &Seen| {
        seen.target()
            .starts_with("/openidm/selfservice/")
            .then(|| store::answer(200, &serde_json::json!({"type": "x"})))
    };
    let right = Right::with(open).await;
    let told = right.told().await;
    told.has("upstream.reset", "warn", "never passed from here", "past this gate");
    told.has("upstream.username", "warn", "lets strangers in", "\"/openidm/selfservice/username/**\" in edge.deny");
    told.has(
        "upstream.registration",
        "warn",
        "lets strangers in",
        "\"/openidm/selfservice/registration/**\" in edge.deny",
    );
    let more = "[edge]\ndeny = [\"/openidm/selfservice/username/**\"]".into();
    let told = Told::of(&whole(&Plan { more, ..right.plan() }), &[]).await;
    told.has("upstream.username", "ok", "edge.deny keeps it out of reach", "");

    let off = |seen: &Seen| seen.target().contains("/policy/").then(|| store::error(403, "Access denied"));
    let told = Right::with(off).await.told().await;
    told.has("upstream.policy", "warn", "403 for /openidm/policy/selfservice/reset", "passwordReset");
}

#[tokio::test]
async fn a_relay_without_starttls_and_one_that_wants_it() {
    let right = Right::start().await;
    let smtp = right.around.smtp.address;
    let mail = |text: &str| {
        let files = whole(&Plan { mail: text.to_owned(), ..right.plan() });
        files.write("relay", "relay-password");
        files
    };
    let told = Told::of(&mail(&format!("transport = \"smtp+starttls://{smtp}\"")), &[]).await;
    told.fails("mail.tls", "STARTTLS: it does not offer STARTTLS", "smtps://host:465");
    let told = Told::of(&mail(&format!("transport = \"smtps://{smtp}\"")), &[]).await;
    told.fails("mail.hello", "does not speak TLS", "smtp+starttls://");
    let text = format!("transport = \"smtp://{smtp}\"\nusername = \"x\"\npassword = \"file:relay\"");
    let told = Told::of(&mail(&text), &[]).await;
    told.fails("mail.auth", "AUTH", "leave mail.username and password out");
    // What is no relay.
    let told = Told::of(&mail(&format!("transport = \"smtp://{}\"", right.idm.address)), &[]).await;
    told.fails("mail.hello", "greeting", "see that the port is the relay's own");
    assert_eq!(right.around.mailbox.mails().len(), 0);

    let Some(relay) = Relay::start().await else { return };
    let files = |more: &str| wise(relay.files(&relay.plan(&right.around, more).wise()));
    let told = Told::of(&files("ca = \"ca.pem\""), &[]).await;
    for check in ["hello", "tls", "auth", "sender", "recipient"] {
        told.has(&format!("mail.{check}"), "ok", "", "");
    }
    let told = Told::of(&files(""), &[]).await;
    told.fails("mail.tls", "nobody who is trusted vouches for the relay's certificate", "set mail.ca");
    let wrong = files("ca = \"ca.pem\"");
    wrong.write("relay", "another");
    let told = Told::of(&wrong, &[]).await;
    told.fails("mail.auth", "AUTH: it answers 535", "mail.username with mail.password");
    assert!(!told.text.contains("another"));
}

#[tokio::test]
async fn a_letter_to_whom_it_is_asked_for() {
    let right = Right::start().await;
    let told = Told::of(&right.files(), &["--mail-to", "operator@example.com"]).await;
    told.has("mail.letter", "ok", "sent", "");
    let mail = right.around.mail(1).await;
    assert_eq!((mail.to, mail.subject.as_str()), (vec!["operator@example.com".to_owned()], "Choose a new password"));
    assert!(mail.links[0].starts_with("https://id.example.com/#/passwordreset/&token="));
    assert_eq!(right.around.mailbox.mails().len(), 1);
    let told = Told::of(&right.files(), &["--mail-to", "nobody"]).await;
    told.fails("mail.hello", "cannot be written", "--mail-to");
}

#[tokio::test]
async fn idm_s_own_mail_service_is_asked_for_nothing_it_could_send() {
    let of = |status: u16, message: &'static str| {
        Right::with(move |seen| {
            (seen.target() == "/openidm/external/email?_action=send&waitForCompletion=false").then(|| {
                assert_eq!(seen.method(), "POST");
                let body: Value = serde_json::from_slice(&seen.body).unwrap();
                match body["to"].as_str().unwrap() {
                    "" => store::error(status, message),
                    to => {
                        assert_eq!(to, "operator@example.com");
                        store::answer(200, &serde_json::json!({"status": "OK"}))
                    }
                }
            })
        })
    };
    let files = |right: &Right| whole(&Plan { mail: "transport = \"idm\"".into(), ..right.plan() });
    let right = of(400, "Bad To: email address").await;
    let told = Told::of(&files(&right), &[]).await;
    told.has("mail.service", "ok", "nothing was sent", "");
    assert_eq!(told.wrong(), ["identity.canary"], "{}", told.text);
    let told = Told::of(&files(&right), &["--mail-to", "operator@example.com"]).await;
    told.has("mail.letter", "ok", "sent", "");
    for (status, seen, cure) in [
        (
            403,
            "may not send mail",
            r#"{"pattern": "external/email", "roles": "internal/role/resetgate", "methods": "action", "actions": "send"}"#,
        ),
        (404, "no such service", "emailServiceUrl"),
        (500, "it answers 500", "external.email.json"),
    ] {
        let right = of(status, "no").await;
        Told::of(&files(&right), &[]).await.fails("mail.service", seen, cure);
    }
    let right = Right::start().await;
    let nobody =
        Plan { identity: format!("http://{NOBODY}/openidm"), mail: "transport = \"idm\"".into(), ..right.plan() };
    Told::of(&whole(&nobody), &[]).await.has("mail.service", "skip", "IDM cannot be asked", "");
}

#[tokio::test]
async fn links_and_letters_that_nobody_can_use() {
    let right = Right::start().await;
    let files = right.files();
    let process = fs::read_to_string(files.path().join("selfservice-reset.json")).unwrap();
    let link = "https://id.example.com/#/passwordreset/";
    for (other, outcome, seen) in [
        ("http://localhost:8080/#/passwordreset/", "fail", "leads to this machine"),
        ("https://127.0.0.1/#/passwordreset/", "fail", "leads to this machine"),
        ("http://id.example.com/#/passwordreset/", "warn", "shows the code to the network"),
        ("https://10.0.0.1/#/passwordreset/", "warn", "no public name"),
        ("https://id.example.com/passwordreset", "warn", "has no #"),
    ] {
        files.write("selfservice-reset.json", &process.replace(link, other));
        let told = Told::of(&files, &[]).await;
        told.has("mail.link", outcome, seen, "emailValidation.verificationLink");
        assert_eq!(told.wrong(), ["identity.canary", "mail.link"], "{}", told.text);
    }
    let french = "\"fr\": \"<p>Quelqu'un";
    files.write("selfservice-reset.json", &process.replace(french, "\"de\": \"<p>Jemand"));
    let told = Told::of(&files, &[]).await;
    told.has("mail.letters", "warn", "fr has no text of its own, but that in en", "give each language both");
    files.write(
        "selfservice-reset.json",
        &process.replace("\"fr\": \"Choisissez un nouveau mot de passe\"", "\"fr\": \" \""),
    );
    let told = Told::of(&files, &[]).await;
    told.fails("mail.letters", "fr has no subject", "subjectTranslations");
}

#[tokio::test]
async fn a_folder_that_takes_no_files() {
    let right = Right::start().await;
    let plan = |mail: &str| Plan { mail: format!("transport = \"file:{mail}\""), ..right.plan() };
    let files = whole(&plan("outbox"));
    let told = Told::of(&files, &[]).await;
    told.has("mail.folder", "ok", "outbox takes files", "");
    assert!(!files.path().join("outbox").exists());
    let told = Told::of(&whole(&plan("/proc/self")), &[]).await;
    told.fails("mail.folder", "/proc/self", "let the user that runs resetgate write there");

    let more = "[codes]\nstate_file = \"/proc/self/codes\"\n[upgrade]\nfolder = \"meeting\"\n[audit]\nto = \"file:/proc/self/trail\"";
    let files = whole(&Plan { more: more.into(), ..right.plan() });
    fs::create_dir(files.path().join("meeting")).unwrap();
    fs::set_permissions(files.path().join("meeting"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let told = Told::of(&files, &[]).await;
    told.fails("files.state", "/proc/self", "write to the folder of codes.state_file");
    told.fails("files.audit", "/proc/self/trail", "the file of audit.to");
    told.fails("files.upgrade", "entered by others", "chmod 700 upgrade.folder");
}

#[tokio::test]
async fn all_on_loopback() {
    let right = Right::start().await;
    let files = whole(&Plan { listen: "127.0.0.1:0".into(), ..right.plan() });
    let told = Told::of(&files, &[]).await;
    told.has("listen.clients", "warn", "all on loopback", "listen.trusted_proxies");
    assert_eq!(told.code, 0);
}

#[tokio::test]
async fn the_gate_that_runs_is_asked() {
    let right = Right::start().await;
    let gate = Gate::run(right.files(), &[]).await;
    let files = whole(&Plan { listen: gate.address.to_string(), ..right.plan() }.wise());
    let told = Told::of(&files, &[]).await;
    told.has("gate.listener", "ok", &format!("resetgate answers at {}", gate.address), "");
    told.has("gate.spellings", "ok", "gets past it", "");
    let told = Told::of(&right.files(), &["--gate", &format!("http://{}", gate.address)]).await;
    told.has("gate.spellings", "ok", &format!("asked at http://{}", gate.address), "");
    // None of it came to the upstream, but as a question of the doctor's own.
    let strays: Vec<_> = right.idm.seen().into_iter().filter(|seen| !seen.target().contains("/managed/")).collect();
    let own = [
        "info/ping",
        "policy/selfservice/reset",
        "selfservice/reset",
        "selfservice/username",
        "selfservice/registration",
        "config",
    ];
    let asked = |target: &str| target.strip_prefix("/openidm/").is_some_and(|path| own.contains(&path));
    assert!(
        strays.iter().all(|seen| asked(&seen.target())),
        "{:?}",
        strays.iter().map(Seen::target).collect::<Vec<_>>()
    );

    // Something before it lets spellings past.
    let leaky = Upstream::answering(|seen| {
        let ours = "Cache-Control: no-cache, no-store\r\nContent-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n";
        let ours = if seen.target() == "/openidm/selfservice/reset" { ours } else { "" };
        format!("HTTP/1.1 200 OK\r\n{ours}Content-Length: 0\r\n\r\n").into_bytes()
    })
    .await;
    let told = Told::of(&right.files(), &["--gate", &format!("http://{}", leaky.address)]).await;
    told.fails(
        "gate.spellings",
        "42 of 42 spellings of the reset path get past it",
        "nothing before it sends paths past it",
    );

    // Something else has the address.
    let told = Told::of(&right.files(), &["--gate", &format!("http://{}", right.idm.address)]).await;
    told.fails("gate.listener", "is not resetgate", "another program");
}

#[tokio::test]
async fn what_is_unwise_is_told_as_well() {
    let right = Right::start().await;
    let told = Told::of(&Files::of(&right.plan()), &[]).await;
    told.has("config", "warn", "token.ephemeral ends every open reset at exit", "resetgate.toml:");
    assert_eq!(told.code, 0);
}
