//! What the limits remember of ten million clients, each in an IPv6 /48 of its own, and of as many accounts, while nobody's
//! budget comes back: the most that they can be made to keep. Then what is left of it when every budget is whole again.
//! Fails over [`CAP`] and over [`REST`].
//!
//! `cargo bench --bench limiter_memory`; a number after `--` is that of the clients.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a bench speaks on the terminal, and may fail"
)]

use std::{
    fs,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use resetgate::{
    config::{Limits, Rate},
    limits::Governor,
    memory::give_back,
    reset::ports::{About, Client, Clock, Decision, Event, Events, LimitKey, Rule, Time},
};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes at the worst. Eight stores of 64 maps with 8192 places of 17 bytes, and three of a quarter, are 78 MB; the rest
/// is what the allocator has left of the maps before they doubled.
const CAP: u64 = 150_000_000;

/// Bytes when all is forgotten.
const REST: u64 = 32_000_000;

/// Stands still until it is moved, so that nothing is forgotten before.
struct Manual(AtomicU64);

#[async_trait]
impl Clock for Manual {
    fn now(&self) -> Time {
        Time::from_millis(self.0.load(Ordering::Relaxed))
    }
    async fn until(&self, _: Time) {}
}

struct Unheard;

impl Events for Unheard {
    fn record(&self, _: Event, _: &About<'_>) {}
}

fn main() -> ExitCode {
    let clients = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(10_000_000_u64);
    let rate = |count, secs| {
        Some(Rate { count: std::num::NonZeroU32::new(count).expect("not zero"), period: Duration::from_secs(secs) })
    };
    let config = Limits {
        shared: false,
        client: rate(300, 60),
        start_per_client: rate(30, 600),
        // With it, what it refuses is not remembered.
        start_total: None,
        mail_per_account: rate(3, 3600),
        mail_total: rate(60, 60),
        code_per_account: rate(15, 3600),
        answer_per_account: rate(5, 3600),
        overrides: vec![],
        observe: vec![],
        capacity: 420_000,
    };
    let before = memory("VmRSS:");
    let clock = Arc::new(Manual(AtomicU64::new(1_800_000_000_000)));
    let governor = Governor::new(&config, &(Arc::clone(&clock) as _), &(Arc::new(Unheard) as _), &[7; 32]);
    let start = Instant::now();
    for number in 0..clients {
        let client = Client::V6((number << 16).to_be_bytes());
        governor.check(Rule::Client, LimitKey::Client(client));
        governor.check_start(client);
        let account = LimitKey::Account(u128::from(number).to_be_bytes());
        governor.check(Rule::MailPerAccount, account);
        governor.check(Rule::CodePerAccount, account);
        governor.check(Rule::AnswerPerAccount, account);
    }
    let (took, keys, grown) = (start.elapsed(), governor.len(), memory("VmHWM:").saturating_sub(before));
    println!("{clients} clients and accounts in {took:?}: {keys} keys of {}", governor.capacity());
    println!("at the worst {grown} bytes, {} a key; at most {CAP} bytes", grown / keys.max(1) as u64);

    // Long enough for an account's first mail to be forgotten.
    clock.0.fetch_add(3_600_000, Ordering::Relaxed);
    let newcomer = governor.check(Rule::Client, LimitKey::Client(Client::V4([192, 0, 2, 1])));
    governor.tidy();
    let left = governor.len();
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(50));
        give_back();
    }
    let rest = memory("VmRSS:").saturating_sub(before);
    println!("when budgets are whole again {left} keys, {rest} bytes; at most {REST} bytes");
    let fair = newcomer == Decision::Allowed && left <= 1;
    if grown <= CAP && rest <= REST && fair { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What this process has in memory (`VmRSS:`), or the most that it has had (`VmHWM:`), in bytes.
fn memory(of: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(of)).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
