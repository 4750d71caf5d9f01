//! What equal requests were answered, by whichever process: one of them does the work, the others wait for its answer.
//!
//! Whoever does it holds a lease of a few seconds, and renews it while it works; one that dies frees the others. The record
//! makes an effect happen once whoever does what; this makes the answers equal.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::{
    super::repeats::MemoryRepeats,
    answer::{pack, unpack},
    jittered,
};
use crate::{
    kv::{Kv, Lost, Script, Vault},
    reset::ports::{About, Digest, Event, Events, Repeats, Reply, Service, Work},
    telemetry::metrics::KvCall,
};

/// How long a key stays taken by a process that has died.
const LEASE: Duration = Duration::from_secs(3);
/// How often one that lives says so.
const BEAT: Duration = Duration::from_secs(1);
/// How long an answer that is not kept is there for those who wait for it.
const SHARED: Duration = Duration::from_secs(2);
/// How long others' work is waited for: longer than any takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first pause between two looks, and the longest.
const FIRST: Duration = Duration::from_millis(4);
const LONGEST: Duration = Duration::from_millis(50);
/// Bytes of answers that this process keeps there at a time.
const MAX_BYTES: usize = 32 << 20;
/// What a 503 asks to wait.
const RETRY: Duration = Duration::from_secs(5);

/// A kept answer is `A` and the answer; work is `L` and its owner; an answer for those who wait is `S`, its owner and the
/// answer. What is kept or at work is told; else the key is taken.
const ENTER: &str = "local v = redis.call('GET', KEYS[1])
if v and string.sub(v, 1, 1) ~= 'S' then return v end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false";
/// Goes on with it.
const STAY: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0";
/// Puts an answer in its place, unless somebody else has it by now.
const LEAVE: &str = "local v = redis.call('GET', KEYS[1])
if v and v ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1";

/// The repeat cache.
pub struct RedisRepeats {
    kv: Arc<Kv>,
    vault: Arc<dyn Vault>,
    events: Arc<dyn Events>,
    /// Those of this process wait for each other in it.
    own: MemoryRepeats,
    window: Duration,
    kept: Mutex<Kept>,
    enter: Script,
    stay: Script,
    leave: Script,
}

/// How many bytes are kept until when.
#[derive(Default)]
struct Kept {
    bytes: usize,
    until: VecDeque<(Instant, usize)>,
}

/// Who has a key.
enum Entered {
    /// We do.
    Ours,
    /// It was answered.
    Answered(Reply),
    /// Somebody else does.
    Taken(Vec<u8>),
}

impl RedisRepeats {
    /// On that server, for answers that are kept for that long.
    pub fn new(kv: Arc<Kv>, vault: Arc<dyn Vault>, window: Duration, events: Arc<dyn Events>) -> Self {
        let (enter, stay, leave) = (Script::new(ENTER), Script::new(STAY), Script::new(LEAVE));
        Self { kv, vault, events, own: MemoryRepeats::new(window), window, kept: Mutex::default(), enter, stay, leave }
    }

    /// Those of this process.
    pub const fn own(&self) -> &MemoryRepeats {
        &self.own
    }

    async fn among_all(&self, key: Digest, work: Work<'_>) -> Reply {
        let mut owner = [b'L'; 17];
        let drawn = owner.get_mut(1..).is_some_and(|owner| SystemRandom::new().fill(owner).is_ok());
        let key = self.kv.key("repeat", &key);
        let turn = if drawn { self.turn(&key, &owner).await } else { Err(Lost { sent: false }) };
        match turn {
            Ok(None) => self.run(&key, &owner, work).await,
            Ok(Some(reply)) => reply,
            Err(_) => {
                self.events.record(Event::ServiceDown { service: Service::Codes }, &About::default());
                Reply::retry(503, "The service is not available, try again later", RETRY)
            }
        }
    }

    /// Waits for the answer, or for the right to find it; that is `None`.
    async fn turn(&self, key: &str, owner: &[u8]) -> Result<Option<Reply>, Lost> {
        let patience = Instant::now() + PATIENCE;
        loop {
            let other = match self.enter(key, owner).await? {
                Entered::Ours => return Ok(None),
                Entered::Answered(reply) => return Ok(Some(reply)),
                Entered::Taken(other) => other,
            };
            let mut pause = FIRST;
            loop {
                if Instant::now() >= patience {
                    return Err(Lost { sent: false });
                }
                sleep(pause / 2 + jittered(pause / 2)).await;
                pause = (pause * 3 / 2).min(LONGEST);
                let (_, found) = self.kv.read(key, self.kv.deadline()).await?;
                match found.as_deref() {
                    Some(found) if found == other => {}
                    Some([b'S', found @ ..]) => match found.strip_prefix(other.get(1..).unwrap_or_default()) {
                        Some(answer) => match self.open(key, answer) {
                            Some(reply) => return Ok(Some(reply)),
                            None => break,
                        },
                        None => break,
                    },
                    // Gone, answered, or somebody else's by now.
                    _ => break,
                }
            }
        }
    }

    async fn enter(&self, key: &str, owner: &[u8]) -> Result<Entered, Lost> {
        let lease = LEASE.as_millis().to_string();
        let found: Option<Vec<u8>> =
            self.kv.eval(KvCall::Repeat, self.kv.deadline(), &self.enter, &[key], &[owner, lease.as_bytes()]).await?;
        Ok(match found.as_deref() {
            None => Entered::Ours,
            // One that had the key of us already, and whose answer was lost.
            Some(found) if found == owner => Entered::Ours,
            Some([b'A', answer @ ..]) => match self.open(key, answer) {
                Some(reply) => Entered::Answered(reply),
                // Nobody's answer. The work is done for this one alone.
                None => Entered::Ours,
            },
            Some(other) => Entered::Taken(other.to_vec()),
        })
    }

    /// Works, and says meanwhile that it does.
    async fn run(&self, key: &str, owner: &[u8], mut work: Work<'_>) -> Reply {
        let lease = LEASE.as_millis().to_string();
        let mut beat = interval_at(Instant::now() + BEAT, BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let reply = loop {
            tokio::select! {
                reply = &mut work => break reply,
                _ = beat.tick() => {
                    // If it is not heard, somebody else may begin, and finds in the record what has been done.
                    let until = (Instant::now() + BEAT).min(self.kv.deadline());
                    let (keys, arguments) = ([key], [owner, lease.as_bytes()]);
                    let stay = self.kv.eval::<u8>(KvCall::Repeat, until, &self.stay, &keys, &arguments);
                    tokio::select! {
                        reply = &mut work => break reply,
                        _ = stay => {}
                    }
                }
            }
        };
        self.answer(key, owner, &reply).await;
        reply
    }

    /// Leaves the answer to the others. That it could not be left changes nothing for this one.
    async fn answer(&self, key: &str, owner: &[u8], reply: &Reply) {
        let sealed = pack(reply).and_then(|packed| self.vault.seal(key.as_bytes(), packed.expose()));
        let Some(sealed) = sealed else { return };
        let is_kept = reply.is_settled() && self.has_room(sealed.len());
        let (value, lives) = match is_kept {
            true => ([b"A", &*sealed].concat(), self.window),
            false => ([b"S", owner.get(1..).unwrap_or_default(), &*sealed].concat(), SHARED),
        };
        let lives = lives.as_millis().to_string();
        let arguments = [owner, &value, lives.as_bytes()];
        let _ = self.kv.eval::<u8>(KvCall::Answer, self.kv.deadline(), &self.leave, &[key], &arguments).await;
    }

    fn open(&self, key: &str, sealed: &[u8]) -> Option<Reply> {
        let reply = self.vault.open(key.as_bytes(), sealed).and_then(|opened| unpack(&opened));
        if reply.is_none() {
            self.kv.numbers().forged();
        }
        reply
    }

    /// Whether so many bytes more may be kept.
    fn has_room(&self, bytes: usize) -> bool {
        let now = Instant::now();
        let mut kept = self.kept.lock();
        while let Some((_, gone)) = kept.until.pop_front_if(|(until, _)| *until <= now) {
            kept.bytes -= gone;
        }
        let fits = kept.bytes + bytes <= MAX_BYTES;
        if fits {
            kept.bytes += bytes;
            kept.until.push_back((now + self.window, bytes));
        }
        fits
    }
}

#[async_trait]
impl Repeats for RedisRepeats {
    async fn once<'a>(&self, key: Digest, work: Work<'a>) -> Reply {
        self.own.once(key, Box::pin(self.among_all(key, work))).await
    }
}
