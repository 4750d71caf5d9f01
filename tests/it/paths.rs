//! Where a target leads: sent as raw bytes, for no HTTP library would.

use serde_json::Value;

use crate::support::{
    raw::{Raw, latin1},
    upstream::Upstream,
    world::{Answer, PATH, Plan, World},
};

struct Gate {
    world: World,
    upstream: Upstream,
}

impl Gate {
    async fn open() -> Self {
        Self::with(Plan::default()).await
    }

    /// One that answers elsewhere, and denies what the others answer.
    async fn denying() -> Self {
        let reset = "path = \"/elsewhere/reset\"\nanswer_floor = \"20ms\"";
        let edge = "deny = [\"/openidm/selfservice/reset/**\"]";
        Self::with(Plan { reset, edge, ..Plan::default() }).await
    }

    async fn with(plan: Plan) -> Self {
        let upstream = Upstream::start().await;
        let plan = Plan { upstream: Some(format!("url = \"http://{}\"", upstream.address)), ..plan };
        Self { world: World::with(plan).await, upstream }
    }

    /// What a request for that target is answered; each character is one byte.
    async fn ask(&self, method: &str, target: &str) -> Option<Answer> {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.world.gate);
        let body = "Content-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"input\":{}}";
        let request = if method == "POST" { head + body } else { head + "\r\n" };
        Raw::exchange(self.world.gate, latin1(&request)).await
    }
}

/// Spellings that are not the reset path's and that some reader takes for it, or for something below it.
pub(crate) const SPELLINGS: &[&str] = &[
    // below
    "/openidm/selfservice/reset/x",
    "/openidm/selfservice/reset/x.css",
    "/openidm/selfservice/reset/../reset",
    "/openidm/selfservice/reset/../../managed/user",
    // empty and dot segments
    "//openidm/selfservice/reset",
    "/openidm//selfservice/reset",
    "/openidm///selfservice/reset",
    "/openidm/selfservice//reset",
    "/openidm/selfservice/reset//",
    "/openidm/selfservice/reset///",
    "//x/openidm/selfservice/reset",
    "/./openidm/selfservice/reset",
    "/openidm/./selfservice/reset",
    "/openidm/selfservice/./reset",
    "/openidm/selfservice/reset/.",
    "/openidm/selfservice/reset/./",
    "/openidm/selfservice/reset/x/..",
    "/../openidm/selfservice/reset",
    "/x/../openidm/selfservice/reset",
    "/openidm/../openidm/selfservice/reset",
    "/openidm/x/../selfservice/reset",
    "/openidm/managed/user/../../selfservice/reset",
    "/openidm/selfservice/registration/../reset",
    "/openidm/%2e/selfservice/reset",
    "/openidm/x/%2e%2e/selfservice/reset",
    "/openidm/x/%2E%2e/selfservice/reset",
    "/openidm/x/.%2e/selfservice/reset",
    "/openidm/x/%252e%252e/selfservice/reset",
    "/openidm/x/..;/selfservice/reset",
    "/openidm/x/..;a=b/selfservice/reset",
    "/openidm/x/%c0%ae%c0%ae/selfservice/reset",
    "/openidm/x/%u002e%u002e/selfservice/reset",
    // separators
    "/openidm%2fselfservice%2freset",
    "/openidm%2Fselfservice/reset",
    "/openidm/selfservice%2freset",
    "/openidm/selfservice%252freset",
    "/%2fopenidm/selfservice/reset",
    "/openidm/selfservice%5creset",
    "/openidm%5Cselfservice%5Creset",
    "/openidm/selfservice\\reset",
    "/openidm\\selfservice\\reset",
    "\\openidm\\selfservice\\reset",
    "/openidm%c0%afselfservice/reset",
    "/openidm%ef%bc%8fselfservice/reset",
    "/openidm/selfservice/reset%2f",
    "/openidm/selfservice/reset%2fx",
    "/openidm/selfservice/reset%5c",
    // letters
    "/openidm/selfservice/%72eset",
    "/openidm/selfservice/rese%74",
    "/openidm/selfservice/%72%65%73%65%74",
    "/%6fpenidm/selfservice/reset",
    "/openidm/%73%65%6c%66%73%65%72%76%69%63%65/reset",
    "/openidm/selfservice/%2572eset",
    "/openidm/selfservice/%252572eset",
    "/openidm/selfservice/%u0072eset",
    "/openidm/selfservice/RESET",
    "/openidm/selfservice/Reset",
    "/OpenIDM/SelfService/Reset",
    "/OPENIDM/selfservice/reset",
    "/openidm/selfservice/%52ESET",
    "/openidm/selfservice/%ef%bd%92eset",
    "/openidm/selfservice/rese\u{ef}\u{bd}\u{94}",
    "/openidm/selfservice/%c1%b2eset",
    "/openidm/selfserv%c4%b1ce/reset",
    "/openidm/%c5%bfelfservice/reset",
    "/openidm/selfservice/re%c2%adset",
    "/openidm/selfservice/re%e2%80%8bset",
    "/openidm/selfservice/rese%7",
    "/openidm/selfservice/rese%zz",
    // parameters and cuts
    "/openidm/selfservice/reset;",
    "/openidm/selfservice/reset;jsessionid=1",
    "/openidm/selfservice/reset;a=b/",
    "/openidm;a=b/selfservice/reset",
    "/openidm/selfservice;x/reset",
    "/;x/openidm/selfservice/reset",
    "/openidm/selfservice/reset%3bx",
    "/openidm/selfservice/reset%253bx",
    "/openidm/selfservice/reset%00",
    "/openidm/selfservice/reset%00.js",
    "/openidm/selfservice/reset%3f",
    "/openidm/selfservice/reset%3f_action=submitRequirements",
    "/openidm/selfservice/reset%23",
    "/openidm/selfservice/reset%23x",
    "/openidm/selfservice/reset|",
    "/openidm/selfservice/reset{}",
    "/openidm/selfservice/reset^",
    "/openidm/selfservice/reset`",
    "/openidm/selfservice/reset\"x\"",
    "/openidm/selfservice/reset<x>",
    // trimming
    "/openidm/selfservice/reset.",
    "/openidm/selfservice/reset...",
    "/openidm/selfservice/reset%2e",
    "/openidm/selfservice/reset%20",
    "/openidm/selfservice/reset%20x",
    "/openidm/selfservice/reset%09",
    "/openidm/selfservice/reset%0d%0a",
    "/openidm/selfservice/reset%7f",
    "/openidm/selfservice/reset+",
    "/openidm/selfservice/%20reset",
    "/openidm/selfservice/reset%c2%a0",
    "/openidm%20/selfservice/reset",
    // no origin-form, or none that everybody reads alike
    "openidm/selfservice/reset",
    "?/openidm/selfservice/reset",
    "%2fopenidm/selfservice/reset",
    "/openidm/selfservice/reset x",
    "/openidm/selfservice/reset\tx",
    "/openidm/selfservice/reset\0",
    "/openidm/selfservice/reset\u{7f}",
    "/openidm/selfservice/reset\u{ff}",
    "/openidm/selfservice/r\u{e9}set/../reset",
    "http://upstream.internal/openidm/selfservice/reset",
    "http:///openidm/selfservice/reset",
    "http:/openidm/selfservice/reset",
    "http://{HOST}//openidm/selfservice/reset",
    "http://{HOST}/openidm/selfservice/%72eset",
    "http://user@{HOST}/openidm/selfservice/reset",
    "http://{HOST}\\openidm/selfservice/reset",
    "ftp://{HOST}/openidm/selfservice/reset",
];

#[tokio::test]
async fn no_other_spelling_of_the_reset_path_passes() {
    assert!(SPELLINGS.len() >= 90);
    nothing_passes(&Gate::open().await, SPELLINGS, &[400, 404]).await;
}

#[tokio::test]
async fn no_spelling_of_a_denied_path_passes() {
    let gate = Gate::denying().await;
    nothing_passes(&gate, &[SPELLINGS, &[PATH, "/openidm/selfservice/reset/"]].concat(), &[400, 403]).await;
    assert_eq!(gate.ask("GET", "/elsewhere/reset").await.unwrap().json()["type"], "parameters");
}

async fn nothing_passes(gate: &Gate, spellings: &[&str], statuses: &[u16]) {
    let mut wrong = Vec::new();
    for spelling in spellings {
        for (method, query) in [("POST", "?_action=submitRequirements"), ("GET", ""), ("PUT", "")] {
            let target = format!("{spelling}{query}").replace("{HOST}", &gate.world.gate.to_string());
            let answer = gate.ask(method, &target).await;
            let Some(answer) = answer else {
                wrong.push(format!("{method} {target:?}: no answer"));
                continue;
            };
            let is_ours = serde_json::from_str::<Value>(&answer.body).is_ok_and(|json| json["code"] == answer.status);
            // What is no request line at all, pingora itself refuses before anybody is asked.
            let is_ours = is_ours || answer.status == 400 && answer.body.is_empty();
            if !statuses.contains(&answer.status) || !is_ours {
                wrong.push(format!("{method} {target:?}: {} {}", answer.status, answer.body));
            }
        }
    }
    let passed: Vec<String> = gate.upstream.seen().iter().map(|seen| seen.line()).collect();
    assert!(passed.is_empty(), "{passed:#?}");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert_eq!(gate.world.store.stock_reset_hits(), 0);
    assert!(gate.world.store.queries().is_empty());
}

#[tokio::test]
async fn the_path_itself_is_answered_here() {
    let gate = Gate::open().await;
    let host = gate.world.gate;
    for target in [PATH.to_owned(), format!("{PATH}/"), format!("{PATH}?x=/../y"), format!("http://{host}{PATH}")] {
        let answer = gate.ask("GET", &target).await.unwrap();
        assert_eq!((answer.status, answer.json()["type"].as_str()), (200, Some("parameters")), "{target}");
        let answer =
            gate.ask("POST", &format!("{target}{}", if target.contains('?') { "&" } else { "?" })).await.unwrap();
        assert_eq!(answer.status, 501, "{target}: no action is unknown too");
    }
    assert_eq!(gate.upstream.count(), 0);
}

#[tokio::test]
async fn neighbours_pass_byte_for_byte() {
    let gates = [Gate::open().await, Gate::denying().await];
    for target in [
        "/",
        "/?",
        "/openidm",
        "/openidm/selfservice",
        "/openidm/selfservice/",
        "/openidm/selfservice/registration?_action=submitRequirements",
        "/openidm/selfservice/username",
        "/openidm/selfservice/resetX",
        "/openidm/selfservice/reset.json",
        "/openidm/selfservice/reset-password",
        "/openidm/policy/selfservice/reset",
        "/openidm/policy/selfservice/reset/?_action=validateObject",
        "/x/openidm/selfservice/reset",
        "/selfservice/reset",
        "/openidm/managed/user/a%2Fb%2fc",
        "/openidm/managed/user/%2e%2e%2fx",
        "/openidm/managed/user/x;jsessionid=1",
        "/openidm;jsessionid=1/managed/user",
        "/openidm/managed/user/100%25",
        "/openidm/managed/user/%E7%94%A8%E6%88%B7",
        "//x//y",
        "/a/./b/../c",
        "/a/b//",
        "/a?",
        "/a??b",
        "/a?x=/openidm/selfservice/reset",
        "/?/../openidm/selfservice/reset",
        "/a?x=%00&y=%zz&=&&;",
        "/a?_queryFilter=userName+eq+%22a%22",
        "/a?'()*,;:@!$[]{}|^`~\\",
        "/a|b{c}^'",
    ] {
        for gate in &gates {
            let answer = gate.ask("GET", target).await.unwrap();
            assert_eq!((answer.status, answer.body.as_str()), (200, "upstream"), "{target}");
            assert_eq!(gate.upstream.last().line(), format!("GET {target} HTTP/1.1"));
        }
    }
}

#[tokio::test]
async fn a_request_names_one_host() {
    let gate = Gate::open().await;
    for headers in
        ["", "Host: a\r\nHost: b\r\n", "Host: a\r\nHost: a\r\n", "Host: a@b\r\n", "Host: a b\r\n", "Host: a:@b\r\n"]
    {
        for target in [PATH, "/other"] {
            let request = format!("GET {target} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
            let answer = Raw::exchange(gate.world.gate, request).await.expect("an answer");
            assert_eq!(answer.status, 400, "{headers:?} {target}");
        }
    }
    assert_eq!(gate.upstream.count(), 0);
}

#[tokio::test]
async fn other_forms_of_a_target() {
    let gate = Gate::open().await;
    let host = gate.world.gate;
    let passed = gate.ask("GET", &format!("http://{host}/a?b")).await.unwrap();
    assert_eq!((passed.status, gate.upstream.last().line().as_str()), (200, "GET /a?b HTTP/1.1"));
    assert_eq!(gate.upstream.last().header("host"), [host.to_string()]);
    let passed = gate.upstream.count();
    for (method, target, statuses) in [
        ("GET", "http://other.example/a", [400, 400]),
        ("GET", "*", [400, 400]),
        ("OPTIONS", "*", [400, 400]),
        ("CONNECT", "other.example:443", [400, 405]),
        ("CONNECT", "/", [400, 405]),
        ("TRACE", "/a", [405, 405]),
        ("TRACE", PATH, [403, 403]),
    ] {
        let answer = gate.ask(method, target).await.unwrap_or_else(|| panic!("an answer to {method} {target}"));
        assert!(statuses.contains(&answer.status), "{method} {target}: {} {}", answer.status, answer.body);
    }
    let long = format!("/{}", "a".repeat(9000));
    assert_eq!(gate.ask("GET", &long).await.unwrap().status, 414);
    assert_eq!(gate.upstream.count(), passed);
}
