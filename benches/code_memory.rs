//! What live codes weigh in memory: a thousand of them, ten times as many, and so on to a million, each of an account of its
//! own, with digits to type, and all that comes with one. Few of them share what is needed once, some megabytes. Fails over
//! [`MOST`] bytes a code of all.
//!
//! `cargo bench --bench code_memory`; a number after `--` is that of the codes.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a bench speaks on the terminal, and may fail"
)]

use std::{
    fs,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use resetgate::{
    flows::memory::{MemoryFlows, Rules},
    reset::ports::{Attempt, Clock, FlowRef, Flows, Lane, NewCode, Opened, Time},
};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes a code.
const MOST: u64 = 450;

/// Stands still, so that nothing ends.
struct Still;

#[async_trait]
impl Clock for Still {
    fn now(&self) -> Time {
        Time::from_millis(1_800_000_000_000)
    }
    async fn until(&self, _: Time) {}
}

/// No two accounts have the same, and no bits of it follow from others.
fn digest(number: u64, of: u64) -> [u8; 16] {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ of.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^= mixed >> 31;
    (u128::from(mixed.wrapping_mul(0x94d0_49bb_1331_11eb)) << 64 | u128::from(number)).to_be_bytes()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let codes = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000_u64);
    let clock = Arc::new(Still);
    let rules = Rules { tries: 5, refused: 10, mail_gap: Duration::from_secs(60) };
    let capacity = usize::try_from(codes).expect("64 bits");
    let before = resident();
    let flows = MemoryFlows::new(capacity, rules, Arc::clone(&clock) as _);
    let life = Duration::from_secs(1200);
    let at = |number| FlowRef { account: digest(number, 1), flow: digest(number, 2) };
    let (mut step, mut each, start) = (1000, 0, Instant::now());
    for number in 0..codes {
        let expires = clock.now().after(life);
        assert!(flows.reserve(expires).await.expect("memory"), "no room for {number}");
        let code = NewCode { digest: digest(number, 3), digits: Some(digest(number, 4)), expires };
        assert_eq!(flows.open(&at(number), code).await, Ok(Opened::Mail));
        if number + 1 == step || number + 1 == codes {
            flows.tidy();
            let grown = resident().saturating_sub(before);
            each = grown / (number + 1);
            println!("{:>8} codes: {grown:>11} bytes, {each} each", number + 1);
            step *= 10;
        }
    }
    println!("entered in {:?}; at most {MOST} bytes each", start.elapsed());
    let start = Instant::now();
    for number in 0..codes {
        let until = clock.now().after(life);
        let shown = flows.attempt(&at(number), Lane::Asker, digest(number, 5), until).await;
        assert_eq!(shown, Ok(Attempt::Wrong));
    }
    println!("a wrong code shown to each in {:?}", start.elapsed());
    if each <= MOST { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What this process has in memory, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
