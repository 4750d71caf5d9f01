//! The breaker around a store.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{clock::Manual, *};

/// A store of which three failed calls in a row ask for a look, and what it fails on.
async fn failing(fails: impl Fn(&server::Seen) -> bool + Send + Sync + 'static) -> (Server, Crest, Arc<Manual>) {
    let server = Server::by(move |seen| match fails(seen) {
        true => Answer::json(503, &json!({})),
        false => Answer::json(200, &json!({ "result": [], "_id": "u1" })),
    })
    .await;
    let (crest, clock) = guarded(&server.url(""));
    (server, crest, clock)
}

fn guarded(url: &str) -> (Crest, Arc<Manual>) {
    let clock = Manual::new();
    let breaker = Breaker { failures: Some(3), open: Duration::from_secs(5) };
    let identity = Identity { breaker, ..identity(url) };
    (store_by(&identity, wide().answer, clock.clone()), clock)
}

#[tokio::test]
async fn a_store_that_is_down_is_left_alone_and_taken_back() {
    let down = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&down);
    let (server, crest, clock) = failing(move |_| fails.load(Ordering::SeqCst)).await;
    let (log, _guard) = logs::capture();
    for _ in 0..3 {
        assert_eq!(find(&crest).await, Err(SENT));
    }
    assert_eq!(patch(&crest).await, Err(UNSENT), "it asked about nobody, and that failed too");
    let look = server.seen().pop().unwrap();
    assert!(look.line.starts_with("GET /managed/user?_queryFilter=_id%20eq%20%22"), "{}", look.line);
    assert_eq!(server.seen().len(), 4);
    for _ in 0..20 {
        assert_eq!(find(&crest).await, Err(UNSENT), "down, for everybody");
        assert_eq!(crest.read(&Caller::nobody(), &users(), &id("u1"), &[]).await, Err(UNSENT));
        assert_eq!(patch(&crest).await, Err(UNSENT), "surely not sent: the same token stays good");
    }
    assert_eq!(server.seen().len(), 4, "nothing is asked");

    clock.forward(Duration::from_secs(6));
    assert_eq!(find(&crest).await, Err(UNSENT));
    assert_eq!(server.seen().len(), 5, "one look, and it is open for twice as long");
    clock.forward(Duration::from_secs(6));
    assert_eq!(find(&crest).await, Err(UNSENT));
    assert_eq!(server.seen().len(), 5);

    down.store(false, Ordering::SeqCst);
    clock.forward(Duration::from_secs(6));
    let (a, b) = tokio::join!(patch(&crest), find(&crest));
    assert_eq!((a, b), (Ok(Patched::Done), Err(UNSENT)), "one looks at a time, and goes on with what it came for");
    assert_eq!(server.seen().len(), 7);
    assert_eq!(find(&crest).await, Ok(vec![]));

    let told = |text: &str| log.lines().iter().filter(|line| line.contains(text)).count();
    assert_eq!((told("is down: it is left alone"), told("answers again")), (1, 1), "{:?}", log.lines());
}

/// Otherwise a stranger could close the reset to all by asking for one broken account, and learn that there is one.
#[tokio::test]
async fn one_account_on_which_the_store_fails_never_opens_it() {
    let (server, crest, _) = failing(|seen| seen.line.contains("broken")).await;
    let broken = eq("broken");
    let at = users();
    let nobody = Caller::nobody();
    let many = || futures_util::future::join_all((0..30).map(|_| crest.find(&nobody, &at, &broken, &[], 2)));
    for _ in 0..3 {
        assert!(many().await.iter().all(|found| *found == Err(SENT)));
        assert_eq!(find(&crest).await, Ok(vec![]), "the others get in");
    }
    assert!(server.seen().len() > 90);
}

#[tokio::test]
async fn what_is_not_the_stores_fault_does_not_count() {
    for answer in [Answer::json(401, &json!({})), Answer::json(429, &json!({})), Answer::text(200, "<html>")] {
        let server = Server::start(answer).await;
        let (crest, _) = guarded(&server.url(""));
        for _ in 0..10 {
            assert_eq!(find(&crest).await, Err(SENT));
        }
        assert_eq!(server.seen().len(), 10);
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_and_comes_back() {
    let server = Server::start(Answer::Never).await;
    let address = server.address();
    let (crest, clock) = guarded(&server.stop().await);
    for _ in 0..10 {
        assert_eq!(patch(&crest).await, Err(UNSENT));
    }
    let server = Server::at(address, |_| Answer::json(200, &json!({ "result": [] }))).await;
    assert_eq!(find(&crest).await, Err(UNSENT), "not asked yet");
    clock.forward(Duration::from_secs(6));
    assert_eq!(find(&crest).await, Ok(vec![]));
    assert_eq!(server.seen().len(), 2);
}
