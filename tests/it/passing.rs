//! Every other path: what goes up and what comes back, unchanged and not held up.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Barrier,
    task::JoinSet,
};

use crate::support::{
    connections::{by_hand, read_head},
    link::Mode,
    raw::{Raw, request},
    upstream::Upstream,
    world::{Plan, World},
};

/// Enough that no buffer on the way holds it.
const LARGE: usize = 64 << 20;

async fn in_front_of(upstream: &Upstream) -> World {
    World::with(Plan { upstream: Some(format!("url = \"http://{}\"", upstream.address)), ..Plan::default() }).await
}

async fn in_front_of_url(lines: &str) -> World {
    World::with(Plan { upstream: Some(lines.to_owned()), ..Plan::default() }).await
}

#[tokio::test]
async fn a_request_goes_up_as_it_came() {
    let upstream = Upstream::start().await;
    let world = in_front_of(&upstream).await;
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "purge"] {
        let body = (!matches!(method, "GET" | "HEAD")).then_some("{\"a\": \"b\"}");
        let headers = [
            ("Content-Type", "application/json;charset=x"),
            ("X-OpenIDM-Username", "bjensen"),
            ("X-OpenIDM-Password", "UTF-8''p%C3%A4ss"),
            ("Authorization", "Basic eDp5"),
            ("Cookie", "a=b; session-jwt=c"),
            ("Accept-Encoding", "gzip, br"),
            ("If-None-Match", "\"1\""),
            ("If-Match", "*"),
            ("Range", "bytes=0-9"),
            ("X-Many", "1"),
            ("X-Many", "2"),
            ("X-Empty", ""),
            ("X-HTTP-Method-Override", "PATCH"),
            ("Origin", "https://evil.example"),
            ("Sec-Fetch-Site", "cross-site"),
        ];
        let target = "/openidm/managed/user?_action=x&_Action=y";
        let answer = Raw::exchange(world.gate, request(method, target, &headers, body)).await.expect("an answer");
        assert_eq!(answer.status, 200, "{method}");
        let seen = upstream.last();
        assert_eq!(seen.line(), format!("{method} {target} HTTP/1.1"));
        assert_eq!(seen.body, body.unwrap_or_default().as_bytes(), "{method}");
        assert_eq!(seen.header("host"), ["id.example.com"]);
        for (name, value) in headers {
            assert!(seen.header(name).contains(&value.to_owned()), "{method} {name}: {:?}", seen.header(name));
        }
        assert_eq!(seen.header("x-many"), ["1", "2"]);
    }
}

#[tokio::test]
async fn a_slow_upstream_is_asked_by_all_at_once() {
    const ALL: usize = 300;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let all_are_here = Arc::new(Barrier::new(ALL));
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let all_are_here = Arc::clone(&all_are_here);
            tokio::spawn(async move {
                read_head(&mut client).await;
                all_are_here.wait().await;
                client.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            });
        }
    });
    let world = in_front_of_url(&format!("url = \"http://{address}\"")).await;
    let mut answers = JoinSet::new();
    for _ in 0..ALL {
        answers.spawn(Raw::exchange(world.gate, request("GET", "/", &[], None)));
    }
    for answer in answers.join_all().await {
        assert_eq!(answer.expect("an answer").status, 204);
    }
}

#[tokio::test]
async fn an_answer_comes_back_as_it_was_given() {
    let upstream = Upstream::answering(|seen| {
        let status = seen.target().trim_start_matches('/').to_owned();
        let body = if seen.method() == "HEAD" || status.starts_with("304") { "" } else { "upstream's <b>" };
        format!(
            "HTTP/1.1 {status} Some Words\r\nContent-Type: text/html\r\nContent-Length: 14\r\nSet-Cookie: a=b\r\n\
             Set-Cookie: c=d\r\nWWW-Authenticate: Basic\r\nLocation: http://elsewhere/\r\nServer: Jetty\r\n\
             Cache-Control: max-age=60\r\nETag: \"1\"\r\nX-Own: 1\r\n\r\n{body}"
        )
        .into_bytes()
    })
    .await;
    let world = in_front_of(&upstream).await;
    for status in ["200", "201", "302", "304", "401", "403", "404", "409", "500", "503"] {
        for method in ["GET", "HEAD", "POST"] {
            let body = (method == "POST").then_some("x");
            let request = request(method, &format!("/{status}"), &[], body);
            let answer = Raw::exchange(world.gate, request).await.expect("an answer");
            assert_eq!(answer.status.to_string(), status);
            let empty = method == "HEAD" || status == "304";
            assert_eq!(answer.body, if empty { "" } else { "upstream's <b>" }, "{method} {status}");
            let text = |name: &str| {
                let values = answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
                values.collect::<Vec<_>>().join("|")
            };
            for (name, value) in [
                ("content-type", "text/html"),
                ("set-cookie", "a=b|c=d"),
                ("www-authenticate", "Basic"),
                ("location", "http://elsewhere/"),
                ("server", "Jetty"),
                ("cache-control", "max-age=60"),
                ("etag", "\"1\""),
                ("x-own", "1"),
                ("content-length", "14"),
            ] {
                assert_eq!(text(name), value, "{method} {status} {name}");
            }
            assert!(text("x-content-type-options").is_empty());
        }
    }
}

#[tokio::test]
async fn where_a_request_came_from_is_said_by_the_gate() {
    let upstream = Upstream::start().await;
    let lies = [
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Port", "1"),
        ("X-Real-IP", "10.0.0.1"),
        ("X_Forwarded_For", "10.0.0.1"),
        ("Forwarded", "for=10.0.0.1"),
        ("X-Original-URL", "/openidm/selfservice/reset"),
        ("X-Rewrite-URL", "/openidm/selfservice/reset"),
        ("X-Original-URI", "/x"),
        ("X_Original_URL", "/x"),
        ("X-Forwarded-Prefix", "/x"),
    ];
    let world = in_front_of(&upstream).await;
    Raw::exchange(world.gate, request("GET", "/a", &lies, None)).await.unwrap();
    let seen = upstream.last();
    assert_eq!(seen.header("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.header("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.header("x-forwarded-host"), ["id.example.com"]);
    for name in [
        "x-forwarded-port",
        "x-real-ip",
        "x_forwarded_for",
        "forwarded",
        "x-original-url",
        "x-rewrite-url",
        "x-original-uri",
        "x_original_url",
        "x-forwarded-prefix",
    ] {
        assert!(seen.header(name).is_empty(), "{name}");
    }

    let plan = Plan {
        upstream: Some(format!("url = \"http://{}\"", upstream.address)),
        listen: "trusted_proxies = [\"127.0.0.0/8\"]",
        ..Plan::default()
    };
    let world = World::with(plan).await;
    Raw::exchange(world.gate, request("GET", "/a", &lies, None)).await.unwrap();
    let seen = upstream.last();
    assert_eq!(seen.header("x-forwarded-for"), ["10.0.0.1, 127.0.0.1"]);
    assert_eq!(seen.header("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.header("x-forwarded-host"), ["evil.example"]);
    for name in ["x_forwarded_for", "x-original-url", "x-rewrite-url", "x-original-uri", "x_original_url"] {
        assert!(seen.header(name).is_empty(), "{name}");
    }
}

#[tokio::test]
async fn what_is_for_one_hop_stays_there() {
    let upstream = Upstream::start().await;
    let world = in_front_of(&upstream).await;
    let headers = [
        ("Connection", "X-Mine, Upgrade, keep-alive"),
        ("X-Mine", "1"),
        ("Upgrade", "websocket"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers"),
        ("X-Theirs", "1"),
    ];
    Raw::exchange(world.gate, request("GET", "/a", &headers, None)).await.unwrap();
    let seen = upstream.last();
    for name in ["x-mine", "upgrade", "keep-alive", "proxy-connection", "te"] {
        assert!(seen.header(name).is_empty(), "{name}: {:?}", seen.header(name));
    }
    assert_eq!(seen.header("x-theirs"), ["1"]);
}

#[tokio::test]
async fn bodies_pass_however_they_are_framed() {
    let upstream = Upstream::answering(|seen| {
        let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for part in seen.body.chunks(5) {
            answer.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            answer.extend_from_slice(part);
            answer.extend_from_slice(b"\r\n");
        }
        answer.extend_from_slice(b"0\r\n\r\n");
        answer
    })
    .await;
    let world = in_front_of(&upstream).await;
    let mut raw = Raw::to(world.gate).await;
    raw.send(request("POST", "/a", &[("Transfer-Encoding", "chunked")], None)).await;
    raw.send("3;x=y\r\nabc\r\n8\r\ndefghijk\r\n0\r\n\r\n").await;
    assert_eq!(raw.answer().await.expect("an answer").body, "abcdefghijk");
    raw.send(request("POST", "/a", &[], Some("abcdefghijk"))).await;
    assert_eq!(raw.answer().await.expect("the connection is kept").body, "abcdefghijk");
    raw.send(request("POST", "/a", &[], Some(""))).await;
    assert_eq!(raw.answer().await.expect("the connection is kept").body, "");
}

#[tokio::test]
async fn a_large_body_streams_up() {
    let (listener, world) = by_hand("").await;
    let mut client = TcpStream::connect(world.gate).await.unwrap();
    let head = format!("PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(b"first").await.unwrap();
    let (mut upstream, _) = listener.accept().await.unwrap();
    let mut came = read_head(&mut upstream).await;
    while came.len() < 5 {
        upstream.read_buf(&mut came).await.unwrap();
    }
    assert_eq!(came, b"first", "it is there before the rest is sent");

    // Nobody reads: what the client can send is what the gate and the kernel hold.
    let chunk = vec![b'x'; 64 << 10];
    let mut sent = 5;
    while sent < LARGE {
        match tokio::time::timeout(Duration::from_millis(500), client.write(&chunk[..chunk.len().min(LARGE - sent)]))
            .await
        {
            Ok(written) => sent += written.unwrap(),
            Err(_) => break,
        }
    }
    assert!(sent < LARGE / 2, "{sent} bytes are held on the way");

    let (mut from_client, mut to_client) = client.split();
    let rest = async {
        while sent < LARGE {
            let most = chunk.len().min(LARGE - sent);
            to_client.write_all(&chunk[..most]).await.unwrap();
            sent += most;
        }
    };
    let drained = async {
        let (mut read, mut total) = (vec![0; 256 << 10], came.len());
        while total < LARGE {
            total += upstream.read(&mut read).await.unwrap();
        }
        upstream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        total
    };
    let ((), total) = tokio::join!(rest, drained);
    assert_eq!(total, LARGE);
    let mut answer = vec![0; 12];
    from_client.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 204");
}

#[tokio::test]
async fn a_large_answer_streams_down() {
    let (listener, world) = by_hand("").await;
    let mut client = Raw::to(world.gate).await;
    client.send(request("GET", "/a", &[], None)).await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_head(&mut upstream).await;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\nfirst");
    upstream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(client.head().await.unwrap().0, 200);
    assert_eq!(client.some(5).await.unwrap(), b"first", "it is there before the rest is sent");

    let chunk = vec![b'x'; 64 << 10];
    let mut sent = 5;
    while sent < LARGE {
        match tokio::time::timeout(Duration::from_millis(500), upstream.write(&chunk[..chunk.len().min(LARGE - sent)]))
            .await
        {
            Ok(written) => sent += written.unwrap(),
            Err(_) => break,
        }
    }
    assert!(sent < LARGE / 2, "{sent} bytes are held on the way");
    let rest = async {
        while sent < LARGE {
            let most = chunk.len().min(LARGE - sent);
            upstream.write_all(&chunk[..most]).await.unwrap();
            sent += most;
        }
    };
    let drained = async {
        let mut total = 5;
        while total < LARGE {
            total += client.some(usize::MAX).await.expect("more").len();
        }
        total
    };
    let ((), total) = tokio::join!(rest, drained);
    assert_eq!(total, LARGE);
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_502_of_ours() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    for lines in
        [format!("url = \"http://{nobody}\""), "url = \"http://nowhere.invalid\"\nallow_plaintext = true".to_owned()]
    {
        let world = in_front_of_url(&lines).await;
        for (method, body) in [("GET", None), ("POST", Some("x")), ("HEAD", None)] {
            let answer = Raw::exchange(world.gate, request(method, "/a", &[], body)).await.expect("an answer");
            assert_eq!(answer.status, 502, "{lines} {method}");
            assert_eq!(answer.headers["cache-control"], "no-cache, no-store");
            if method != "HEAD" {
                assert_eq!(
                    (answer.json()["code"].as_u64(), answer.json()["reason"].as_str()),
                    (Some(502), Some("Bad Gateway"))
                );
            }
        }
        // What is answered here needs no upstream.
        assert_eq!(world.query("bjensen").await.status, 200);
        world.mail(1).await;
    }
}

#[tokio::test]
async fn what_is_no_answer_is_a_502_of_ours() {
    for nonsense in ["", "nonsense\r\n\r\n", "HTTP/1.1 xyz\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"] {
        let (listener, world) = by_hand("").await;
        let server = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                read_head(&mut client).await;
                let _ = client.write_all(nonsense.as_bytes()).await;
            }
        });
        let answer = Raw::exchange(world.gate, request("POST", "/a", &[], Some("x"))).await.expect("an answer");
        assert_eq!((answer.status, answer.json()["code"].as_u64()), (502, Some(502)), "{nonsense:?}");
        server.abort();
    }
}

/// Resets wait for a store that hangs; what passes does not wait with them.
#[tokio::test]
async fn r1_a_flood_of_resets_holds_nothing_up() {
    // Fewer than calls to the store at a time, so that each waits for it as long as it may.
    const FLOOD: usize = 200;
    let upstream = Upstream::start().await;
    let world = in_front_of(&upstream).await;
    let token = world.begin().await;
    world.store_link.set(Mode::Hang);
    let mut flood = JoinSet::new();
    for n in 0..FLOOD {
        let filter = format!("userName eq \"user{n}\"");
        let body = json!({"token": token, "input": {"queryFilter": filter}}).to_string();
        let submit = request(
            "POST",
            "/openidm/selfservice/reset?_action=submitRequirements",
            &[("Content-Type", "application/json")],
            Some(&body),
        );
        let mut raw = Raw::to(world.gate).await;
        raw.send(submit).await;
        flood.spawn(async move { raw.answer().await });
    }
    for _ in 0..20 {
        let answer = Raw::exchange(world.gate, request("GET", "/a", &[], None)).await.expect("an answer");
        assert_eq!(answer.body, "upstream");
    }
    assert!(flood.try_join_next().is_none(), "they are all still waiting");
}
