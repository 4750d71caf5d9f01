//! An upstream whose answers nobody can tell the end of, by mistake or on purpose: the next client must not get what is
//! left of them.

use crate::support::{
    raw::{Raw, request},
    upstream::Upstream,
    world::{Plan, World},
};

/// What an upstream would smuggle to the next client.
const SURPLUS: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen";
const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";

/// An upstream that answers like that where `/bad` is asked for, and a gate in front of it.
async fn behind(bad: &str) -> (Upstream, World) {
    let bad = bad.to_owned();
    let answers =
        move |target: &str| if target == "/bad" { bad.clone().into_bytes() } else { GOOD.as_bytes().to_vec() };
    let upstream = Upstream::answering(move |seen| answers(&seen.target())).await;
    let url = Some(format!("url = \"http://{}\"", upstream.address));
    let world = World::with(Plan { upstream: url, ..Plan::default() }).await;
    (upstream, world)
}

/// The next client gets its own answer, by a connection of its own.
async fn assert_left_behind(upstream: &Upstream, world: &World, bad: &str) {
    let next = Raw::exchange(world.gate, request("GET", "/good", &[], None)).await.expect("an answer");
    assert_eq!((next.status, next.body.as_str()), (200, "good"), "{bad:?}");
    assert_eq!(upstream.connections(), 2, "{bad:?}");
}

#[tokio::test]
async fn an_answer_that_may_end_in_two_places_is_a_502() {
    for bad in [
        "200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "200 OK\r\nContent-Length: 2\r\nContent-Length: 70\r\n\r\nok",
        "200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "200 OK\r\nContent-Length: 02\r\n\r\nok",
        "200 OK\r\nContent-Length: +2\r\n\r\nok",
        "200 OK\r\nTransfer-Encoding: x\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "200 OK\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "204 No Content\r\nContent-Length: 4\r\n\r\nbody",
        "204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "102 Processing\r\nContent-Length: 4\r\n\r\nbody",
    ] {
        let (upstream, world) = behind(&format!("HTTP/1.1 {bad}{SURPLUS}")).await;
        for method in ["GET", "HEAD"] {
            let request = request(method, "/bad", &[], None);
            let answer = Raw::exchange(world.gate, request).await.expect("an answer");
            assert_eq!(answer.status, 502, "{method} {bad:?}: {answer:?}");
            assert!(!answer.body.contains("ok") && !answer.headers.contains_key("upgrade"), "{bad:?}: {answer:?}");
        }
        let next = Raw::exchange(world.gate, request("GET", "/good", &[], None)).await.expect("an answer");
        assert_eq!((next.status, next.body.as_str()), (200, "good"), "{bad:?}");
        assert_eq!(upstream.connections(), 3, "{bad:?}");
    }
    let old = format!("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{SURPLUS}");
    let (upstream, world) = behind(&old).await;
    assert_eq!(Raw::exchange(world.gate, request("GET", "/bad", &[], None)).await.expect("an answer").status, 502);
    assert_left_behind(&upstream, &world, &old).await;
}

#[tokio::test]
async fn what_follows_an_answer_is_nobodys() {
    for (bad, status) in [
        ("200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        ("200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200),
        ("204 No Content\r\n\r\n", 204),
        ("204 No Content\r\nContent-Length: 0\r\n\r\n", 204),
        ("304 Not Modified\r\nContent-Length: 40\r\n\r\n", 304),
    ] {
        let (upstream, world) = behind(&format!("HTTP/1.1 {bad}{SURPLUS}")).await;
        let answer = Raw::exchange(world.gate, request("GET", "/bad", &[], None)).await.expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (status, if status == 200 { "ok" } else { "" }), "{bad:?}");
        assert_left_behind(&upstream, &world, bad).await;
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nunseen{SURPLUS}");
    let (upstream, world) = behind(&head).await;
    let answer = Raw::exchange(world.gate, request("HEAD", "/bad", &[], None)).await.expect("an answer");
    assert_eq!((answer.status, answer.headers["content-length"].to_str().unwrap()), (200, "6"));
    assert_left_behind(&upstream, &world, &head).await;
}
