//! Where passed requests go: several servers, of which some fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{
    connections::read_head,
    http2::Http2,
    raw::{Raw, request},
    reserved::Reserved,
    upstream::Upstream,
    world::{Plan, World},
};

async fn world(lines: String) -> World {
    World::with(Plan { upstream: Some(lines), ..Plan::default() }).await
}

fn addresses(of: &[String], more: &str) -> String {
    let all: Vec<_> = of.iter().map(|address| format!("\"{address}\"")).collect();
    format!("url = \"http://idm\"\naddresses = [{}]\n{more}", all.join(", "))
}

/// A server that reads each request, and then does with its connection what it is told. How many requests came.
async fn odd<F>(
    then: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
) -> (String, Arc<AtomicUsize>, AbortOnDropHandle<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let came = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&came);
    let server = tokio::spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut first = [0];
            // A check only connects.
            if client.peek(&mut first).await.unwrap_or(0) == 0 {
                continue;
            }
            read_head(&mut client).await;
            count.fetch_add(1, Ordering::Relaxed);
            open.spawn(then(client));
        }
    });
    (address, came, AbortOnDropHandle::new(server))
}

async fn get(world: &World) -> u16 {
    Raw::exchange(world.gate, request("GET", "/a", &[], None)).await.expect("an answer").status
}

#[tokio::test]
async fn no_request_fails_while_one_of_two_is_killed_and_brought_back() {
    let place = Reserved::new();
    let (first, second) = (Upstream::on(place.listen()), Upstream::start().await);
    let both = [first.address, second.address].map(|address| address.to_string());
    let world = Arc::new(world(addresses(&both, "[upstream.health]\ninterval = \"50ms\"")).await);
    let done = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (world, done) = (Arc::clone(&world), Arc::clone(&done));
        clients.spawn(async move {
            let mut client = Raw::to(world.gate).await;
            let mut answers = 0;
            while !done.load(Ordering::Relaxed) {
                client.send(request("GET", "/a", &[], None)).await;
                let answer = client.answer().await.expect("an answer");
                assert_eq!((answer.status, answer.body.as_str()), (200, "upstream"));
                answers += 1;
            }
            answers
        });
    }
    world.until(async || first.count() > 100 && second.count() > 100).await;
    let (address, before) = (first.address, second.count());
    drop(first);
    let gauge = format!("endpoint_up{{address=\"{address}\",service=\"upstream\"}}");
    world.until(async || world.metric(&gauge).await == "0" && second.count() > before + 100).await;
    let first = Upstream::on(place.listen());
    world.until(async || world.metric(&gauge).await == "1" && first.count() > 100).await;
    done.store(true, Ordering::Relaxed);
    let answers: usize = clients.join_all().await.into_iter().sum();
    assert!(answers > 400, "{answers}");
    assert_ne!(world.metric("upstream_retries_total").await, "0");
}

#[tokio::test]
async fn what_was_sent_is_sent_again_only_if_it_changes_nothing() {
    let good = Upstream::start().await;
    let (bad, came, _server) = odd(|client| async move { drop(client) }).await;
    for (method, body, again) in [
        ("GET", None, true),
        ("HEAD", None, true),
        ("OPTIONS", None, true),
        ("POST", Some("x"), false),
        ("PATCH", Some("x"), false),
        ("PUT", Some("x"), false),
        ("DELETE", None, false),
        ("GET", Some("x"), false),
    ] {
        // Its first request goes to the first address.
        let world = world(addresses(&[bad.clone(), good.address.to_string()], "")).await;
        let (bad_before, good_before) = (came.load(Ordering::Relaxed), good.count());
        let answer = Raw::exchange(world.gate, request(method, "/a", &[], body)).await.expect("an answer");
        assert_eq!(answer.status, if again { 200 } else { 502 }, "{method}");
        assert_eq!(came.load(Ordering::Relaxed) - bad_before, 1, "{method}");
        assert_eq!(good.count() - good_before, usize::from(again), "{method}");
    }
}

#[tokio::test]
async fn what_was_never_sent_goes_elsewhere() {
    let good = Upstream::start().await;
    let nowhere = [Reserved::new(), Reserved::new()];
    let nobody = nowhere.each_ref().map(|place| place.address.to_string());
    for (method, body) in [("GET", None), ("POST", Some("x")), ("PATCH", Some("x"))] {
        let world = world(addresses(&[nobody[0].clone(), nobody[1].clone(), good.address.to_string()], "")).await;
        let answer = Raw::exchange(world.gate, request(method, "/a", &[], body)).await.expect("an answer");
        assert_eq!(answer.status, 200, "{method}");
        let seen = good.last();
        assert_eq!((seen.method(), seen.body.as_slice()), (method.to_owned(), body.unwrap_or_default().as_bytes()));
        assert_eq!(seen.header("host"), ["id.example.com"], "the client's, whatever the address");
    }
}

#[tokio::test]
async fn where_all_are_down_the_answer_comes_at_once_and_they_are_tried_all_the_same() {
    let places = [Reserved::new(), Reserved::new()];
    let nobody = places.each_ref().map(|place| place.address.to_string());
    let world = world(addresses(&nobody, "[upstream.health]\ninterval = \"0s\"")).await;
    let began = Instant::now();
    for _ in 0..20 {
        let answer = Raw::exchange(world.gate, request("GET", "/a", &[], None)).await.expect("an answer");
        assert_eq!((answer.status, answer.json()["code"].as_u64()), (502, Some(502)));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let _back = Upstream::on(places[0].listen());
    assert_eq!(get(&world).await, 200, "although it is still thought to be down");
}

#[tokio::test]
async fn one_that_is_silent_is_left_for_another_and_all_of_it_has_an_end() {
    let (silent, came, _server) = odd(|client| async move {
        std::future::pending::<()>().await;
        drop(client);
    })
    .await;
    let good = Upstream::start().await;
    let times = "try_timeout = \"200ms\"\ntotal_timeout = \"350ms\"\n[upstream.health]\ninterval = \"0s\"";
    let both = world(addresses(&[silent.clone(), good.address.to_string()], times)).await;
    let began = Instant::now();
    assert_eq!(get(&both).await, 200);
    assert!(began.elapsed() >= Duration::from_millis(200) && came.load(Ordering::Relaxed) == 1);

    let (other, _, _other) = odd(|client| async move {
        std::future::pending::<()>().await;
        drop(client);
    })
    .await;
    let none = world(addresses(&[silent, other], times)).await;
    let began = Instant::now();
    let answer = Raw::exchange(none.gate, request("GET", "/a", &[], None)).await.expect("an answer");
    assert_eq!((answer.status, answer.json()["code"].as_u64()), (504, Some(504)));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(350) && took < Duration::from_secs(2), "{took:?}");
}

/// However it keeps the connection busy.
#[tokio::test]
async fn an_answer_that_never_quite_begins_has_an_end_too() {
    for trickle in ["X", "HTTP/1.1 102 Processing\r\n\r\n"] {
        let (slow, _, _server) = odd(move |mut client| async move {
            if trickle == "X" {
                let _ = client.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ").await;
            }
            while client.write_all(trickle.as_bytes()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let times = "try_timeout = \"200ms\"\ntotal_timeout = \"300ms\"";
        let world = world(format!("url = \"http://{slow}\"\n{times}")).await;
        let began = Instant::now();
        let mut client = Raw::to(world.gate).await;
        client.send(request("GET", "/a", &[], None)).await;
        let answer = client.answer().await.expect("an answer");
        assert_eq!(answer.status, 504, "{trickle:?}");
        assert!(began.elapsed() < Duration::from_secs(2), "{trickle:?} {:?}", began.elapsed());
        world.until(async || world.metric("upstream_failures_total").await == "1").await;
        // On a stream nobody can be told any more, in the midst of a head.
        let began = Instant::now();
        let told = Http2::to(world.http2).await.get("/a").await;
        assert!(told.map_or(true, |answer| answer.status == 504), "{trickle:?}");
        assert!(began.elapsed() < Duration::from_secs(2), "{trickle:?} {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_client_may_take_its_time_for_a_body() {
    let upstream = Upstream::start().await;
    let times = "try_timeout = \"150ms\"\ntotal_timeout = \"200ms\"";
    let world = world(format!("url = \"http://{}\"\n{times}", upstream.address)).await;
    let mut client = Raw::to(world.gate).await;
    client.send(request("PUT", "/a", &[("Content-Length", "10")], None)).await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.send("x").await;
    }
    assert_eq!(client.answer().await.expect("an answer").status, 200);
    // And if it takes more than the server waits for, that is not the server's failure.
    for _ in 0..4 {
        let mut client = Raw::to(world.gate).await;
        client.send(request("PUT", "/a", &[("Content-Length", "10")], None)).await;
        assert_eq!(client.answer().await.expect("an answer").status, 504);
    }
    assert_eq!(world.metric("endpoint_failures_total{kind=\"silent\",service=\"upstream\"}").await, "0");
}

#[tokio::test]
async fn connections_are_kept_for_as_long_and_as_many_as_configured() {
    let upstream = Upstream::start().await;
    let world = world(format!("url = \"http://{}\"\nidle_timeout = \"300ms\"", upstream.address)).await;
    for _ in 0..5 {
        assert_eq!(get(&world).await, 200);
    }
    assert_eq!(upstream.connections(), 1);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(get(&world).await, 200);
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn no_more_connections_are_kept_than_that() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("url = \"http://{}\"", listener.local_addr().unwrap());
    for kept in [1, 3] {
        let world = world(format!("{url}\npool_size = {kept}")).await;
        let mut clients = Vec::new();
        let mut taken = Vec::new();
        for _ in 0..4 {
            let mut client = Raw::to(world.gate).await;
            client.send(request("GET", "/a", &[], None)).await;
            let (mut upstream, _) = listener.accept().await.unwrap();
            read_head(&mut upstream).await;
            clients.push(client);
            taken.push(upstream);
        }
        for (client, upstream) in clients.iter_mut().zip(&mut taken) {
            upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            assert_eq!(client.answer().await.expect("an answer").status, 200);
        }
        // Those that are not kept are closed.
        let mut closed = JoinSet::new();
        for mut upstream in taken {
            closed.spawn(async move { upstream.read(&mut [0]).await.unwrap_or(0) });
        }
        for _ in kept..4 {
            let ended = tokio::time::timeout(Duration::from_secs(10), closed.join_next()).await;
            assert_eq!(ended.expect("it is closed").unwrap().unwrap(), 0);
        }
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        assert!(closed.try_join_next().is_none(), "{kept} are kept");
    }
}

#[tokio::test]
async fn an_upstream_may_be_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("idm.sock");
    let upstream = Upstream::unix(UnixListener::bind(&path).unwrap());
    let place = format!("unix:{}", path.display());
    let world = world(addresses(std::slice::from_ref(&place), "")).await;
    for (method, body) in [("GET", None), ("POST", Some("body"))] {
        let answer = Raw::exchange(world.gate, request(method, "/a?b", &[], body)).await.expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (200, "upstream"));
        assert_eq!(upstream.last().line(), format!("{method} /a?b HTTP/1.1"));
        assert_eq!(upstream.last().body, body.unwrap_or_default().as_bytes());
    }
    assert_eq!(upstream.connections(), 1, "it is kept");
    assert_eq!(world.metric(&format!("endpoint_up{{address=\"{place}\",service=\"upstream\"}}")).await, "1");
    drop(upstream);
    assert_eq!(get(&world).await, 502);
}

/// A server whose check fails, though it answers, gets nothing while another is well.
#[tokio::test]
async fn a_check_decides_before_any_request_fails() {
    let ill = Upstream::answering(|seen| {
        let status = if seen.target() == "/ping" { 503 } else { 200 };
        format!("HTTP/1.1 {status} X\r\nContent-Length: 3\r\n\r\nill").into_bytes()
    })
    .await;
    let well = Upstream::start().await;
    let both = [ill.address, well.address].map(|address| address.to_string());
    let health = "[upstream.health]\npath = \"/ping\"\ninterval = \"20ms\"\nunhealthy = 2";
    let world = world(addresses(&both, health)).await;
    let gauge = format!("endpoint_up{{address=\"{}\",service=\"upstream\"}}", ill.address);
    world.until(async || world.metric(&gauge).await == "0").await;
    for _ in 0..10 {
        let answer = Raw::exchange(world.gate, request("GET", "/a", &[], None)).await.expect("an answer");
        assert_eq!(answer.body, "upstream");
    }
    let asked = well.seen().into_iter().find(|seen| seen.target() == "/ping").expect("a check");
    assert_eq!(asked.header("host"), ["idm"]);
    assert!(asked.header("user-agent")[0].starts_with("resetgate/"));
}

/// Nothing of a kept connection that a server ends in the meantime is a client's business.
#[tokio::test]
async fn a_kept_connection_that_is_being_closed_costs_no_request() {
    let (closing, came, _server) = odd(|mut client| async move {
        let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        // Takes the next request, and goes without a word.
        let mut some = [0; 16];
        let _ = client.read(&mut some).await;
    })
    .await;
    let world = world(format!("url = \"http://{closing}\"")).await;
    for n in 1..=6 {
        assert_eq!(get(&world).await, 200, "{n}");
    }
    assert_eq!(came.load(Ordering::Relaxed), 6);
}
