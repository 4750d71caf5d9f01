//! What equal requests were answered, in this process's memory.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
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
    by_key: HashMap<Digest, Answer>,
    /// Whose answers are kept, and until when; oldest first.
    kept: VecDeque<(Instant, Digest)>,
    bytes: usize,
}

/// The answer to a request.
enum Answer {
    /// It is about to be there, and comes to all who wait for it.
    Coming(Arc<OnceCell<Reply>>),
    Kept(Kept),
}

/// As much of an answer as there is to one that is kept; there may be very many of them.
struct Kept {
    status: u16,
    body: Bytes,
}

impl Kept {
    /// What is to be kept of an answer: if it is not settled, those who are waiting share it, and nobody after them.
    fn of(reply: &Reply) -> Option<Self> {
        reply.is_settled().then(|| Self { status: reply.status, body: reply.body.clone() })
    }

    fn reply(&self) -> Reply {
        Reply::of(self.status, self.body.clone())
    }

    fn bytes(&self) -> usize {
        self.body.len() + BESIDES
    }
}

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
        while let Some((until, key)) = self.kept.front().copied()
            && (until <= now || self.bytes > MAX_BYTES)
        {
            self.kept.pop_front();
            if let Some(Answer::Kept(kept)) = self.by_key.remove(&key) {
                self.bytes -= kept.bytes();
            }
        }
    }
}

/// Work for an answer that others may be waiting for.
struct Run<'a> {
    of: &'a MemoryRepeats,
    key: Digest,
    coming: &'a Arc<OnceCell<Reply>>,
    kept: Option<Kept>,
}

/// Whatever is not kept, or was broken off, is nobody's answer any more but of those who are waiting for it.
impl Drop for Run<'_> {
    fn drop(&mut self) {
        let mut answers = self.of.answers.lock();
        let Some(answer) = answers.by_key.get_mut(&self.key) else { return };
        if !matches!(answer, Answer::Coming(coming) if Arc::ptr_eq(coming, self.coming)) {
            return;
        }
        match self.kept.take() {
            Some(kept) => {
                let (now, bytes) = (Instant::now(), kept.bytes());
                *answer = Answer::Kept(kept);
                answers.kept.push_back((now + self.of.window, self.key));
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
        let coming = {
            let mut answers = self.answers.lock();
            answers.forget(Instant::now());
            match answers.by_key.entry(key).or_insert_with(|| Answer::Coming(Arc::default())) {
                Answer::Coming(coming) => Arc::clone(coming),
                Answer::Kept(kept) => return kept.reply(),
            }
        };
        let run = async {
            let mut run = Run { of: self, key, coming: &coming, kept: None };
            let reply = work.await;
            run.kept = Kept::of(&reply);
            reply
        };
        coming.get_or_init(|| run).await.clone()
    }
}
