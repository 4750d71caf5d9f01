//! What was spent, on the server: a key a mark, which goes by itself when its time is over, and a count of them all.

use std::time::Duration;

use super::STEPS;
use crate::{
    kv::{Kv, Lost, Script},
    reset::ports::{Digest, Spent},
    telemetry::metrics::KvCall,
};

/// Puts a mark at the first key for so many milliseconds, unless it is there (0), or as many are counted at the second
/// key as the third argument says (-1). They are counted by their ends, rounded up to multiples of the second argument.
const SPEND: &str = "if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[4]
local sum, all = 0, redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  if tonumber(all[i]) <= now then redis.call('HDEL', KEYS[2], all[i]) else sum = sum + all[i + 1] end
end
if sum >= tonumber(ARGV[3]) then return -1 end
local step = tonumber(ARGV[2])
local life = math.ceil((now + ARGV[1]) / step) * step
redis.call('HINCRBY', KEYS[2], string.format('%.0f', life), 1)
if redis.call('PTTL', KEYS[2]) < life - now then redis.call('PEXPIRE', KEYS[2], string.format('%.0f', life - now)) end
redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
return 1";

/// Marks on a server.
pub(super) struct Marks(Script);

impl Marks {
    pub(super) fn new() -> Self {
        Self(Script::new(SPEND))
    }

    /// Puts a mark in for so long, where there are fewer than `most`. A server that answers too late may have it all the
    /// same: whoever asks again then is told that it was spent, for that is what it may have been.
    pub(super) async fn spend(&self, kv: &Kv, mark: &Digest, life: Duration, most: usize) -> Result<Spent, Lost> {
        let until = kv.deadline();
        let (life, step) = (life.max(Duration::from_millis(1)), (life / STEPS).max(Duration::from_millis(1)));
        let numbers = [life.as_millis(), step.as_millis(), most as u128, kv.lead().into()].map(|n| n.to_string());
        let keys = [kv.key("spent", mark), kv.only("marks")];
        let keys = keys.each_ref().map(String::as_str);
        let done: i8 = kv.eval(KvCall::Spend, until, &self.0, &keys, &numbers.each_ref().map(String::as_bytes)).await?;
        Ok(match done {
            1 => {
                kv.is_copied(until).await?;
                Spent::Now
            }
            0 => Spent::Before,
            _ => Spent::Full,
        })
    }

    /// Takes it out. Its room stays taken until its end.
    pub(super) async fn unspend(kv: &Kv, mark: &Digest) -> Result<(), Lost> {
        kv.remove(KvCall::Spend, &[kv.key("spent", mark)]).await
    }
}
