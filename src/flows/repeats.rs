//! What equal requests were answered, in this process's memory.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{sync::OnceCell, time::Instant};

use crate::reset::ports::{Digest, Repeats, Reply, Work};

/// Bytes of answers kept. It may forget early: the record makes effects happen once, this only makes answers equal.
const MAX_BYTES: usize = 32 << 20;
/// What an answer takes besides its body.
const BESIDES: usize = 256;

/// The repeat cache.
pub struct MemoryRepeats {
    answers: Mutex<Answers>,
    window: Duration,
}

#[derive(Default)]
struct Answers {
    /// What was answered, or is about to be.
    by_key: HashMap<Digest, Answer>,
    /// What was answered, oldest first: until when it is kept, and how many bytes it has.
    kept: VecDeque<(Instant, Digest, usize)>,
    bytes: usize,
}

type Answer = Arc<OnceCell<Reply>>;

impl MemoryRepeats {
    /// A cache that keeps answers for that long.
    pub fn new(window: Duration) -> Self {
        Self { answers: Mutex::default(), window }
    }

    /// Bytes of answers kept.
    pub fn bytes(&self) -> usize {
        self.answers.lock().bytes
    }

    /// The most of them.
    pub const fn capacity(&self) -> usize {
        MAX_BYTES
    }

    /// Forgets what is older than the window; to be called every few seconds.
    pub fn tidy(&self) {
        self.answers.lock().forget(Instant::now());
    }
}

impl Answers {
    fn forget(&mut self, now: Instant) {
        while let Some((until, key, bytes)) = self.kept.front().copied()
            && (until <= now || self.bytes > MAX_BYTES)
        {
            self.kept.pop_front();
            self.by_key.remove(&key);
            self.bytes -= bytes;
        }
    }
}

/// Work for an answer that others may be waiting for.
struct Run<'a> {
    of: &'a MemoryRepeats,
    key: Digest,
    answer: &'a Answer,
    /// The bytes of an answer that is to be kept.
    bytes: Option<usize>,
}

/// Whatever is not kept, or was broken off, is nobody's answer any more but of those who are waiting for it.
impl Drop for Run<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut answers = self.of.answers.lock();
        if !answers.by_key.get(&self.key).is_some_and(|answer| Arc::ptr_eq(answer, self.answer)) {
            return;
        }
        match self.bytes {
            Some(bytes) => {
                answers.kept.push_back((now + self.of.window, self.key, bytes));
                answers.bytes += bytes;
                answers.forget(now);
            }
            None => drop(answers.by_key.remove(&self.key)),
        }
    }
}

#[async_trait]
impl Repeats for MemoryRepeats {
    async fn once<'a>(&self, key: Digest, work: Work<'a>) -> Reply {
        let answer = {
            let mut answers = self.answers.lock();
            answers.forget(Instant::now());
            Arc::clone(answers.by_key.entry(key).or_default())
        };
        let run = async {
            let mut run = Run { of: self, key, answer: &answer, bytes: None };
            let reply = work.await;
            // A 429 or a 5xx may be another answer a moment later: those waiting share it, nobody after them.
            run.bytes = matches!(reply.status, 200 | 400).then(|| reply.body.len() + BESIDES);
            reply
        };
        answer.get_or_init(|| run).await.clone()
    }
}
