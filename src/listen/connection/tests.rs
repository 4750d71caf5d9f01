use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::{advance, sleep, timeout},
};

use super::*;
use crate::{
    config::{ClientHeader, Connections, Listen},
    listen::{Seats, Trust},
    reset::ports::Time,
    telemetry::metrics::Metrics,
};

const HEADER: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);
const BODY: Duration = Duration::from_secs(20);
const RATE: usize = 256;

fn wrapped(io: DuplexStream, max_lifetime: Duration, peer: Peer) -> Connection {
    let connections = Connections {
        header_timeout: HEADER,
        idle_timeout: IDLE,
        body_timeout: BODY,
        min_rate: u32::try_from(RATE).unwrap(),
        max_lifetime,
        ..Connections::default()
    };
    let listen = Listen {
        addresses: vec![],
        trusted_proxies: vec![],
        trust_unix: false,
        client_header: ClientHeader::XForwardedFor,
        connections,
        tls: None,
    };
    let metrics = Arc::new(Metrics::new(Time::from_millis(0)).unwrap());
    let seats = Arc::new(Seats::new(10, 10, Trust::by(|_| false), Arc::clone(&metrics)));
    let seat = seats.admit(peer).unwrap();
    Connection::new(Wire::Bare(io.into()), peer, None, seat, Arc::new(Bounds::new(&listen, metrics)))
}

/// Two ends with a buffer of so many bytes between them.
fn pair(bytes: usize) -> (DuplexStream, Connection) {
    let (client, server) = duplex(bytes);
    (client, wrapped(server, IDLE * 60, Peer::Tcp("192.0.2.1:1".parse().unwrap())))
}

async fn times_out(connection: &mut Connection) -> Duration {
    let started = Instant::now();
    let error = connection.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    started.elapsed()
}

fn about(time: Duration, expected: Duration) -> bool {
    time.abs_diff(expected) <= Duration::from_millis(5)
}

#[tokio::test(start_paused = true)]
async fn a_head_has_its_time_and_no_more() {
    let (mut client, mut connection) = pair(64);
    // Waiting for a request takes no time from it.
    advance(IDLE / 2).await;
    client.write_all(b"G").await.unwrap();
    assert_eq!(connection.read_u8().await.unwrap(), b'G');
    advance(HEADER / 2).await;
    client.write_all(b"E").await.unwrap();
    assert_eq!(connection.read_u8().await.unwrap(), b'E');
    assert!(about(times_out(&mut connection).await, HEADER / 2));
    client.write_all(b"T").await.unwrap();
    assert!(connection.read_u8().await.is_err());
}

#[tokio::test]
async fn a_head_has_its_room_and_no_more() {
    let (mut client, mut connection) = pair(1 << 20);
    client.write_all(&[b'x'; 2 * HEAD_BYTES]).await.unwrap();
    connection.read_exact(&mut vec![0; HEAD_BYTES]).await.unwrap();
    connection.head_is_read(Body::Awaited);
    connection.read_exact(&mut vec![0; HEAD_BYTES / 2]).await.unwrap();
    connection.request_is_over();
    connection.read_exact(&mut vec![0; HEAD_BYTES / 2]).await.unwrap();
    client.write_all(&[b'x'; HEAD_BYTES]).await.unwrap();
    let too_much = connection.read_exact(&mut vec![0; HEAD_BYTES]).await;
    assert_eq!(too_much.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn of_answers_that_are_made_in_one_turn_none_is_sent_before_all_are_made() {
    let ((mut client, first), (_other, second)) = (pair(64), pair(64));
    let made = AtomicU64::new(0);
    let answer = async |mut connection: Connection| {
        connection.write_all(b"answer").await.unwrap();
        made.fetch_add(1, Ordering::Relaxed);
        connection.flush().await.unwrap();
        made.load(Ordering::Relaxed)
    };
    assert_eq!(tokio::join!(answer(first), answer(second)), (2, 2));
    client.read_exact(&mut [0; 6]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_asks_nothing_is_not_waited_for() {
    let (mut client, mut connection) = pair(64);
    assert!(about(times_out(&mut connection).await, IDLE));

    // The same after each answer, and no time that the answer took counts.
    let (mut second, mut kept) = pair(64);
    for _ in 0..3 {
        second.write_all(b"GET").await.unwrap();
        kept.read_exact(&mut [0; 3]).await.unwrap();
        kept.head_is_read(Body::Read);
        advance(IDLE * 2).await;
        assert!(timeout(IDLE * 2, kept.read_u8()).await.is_err(), "it may hang up, and need not");
        kept.request_is_over();
        assert!(timeout(IDLE * 3 / 4, kept.read_u8()).await.is_err());
    }
    assert!(about(times_out(&mut kept).await, IDLE / 4));
    client.write_all(b"G").await.unwrap();

    let (_client, server) = duplex(64);
    let mut proxys = wrapped(server, IDLE, Peer::Unix);
    assert!(about(times_out(&mut proxys).await, IDLE * 5 / 4));
}

#[tokio::test(start_paused = true)]
async fn a_body_comes_at_a_pace() {
    // A silence.
    let (mut client, mut connection) = pair(1 << 16);
    connection.head_is_read(Body::Awaited);
    client.write_all(&[b'x'; 10_000]).await.unwrap();
    connection.read_exact(&mut [0; 10_000]).await.unwrap();
    assert!(about(times_out(&mut connection).await, BODY));

    // A trickle: never silent, and never enough.
    let (mut client, mut connection) = pair(1 << 16);
    connection.head_is_read(Body::Awaited);
    let trickle = tokio::spawn(async move {
        while client.write_all(b"x").await.is_ok() {
            sleep(BODY / 4).await;
        }
    });
    let started = Instant::now();
    while connection.read_u8().await.is_ok() {}
    assert!(started.elapsed().abs_diff(Duration::from_secs(30)).as_secs() < 1, "{:?}", started.elapsed());
    drop(connection);
    trickle.await.unwrap();

    // A slow line.
    let (mut client, mut connection) = pair(1 << 16);
    connection.head_is_read(Body::Awaited);
    let line = tokio::spawn(async move {
        for _ in 0..100 {
            sleep(Duration::from_secs(5)).await;
            client.write_all(&[b'x'; 6 * RATE]).await.unwrap();
        }
        client
    });
    connection.read_exact(&mut vec![0; 600 * RATE]).await.unwrap();
    // What is read after it only shows whether it hangs up.
    connection.body_is_read();
    assert!(timeout(BODY * 10, connection.read_u8()).await.is_err());
    drop(line.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn who_waits_to_be_asked_for_a_body_is_not_slow() {
    let (mut client, mut connection) = pair(64);
    connection.head_is_read(Body::Held);
    assert!(timeout(BODY * 10, connection.read_u8()).await.is_err());
    connection.write_all(b"go on").await.unwrap();
    connection.flush().await.unwrap();
    client.read_exact(&mut [0; 5]).await.unwrap();
    assert!(about(times_out(&mut connection).await, BODY));
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_knows_it() {
    let (_client, server) = duplex(64);
    let connection = wrapped(server, IDLE, Peer::Unix);
    assert!(!connection.is_old(Instant::now()));
    advance(IDLE).await;
    assert!(connection.is_old(Instant::now()));
}

/// How many bytes have come to the client.
async fn came(client: &mut (impl AsyncRead + Unpin)) -> usize {
    let mut bytes = vec![0; 4 * TOGETHER];
    timeout(Duration::from_millis(1), client.read(&mut bytes)).await.map_or(0, |read| read.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_head_and_a_body_go_together() {
    let (mut client, mut connection) = pair(4 * TOGETHER);
    connection.write_all(b"head").await.unwrap();
    connection.write_all(b"body").await.unwrap();
    assert_eq!(came(&mut client).await, 0);
    connection.flush().await.unwrap();
    assert_eq!(came(&mut client).await, 8);
    assert_eq!(connection.unsent.capacity(), 0);
    // More than is held back goes at once, in order.
    connection.write_all(b"head").await.unwrap();
    connection.write_all(&[b'x'; TOGETHER]).await.unwrap();
    assert_eq!(came(&mut client).await, 4 + TOGETHER);
    // And nothing waits while the client is waited for.
    connection.write_all(b"part").await.unwrap();
    assert!(timeout(Duration::from_millis(1), connection.read_u8()).await.is_err());
    assert_eq!(came(&mut client).await, 4);
    connection.write_all(b"last").await.unwrap();
    pingora::protocols::Shutdown::shutdown(&mut connection).await;
    assert_eq!(came(&mut client).await, 4);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_answer_goes_when_the_next_request_is_waited_for() {
    let (mut client, mut connection) = pair(4 * TOGETHER);
    connection.head_is_read(Body::Read);
    connection.answer_is_whole();
    connection.write_all(b"answer").await.unwrap();
    connection.flush().await.unwrap();
    assert_eq!(came(&mut client).await, 0);
    connection.request_is_over();
    assert!(timeout(Duration::from_millis(1), connection.next_comes()).await.is_err());
    assert_eq!(came(&mut client).await, 6);
    // Or when there is not to be one.
    connection.head_is_read(Body::Read);
    connection.answer_is_whole();
    connection.write_all(b"last").await.unwrap();
    connection.flush().await.unwrap();
    pingora::protocols::Shutdown::shutdown(&mut connection).await;
    assert_eq!(came(&mut client).await, 4);
}

#[tokio::test(start_paused = true)]
async fn an_answer_goes_at_once_to_who_has_yet_to_send_a_body() {
    let (mut client, mut connection) = pair(4 * TOGETHER);
    for body in [Body::Awaited, Body::Held] {
        connection.head_is_read(body);
        connection.answer_is_whole();
        connection.write_all(b"answer").await.unwrap();
        connection.flush().await.unwrap();
        assert_eq!(came(&mut client).await, 6, "{body:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_answer_is_taken_at_a_pace() {
    // A client that takes nothing.
    let (_client, mut connection) = pair(4);
    connection.head_is_read(Body::Read);
    connection.answer_is_whole();
    connection.write_all(b"twelve bytes").await.unwrap();
    connection.flush().await.unwrap();
    connection.request_is_over();
    let started = Instant::now();
    assert_eq!(connection.next_comes().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(about(started.elapsed(), Duration::from_secs(64)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_taken_at_a_pace() {
    // A client that takes nothing.
    let (client, mut connection) = pair(4);
    connection.write_all(b"twelve bytes").await.unwrap();
    let started = Instant::now();
    assert_eq!(connection.flush().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(about(started.elapsed(), Duration::from_secs(64)));
    drop(client);

    // One that takes a byte now and then, and one whose line is slow.
    for (bytes, taken) in [(1, false), (RATE * 6, true)] {
        let (mut client, mut connection) = pair(RATE);
        let reader = tokio::spawn(async move {
            let mut read = 0;
            while let Ok(()) = client.read_exact(&mut vec![0; bytes]).await.map(|_| ()) {
                read += bytes;
                sleep(Duration::from_secs(5)).await;
            }
            read
        });
        let written = connection.write_all(&vec![b'x'; 600 * RATE]).await;
        assert_eq!(written.is_ok() && connection.flush().await.is_ok(), taken, "{bytes}");
        drop(connection);
        let read = reader.await.unwrap();
        assert_eq!(read == 600 * RATE, taken, "{read}");
    }
}

/// The kernel takes large pieces, and shows what a slow line made of them when that is most of it.
#[tokio::test(start_paused = true)]
async fn only_the_fast_are_given_much_at_once() {
    let (mut client, mut connection) = pair(4 << 20);
    let large = vec![b'x'; 4 * TOGETHER];
    for _ in 0..FAST / TOGETHER {
        assert_eq!(connection.write(&large).await.unwrap(), TOGETHER);
    }
    assert_eq!(connection.write(&large).await.unwrap(), 4 * TOGETHER);
    while came(&mut client).await > 0 {}
    // It is slow for once.
    let (mut client, mut connection) = pair(4 * TOGETHER);
    connection.taken_at_once = FAST;
    assert_eq!(connection.write(&large).await.unwrap(), 4 * TOGETHER);
    let (_, written) = tokio::join!(
        async {
            sleep(PAUSE * 2).await;
            client.read_exact(&mut vec![0; 4 * TOGETHER]).await.unwrap();
        },
        connection.write(&large)
    );
    assert_eq!(written.unwrap(), 4 * TOGETHER);
    assert_eq!(connection.taken_at_once, 0);
}
