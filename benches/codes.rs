//! What a step of a reset costs where its code is in memory, and where it is on a Redis server next door, in one run: how
//! long it takes, alone and among many, and how much work it is for this process and for the server.
//!
//! `cargo bench --bench codes`; a number after `--` is that of the resets. Needs `redis-server`, which it starts itself.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench speaks on the terminal, and may fail"
)]

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use resetgate::{
    clock::SystemClock,
    config::{Place, Redis, RedisKind, Server, TokenKey},
    flows::{
        memory::{MemoryFlows, Rules},
        redis::RedisFlows,
    },
    keys::shared::Shared,
    kv::Kv,
    reset::ports::{Attempt, Claim, Clock, FlowRef, Flows, Lane, NewCode, Opened, Secret, Settled, Time},
    telemetry::metrics::Metrics,
};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Resets at a time, where there are many.
const MANY: usize = 64;
/// Steps of one: room, record, a wrong and a right code, the claim, its end.
const STEPS: u32 = 6;

/// A server that ends with this.
struct Running {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time of a process so far.
fn work(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("a process");
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u32 = fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap();
    // A tick is 10 ms on every Linux that this runs on.
    Duration::from_millis(10) * ticks
}

async fn reset(flows: &dyn Flows, clock: &dyn Clock, number: u64) {
    let mut account = [0; 16];
    account[..8].copy_from_slice(&number.to_le_bytes().map(|byte| byte.wrapping_mul(151)));
    account[8..].copy_from_slice(&number.to_le_bytes());
    let at = FlowRef { account, flow: account };
    let until = clock.now().after(Duration::from_secs(1200));
    assert!(flows.reserve(until).await.unwrap());
    let code = NewCode { digest: [1; 16], digits: None, expires: until };
    assert_eq!(flows.open(&at, code).await.unwrap(), Opened::Mail);
    assert_eq!(flows.attempt(&at, Lane::Link, [2; 16], until).await.unwrap(), Attempt::Wrong);
    assert_eq!(flows.attempt(&at, Lane::Link, [1; 16], until).await.unwrap(), Attempt::Right);
    assert_eq!(flows.claim(&at, [3; 16], Duration::from_secs(60)).await.unwrap(), Claim::Granted);
    flows.settle(&at, Settled::Set).await.unwrap();
}

async fn measure(name: &str, flows: Arc<dyn Flows>, clock: Arc<dyn Clock>, resets: u64, server: Option<u32>) {
    let mut number = 0;
    let alone = resets / 4;
    let begun = Instant::now();
    for _ in 0..alone {
        number += 1;
        reset(&*flows, &*clock, number).await;
    }
    let one = begun.elapsed() / u32::try_from(alone).unwrap() / STEPS;
    let own = std::process::id();
    let (before, server_before, begun) = (work(own), server.map(work), Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..MANY as u64 {
        let (flows, clock) = (Arc::clone(&flows), Arc::clone(&clock));
        let each = resets / MANY as u64;
        let first = number + 1 + task * each;
        tasks.spawn(async move {
            for number in first..first + each {
                reset(&*flows, &*clock, number).await;
            }
        });
    }
    tasks.join_all().await;
    let steps = u32::try_from(resets / MANY as u64 * MANY as u64).unwrap() * STEPS;
    let (took, own) = (begun.elapsed(), work(own) - before);
    let there = server.map(work).unwrap_or_default() - server_before.unwrap_or_default();
    println!(
        "{name:<16} {:>10.1} µs a step alone {:>10.0} steps/s of {MANY} at once {:>8.1} µs of work here {:>8.1} there",
        one.as_secs_f64() * 1e6,
        f64::from(steps) / took.as_secs_f64(),
        own.as_secs_f64() * 1e6 / f64::from(steps),
        there.as_secs_f64() * 1e6 / f64::from(steps),
    );
}

#[tokio::main]
async fn main() {
    let resets = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(20_000_u64);
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("redis.sock");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.port().to_string(), "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
    let child = command.current_dir(folder.path()).stdout(Stdio::null()).spawn().expect("redis-server");
    let running = Running { child, _folder: folder };
    let server = running.child.id();
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        tokio::task::yield_now().await;
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let rules = Rules { tries: 5, refused: 10, mail_gap: Duration::ZERO };
    let capacity = 50_000_000;
    let memory = Arc::new(MemoryFlows::new(capacity, rules, Arc::clone(&clock)));
    measure("memory", memory, Arc::clone(&clock), resets, None).await;
    for (name, place) in [("Redis, by Unix", Place::Unix(socket)), ("Redis, by TCP", Place::Ip(port))] {
        let config = Redis {
            kind: RedisKind::Server,
            servers: vec![Server { host: "localhost".to_owned(), place }],
            database: 0,
            username: None,
            password: None,
            tls: None,
            namespace: name.replace([' ', ','], ""),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            wait_replicas: 0,
        };
        let shared = Arc::new(Shared::new(&[TokenKey(Secret::of([7; 32]))]).unwrap());
        let ids = shared.ids();
        let numbers = Metrics::new(Time::default()).unwrap().kv().unwrap();
        let kv = Arc::new(Kv::new(&config, shared, numbers).unwrap());
        kv.met().await.unwrap();
        let flows = Arc::new(RedisFlows::new(kv, ids, capacity, rules, Arc::clone(&clock)));
        measure(name, flows, Arc::clone(&clock), resets, Some(server)).await;
    }
}
