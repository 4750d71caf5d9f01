//! HTTP/2 without TLS, on a listener that is marked for it: the gate is the same, and so are its bounds.

use std::{net::Ipv4Addr, time::Duration};

use bytes::Bytes;
use h2::{Reason, client::Builder};
use http::HeaderMap;
use resetgate::serve::Ended;
use tokio::{
    io::AsyncReadExt,
    time::{advance, pause, resume},
};

use crate::{
    paths::SPELLINGS,
    support::{
        connections::{by_hand, give, listening, open, slow, taken},
        http2::{Frames, GOAWAY, HEADERS, Http2, RESET, read, request},
        raw::{self, Raw},
        upstream::Upstream,
        world::{PATH, Plan, World},
    },
};

const SUBMIT: &str = "/openidm/selfservice/reset?_action=submitRequirements";
const JSON: (&str, &str) = ("content-type", "application/json");
const START: &str = r#"{"input":{}}"#;

async fn in_front_of(upstream: &Upstream) -> World {
    World::with(Plan { upstream: Some(format!("url = \"http://{}\"", upstream.address)), ..Plan::default() }).await
}

#[tokio::test]
async fn a_password_is_reset() {
    let mut world = World::usual().await;
    world.gate = world.http2;
    world.http = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let opening = world.http.get(world.url(PATH)).send().await.unwrap();
    assert_eq!((opening.status().as_u16(), opening.version()), (200, http::Version::HTTP_2));
    let token = world.proven("bjensen", 1).await;
    let done = world.set(&token, "Fresh-Pass1").await;
    assert_eq!((done.status, done.json()["tag"].as_str()), (200, Some("end")), "{}", done.body);
    assert!(world.store.password_is("bjensen", "Fresh-Pass1"));
}

#[tokio::test]
async fn whoever_begins_otherwise_speaks_http1() {
    let upstream = Upstream::start().await;
    let world = in_front_of(&upstream).await;
    // Shorter than what HTTP/2 begins with.
    let answer = Raw::exchange(world.http2, "GET / HTTP/1.0\r\n\r\n").await.expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (200, "upstream"));
    for line in
        ["P / HTTP/1.0\r\n\r\n", "PR / HTTP/1.0\r\n\r\n", "PRI /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"]
    {
        let mut raw = Raw::to(world.http2).await;
        for byte in line.as_bytes() {
            raw.send([*byte]).await;
        }
        assert_eq!(raw.answer().await.expect("an answer").status, 200, "{line}");
        assert_eq!(format!("{}\r\n", upstream.last().line().replace("1.1", "")).len(), line.find("\r\n").unwrap() - 1);
    }
    let mut raw = Raw::to(world.http2).await;
    for _ in 0..3 {
        raw.send(raw::request("POST", SUBMIT, &[JSON], Some(START))).await;
        assert_eq!(raw.answer().await.expect("an answer").json()["type"], "userQuery");
    }
    let mut raw = Raw::to(world.http2).await;
    raw.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r!").await;
    assert_eq!(raw.answer().await.expect("an answer").status, 400);
    // Where nobody marked it, it is no HTTP at all.
    let mut raw = Raw::to(world.gate).await;
    raw.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert_eq!(raw.answer().await.expect("an answer").status, 400);
}

#[tokio::test]
async fn who_says_half_of_it_is_not_waited_for() {
    let mut world = listening("header_timeout = \"200ms\"\nidle_timeout = \"400ms\"").await;
    assert!(Raw::to(world.http2).await.ends().await);
    assert_eq!(slow(&world, "head").await, "0");
    let mut raw = Raw::to(world.http2).await;
    raw.send("PRI * HTTP/2.0\r\n\r\nSM").await;
    assert!(raw.ends().await);
    assert_eq!(slow(&world, "head").await, "1");
    open(&world, 0).await;
    // Nor does who says nothing hold a drain up.
    let world_is_asked = Raw::to(world.http2).await;
    open(&world, 1).await;
    assert_eq!(world.drain().await, Ended::Drained);
    drop(world_is_asked);
}

#[tokio::test]
async fn a_request_goes_up_as_of_http1() {
    let upstream = Upstream::start().await;
    let world = in_front_of(&upstream).await;
    let mut http2 = Http2::to(world.http2).await;
    for (method, body) in [("GET", None), ("HEAD", None), ("POST", Some("{\"a\": 1}")), ("PATCH", Some("x"))] {
        let target = "/openidm/managed/user?_action=x&_Action=y";
        let lines = [("cookie", "a=b"), ("cookie", "c=d; e=f"), ("x-many", "1"), ("x-many", "2"), ("te", "trailers")];
        let answer = http2.ask(request(method, target, &lines), body).await.unwrap();
        assert_eq!((answer.status, answer.headers["x-from"].to_str().unwrap()), (200, "upstream"));
        assert_eq!(answer.body, if method == "HEAD" { "" } else { "upstream" });
        let seen = upstream.last();
        assert_eq!(seen.line(), format!("{method} {target} HTTP/1.1"));
        assert_eq!(seen.body, body.unwrap_or_default().as_bytes());
        for (name, value) in [
            ("host", "id.example.com"),
            ("x-forwarded-host", "id.example.com"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("cookie", "a=b; c=d; e=f"),
        ] {
            assert_eq!(seen.header(name), [value], "{method}");
        }
        assert_eq!(seen.header("x-many"), ["1", "2"]);
        assert!(seen.header("te").is_empty());
    }
    // A body without a length, with a trailer.
    let (answer, mut body) = http2.open(request("PUT", "/x", &[]), true).await;
    body.send_data(Bytes::from_static(b"first "), false).unwrap();
    body.send_data(Bytes::from_static(b"last"), false).unwrap();
    body.send_trailers(HeaderMap::from_iter([("x-late".parse().unwrap(), "1".parse().unwrap())])).unwrap();
    assert_eq!(read(answer.await.unwrap()).await.unwrap().status, 200);
    assert_eq!(upstream.last().body, b"first last");
    assert_eq!(upstream.last().header("transfer-encoding"), ["chunked"]);
    assert!(upstream.last().header("x-late").is_empty());
}

#[tokio::test]
async fn an_answer_has_nothing_of_http1() {
    let upstream = Upstream::answering(|seen| {
        let status = seen.target().trim_start_matches('/').to_owned();
        let rest = match status.as_str() {
            "200" => "Transfer-Encoding: chunked\r\nConnection: close\r\nKeep-Alive: timeout=5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "304" => "Content-Length: 5\r\nConnection: close\r\n\r\n",
            _ => "\r\n",
        };
        format!("HTTP/1.1 {status} X\r\n{rest}").into_bytes()
    })
    .await;
    let world = in_front_of(&upstream).await;
    let mut http2 = Http2::to(world.http2).await;
    let head = http2.ask(request("HEAD", PATH, &[]), None).await.unwrap();
    let get = http2.get(PATH).await.unwrap();
    assert_eq!((head.status, head.body.as_str(), &head.headers["etag"]), (200, "", &get.headers["etag"]));
    let mut answers = vec![head, get];
    for (target, body) in [("/200", "hello"), ("/204", ""), ("/304", ""), ("/openidm//selfservice/reset", "404")] {
        let answer = http2.get(target).await.unwrap();
        assert!(answer.body.contains(body), "{target}: {}", answer.body);
        answers.push(answer);
    }
    for answer in answers {
        for name in ["connection", "keep-alive", "transfer-encoding", "upgrade"] {
            assert!(!answer.headers.contains_key(name), "{name}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn no_spelling_of_the_reset_path_passes() {
    let upstream = Upstream::start().await;
    let world = in_front_of(&upstream).await;
    let mut http2 = Http2::to(world.http2).await;
    let mut asked = 0;
    for spelling in SPELLINGS {
        let Ok(uri) = format!("http://id.example.com{spelling}").parse::<http::Uri>() else { continue };
        // What a URI cannot say, h2 does not send.
        if uri.path_and_query().is_none_or(|target| target.as_str() != *spelling) {
            continue;
        }
        asked += 1;
        let answer = http2.get(spelling).await.unwrap();
        assert!(matches!(answer.status, 400 | 404), "{spelling}: {}", answer.status);
    }
    assert!(asked > SPELLINGS.len() / 2, "{asked} of {}", SPELLINGS.len());
    assert_eq!(http2.get("/openidm/selfservice/reset/").await.unwrap().json()["type"], "parameters");
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn what_is_no_request_does_not_go_up() {
    const OK: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/x")];
    let upstream = Upstream::start().await;
    let world = in_front_of(&upstream).await;
    let with = |line: (&'static str, &'static str)| [&OK[..], &[line]].concat();
    let but = |line: (&'static str, &'static str)| OK.map(|ok| if ok.0 == line.0 { line } else { ok }).to_vec();
    let without = |name: &str| OK.into_iter().filter(|ok| ok.0 != name).collect::<Vec<_>>();
    for fields in [
        without(":method"),
        without(":path"),
        without(":scheme"),
        without(":authority"),
        but((":authority", "")),
        but((":authority", "user@a")),
        but((":authority", "a/b")),
        but((":path", "")),
        but((":path", "x")),
        but((":path", "*")),
        but((":path", "http://a/x")),
        but((":path", "/x HTTP/1.1\r\nX: y")),
        but((":method", "CONNECT")),
        with(("host", "b")),
        with(("connection", "close")),
        with(("connection", "x-y")),
        with(("keep-alive", "1")),
        with(("proxy-connection", "close")),
        with(("upgrade", "websocket")),
        with(("te", "gzip")),
        with(("transfer-encoding", "chunked")),
        with(("transfer_encoding", "chunked")),
        with(("content-length", "5")),
        with(("content-length", "-1")),
        with(("content-length", "0, 1")),
        with(("X-Upper", "1")),
        with(("x y", "1")),
        with(("x-line", "1\r\nX: y")),
        with((":path", "/y")),
        with((":unknown", "1")),
    ] {
        let mut frames = Frames::to(world.http2).await;
        frames.send_head(1, &fields).await;
        let frame = frames.next(&[HEADERS, RESET, GOAWAY]).await.unwrap_or_else(|| panic!("a word on {fields:?}"));
        if frame.kind == HEADERS {
            // 4xx, as a static field or as three digits.
            let status = frame.payload[0];
            assert!(
                matches!(status, 0x8c | 0x8d) || frame.payload[2] == b'4' || status == 0x48,
                "{fields:?} {frame:?}"
            );
        }
        assert!(frame.stream <= 1);
    }
    assert_eq!(upstream.count(), 0);
    let mut frames = Frames::to(world.http2).await;
    frames.send_head(1, &OK).await;
    assert_eq!(frames.next(&[HEADERS, RESET, GOAWAY]).await.expect("an answer").payload[0], 0x88);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn heads_and_targets_have_a_size() {
    let upstream = Upstream::start().await;
    let world = in_front_of(&upstream).await;
    let mut http2 = Http2::to(world.http2).await;
    let large = "x".repeat(15_000);
    for target in [PATH, "/other"] {
        let mut many = request("GET", target, &[]);
        for n in 0..130 {
            many.headers_mut().append("x-many", n.to_string().parse().unwrap());
        }
        assert_eq!(http2.ask(many, None).await.unwrap().status, 431);
        let mut much = request("GET", target, &[]);
        for _ in 0..5 {
            much.headers_mut().append("x-much", large.parse().unwrap());
        }
        assert_eq!(http2.ask(much, None).await.unwrap().status, 431);
        assert_eq!(http2.get(&format!("{target}?{}", "x".repeat(8 << 10))).await.unwrap().status, 414);
        let mut crumbs = request("GET", target, &[]);
        for n in 0..200 {
            crumbs.headers_mut().append("cookie", format!("c{n}=x").parse().unwrap());
        }
        assert_eq!(http2.ask(crumbs, None).await.unwrap().status, 200);
    }
    assert_eq!(upstream.count(), 1);
    assert_eq!(http2.most_streams(), 32);
}

#[tokio::test]
async fn who_opens_no_stream_is_not_kept() {
    let (listener, world) = by_hand("idle_timeout = \"200ms\"").await;
    let http2 = Http2::to(world.http2).await;
    http2.end().await.expect("in good order");
    let mut http2 = Http2::to(world.http2).await;
    assert_eq!(http2.get(PATH).await.unwrap().status, 200);
    // It is not idle while something is asked of it.
    let (answer, _body) = http2.open(request("GET", "/slow", &[]), false).await;
    let mut upstream = taken(&listener).await;
    pause();
    advance(Duration::from_secs(10)).await;
    resume();
    give(&mut upstream, "late").await;
    assert_eq!(read(answer.await.unwrap()).await.unwrap().body, "late");
    http2.end().await.expect("in good order");
    open(&world, 0).await;
}

#[tokio::test]
async fn a_connection_has_its_last_request_and_nothing_is_cut() {
    let (listener, world) = by_hand("max_requests = 3\nmax_lifetime = \"30s\"").await;
    for by_age in [false, true] {
        let mut http2 = Http2::to(world.http2).await;
        let (answer, _body) = http2.open(request("GET", "/slow", &[]), false).await;
        let mut upstream = taken(&listener).await;
        assert_eq!(http2.get(PATH).await.unwrap().status, 200);
        if by_age {
            pause();
            advance(Duration::from_secs(31)).await;
            resume();
        } else {
            assert_eq!(http2.get(PATH).await.unwrap().status, 200);
        }
        // When it has heard of it.
        let refused = async { while http2.get(PATH).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(20), refused).await.expect("no more streams");
        give(&mut upstream, "late").await;
        assert_eq!(read(answer.await.unwrap()).await.unwrap().body, "late");
        http2.end().await.expect("in good order");
        open(&world, 0).await;
    }
}

#[tokio::test]
async fn a_silence_within_a_body_ends_its_stream_alone() {
    let (listener, world) = by_hand("body_timeout = \"200ms\"").await;
    let mut http2 = Http2::to(world.http2).await;
    let (answer, mut body) = http2.open(request("POST", SUBMIT, &[JSON]), true).await;
    body.send_data(Bytes::from_static(b"{"), false).unwrap();
    let answer = read(answer.await.unwrap()).await.unwrap();
    assert_eq!((answer.status, answer.json()["code"].as_u64()), (408, Some(408)));
    let (answer, mut body) = http2.open(request("POST", "/other", &[]), true).await;
    body.send_data(Bytes::from_static(b"{"), false).unwrap();
    let mut upstream = taken(&listener).await;
    assert!(answer.await.unwrap_err().is_reset());
    let mut rest = Vec::new();
    let _ = upstream.read_to_end(&mut rest).await;
    assert!(!rest.windows(5).any(|end| end == b"0\r\n\r\n"), "nothing is made up");
    assert_eq!(slow(&world, "body").await, "2");
    assert_eq!(http2.get(PATH).await.unwrap().status, 200);
}

/// The window is the client's to open.
#[tokio::test]
async fn an_answer_that_is_not_taken_is_not_kept() {
    let (listener, world) = by_hand("body_timeout = \"200ms\"\nmin_rate = 65536").await;
    let mut how = Builder::new();
    how.initial_window_size(0);
    let mut http2 = Http2::from(Ipv4Addr::LOCALHOST, world.http2, &how).await;
    for target in [PATH, "/other"] {
        let (answer, _body) = http2.open(request("GET", target, &[]), false).await;
        if target != PATH {
            give(&mut taken(&listener).await, "not taken").await;
        }
        let mut answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.body_mut().data().await.expect("an end").unwrap_err().is_reset(), "{target}");
    }
    world.until(async || slow(&world, "answer").await == "2").await;
    assert_eq!(http2.ask(request("HEAD", PATH, &[]), None).await.unwrap().status, 200);
}

#[tokio::test]
async fn one_too_many_ends_a_connection_without_a_stream() {
    let (listener, world) = by_hand("max_connections_per_client = 2").await;
    let anna = Ipv4Addr::new(127, 0, 0, 2);
    let mut busy = Http2::from(anna, world.http2, &Builder::new()).await;
    let (slow, _body) = busy.open(request("GET", "/slow", &[]), false).await;
    let mut upstream = taken(&listener).await;
    let mut idle = Http2::from(anna, world.http2, &Builder::new()).await;
    assert_eq!(idle.get(PATH).await.unwrap().status, 200);
    let evicted = async || world.metric("evicted_connections_total{cap=\"client\"}").await;
    let mut fresh = Http2::from(anna, world.http2, &Builder::new()).await;
    let (second, _body) = fresh.open(request("GET", "/slow", &[]), false).await;
    let mut other = taken(&listener).await;
    let _ = idle.end().await;
    assert_eq!(evicted().await, "1");
    // Nobody of these waits.
    assert!(Raw::from(anna, world.http2).await.ends().await);
    assert_eq!(world.metric("refused_connections_total{cap=\"client\"}").await, "1");
    for (answer, upstream) in [(slow, &mut upstream), (second, &mut other)] {
        give(upstream, "late").await;
        assert_eq!(read(answer.await.unwrap()).await.unwrap().body, "late");
    }
    assert_eq!(evicted().await, "1");
}

#[tokio::test]
async fn a_client_has_as_many_streams_as_connections() {
    let (listener, world) = by_hand("max_connections_per_client = 3").await;
    let anna = Ipv4Addr::new(127, 0, 0, 2);
    let mut both =
        [Http2::from(anna, world.http2, &Builder::new()).await, Http2::from(anna, world.http2, &Builder::new()).await];
    let (mut answers, mut upstream) = (Vec::new(), Vec::new());
    for n in 0..3 {
        answers.push(both[n % 2].open(request("GET", "/slow", &[]), false).await);
        upstream.push(taken(&listener).await);
    }
    for http2 in &mut both {
        assert_eq!(http2.get(PATH).await.unwrap_err().reason(), Some(Reason::REFUSED_STREAM));
    }
    assert_eq!(world.metric("refused_connections_total{cap=\"client\"}").await, "2");
    assert_eq!(Http2::to(world.http2).await.get(PATH).await.unwrap().status, 200);
    give(&mut upstream[0], "late").await;
    assert_eq!(read(answers.remove(0).0.await.unwrap()).await.unwrap().body, "late");
    world.until(async || both[1].get(PATH).await.is_ok()).await;
}

#[tokio::test]
async fn limits_know_the_client() {
    let limits = "client = \"3/1h\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_total = \"0\"";
    let world = World::with(Plan { limits, ..Plan::default() }).await;
    let mut http2 = Http2::from(Ipv4Addr::new(127, 0, 0, 2), world.http2, &Builder::new()).await;
    for status in [200, 200, 200, 429] {
        assert_eq!(http2.get(PATH).await.unwrap().status, status);
    }
    let mut raw = Raw::from(Ipv4Addr::new(127, 0, 0, 2), world.gate).await;
    raw.send(raw::request("GET", PATH, &[], None)).await;
    assert_eq!(raw.answer().await.expect("an answer").status, 429);
    let mut other = Http2::from(Ipv4Addr::new(127, 0, 0, 3), world.http2, &Builder::new()).await;
    assert_eq!(other.get(PATH).await.unwrap().status, 200);
}

#[tokio::test]
async fn who_opens_streams_to_reset_them_is_sent_away() {
    let upstream = Upstream::start().await;
    let world = in_front_of(&upstream).await;
    let mut frames = Frames::to(world.http2).await;
    let head = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/x")];
    for n in 0..2000 {
        frames.send_head(2 * n + 1, &head).await;
        frames.send(RESET, 0, 2 * n + 1, &8_u32.to_be_bytes()).await;
    }
    let end = frames.next(&[GOAWAY]).await.expect("a word");
    assert_eq!(end.payload[7], u8::try_from(u32::from(Reason::ENHANCE_YOUR_CALM)).unwrap());
    assert!(frames.next(&[GOAWAY]).await.is_none());
    assert!(upstream.count() < 200, "{}", upstream.count());
    open(&world, 0).await;
}

#[tokio::test]
async fn a_drain_finishes_what_is_open() {
    let (listener, mut world) = by_hand("").await;
    let mut http2 = Http2::to(world.http2).await;
    let (answer, _body) = http2.open(request("GET", "/slow", &[]), false).await;
    let mut upstream = taken(&listener).await;
    let idle = Http2::to(world.http2).await;
    let begun = world.stopping();
    let client = tokio::spawn(async move {
        begun.await;
        idle.end().await.expect("in good order");
        give(&mut upstream, "late").await;
        let answer = read(answer.await.unwrap()).await.unwrap();
        http2.end().await.expect("in good order");
        answer
    });
    assert_eq!(world.drain().await, Ended::Drained);
    assert_eq!(client.await.unwrap().body, "late");
}
