//! [`Limits`] that processes share: starts and what accounts may have are counted on the server that codes are on, all
//! else in this process.
//!
//! While the server cannot be asked, this process alone says who may start, and no account gets a mail or a try of typed
//! digits: what protects one person fails closed, what protects from many does not keep everybody out.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    governor::{Governor, policy},
    tiers::{FACTORS, Ladder, names},
};
use crate::{
    config::Rate,
    kv::{Kv, Lost, Script, Vault},
    reset::ports::{About, Client, Decision, Event, Events, LimitKey, Limits, Rule, Share, Start},
    telemetry::metrics::KvCall,
};

/// When asking again makes sense while the server is down.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Takes one from each key, or from none: the arguments are how much later it is than the server says, in ms, then for each
/// key how long until one comes back, in µs, and how many there are. Which key had none, how long until it has one, and
/// whether four fifths of any are used up.
const CHARGE: &str = "local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2] + ARGV[1] * 1000
local near, after = 0, {}
for i = 1, #KEYS do
  local step, burst = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local at = math.max(tonumber(redis.call('GET', KEYS[i]) or now), now) + step
  local wait = at - step * burst - now
  if wait > 0 then return {i, math.ceil(wait), 0} end
  if math.floor(-wait / step) <= math.floor(burst / 5) then near = 1 end
  after[i] = at
end
for i = 1, #KEYS do
  redis.call('SET', KEYS[i], string.format('%.0f', after[i]), 'PX', math.ceil((after[i] - now) / 1000))
end
return {0, 0, near}";

/// The same for a start: keys are the client's own, then those of its first starts, then everyone's. The arguments after
/// the first: how many keys of each there are; whether the client's own, and everyone's, only watch; how many later
/// starts may have of everyone's; then as above. Which rule refuses (1 the own, 2 everyone's), how long until it does not,
/// whether the start is a first one, and of both rules: nearly used up (1), or it would have refused (2).
const START: &str = "local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2] + ARGV[1] * 1000
local own, firsts, total = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local after, told = {}, {0, 0}
local function take(from, count, later)
  local near, found = 0, {}
  for i = from + 1, from + count do
    local step, burst = tonumber(ARGV[6 + 2 * i]), tonumber(ARGV[7 + 2 * i])
    if later then burst = tonumber(ARGV[7]) end
    local at = math.max(tonumber(redis.call('GET', KEYS[i]) or now), now) + step
    local wait = at - step * burst - now
    if wait > 0 then return math.ceil(wait), 0 end
    if math.floor(-wait / step) <= math.floor(burst / 5) then near = 1 end
    found[i] = at
  end
  for i, at in pairs(found) do after[i] = at end
  return 0, near
end
local wait
wait, told[1] = take(0, own)
if wait > 0 then
  if ARGV[5] == '0' then return {1, wait, 0, 0, 0} end
  told[1] = 2
end
local first = take(own, firsts) == 0
wait, told[2] = take(own + firsts, total, not first)
if wait > 0 then
  if ARGV[6] == '0' then return {2, wait, 0, 0, 0} end
  told[2] = 2
end
for i, at in pairs(after) do
  redis.call('SET', KEYS[i], string.format('%.0f', at), 'PX', math.ceil((at - now) / 1000))
end
return {0, 0, first and 1 or 0, told[1], told[2]}";

/// Whether more than half of any key is used up: the arguments are as for [`CHARGE`].
const PRESSED: &str = "local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2] + ARGV[1] * 1000
for i = 1, #KEYS do
  local at = tonumber(redis.call('GET', KEYS[i]) or now)
  if 2 * (at - now) > ARGV[2 * i] * ARGV[2 * i + 1] then return 1 end
end
return 0";

/// The rate limits of several processes.
pub struct ServerLimits {
    own: Arc<Governor>,
    kv: Arc<Kv>,
    vault: Arc<dyn Vault>,
    events: Arc<dyn Events>,
    charge: Script,
    start: Script,
    pressed: Script,
}

/// What of a script's arguments is about keys.
#[derive(Default)]
struct Buckets {
    keys: Vec<String>,
    numbers: Vec<String>,
}

impl ServerLimits {
    /// By the rates of `own`, which also counts whatever is not shared.
    pub fn new(own: Arc<Governor>, kv: Arc<Kv>, vault: Arc<dyn Vault>, events: Arc<dyn Events>) -> Self {
        Self {
            own,
            kv,
            vault,
            events,
            charge: Script::new(CHARGE),
            start: Script::new(START),
            pressed: Script::new(PRESSED),
        }
    }

    /// One bucket a tier.
    fn put(&self, buckets: &mut Buckets, what: &str, ladder: Option<&Ladder>, key: LimitKey) -> usize {
        let Some(ladder) = ladder else { return 0 };
        let group = self.own.group(key).map_or(0, |group| group + 1).to_be_bytes();
        let tiers: Vec<&[u8]> = match &key {
            LimitKey::Client(client) => names(client).collect(),
            LimitKey::Account(account) => vec![account],
            LimitKey::Everyone => vec![&[]],
        };
        for (tier, factor) in tiers.iter().zip(FACTORS) {
            let Rate { count, period } = ladder.rate();
            let refill = (Rate { count: count.saturating_mul(factor.try_into().unwrap_or(count)), period }).refill();
            buckets.numbers.push(refill.as_micros().max(1).to_string());
            buckets.numbers.push(count.get().saturating_mul(factor).to_string());
            let kind = [u8::from(matches!(key, LimitKey::Client(Client::V4(_))))];
            buckets.keys.push(self.kv.key("limit", &self.vault.digest(&[what.as_bytes(), &group, &kind, tier])));
        }
        tiers.len()
    }

    async fn shared_charge(&self, rule: Rule, ladder: &Ladder, key: LimitKey) -> Result<Decision, Lost> {
        let mut buckets = Buckets { numbers: vec![self.kv.lead().to_string()], ..Buckets::default() };
        self.put(&mut buckets, name(rule), Some(ladder), key);
        let (refused, wait, near): (u32, u64, u8) = self.eval(&self.charge, &buckets).await?;
        if refused == 0 {
            if near == 1 {
                self.events.record(Event::LimitNear { rule }, &About::default());
            }
            return Ok(Decision::Allowed);
        }
        if self.own.observes(rule) {
            self.events.record(Event::LimitObserved { rule }, &About::default());
            return Ok(Decision::Allowed);
        }
        let policy = policy(rule, ladder.rate());
        Ok(Decision::Denied { retry_after: Duration::from_micros(wait), policy })
    }

    async fn shared_start(&self, client: Client) -> Result<Start, Lost> {
        let key = LimitKey::Client(client);
        let own = self.own.ladder(Rule::StartPerClient, key);
        let total = self.own.ladder(Rule::StartTotal, LimitKey::Everyone);
        let mut buckets = Buckets::default();
        let counts = [
            self.put(&mut buckets, name(Rule::StartPerClient), own, key),
            self.put(&mut buckets, "first_start", self.own.firsts(client), key),
            self.put(&mut buckets, name(Rule::StartTotal), total, LimitKey::Everyone),
        ];
        if buckets.keys.is_empty() {
            return Ok(Start::Allowed(Share::First));
        }
        let watches = |rule| u8::from(self.own.observes(rule)).to_string();
        let mut numbers = vec![self.kv.lead().to_string()];
        numbers.extend(counts.map(|count| count.to_string()));
        numbers.extend([watches(Rule::StartPerClient), watches(Rule::StartTotal)]);
        numbers.push(self.own.later_total().map_or(0, |later| later.rate().count.get()).to_string());
        numbers.append(&mut buckets.numbers);
        buckets.numbers = numbers;
        let (refused, wait, first, own_told, total_told): (u8, u64, u8, u8, u8) =
            self.eval(&self.start, &buckets).await?;
        for (rule, told) in [(Rule::StartPerClient, own_told), (Rule::StartTotal, total_told)] {
            match told {
                1 => self.events.record(Event::LimitNear { rule }, &About::default()),
                2 => self.events.record(Event::LimitObserved { rule }, &About::default()),
                _ => {}
            }
        }
        let (rule, ladder) = match refused {
            0 => return Ok(Start::Allowed(if first == 1 { Share::First } else { Share::Later })),
            1 => (Rule::StartPerClient, own),
            _ => (Rule::StartTotal, total),
        };
        let policy = ladder.and_then(|ladder| policy(rule, ladder.rate()));
        Ok(Start::Denied { rule, retry_after: Duration::from_micros(wait), policy })
    }

    async fn shared_pressure(&self, client: Client) -> Result<bool, Lost> {
        let key = LimitKey::Client(client);
        let mut buckets = Buckets { numbers: vec![self.kv.lead().to_string()], ..Buckets::default() };
        for (rule, key) in [(Rule::StartPerClient, key), (Rule::StartTotal, LimitKey::Everyone)] {
            self.put(&mut buckets, name(rule), self.own.ladder(rule, key), key);
        }
        Ok(!buckets.keys.is_empty() && self.eval::<u8>(&self.pressed, &buckets).await? == 1)
    }

    async fn eval<T: redis::FromRedisValue + Send>(&self, script: &Script, buckets: &Buckets) -> Result<T, Lost> {
        let keys: Vec<&str> = buckets.keys.iter().map(String::as_str).collect();
        let numbers: Vec<&[u8]> = buckets.numbers.iter().map(String::as_bytes).collect();
        self.kv.eval(KvCall::Limit, self.kv.deadline(), script, &keys, &numbers).await
    }
}

#[async_trait]
impl Limits for ServerLimits {
    async fn charge(&self, rule: Rule, key: LimitKey) -> Decision {
        if !matches!(rule, Rule::MailPerAccount | Rule::CodePerAccount | Rule::AnswerPerAccount) {
            return self.own.check(rule, key);
        }
        let Some(ladder) = self.own.ladder(rule, key) else { return Decision::Allowed };
        match self.shared_charge(rule, ladder, key).await {
            Ok(decision) => decision,
            Err(_) if self.own.observes(rule) => Decision::Allowed,
            Err(_) => Decision::Denied { retry_after: RETRY_AFTER, policy: None },
        }
    }

    async fn restore(&self, rule: Rule, key: LimitKey) {
        let mut buckets = Buckets::default();
        if self.put(&mut buckets, name(rule), self.own.ladder(rule, key), key) > 0 {
            // What is not given back comes back by itself.
            let _ = self.kv.remove(KvCall::Limit, &buckets.keys).await;
        }
    }

    async fn start(&self, client: Client) -> Start {
        match self.shared_start(client).await {
            Ok(start) => start,
            Err(_) => self.own.check_start(client),
        }
    }

    async fn is_pressed(&self, client: Client) -> bool {
        // What is counted here also says how it is while the server is down.
        if self.own.pressure(client) {
            return true;
        }
        self.shared_pressure(client).await.unwrap_or_default()
    }
}

const fn name(rule: Rule) -> &'static str {
    match rule {
        Rule::Client => "client",
        Rule::StartPerClient => "start_per_client",
        Rule::StartTotal => "start_total",
        Rule::MailPerAccount => "mail_per_account",
        Rule::MailTotal => "mail_total",
        Rule::CodePerAccount => "code_per_account",
        Rule::AnswerPerAccount => "answer_per_account",
    }
}
