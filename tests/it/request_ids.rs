//! Request ids: one comes in or is drawn, goes up, comes back, and is what the store's own audit has.

use crate::support::{
    answer::Answer,
    raw::{Raw, request},
    upstream::{Seen, Upstream},
    world::{PATH, Plan, World},
};

const ID: &str = "Root=1-67891233-abc:d/e+f._";

async fn in_front_of(upstream: &Upstream) -> World {
    World::with(Plan { upstream: Some(format!("url = \"http://{}\"", upstream.address)), ..Plan::default() }).await
}

async fn ask(world: &World, target: &str, headers: &[(&str, &str)]) -> Answer {
    Raw::exchange(world.gate, request("GET", target, headers, None)).await.expect("an answer")
}

fn id(answer: &Answer) -> String {
    let all: Vec<_> = answer.headers.get_all("x-request-id").iter().collect();
    let [one] = all[..] else { panic!("one id, not {all:?}") };
    one.to_str().unwrap().to_owned()
}

fn is_drawn(id: &str) -> bool {
    id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

#[tokio::test]
async fn every_answer_has_the_id_of_its_request() {
    let upstream = Upstream::start().await;
    let world = in_front_of(&upstream).await;
    let targets = [PATH, "/openidm/info/ping", "/openidm/selfservice/%72eset", &format!("/{}", "x".repeat(9000))];
    for target in targets {
        let answer = ask(&world, target, &[("x-request-ID", ID)]).await;
        assert_eq!(id(&answer), ID, "{target}: {}", answer.status);
        let [first, second] = [ask(&world, target, &[]).await, ask(&world, target, &[]).await];
        assert!(is_drawn(&id(&first)) && id(&first) != id(&second), "{target}: {}", answer.status);
    }
    let refused = Raw::exchange(world.gate, "GET / HTTP/1.1\r\nX-Request-Id: a1\r\n\r\n").await.unwrap();
    assert_eq!((refused.status, id(&refused).as_str()), (400, "a1"));
    let none = World::with(Plan { upstream: Some("url = \"http://127.0.0.1:1\"".to_owned()), ..Plan::default() }).await;
    let unreachable = ask(&none, "/openidm/info/ping", &[("X-Request-Id", "a2")]).await;
    assert_eq!((unreachable.status, id(&unreachable).as_str()), (502, "a2"));
}

#[tokio::test]
async fn it_goes_up_as_one_harmless_id() {
    let reply = b"HTTP/1.1 200 OK\r\nX-Request-Id: theirs\r\nX-Request-Id: again\r\nContent-Length: 0\r\n\r\n";
    let upstream = Upstream::answering(|_: &Seen| reply.to_vec()).await;
    let world = in_front_of(&upstream).await;
    let target = "/openidm/info/ping";
    let answer = ask(&world, target, &[("X-Request-Id", ID)]).await;
    assert_eq!((upstream.last().header("x-request-id"), id(&answer).as_str()), (vec![ID.to_owned()], ID));
    for headers in [
        &[][..],
        &[("X-Request-Id", "")],
        &[("X-Request-Id", "a b")],
        &[("X-Request-Id", "a"), ("X-Request-Id", "a")],
        &[("X-Request-Id", "{\"a\":1}")],
        &[("X-Request-Id", &"a".repeat(129))],
    ] {
        let answer = ask(&world, target, headers).await;
        let up = upstream.last().header("x-request-id");
        assert_eq!(up, [id(&answer)], "{headers:?}");
        assert!(is_drawn(&up[0]), "{headers:?}: {up:?}");
    }
    // A client may not have it taken out on the way.
    let answer = ask(&world, target, &[("X-Request-Id", ID), ("Connection", "x-request-id")]).await;
    assert_eq!((upstream.last().header("x-request-id"), id(&answer).as_str()), (vec![ID.to_owned()], ID));
    // Nor does it count among the headers that there may be.
    let many: Vec<_> = (0..127).map(|_| ("X-Many", "1")).collect();
    assert_eq!(ask(&world, target, &many).await.status, 200);
}

#[tokio::test]
async fn the_store_is_asked_by_the_id_of_the_request() {
    let idm = Upstream::answering(|_: &Seen| b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let world = World::with(Plan { identity: Some(idm.address), ..Plan::default() }).await;
    let token = world.begin().await;
    let body = serde_json::json!({"token": token, "input": {"queryFilter": "userName eq \"bjensen\""}});
    let answer = world.post_as(&[("X-Request-Id", ID)], body.to_string()).await;
    assert_eq!((answer.status, id(&answer).as_str()), (503, ID));
    let mut transactions: Vec<_> =
        idm.seen().iter().flat_map(|seen| seen.header("x-forgerock-transactionid")).collect();
    assert!(transactions.len() >= 2 && transactions.iter().all(|one| one.starts_with(&format!("{ID}/"))));
    let calls = transactions.len();
    transactions.dedup();
    assert_eq!(transactions.len(), calls, "each is told apart");
}
