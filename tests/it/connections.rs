//! Connections: how slow a client may be, how many connections it may have, and whose goes when there are too many.
//! 127.0.0.0/8 is all this machine, so that each of its addresses can be a client.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{advance, pause, resume, sleep},
};

use crate::support::{
    connections::{by_hand, give, listening, open, slow, taken},
    raw::{Raw, request},
    upstream::Upstream,
    world::{PATH, Plan, World},
};

const ANNA: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const BERT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const CARL: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);

const SUBMIT: &str = "/openidm/selfservice/reset?_action=submitRequirements";
const JSON: (&str, &str) = ("Content-Type", "application/json");

async fn reads(raw: &mut Raw) -> u16 {
    raw.send(request("GET", PATH, &[], None)).await;
    raw.answer().await.expect("an answer").status
}

async fn evicted(world: &World, cap: &str) -> String {
    world.metric(&format!("evicted_connections_total{{cap=\"{cap}\"}}")).await
}

async fn refused(world: &World, cap: &str) -> String {
    world.metric(&format!("refused_connections_total{{cap=\"{cap}\"}}")).await
}

#[tokio::test]
async fn a_head_that_takes_long_is_not_waited_for() {
    let world = listening("header_timeout = \"200ms\"").await;
    let mut raw = Raw::to(world.gate).await;
    // The first is in time, and the time of the second is its own.
    assert_eq!(reads(&mut raw).await, 200);
    raw.send("GET / HT").await;
    assert!(raw.ends().await);
    assert_eq!(slow(&world, "head").await, "1");
    let mut trickle = Raw::to(world.gate).await;
    pause();
    for byte in request("GET", PATH, &[("X-Filler", &"x".repeat(60))], None) {
        trickle.send([byte]).await;
        sleep(Duration::from_millis(10)).await;
    }
    assert!(trickle.ends().await);
    resume();
    assert_eq!(slow(&world, "head").await, "2");
    open(&world, 0).await;
}

#[tokio::test]
async fn who_asks_nothing_is_not_kept() {
    let world = listening("idle_timeout = \"200ms\"").await;
    assert!(Raw::to(world.gate).await.ends().await);
    let mut raw = Raw::to(world.gate).await;
    assert_eq!(reads(&mut raw).await, 200);
    assert_eq!(reads(&mut raw).await, 200);
    assert!(raw.ends().await);
    // That is nobody's fault.
    assert_eq!(slow(&world, "head").await, "0");
    open(&world, 0).await;
}

#[tokio::test]
async fn a_silence_within_a_body_is_told() {
    let (listener, world) = by_hand("body_timeout = \"200ms\"").await;
    for target in [SUBMIT, "/other"] {
        let mut raw = Raw::to(world.gate).await;
        raw.send(request("POST", target, &[JSON, ("Content-Length", "12")], None)).await;
        raw.send("{").await;
        let mut upstream = None;
        if target != SUBMIT {
            upstream = Some(taken(&listener).await);
        }
        let answer = raw.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.headers["connection"].to_str().unwrap()), (408, "close"), "{target}");
        assert_eq!(answer.json()["code"], 408);
        assert!(raw.ends().await);
        if let Some(mut upstream) = upstream {
            let mut rest = Vec::new();
            let _ = upstream.read_to_end(&mut rest).await;
            assert!(rest.len() <= 1, "nothing is made up");
        }
    }
    assert_eq!(slow(&world, "body").await, "2");
}

#[tokio::test]
async fn a_body_that_trickles_is_cut_and_a_slow_line_is_not() {
    let (listener, world) = by_hand("").await;
    for (piece, each, passes) in [(1, 1000, false), (1400, 5000, true)] {
        let mut raw = Raw::to(world.gate).await;
        let length = 100 * piece;
        raw.send(request("PUT", "/other", &[("Content-Length", &length.to_string())], None)).await;
        let mut upstream = taken(&listener).await;
        let server = tokio::spawn(async move {
            let mut body = vec![0; length];
            if upstream.read_exact(&mut body).await.is_ok() {
                give(&mut upstream, "thanks").await;
            }
        });
        pause();
        for _ in 0..100 {
            raw.send("x".repeat(piece)).await;
            sleep(Duration::from_millis(each)).await;
        }
        let answer = raw.answer().await;
        resume();
        server.await.unwrap();
        assert_eq!(answer.map(|answer| answer.status), Some(if passes { 200 } else { 408 }));
    }
    assert_eq!(slow(&world, "body").await, "1");
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_not_kept() {
    const LARGE: usize = 8 << 20;
    let (listener, world) = by_hand("").await;
    let mut raw = Raw::from(ANNA, world.gate).await;
    raw.send(request("GET", "/large", &[], None)).await;
    let mut upstream = taken(&listener).await;
    let server = tokio::spawn(async move {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
        upstream.write_all(head.as_bytes()).await.unwrap();
        upstream.write_all(&vec![b'x'; LARGE]).await
    });
    assert_eq!(raw.head().await.unwrap().0, 200);
    pause();
    // The upstream is let go with the client.
    assert!(server.await.unwrap().is_err());
    resume();
    assert_eq!(slow(&world, "answer").await, "1");
    open(&world, 0).await;
}

/// A person's line may be slow; it is only to move.
#[tokio::test]
async fn a_slow_reader_gets_all() {
    const LARGE: usize = 400 << 10;
    let (listener, world) = by_hand("").await;
    let mut raw = Raw::from(ANNA, world.gate).await;
    raw.send(request("GET", "/large", &[], None)).await;
    let mut upstream = taken(&listener).await;
    let server = tokio::spawn(async move {
        give(&mut upstream, &"x".repeat(LARGE)).await;
        upstream
    });
    assert_eq!(raw.head().await.unwrap().0, 200);
    pause();
    let mut read = 0;
    while read < LARGE {
        read += raw.some(1 << 10).await.expect("more").len();
        sleep(Duration::from_secs(1)).await;
    }
    resume();
    assert_eq!(read, LARGE);
    drop(server.await.unwrap());
    assert_eq!(reads(&mut raw).await, 200);
}

#[tokio::test]
async fn a_connection_has_its_last_answer_and_is_told() {
    let upstream = Upstream::start().await;
    let listen = "max_requests = 3\nmax_lifetime = \"30s\"";
    let plan = Plan { upstream: Some(format!("url = \"http://{}\"", upstream.address)), listen, ..Plan::default() };
    let world = World::with(plan).await;
    for last in [PATH, "/other"] {
        let mut raw = Raw::to(world.gate).await;
        for (target, how) in [(PATH, "keep-alive"), ("/other", "keep-alive"), (last, "close")] {
            raw.send(request("GET", target, &[], None)).await;
            let answer = raw.answer().await.expect("an answer");
            assert_eq!((answer.status, answer.headers["connection"].to_str().unwrap()), (200, how), "{target}");
        }
        assert!(raw.ends().await);

        let mut raw = Raw::to(world.gate).await;
        assert_eq!(reads(&mut raw).await, 200);
        pause();
        advance(Duration::from_secs(31)).await;
        resume();
        raw.send(request("GET", last, &[], None)).await;
        let answer = raw.answer().await.expect("nothing is cut");
        assert_eq!((answer.status, answer.headers["connection"].to_str().unwrap()), (200, "close"));
        assert!(raw.ends().await);
    }
}

#[tokio::test]
async fn one_client_too_many_ends_its_own_longest_wait() {
    let world = listening("max_connections_per_client = 3").await;
    let mut theirs = Raw::from(BERT, world.gate).await;
    assert_eq!(reads(&mut theirs).await, 200);
    let mut ours = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::from(ANNA, world.gate).await;
        assert_eq!(reads(&mut raw).await, 200);
        ours.push(raw);
    }
    // The first of them has asked again since.
    assert_eq!(reads(&mut ours[0]).await, 200);
    // The second is within a head.
    ours[1].send("GET / HT").await;
    let mut fresh = Raw::from(ANNA, world.gate).await;
    assert_eq!(reads(&mut fresh).await, 200);
    assert!(ours[1].ends().await);
    assert_eq!((evicted(&world, "client").await, evicted(&world, "total").await), ("1".into(), "0".into()));
    for raw in [&mut theirs, &mut ours[0], &mut fresh] {
        assert_eq!(reads(raw).await, 200);
    }
    let mut another = Raw::from(ANNA, world.gate).await;
    assert_eq!(reads(&mut another).await, 200);
    assert!(ours[2].ends().await);
    assert_eq!(reads(&mut ours[0]).await, 200);
}

#[tokio::test]
async fn no_request_is_cut_for_another() {
    let (listener, world) = by_hand("max_connections_per_client = 3").await;
    let (mut ours, mut upstream) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let mut raw = Raw::from(ANNA, world.gate).await;
        raw.send(request("GET", "/slow", &[], None)).await;
        upstream.push(taken(&listener).await);
        ours.push(raw);
    }
    for _ in 0..3 {
        assert!(Raw::from(ANNA, world.gate).await.ends().await);
    }
    assert_eq!((refused(&world, "client").await, evicted(&world, "client").await), ("3".into(), "0".into()));
    assert_eq!(reads(&mut Raw::from(BERT, world.gate).await).await, 200);
    for stream in &mut upstream {
        give(stream, "late").await;
    }
    for raw in &mut ours {
        assert_eq!(raw.answer().await.expect("an answer").body, "late");
    }
    assert_eq!(reads(&mut Raw::from(ANNA, world.gate).await).await, 200);
    assert_eq!(evicted(&world, "client").await, "1");
}

#[tokio::test]
async fn a_full_house_makes_room_at_the_cost_of_who_holds_most() {
    let world = listening("max_connections = 8").await;
    let mut bert = Raw::from(BERT, world.gate).await;
    assert_eq!(reads(&mut bert).await, 200);
    let mut crowd = Vec::new();
    for _ in 0..7 {
        let raw = Raw::from(ANNA, world.gate).await;
        crowd.push(raw);
    }
    open(&world, 8).await;
    let mut carl = Raw::from(CARL, world.gate).await;
    assert_eq!(reads(&mut carl).await, 200);
    assert!(crowd[0].ends().await);
    assert_eq!((evicted(&world, "client").await, evicted(&world, "total").await), ("0".into(), "1".into()));
    for raw in [&mut bert, &mut carl, &mut crowd[6]] {
        assert_eq!(reads(raw).await, 200);
    }
    open(&world, 8).await;
}

/// They speak for many: nobody counts what is theirs, and what is theirs goes last.
#[tokio::test]
async fn a_trusted_proxy_has_as_many_as_there_are() {
    let listen = "max_connections = 6\nmax_connections_per_client = 2\ntrusted_proxies = [\"127.0.0.3\"]";
    let world = listening(listen).await;
    let mut proxys = Vec::new();
    for _ in 0..5 {
        let mut raw = Raw::from(BERT, world.gate).await;
        assert_eq!(reads(&mut raw).await, 200);
        proxys.push(raw);
    }
    let mut anna = Raw::from(ANNA, world.gate).await;
    assert_eq!(reads(&mut anna).await, 200);
    let mut carl = Raw::from(CARL, world.gate).await;
    assert_eq!(reads(&mut carl).await, 200);
    assert!(anna.ends().await);
    for raw in &mut proxys {
        assert_eq!(reads(raw).await, 200);
    }
}

/// Behind one address, a thousand who are slow and one who is not.
#[tokio::test]
async fn a_thousand_slow_ones_do_not_keep_their_neighbour_out() {
    let upstream = Upstream::start().await;
    let plan = Plan { upstream: Some(format!("url = \"http://{}\"", upstream.address)), ..Plan::default() };
    let world = World::with(plan).await;
    let mut slow = Vec::new();
    for n in 0..1000 {
        let mut raw = Raw::from(ANNA, world.gate).await;
        raw.send(match n % 4 {
            0 => request("POST", SUBMIT, &[JSON, ("Content-Length", "9")], None),
            1 => b"GET / HTTP/1.1\r\nX-Slow: ".to_vec(),
            _ => Vec::new(),
        })
        .await;
        slow.push(raw);
    }
    open(&world, 1000).await;
    for _ in 0..20 {
        let mut honest = Raw::from(ANNA, world.gate).await;
        assert_eq!(reads(&mut honest).await, 200);
        honest.send(request("GET", "/other", &[], None)).await;
        assert_eq!(honest.answer().await.expect("an answer").body, "upstream");
    }
    assert_eq!(refused(&world, "client").await, "0");
    assert_ne!(evicted(&world, "client").await, "0");
    assert_eq!(reads(&mut Raw::from(BERT, world.gate).await).await, 200);
}

#[tokio::test]
async fn requests_that_come_together_are_answered_in_order() {
    let upstream = Upstream::answering(|seen| {
        let body = format!("{} {}", seen.target(), String::from_utf8_lossy(&seen.body));
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    })
    .await;
    let plan = Plan { upstream: Some(format!("url = \"http://{}\"", upstream.address)), ..Plan::default() };
    let world = World::with(plan).await;
    let start = r#"{"input":{}}"#;
    let asked = [
        (request("GET", PATH, &[], None), "requirements"),
        (request("POST", SUBMIT, &[JSON], Some(start)), "userQuery"),
        (request("GET", "/a", &[], None), "/a "),
        (request("POST", "/b", &[], Some("body")), "/b body"),
        (request("PUT", SUBMIT, &[JSON], Some(start)), "Access denied"),
        (request("GET", "/c", &[], None), "/c "),
        (request("GET", PATH, &[], None), "requirements"),
    ];
    let all: Vec<u8> = asked.iter().flat_map(|(request, _)| request.clone()).collect();
    // In one piece, and cut in two wherever it may be.
    for cut in (0..all.len()).step_by(29) {
        let mut raw = Raw::to(world.gate).await;
        let (first, rest) = all.split_at(cut);
        raw.send(first).await;
        raw.send(rest).await;
        for (_, part) in &asked {
            let answer = raw.answer().await.unwrap_or_else(|| panic!("an answer with {part} when cut at {cut}"));
            assert!(answer.body.contains(part), "{part}, not {} when cut at {cut}", answer.body);
        }
        assert_eq!(reads(&mut raw).await, 200);
    }
}

#[tokio::test]
async fn what_comes_while_a_request_is_answered_waits_for_it() {
    let (listener, world) = by_hand("").await;
    let mut raw = Raw::to(world.gate).await;
    raw.send(request("GET", "/slow", &[], None)).await;
    let mut upstream = taken(&listener).await;
    raw.send(request("GET", PATH, &[], None)).await;
    raw.send("GET /without/a/host HTTP/1.1\r\n\r\n").await;
    raw.send(request("GET", PATH, &[], None)).await;
    give(&mut upstream, "late").await;
    assert_eq!(raw.answer().await.expect("an answer").body, "late");
    assert_eq!(raw.answer().await.expect("an answer").json()["type"], "parameters");
    // After this one nobody listens any more.
    let answer = raw.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.headers["connection"].to_str().unwrap()), (400, "close"));
    assert!(raw.ends().await);
}
