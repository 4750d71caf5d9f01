//! What the limits remember of ten million clients, each in an IPv6 /48 of its own, and of as many accounts, while nobody's
//! budget comes back: the most that they can be made to keep. Fails over [`CAP`].
//!
//! `cargo bench --bench limiter_memory`; a number after `--` is that of the clients.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench speaks on the terminal, and may fail")]

use std::{fs, process::ExitCode, sync::Arc, time::Instant};

use async_trait::async_trait;
use resetgate::{
    config::{Limits, Rate},
    limits::{DEFAULT_CAPACITY, Governor},
    reset::ports::{Client, Clock, Event, Events, LimitKey, Rule, Time},
};

/// Bytes. Seven stores of 64 maps with 16384 places of 25 bytes are 184 MB; the rest is the allocator's.
const CAP: u64 = 200_000_000;

/// Stands still, so that nothing is ever forgotten.
struct Still;

#[async_trait]
impl Clock for Still {
    fn now(&self) -> Time {
        Time::from_millis(1_800_000_000_000)
    }
    async fn until(&self, _: Time) {}
}

struct Unheard;

impl Events for Unheard {
    fn record(&self, _: Event) {}
}

fn main() -> ExitCode {
    let clients = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(10_000_000_u64);
    let rate = |count, secs| {
        Some(Rate {
            count: std::num::NonZeroU32::new(count).expect("not zero"),
            period: std::time::Duration::from_secs(secs),
        })
    };
    let config = Limits {
        client: rate(300, 60),
        start_per_client: rate(30, 600),
        start_total: rate(600, 60),
        mail_per_account: rate(3, 3600),
        mail_total: rate(60, 60),
        code_per_account: rate(15, 3600),
        overrides: vec![],
        observe: vec![],
    };
    let before = memory();
    let governor =
        Governor::new(&config, &(Arc::new(Still) as _), &(Arc::new(Unheard) as _), &[7; 32], DEFAULT_CAPACITY);
    let start = Instant::now();
    for client in 0..clients {
        let key = LimitKey::Client(Client::V6((client << 16).to_be_bytes()));
        governor.check(Rule::Client, key);
        governor.check(Rule::StartPerClient, key);
        governor.check(Rule::MailPerAccount, LimitKey::Account(u128::from(client).to_be_bytes()));
    }
    let (took, grown) = (start.elapsed(), memory().saturating_sub(before));
    println!("{clients} clients and accounts: {} keys, {grown} bytes, {took:?}; at most {CAP} bytes", governor.len());
    if grown <= CAP { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The most that this process has had in memory, in bytes.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
