use std::net::SocketAddr;

use super::*;
use crate::reset::ports::Time;

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(Time::from_millis(0)).unwrap())
}

/// So many places in all and for each client; 10.0.0.0/8 are proxies.
fn seats(max: usize, max_per_client: usize) -> Arc<Seats> {
    let trust = Trust::by(|ip| ip.is_some_and(|ip| ip.to_string().starts_with("10.")));
    Arc::new(Seats::new(max, max_per_client, trust, metrics()))
}

fn tcp(address: &str) -> Peer {
    Peer::Tcp(SocketAddr::new(address.parse().unwrap(), 1))
}

/// A place, a moment after whatever came before.
async fn admit(seats: &Arc<Seats>, peer: Peer) -> Option<Seat> {
    tokio::time::advance(Duration::from_millis(1)).await;
    seats.admit(peer)
}

async fn busy(seats: &Arc<Seats>, peer: Peer) -> Seat {
    let seat = admit(seats, peer).await.unwrap();
    assert!(seat.begins());
    seat
}

fn had_to_go(seat: &Seat) -> bool {
    seat.slot.state.load(Ordering::Relaxed) == EVICTED
}

/// What is kept of connections: places taken, holders, listed, in order.
fn kept(seats: &Seats) -> (usize, usize, usize, usize) {
    let book = seats.book.lock();
    (book.taken, book.holders.len(), book.holders.values().map(|held| held.waiting.len()).sum(), book.order.len())
}

const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";
const C: &str = "192.0.2.3";
const PROXY: &str = "10.0.0.1";

#[tokio::test(start_paused = true)]
async fn a_clients_newcomer_takes_the_place_of_its_longest_wait() {
    let seats = seats(100, 3);
    let first = admit(&seats, tcp(A)).await.unwrap();
    let second = admit(&seats, tcp(A)).await.unwrap();
    let third = admit(&seats, tcp(A)).await.unwrap();
    let other = admit(&seats, tcp(B)).await.unwrap();
    // The first has a request between, and waits again, later than the second.
    assert!(first.begins());
    tokio::time::advance(Duration::from_millis(1)).await;
    first.waits(Instant::now());
    let fourth = admit(&seats, tcp(A)).await.unwrap();
    assert!(had_to_go(&second) && !second.begins());
    let fifth = admit(&seats, tcp(A)).await.unwrap();
    assert!(had_to_go(&third));
    let sixth = admit(&seats, tcp(A)).await.unwrap();
    assert!(had_to_go(&first));
    assert!([&fourth, &fifth, &sixth, &other].iter().all(|seat| !had_to_go(seat)));
    assert_eq!(kept(&seats), (4, 2, 4, 2));
    drop((first, second, third, fourth, fifth, sixth, other));
    assert_eq!(kept(&seats), (0, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn none_goes_within_a_request() {
    let seats = seats(100, 2);
    let first = busy(&seats, tcp(A)).await;
    let second = busy(&seats, tcp(A)).await;
    assert!(admit(&seats, tcp(A)).await.is_none());
    assert!(admit(&seats, tcp(A)).await.is_none(), "although they are not listed any more");
    assert!(!had_to_go(&first) && !had_to_go(&second));
    assert_eq!(kept(&seats).2, 0);
    // Who was not listed lists itself when it waits.
    first.waits(Instant::now());
    let third = admit(&seats, tcp(A)).await.unwrap();
    assert!(had_to_go(&first) && third.begins());
    assert!(second.begins());
    second.waits(Instant::now());
    assert!(second.begins());
    assert!(admit(&seats, tcp(A)).await.is_none());
    // What is over for it stays over.
    first.waits(Instant::now());
    assert!(had_to_go(&first));
    drop((first, second, third));
    assert_eq!(kept(&seats), (0, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_house_takes_from_who_holds_most() {
    let seats = seats(6, 100);
    let lonely = admit(&seats, tcp(C)).await.unwrap();
    let mut pair = vec![admit(&seats, tcp(B)).await.unwrap(), admit(&seats, tcp(B)).await.unwrap()];
    let crowd =
        [busy(&seats, tcp(A)).await, admit(&seats, tcp(A)).await.unwrap(), admit(&seats, tcp(A)).await.unwrap()];
    let fresh = admit(&seats, tcp("198.51.100.1")).await.unwrap();
    assert!(had_to_go(&crowd[1]), "of the three the longest wait, although others wait longer");
    // Two hold as many: the longest wait of all.
    let more = admit(&seats, tcp("198.51.100.2")).await.unwrap();
    assert!(had_to_go(&pair[0]) && !had_to_go(&crowd[2]));
    pair.remove(0);
    // Whoever holds most has none that waits: then it is the next one's.
    assert!(crowd[2].begins());
    let last = admit(&seats, tcp("198.51.100.3")).await.unwrap();
    assert!(had_to_go(&lonely));
    // Its own newcomers do not drive out those who hold less.
    assert!(admit(&seats, tcp(A)).await.is_none());
    assert!(![&fresh, &more, &last, &pair[0]].iter().any(|seat| had_to_go(seat)));
    assert_eq!(kept(&seats).0, 6);
}

#[tokio::test(start_paused = true)]
async fn proxies_have_no_limit_of_their_own_and_go_last() {
    let seats = seats(4, 1);
    let mut proxies = Vec::new();
    for peer in [tcp(PROXY), tcp(PROXY), Peer::Unix] {
        proxies.push(admit(&seats, peer).await.unwrap());
    }
    assert!(proxies.iter().all(Seat::is_of_a_proxy));
    let stranger = admit(&seats, tcp(A)).await.unwrap();
    assert!(!stranger.is_of_a_proxy());
    let second = admit(&seats, tcp(B)).await.unwrap();
    assert!(had_to_go(&stranger));
    assert!(second.begins());
    let third = admit(&seats, tcp(C)).await.unwrap();
    assert!(had_to_go(&proxies[0]) && third.begins());
    let more = admit(&seats, Peer::Unix).await.unwrap();
    assert!(had_to_go(&proxies[1]) || had_to_go(&proxies[2]));
    assert!(!had_to_go(&more));
}

#[tokio::test(start_paused = true)]
async fn a_client_is_an_address_or_a_network_of_64_bits() {
    let seats = seats(100, 1);
    for (one, same, other) in
        [(A, "::ffff:192.0.2.1", B), ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::1")]
    {
        let held = busy(&seats, tcp(one)).await;
        assert!(admit(&seats, tcp(same)).await.is_none());
        assert!(admit(&seats, tcp(other)).await.is_some());
        drop(held);
        assert!(admit(&seats, tcp(same)).await.is_some());
    }
    assert!(admit(&seats, tcp("::ffff:10.0.0.1")).await.unwrap().is_of_a_proxy());
}

#[tokio::test(start_paused = true)]
async fn what_serves_an_evicted_connection_ends() {
    for told_late in [false, true] {
        let seats = seats(100, 1);
        let seat = admit(&seats, tcp(A)).await.unwrap();
        let slot = seat.slot();
        let task = tokio::spawn(async move {
            let _seat = seat;
            std::future::pending::<()>().await;
        });
        if !told_late {
            seats.served_by(&slot, task.abort_handle());
        }
        let _newcomer = admit(&seats, tcp(A)).await.unwrap();
        seats.served_by(&slot, task.abort_handle());
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(kept(&seats).0, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_and_evictions_are_counted() {
    let seats = seats(2, 1);
    let first = admit(&seats, tcp(A)).await.unwrap();
    let second = busy(&seats, tcp(A)).await;
    assert!(admit(&seats, tcp(A)).await.is_none());
    let third = admit(&seats, tcp(B)).await.unwrap();
    let fourth = busy(&seats, tcp(C)).await;
    assert!(admit(&seats, tcp("192.0.2.4")).await.is_none());
    let text = seats.metrics.render();
    for line in [
        "open_connections 2",
        "evicted_connections_total{cap=\"client\"} 1",
        "evicted_connections_total{cap=\"total\"} 1",
        "refused_connections_total{cap=\"client\"} 1",
        "refused_connections_total{cap=\"total\"} 1",
    ] {
        assert!(text.contains(&format!("resetgate_{line}\n")), "{line}: {text}");
    }
    drop((first, second, third, fourth));
}

/// Whoever comes, asks, waits and leaves in whatever order: the count is right, and nothing is left over.
#[tokio::test(start_paused = true)]
async fn the_book_balances() {
    let seats = seats(20, 5);
    let mut held: Vec<Seat> = Vec::new();
    let mut random = 12345_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for _ in 0..20_000 {
        let at = usize::try_from(next(held.len().max(1) as u64)).unwrap();
        match next(5) {
            0 | 1 => held.extend(admit(&seats, tcp(&format!("192.0.2.{}", next(8)))).await),
            2 if !held.is_empty() => drop(held.swap_remove(at)),
            3 if !held.is_empty() => assert_eq!(held[at].begins(), !had_to_go(&held[at])),
            4 if !held.is_empty() => held[at].waits(Instant::now()),
            _ => {}
        }
        let alive = held.iter().filter(|seat| !had_to_go(seat)).count();
        assert_eq!(kept(&seats).0, alive);
        assert!(alive <= 20);
        let waits = |seat: &&Seat| seat.slot.state.load(Ordering::Relaxed) < EVICTED;
        assert!(kept(&seats).2 >= held.iter().filter(waits).count(), "who waits is listed");
    }
    held.clear();
    assert_eq!(kept(&seats), (0, 0, 0, 0));
}

/// A proxy's connection becomes its client's: counted as one of that, and let go with what serves it.
#[tokio::test(start_paused = true)]
async fn a_seat_moves_to_whom_a_proxy_names() {
    let seats = seats(3, 2);
    let mut all = Vec::new();
    for _ in 0..2 {
        let seat = admit(&seats, tcp(PROXY)).await.unwrap();
        assert!(seat.may_announce());
        let (slot, task) = (seat.slot(), tokio::spawn(std::future::pending::<()>()));
        let seat = seat.moves_to(tcp(A)).unwrap();
        assert!(!seat.may_announce());
        // Only now is known what serves it.
        seats.served_by(&slot, task.abort_handle());
        all.push((seat, task));
    }
    assert_eq!(kept(&seats).0, 2);
    let third = admit(&seats, tcp(PROXY)).await.unwrap().moves_to(tcp(A)).unwrap();
    assert!(had_to_go(&all[0].0) && !had_to_go(&all[1].0));
    let (first, task) = all.remove(0);
    assert!(task.await.unwrap_err().is_cancelled());
    drop(first);
    // A full house is not one too full while a seat moves.
    let last = admit(&seats, tcp(PROXY)).await.unwrap().moves_to(tcp(B)).unwrap();
    assert_eq!(kept(&seats).0, 3);
    assert!(!had_to_go(&all[0].0) && !had_to_go(&third));
    drop((last, third, all));
    assert_eq!(kept(&seats), (0, 0, 0, 0));
    // Nobody on a Unix socket is believed, though it is nobody's client.
    assert!(!admit(&seats, Peer::Unix).await.unwrap().may_announce());
}
