//! The code cache on a server that all processes share: one key an account, with its record sealed.
//!
//! The server cannot change what it cannot read. So a step is: read the record and the server's time, change it here as
//! memory would ([`Record`]), and put it in the place of the one that was read, if that is still there; if not, again.
//! The server's clock is everybody's: a process whose own is wrong prolongs nothing. Steps on an account wait for each
//! other in this process, so that only those of other processes can be in the way.

mod answer;
pub mod repeats;
mod spent;

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use moka::sync::Cache;
use tokio::{
    sync::{Mutex, MutexGuard, Semaphore},
    time::{Instant, sleep, timeout_at},
};

use self::spent::Marks;
use super::{memory::Rules, record::Record};
use crate::{
    kv::{Kv, Lost, Script, Vault},
    reset::ports::{
        Attempt, Claim, Clock, Digest, Down, FlowRef, Flows, Lane, NewCode, Opened, Settled, Spent, Time, Turn,
    },
    telemetry::{metrics::KvCall, throttle::Throttle},
};

/// Bytes of a sealed record that no other has: it begins with them, and each sealing draws them anew.
const TAG: usize = 32;
/// Accounts of which this process knows what it has seen last.
const SEEN: u64 = 65_536;
/// For how long: longer than a record lives, by default.
const SEEN_FOR: Duration = Duration::from_secs(2 * 3600);
/// Steps on accounts that wait for each other: by the account, so for nobody else's, mostly.
const TURNS: usize = 256;
/// How long a result that the server was not told is tried to be told again: less than the lease of the one who set it.
const TELLING: Duration = Duration::from_secs(45);
/// How many of them at a time.
const TOLD: usize = 1024;
/// Room is freed in steps of this part of what it was taken for.
const STEPS: u32 = 64;
/// A record that is not what it was is said no more often than this.
const QUIET: Duration = Duration::from_secs(60);

/// Puts a record in the place of the one that begins with the first argument, for so many milliseconds; none is the empty
/// one. If that is not there: the time, and what is.
const WRITE: &str = "local v = redis.call('GET', KEYS[1])
if (v and string.sub(v, 1, 32) or '') ~= ARGV[1] then
  local t = redis.call('TIME') return {0, t[1], t[2], v}
end
if ARGV[2] ~= '' then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
elseif v then redis.call('DEL', KEYS[1]) end
return {1, 0, 0, false}";

/// Takes room for so many milliseconds, rounded up to multiples of the second argument, if fewer have it than the third
/// says; how many have it then, or have it already, as a negative number.
const RESERVE: &str = "local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[4]
local sum, all = 0, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if tonumber(all[i]) <= now then redis.call('HDEL', KEYS[1], all[i]) else sum = sum + all[i + 1] end
end
if sum >= tonumber(ARGV[3]) then return -1 - sum end
local step = tonumber(ARGV[2])
local life = math.ceil((now + ARGV[1]) / step) * step
redis.call('HINCRBY', KEYS[1], string.format('%.0f', life), 1)
if redis.call('PTTL', KEYS[1]) < life - now then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', life - now)) end
return sum + 1";

/// The code cache.
pub struct RedisFlows(Arc<Inner>);

struct Inner {
    kv: Arc<Kv>,
    vault: Arc<dyn Vault>,
    capacity: usize,
    rules: Rules,
    clock: Arc<dyn Clock>,
    turns: Vec<Mutex<()>>,
    /// Each account's last version that this process knows of. A server that lost its last writes gives back an earlier one.
    seen: Cache<Digest, u64>,
    /// As of the last start.
    starts: AtomicUsize,
    telling: Arc<Semaphore>,
    write: Script,
    reserve: Script,
    marks: Marks,
    odd: Throttle,
}

/// What was found of an account.
struct Found {
    record: Record,
    version: u64,
    tag: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// What this process or another has written.
    Ours,
    /// Nothing, or what nobody of us has written.
    Nothing,
    /// What was there before something else was.
    Earlier,
}

impl RedisFlows {
    /// On that server, for so many starts whose link may still live, of all processes. `clock` is the one that the callers'
    /// times are by.
    pub fn new(kv: Arc<Kv>, vault: Arc<dyn Vault>, capacity: usize, rules: Rules, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            kv,
            vault,
            capacity,
            rules,
            clock,
            turns: (0..TURNS).map(|_| Mutex::default()).collect(),
            seen: Cache::builder().max_capacity(SEEN).time_to_live(SEEN_FOR).build(),
            starts: AtomicUsize::new(0),
            telling: Arc::new(Semaphore::new(TOLD)),
            write: Script::new(WRITE),
            reserve: Script::new(RESERVE),
            marks: Marks::new(),
            odd: Throttle::new(QUIET),
        }))
    }

    /// The most starts whose link may still live.
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    /// Starts whose link may still live, of all processes, as of this one's last.
    pub fn starts(&self) -> usize {
        self.0.starts.load(Ordering::Relaxed)
    }
}

impl Inner {
    /// How long a time of the caller's is ahead.
    fn left(&self, until: Time) -> Duration {
        until.since(self.clock.now())
    }

    /// One atomic step on an account's record, which is an empty one if there is none. It may be done several times, and
    /// counts once.
    async fn step<T>(&self, at: &FlowRef, step: impl Fn(&mut Record, Time) -> T + Send) -> Result<T, Lost> {
        let until = self.kv.deadline();
        let key = self.kv.key("flow", &at.account);
        let _turn = self.turn(&at.account, until).await?;
        let (mut now, mut sealed) = self.kv.read(&key, until).await?;
        let mut round = 0;
        loop {
            let Found { mut record, version, tag, state } = self.look(&key, at, sealed.as_deref());
            record.prune(now);
            let outcome = step(&mut record, now);
            let lives = record.ends().since(now);
            let version = version.saturating_add(1).max(now.millis() << 8);
            if state == State::Nothing && lives.is_zero() && !tag.is_empty() {
                // What is not ours is not ours to remove.
                return Ok(outcome);
            }
            let next = match lives.is_zero() {
                true => Vec::new(),
                false => self.seal(&key, version, &record).ok_or(Lost { sent: false })?,
            };
            let lives = lives.as_millis().to_string();
            let written: Result<(u8, u64, u64, Option<Vec<u8>>), _> =
                self.kv.eval(KvCall::Write, until, &self.write, &[&key], &[&tag, &next, lives.as_bytes()]).await;
            match written {
                Ok((1, ..)) => {}
                Ok((_, seconds, micros, found)) => {
                    self.kv.numbers().conflicted();
                    (now, sealed) = (self.kv.time(seconds, micros), found);
                    backed_off(round, until).await?;
                    round += 1;
                    continue;
                }
                Err(lost) if !lost.sent => return Err(lost),
                Err(lost) => {
                    let (time, found) = self.see(&key, until).await.ok_or(lost)?;
                    if !starts_alike(found.as_deref(), &next) {
                        if !starts_alike(found.as_deref(), &tag) {
                            return Err(lost);
                        }
                        (now, sealed) = (time, found);
                        continue;
                    }
                }
            }
            if !next.is_empty() || !tag.is_empty() {
                self.seen.insert(at.account, version);
                self.kv.is_copied(until).await?;
            }
            return Ok(outcome);
        }
    }

    async fn turn(&self, account: &Digest, until: Instant) -> Result<MutexGuard<'_, ()>, Lost> {
        let [first, ..] = *account;
        let turn = self.turns.get(usize::from(first) % TURNS).ok_or(Lost { sent: false })?;
        timeout_at(until, turn.lock()).await.map_err(|_| Lost { sent: false })
    }

    /// What is there, as soon as there is a connection again: whether something was written that nobody answered for.
    async fn see(&self, key: &str, until: Instant) -> Option<(Time, Option<Vec<u8>>)> {
        while Instant::now() < until {
            if let Ok(found) = self.kv.read(key, until).await {
                return Some(found);
            }
            backed_off(4, until).await.ok()?;
        }
        None
    }

    fn look(&self, key: &str, at: &FlowRef, sealed: Option<&[u8]>) -> Found {
        let seen = self.seen.get(&at.account).unwrap_or_default();
        let tag = sealed.map(|sealed| sealed.iter().copied().take(TAG).collect()).unwrap_or_default();
        let nothing = |state, tag| Found { record: Record::default(), version: seen, tag, state };
        let Some(sealed) = sealed else { return nothing(State::Nothing, tag) };
        let opened = self.vault.open(key.as_bytes(), sealed);
        let read = opened.and_then(|opened| postcard::from_bytes::<(u64, Record)>(opened.expose()).ok());
        match read {
            Some((version, record)) if version >= seen => Found { record, version, tag, state: State::Ours },
            Some(_) => {
                self.kv.numbers().returned();
                self.say("a record came back that had been changed since: the server has lost writes, and the flows in it end");
                nothing(State::Earlier, tag)
            }
            None => {
                self.kv.numbers().forged();
                self.say("a record on the server is not ours, or not in its place: somebody else writes there");
                nothing(State::Nothing, tag)
            }
        }
    }

    fn say(&self, what: &'static str) {
        let now = Duration::from_millis(self.clock.now().millis());
        if let Some(skipped) = self.odd.pass(now) {
            tracing::error!(
                service = "codes",
                what,
                skipped = Some(skipped).filter(|n| *n > 0),
                "codes were tampered with"
            );
        }
    }

    fn seal(&self, key: &str, version: u64, record: &Record) -> Option<Vec<u8>> {
        self.vault.seal(key.as_bytes(), &postcard::to_stdvec(&(version, record)).ok()?)
    }

    async fn settle(&self, at: &FlowRef, how: Settled) -> Result<(), Lost> {
        let left = match how {
            Settled::Refused { until } => self.left(until),
            _ => Duration::ZERO,
        };
        self.step(at, |record, now| {
            let how = match how {
                Settled::Refused { .. } => Settled::Refused { until: now.after(left) },
                how => how,
            };
            record.settle(at, how, self.rules);
        })
        .await
    }
}

#[async_trait]
impl Flows for RedisFlows {
    async fn reserve(&self, until: Time) -> Result<bool, Down> {
        let Inner { kv, capacity, starts, reserve, .. } = &*self.0;
        let life = self.0.left(until);
        let step = (life / STEPS).max(Duration::from_millis(1));
        let numbers = [life.as_millis(), step.as_millis(), *capacity as u128, kv.lead().into()].map(|n| n.to_string());
        let arguments = numbers.each_ref().map(String::as_bytes);
        let key = kv.only("rooms");
        let taken: i64 = kv.eval(KvCall::Reserve, kv.deadline(), reserve, &[&key], &arguments).await?;
        let (found, taken) = if taken < 0 { (false, -1 - taken) } else { (true, taken) };
        starts.store(usize::try_from(taken).unwrap_or_default(), Ordering::Relaxed);
        Ok(found)
    }

    async fn open(&self, at: &FlowRef, code: NewCode) -> Result<Opened, Down> {
        let (left, rules) = (self.0.left(code.expires), self.0.rules);
        let open =
            |record: &mut Record, now: Time| record.open(at, NewCode { expires: now.after(left), ..code }, rules, now);
        Ok(self.0.step(at, open).await?)
    }

    async fn withdraw(&self, at: &FlowRef) -> Result<(), Down> {
        Ok(self.0.step(at, |record, _| record.withdraw(at)).await?)
    }

    async fn attempt(&self, at: &FlowRef, lane: Lane, code: Digest, until: Time) -> Result<Attempt, Down> {
        let left = self.0.left(until);
        Ok(self.0.step(at, |record, now| record.attempt(at, lane, &code, now.after(left))).await?)
    }

    /// What is not there is not written back.
    fn takes_alike(&self) -> bool {
        false
    }

    async fn turn(&self, at: &FlowRef, ticket: [u8; 16], lease: Duration) -> Result<Turn, Down> {
        Ok(self.0.step(at, |record, now| record.turn(at, ticket, lease, now)).await?)
    }

    async fn pass(&self, at: &FlowRef, ticket: [u8; 16], until: Option<Time>) -> Result<(), Down> {
        let left = until.map(|until| self.0.left(until));
        Ok(self.0.step(at, |record, now| record.pass(at, ticket, left.map(|left| now.after(left)))).await?)
    }

    async fn claim(&self, at: &FlowRef, password: Digest, lease: Duration) -> Result<Claim, Down> {
        Ok(self.0.step(at, |record, now| record.claim(at, password, lease, now)).await?)
    }

    /// What could not be told is told when the server is back, as long as the lease protects the account. After that only
    /// the same password could be set.
    async fn settle(&self, at: &FlowRef, how: Settled) -> Result<(), Down> {
        let settled = self.0.settle(at, how).await;
        if settled.is_err()
            && let Ok(place) = Arc::clone(&self.0.telling).try_acquire_owned()
        {
            let (inner, at, until) = (Arc::clone(&self.0), *at, Instant::now() + TELLING);
            tokio::spawn(async move {
                let _place = place;
                let _ = timeout_at(until, async {
                    while inner.settle(&at, how).await.is_err() {
                        sleep(jittered(Duration::from_millis(500))).await;
                    }
                })
                .await;
            });
        }
        Ok(settled?)
    }

    async fn spend_once(&self, mark: Digest, until: Time) -> Result<Spent, Down> {
        let Inner { kv, marks, capacity, .. } = &*self.0;
        Ok(marks.spend(kv, &mark, self.0.left(until), *capacity).await?)
    }

    async fn unspend(&self, mark: Digest) -> Result<(), Down> {
        Ok(Marks::unspend(&self.0.kv, &mark).await?)
    }
}

/// Whether two sealed records are the same one; none is the empty one.
fn starts_alike(found: Option<&[u8]>, other: &[u8]) -> bool {
    let tag = |sealed: &[u8]| sealed.iter().copied().take(TAG).collect::<Vec<_>>();
    tag(found.unwrap_or_default()) == tag(other)
}

/// Waits a little, and longer each time.
async fn backed_off(round: u32, until: Instant) -> Result<(), Lost> {
    if round > 0 {
        sleep(jittered(Duration::from_millis(1 << round.min(5)))).await;
    }
    if Instant::now() < until { Ok(()) } else { Err(Lost { sent: false }) }
}

/// Between nothing and all of it.
fn jittered(span: Duration) -> Duration {
    let drawn = u32::try_from(RandomState::new().hash_one(()) % 1001).unwrap_or_default();
    span * drawn / 1000
}
