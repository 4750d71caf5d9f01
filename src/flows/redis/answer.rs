//! An answer as bytes, for other processes to give.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::reset::ports::{Policy, Reply, Secret};

/// The budgets that a client may be told of.
const POLICIES: [&str; 2] = ["client", "start_per_client"];

#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    status: u16,
    body: &'a [u8],
    retry_after: Option<Duration>,
    policy: Option<(&'a str, u32, Duration)>,
}

/// `None` if it cannot be one that is shared.
pub(super) fn pack(reply: &Reply) -> Option<Secret<Vec<u8>>> {
    let policy = reply.policy.map(|policy| (policy.name, policy.quota, policy.window));
    let Reply { status, body, retry_after, .. } = reply;
    let kept = Kept { status: *status, body, retry_after: *retry_after, policy };
    postcard::to_stdvec(&kept).ok().map(Secret::of)
}

/// `None` if it is none.
pub(super) fn unpack(bytes: &Secret<Vec<u8>>) -> Option<Reply> {
    let Kept { status, body, retry_after, policy } = postcard::from_bytes(bytes.expose()).ok()?;
    let policy = match policy {
        Some((name, quota, window)) => {
            let name = POLICIES.into_iter().find(|known| *known == name)?;
            Some(Policy { name, quota, window })
        }
        None => None,
    };
    let body = Secret::of(body.to_vec()).into_bytes();
    Some(Reply { status, body, retry_after, policy, etag: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_same_afterwards() {
        let policy = Policy { name: "start_per_client", quota: 30, window: Duration::from_secs(600) };
        for reply in [
            Reply::ok(&serde_json::json!({"token": "x"})),
            Reply::error(400, "Invalid code"),
            Reply::too_many(Duration::from_millis(1500), Some(policy)),
        ] {
            assert!(unpack(&pack(&reply).unwrap()) == Some(reply));
        }
        assert!(unpack(&Secret::of(b"x".to_vec())).is_none());
    }
}
