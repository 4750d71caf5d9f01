//! A thousand slow clients and a few honest ones, against a gate that runs: what the slow ones cost the honest. Only
//! `benches/slow_clients` starts it. It prints the middle of several rounds, without and with the slow ones, and ends
//! with 1 if they more than double an honest p99.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

use std::{
    env,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// The slow ones share an address with one of the honest.
const CROWDED: Ipv4Addr = Ipv4Addr::LOCALHOST;
const QUIET: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const RESET: &str = "/openidm/selfservice/reset";
const PASSED: &str = "/openidm/info/ping";
/// A byte so often.
const TRICKLE: Duration = Duration::from_secs(1);
/// In which they come, one after the other: as long as a head may take, so that they are not all cut at once either.
const ARRIVAL: Duration = Duration::from_secs(10);
/// Requests an honest connection makes before it ends, so that new ones must get in as well.
const EACH: usize = 50;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let [gate, count, rounds, seconds] = &args[..] else {
        // As `cargo bench` calls it.
        println!("slow_clients GATE COUNT ROUNDS SECONDS; run benches/slow_clients.sh");
        return ExitCode::SUCCESS;
    };
    let gate: SocketAddr = gate.parse().unwrap();
    let (count, rounds): (usize, usize) = (count.parse().unwrap(), rounds.parse().unwrap());
    let each = Duration::from_secs(seconds.parse().unwrap());
    let kinds = [(CROWDED, PASSED), (CROWDED, RESET), (QUIET, PASSED), (QUIET, RESET)];
    // Neither caches nor processors are warm at first.
    measure(gate, &kinds, each).await;
    let mut seen: Vec<[Vec<Times>; 2]> = vec![Default::default(); kinds.len()];
    for _ in 0..rounds {
        for slow in [false, true] {
            let crowd = if slow { Some(Crowd::gather(gate, count).await) } else { None };
            for (times, seen) in measure(gate, &kinds, each).await.into_iter().zip(&mut seen) {
                seen[usize::from(slow)].push(times);
            }
            if let Some(crowd) = crowd {
                println!("{} of {count} slow clients are connected at the end of the round", crowd.leave().await);
            }
        }
    }
    println!("{:<28} {:>20} {:>24}", "honest requests", "alone: p50, p99", "beside the slow: p50, p99");
    let mut worst: f64 = 0.0;
    for ((from, path), [alone, beside]) in kinds.iter().zip(&seen) {
        let (alone, beside) = (middle(alone), middle(beside));
        let ratio = beside.p99.as_secs_f64() / alone.p99.as_secs_f64();
        worst = worst.max(ratio);
        let what = if *path == RESET { "answered" } else { "passed" };
        let row = [alone.p50, alone.p99, beside.p50, beside.p99].map(|time| format!("{:>6} µs", time.as_micros()));
        println!("{what:>8} to {from:<12} {:>16} {} {:>15} {}  p99 times {ratio:.2}", row[0], row[1], row[2], row[3]);
    }
    println!("worst ratio {worst:.2} (at most 2.0: {})", if worst <= 2.0 { "met" } else { "MISSED" });
    if worst <= 2.0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Of one kind of request, in one round.
#[derive(Clone, Copy, Debug)]
struct Times {
    p50: Duration,
    p99: Duration,
}

/// All kinds at the same time, each over one connection after another.
async fn measure(gate: SocketAddr, kinds: &[(Ipv4Addr, &'static str)], each: Duration) -> Vec<Times> {
    let until = Instant::now() + each;
    let mut running = Vec::new();
    for (from, path) in kinds {
        running.push(tokio::spawn(honest(gate, *from, path, until)));
    }
    let mut all = Vec::new();
    for one in running {
        let mut times = one.await.unwrap();
        times.sort_unstable();
        let at = |part: usize| times[times.len() * part / 100];
        all.push(Times { p50: at(50), p99: at(99) });
    }
    all
}

/// How long each request took, the time to connect included where there was need to.
async fn honest(gate: SocketAddr, from: Ipv4Addr, path: &str, until: Instant) -> Vec<Duration> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (mut times, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    while Instant::now() < until {
        let mut began = Instant::now();
        let mut stream = connect(gate, from).await.expect("an honest client gets in");
        for _ in 0..EACH {
            stream.write_all(request.as_bytes()).await.unwrap();
            answer(&mut stream, &mut buffer).await;
            times.push(began.elapsed());
            // As fast as a person's browser would be too fast to measure much; as fast as can be measures the queue.
            sleep(Duration::from_millis(1)).await;
            began = Instant::now();
        }
    }
    times
}

async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut filled = 0;
    loop {
        let read =
            timeout(Duration::from_secs(20), stream.read(&mut buffer[filled..])).await.expect("an answer in time");
        let read = read.expect("an answer");
        assert_ne!(read, 0, "an honest client is answered");
        filled += read;
        let text = String::from_utf8_lossy(&buffer[..filled]).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() >= length.parse().unwrap() {
            return;
        }
    }
}

async fn connect(gate: SocketAddr, from: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(16 << 10)?;
    socket.set_reuseaddr(true)?;
    socket.bind((IpAddr::from(from), 0).into())?;
    let stream = socket.connect(gate).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Many who are slow, each in one of five ways, again and again.
struct Crowd {
    all: JoinSet<()>,
    connected: Arc<AtomicUsize>,
}

impl Crowd {
    /// Returns when all have connected once.
    async fn gather(gate: SocketAddr, count: usize) -> Self {
        let (mut all, connected) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        let arrived = Arc::new(AtomicUsize::new(0));
        for n in 0..count {
            let (connected, arrived) = (Arc::clone(&connected), Arc::clone(&arrived));
            all.spawn(async move {
                sleep(ARRIVAL * u32::try_from(n).unwrap() / u32::try_from(count).unwrap()).await;
                let mut first = true;
                loop {
                    if let Ok(stream) = connect(gate, CROWDED).await {
                        connected.fetch_add(1, Ordering::Relaxed);
                        if std::mem::take(&mut first) {
                            arrived.fetch_add(1, Ordering::Relaxed);
                        }
                        // Whatever ends it, it comes again.
                        let _ = dawdle(stream, n).await;
                        connected.fetch_sub(1, Ordering::Relaxed);
                    }
                    sleep(TRICKLE / 2).await;
                }
            });
        }
        while arrived.load(Ordering::Relaxed) < count {
            sleep(Duration::from_millis(10)).await;
        }
        Self { all, connected }
    }

    async fn leave(mut self) -> usize {
        let connected = self.connected.load(Ordering::Relaxed);
        self.all.shutdown().await;
        // The gate is to have seen them go.
        sleep(Duration::from_millis(500)).await;
        connected
    }
}

async fn dawdle(mut stream: TcpStream, n: usize) -> std::io::Result<()> {
    let mut byte = [0; 1];
    let head = |method: &str, path: &str, more: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}")
    };
    let begin = match n % 5 {
        0 => head("GET", PASSED, "X-Slow: "),
        1 => head("POST", &format!("{RESET}?_action=submitRequirements"), "Content-Length: 10000\r\n\r\n"),
        2 => head("PUT", "/openidm/slow", "Content-Length: 10000\r\n\r\n"),
        // More than the gate and the kernel take over for it.
        3 => head("GET", "/zeros/1000000", "\r\n"),
        // It asks nothing.
        _ => String::new(),
    };
    stream.write_all(begin.as_bytes()).await?;
    loop {
        match n % 5 {
            0..=2 => stream.write_all(b"x").await?,
            3 => {
                stream.read_exact(&mut byte).await?;
            }
            _ => return stream.read_exact(&mut byte).await.map(drop),
        }
        // Whether the gate has had enough.
        let over = stream.try_read(&mut byte).is_ok_and(|read| read == 0 || n % 5 != 3);
        if over {
            return Ok(());
        }
        sleep(TRICKLE).await;
    }
}

fn middle(rounds: &[Times]) -> Times {
    let of = |pick: fn(&Times) -> Duration| {
        let mut all: Vec<_> = rounds.iter().map(pick).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    Times { p50: of(|times| times.p50), p99: of(|times| times.p99) }
}
