//! What the gate asks as itself and what its clients ask stay apart, even where one server gets both.

use serde_json::json;

use crate::support::{
    raw::{Raw, request},
    upstream::{Seen, Upstream},
    world::{PATH, Plan, World},
};

/// What a store says besides its JSON. Nothing of it is anybody's business.
const CANARY: &str = "canary-of-the-store";

/// IDM as upstream and store in one: everything that it answers sets a cookie.
async fn idm() -> Upstream {
    Upstream::answering(|seen| {
        let person = json!({
            "_id": "1", "_rev": "0", "userName": "bjensen", "mail": "bjensen@example.com", "accountStatus": "active",
        });
        let target = seen.target();
        let (status, body, cookie) = match (seen.method().as_str(), target.as_str()) {
            ("PATCH", _) if seen.body.windows(4).any(|found| found == b"weak") => {
                let failed =
                    json!([{"policyRequirements": [{"policyRequirement": "MIN_LENGTH"}], "property": "password"}]);
                let detail = json!({"result": false, "failedPolicyRequirements": failed});
                (403, json!({"code": 403, "reason": CANARY, "message": CANARY, "detail": detail}), CANARY)
            }
            (_, target) if target.starts_with("/openidm/managed/user?") => (200, json!({"result": [person]}), CANARY),
            (_, target) if target.starts_with("/openidm/managed/user/1") => (200, person, CANARY),
            _ => (200, json!({}), "of-the-client"),
        };
        let body = body.to_string();
        format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nSet-Cookie: session-jwt={cookie}; Path=/\r\n\
             Set-Cookie: second={cookie}\r\nServer: {cookie}\r\nX-Of-The-Store: {cookie}\r\nETag: \"{cookie}\"\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    })
    .await
}

/// What a client sends with everything.
const HEADERS: [(&str, &str); 9] = [
    ("Content-Type", "application/json"),
    ("Cookie", "session-jwt=client-cookie"),
    ("Authorization", "Basic Y2xpZW50OmNsaWVudA=="),
    ("X-OpenIDM-Username", "client"),
    ("X-OpenIDM-Password", "client"),
    ("X-OpenIDM-RunAs", "client"),
    ("X-ForgeRock-TransactionId", "client"),
    ("X-Forwarded-For", "192.0.2.77"),
    ("User-Agent", "client"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Client,
    Service,
    Probe,
}

fn whose(seen: &Seen) -> Whose {
    let user = seen.header("x-openidm-username");
    match (user.first().map(String::as_str), seen.header("user-agent").first()) {
        (_, Some(agent)) if agent.starts_with("resetgate/") => Whose::Probe,
        (Some("resetgate"), _) => Whose::Service,
        _ => Whose::Client,
    }
}

/// Several whole resets, and passed requests before, between and after their steps, over few connections.
async fn everything_at_once(world: &World) -> Vec<crate::support::world::Answer> {
    let mut answers = Vec::new();
    for nth in 1..=3 {
        let mut client = Raw::to(world.gate).await;
        let mut token = None;
        let (mut mailed, mut set) = (None, false);
        let target = format!("{PATH}?_action=submitRequirements");
        for input in ["begin", "query", "code", "weak", "password"] {
            client.send(request("GET", "/openidm/info/login", &HEADERS, None)).await;
            let passed = client.answer().await.expect("an answer");
            assert_eq!(passed.headers.get_all("set-cookie").iter().count(), 2, "a client's own cookies pass");
            let input = match (input, &mailed) {
                ("begin", _) => json!({}),
                ("query", _) => json!({"queryFilter": "userName eq \"bjensen\""}),
                ("code", Some((_, code))) => json!({"code": code}),
                ("weak", _) => json!({"password": "weak"}),
                _ => json!({"password": format!("Fresh-Pass{nth}")}),
            };
            let body = json!({"token": token, "input": input}).to_string();
            client.send(request("POST", &target, &HEADERS, Some(&body))).await;
            let answer = client.answer().await.expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.body);
            set = answer.json()["status"]["success"] == true;
            token = answer.json()["token"].as_str().map(str::to_owned);
            if input.get("queryFilter").is_some() {
                mailed = Some(world.mailed(nth).await);
                token = mailed.as_ref().map(|(token, _)| token.clone());
            }
            answers.push(answer);
        }
        assert!(set);
    }
    answers
}

#[tokio::test]
async fn service_calls_and_clients_share_nothing() {
    let idm = idm().await;
    let plan = Plan {
        upstream: Some(format!("url = \"http://{}\"", idm.address)),
        identity: Some(idm.address),
        edge: "watch_upstream = \"20ms\"",
        reset: "answer_floor = \"1ms\"\nmail_gap = \"0s\"",
        ..Plan::default()
    };
    let world = World::with(plan).await;
    let answers = everything_at_once(&world).await;

    let seen = idm.seen();
    let of = |kind: Whose| seen.iter().filter(move |seen| whose(seen) == kind);
    for kind in [Whose::Client, Whose::Service, Whose::Probe] {
        for one in of(kind) {
            let others = seen.iter().filter(|other| other.connection == one.connection && whose(other) != kind);
            let others: Vec<_> = others.map(Seen::line).collect();
            assert!(others.is_empty(), "{} and {others:?} over one connection", one.line());
        }
    }
    // Else there would have been nothing to share.
    for kind in [Whose::Client, Whose::Service] {
        let mut connections: Vec<_> = of(kind).map(|seen| seen.connection).collect();
        connections.dedup();
        assert!(connections.len() < of(kind).count(), "{kind:?} connections are kept");
    }
    assert_eq!(of(Whose::Client).count(), 15);

    // Service calls are made from nothing: of nobody's headers, and with no cookie that the store set before.
    let names = ["accept", "host", "x-forgerock-transactionid", "x-openidm-nosession", "x-openidm-password"];
    let common = [&names[..], &["x-openidm-username"]].concat();
    for call in of(Whose::Service) {
        let all = call.names();
        let own: Vec<_> = all
            .iter()
            .filter(|name| !["content-length", "content-type", "if-match"].contains(&name.as_str()))
            .map(String::as_str)
            .collect();
        assert_eq!(own, common, "{}", call.line());
        assert_eq!(call.header("x-openidm-nosession"), ["true"]);
        let head = String::from_utf8(call.head.clone()).unwrap();
        assert!(!head.contains("client") && !head.contains("192.0.2.77") && !head.contains(CANARY), "{head}");
    }
    for asked in of(Whose::Client) {
        assert_eq!(asked.header("cookie"), ["session-jwt=client-cookie"], "as the client sent it");
    }

    // And of their answers nothing leaves.
    const TOLD: [&str; 10] = [
        "cache-control",
        "connection",
        "content-length",
        "content-security-policy",
        "content-type",
        "date",
        "keep-alive",
        "referrer-policy",
        "x-content-type-options",
        "x-request-id",
    ];
    for answer in answers {
        for (name, value) in &answer.headers {
            assert!(TOLD.contains(&name.as_str()), "{name}: {value:?}");
        }
        assert!(!answer.body.contains(CANARY) && !answer.body.contains("_rev"), "{}", answer.body);
    }
}
