//! What equal requests were answered, in this process's memory.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use moka::{future::Cache, policy::EvictionPolicy};

use crate::reset::ports::{Digest, Repeats, Reply, Work};

/// Bytes of answers kept. It may evict: the record makes effects happen once, this only makes answers equal.
const MAX_BYTES: u64 = 32 << 20;

/// The repeat cache.
pub struct MemoryRepeats(Cache<Digest, Reply>);

impl MemoryRepeats {
    /// A cache that keeps answers for that long.
    pub fn new(window: Duration) -> Self {
        let weight =
            |_: &Digest, reply: &Reply| u32::try_from(reply.body.len()).unwrap_or(u32::MAX).saturating_add(256);
        let cache = Cache::builder().time_to_live(window).weigher(weight).max_capacity(MAX_BYTES);
        // The default policy would rather drop fresh answers, which are the ones that are asked again.
        Self(cache.eviction_policy(EvictionPolicy::lru()).build())
    }

    /// Bytes of answers kept, as they were when it was last tidied.
    pub fn bytes(&self) -> usize {
        usize::try_from(self.0.weighted_size()).unwrap_or(usize::MAX)
    }

    /// The most of them.
    pub fn capacity(&self) -> usize {
        usize::try_from(MAX_BYTES).unwrap_or(usize::MAX)
    }

    /// Forgets what is older than the window; to be called every few seconds.
    pub async fn tidy(&self) {
        self.0.run_pending_tasks().await;
    }
}

#[async_trait]
impl Repeats for MemoryRepeats {
    async fn once<'a>(&self, key: Digest, work: Work<'a>) -> Reply {
        let run = async {
            let reply = work.await;
            // A 429 or a 5xx may be another answer a moment later: those waiting share it, nobody after them.
            if matches!(reply.status, 200 | 400) { Ok(reply) } else { Err(reply) }
        };
        match self.0.try_get_with(key, run).await {
            Ok(reply) => reply,
            Err(reply) => Arc::unwrap_or_clone(reply),
        }
    }
}
