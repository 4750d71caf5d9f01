//! What the subjects share.

#[path = "../it/support/answer.rs"]
#[allow(dead_code)] // the stories use the rest
pub(crate) mod answer;
#[path = "../it/support/authority.rs"]
#[allow(dead_code)] // the stories use the rest
pub(crate) mod authority;
pub(crate) mod driver;
pub(crate) mod load;
pub(crate) mod program;
#[path = "../it/support/raw.rs"]
#[allow(dead_code)] // the stories use the rest
pub(crate) mod raw;
#[path = "../it/support/redis.rs"]
#[allow(dead_code)] // the stories use the rest
pub(crate) mod redis;
pub(crate) mod replicas;
#[path = "../it/support/reserved.rs"]
#[allow(dead_code)] // the stories use the rest
pub(crate) mod reserved;
pub(crate) mod setup;
pub(crate) mod tap;
#[path = "../it/support/tls.rs"]
#[allow(dead_code)] // the stories use the rest
pub(crate) mod tls;
#[path = "../it/support/upstream.rs"]
#[allow(dead_code)] // the stories use the rest
pub(crate) mod upstream;
pub(crate) mod wire;

use std::time::Duration;

/// Longer than anything here takes, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The value, if it comes in time.
pub(crate) async fn soon<T>(what: &str, value: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, value).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Whether to go on without a program that only tests need. On a server it must be there.
pub(crate) fn skip(what: &str, found: bool) -> bool {
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{what} is missing; run .ci/setup");
        eprintln!("\n==== SKIPPED, NOT TESTED: {what} is missing; run .ci/setup ====\n");
    }
    !found
}
