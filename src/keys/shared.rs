//! How processes that share codes come to one key for [`Ids`]: the first draws it, and leaves it on the server, sealed with
//! each of its token keys. So who has none of these can do nothing with it, and it stays while token keys come and go.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use ring::rand::SystemRandom;

use super::{Ids, KeysError, derive, master, random_key, seal::Sealer, secret};
use crate::{
    config::TokenKey,
    kv::{Accord, Asking, Script, Unfit},
    reset::ports::Secret,
};

/// Where it is.
const NAME: &str = "names";
/// How often what stands there is written anew, to say that somebody still needs it; in seconds.
const FRESH: u64 = 3600;
/// What nobody has said that of for so long was for a token key that is gone.
const STALE: u64 = 48 * FRESH;
/// Two may begin at once; more than that at the same moments, over and over, do not.
const ROUNDS: usize = 4;

/// What stands there: the server's time, then a field a token key with the time at which it was written.
const READ: &str = "local t = redis.call('TIME') return {t[1], redis.call('HGETALL', KEYS[1])}";
/// Writes fields if there are none: whoever is first decides.
const FOUND: &str =
    "if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end redis.call('HSET', KEYS[1], unpack(ARGV)) return 1";
/// Writes fields, if somebody has decided; takes away those without a value.
const RENEW: &str = "if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for i = 1, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[1], ARGV[i]) else redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end return 1";

/// The key that all have.
pub struct Shared {
    ids: Arc<Ids>,
    known: Mutex<Known>,
    envelopes: ArcSwap<Vec<Envelope>>,
    read: Script,
    found: Script,
    renew: Script,
}

struct Known {
    key: Secret<[u8; 32]>,
    /// Whether others know it; before that it is one of our own.
    agreed: bool,
}

/// One of the token keys, for this purpose.
struct Envelope {
    /// Which.
    name: String,
    sealer: Sealer,
}

impl Shared {
    /// A key of this process's own, until others are met. `token_keys` as for tokens.
    ///
    /// # Errors
    /// [`KeysError::Crypto`]
    pub fn new(token_keys: &[TokenKey]) -> Result<Self, KeysError> {
        let key = random_key().ok_or(KeysError::Crypto)?;
        Ok(Self {
            ids: Arc::new(Ids::new(key.expose())?),
            known: Mutex::new(Known { key, agreed: false }),
            envelopes: ArcSwap::from_pointee(envelopes(token_keys)?),
            read: Script::new(READ),
            found: Script::new(FOUND),
            renew: Script::new(RENEW),
        })
    }

    /// What is derived from it.
    pub fn ids(&self) -> Arc<Ids> {
        Arc::clone(&self.ids)
    }

    /// Goes on with other token keys.
    ///
    /// # Errors
    /// [`KeysError::Crypto`]
    pub fn reseal(&self, token_keys: &[TokenKey]) -> Result<(), KeysError> {
        self.envelopes.store(Arc::new(envelopes(token_keys)?));
        Ok(())
    }

    /// The fields for all of our token keys.
    fn sealed(&self, place: &str, now: u64) -> Result<Vec<Vec<u8>>, Unfit> {
        let known = self.known.lock();
        let mut fields = Vec::new();
        for Envelope { name, sealer } in self.envelopes.load().iter() {
            let sealed = sealer.seal_as(known.key.expose(), place.as_bytes(), &SystemRandom::new());
            fields.push(name.clone().into_bytes());
            fields.push([&now.to_be_bytes(), &*sealed.ok_or(Unfit::Crypto)?].concat());
        }
        Ok(fields)
    }

    /// The key that is in one of the fields.
    fn open(&self, place: &str, fields: &[(String, Vec<u8>)]) -> Option<Secret<[u8; 32]>> {
        let envelopes = self.envelopes.load();
        fields.iter().find_map(|(name, value)| {
            let sealer = &envelopes.iter().find(|envelope| envelope.name == *name)?.sealer;
            let mut opened = Secret::of(value.get(8..)?.to_vec());
            sealer.open_as(&mut opened, place.as_bytes())?;
            let mut key = Secret::of([0; 32]);
            *key.expose_mut() = opened.expose().as_slice().try_into().ok()?;
            Some(key)
        })
    }

    /// Takes the key for ours from now on.
    fn adopt(&self, key: Secret<[u8; 32]>) -> Result<(), Unfit> {
        let mut known = self.known.lock();
        if known.key != key {
            self.ids.adopt(key.expose()).map_err(|_| Unfit::Crypto)?;
            if known.agreed {
                tracing::warn!(service = "codes", "the codes that were on the server are gone: open resets end");
            }
        }
        *known = Known { key, agreed: true };
        Ok(())
    }

    /// What has to be written, so that all who may need it find it: fields that are missing or old, and none that nobody
    /// needs.
    fn to_renew(&self, place: &str, now: u64, fields: &[(String, Vec<u8>)]) -> Result<Vec<Vec<u8>>, Unfit> {
        let age = |value: &[u8]| {
            let written = value.first_chunk().map_or(0, |time| u64::from_be_bytes(*time));
            now.saturating_sub(written)
        };
        let mut writes = Vec::new();
        for pair in self.sealed(place, now)?.chunks_exact(2) {
            let [name, value] = pair else { continue };
            let found = fields.iter().find(|(known, _)| known.as_bytes() == name.as_slice());
            if found.is_none_or(|(_, value)| age(value) >= FRESH) {
                writes.extend([name.clone(), value.clone()]);
            }
        }
        let envelopes = self.envelopes.load();
        for (name, value) in fields {
            if age(value) >= STALE && !envelopes.iter().any(|envelope| envelope.name == *name) {
                writes.extend([name.clone().into_bytes(), Vec::new()]);
            }
        }
        Ok(writes)
    }
}

#[async_trait]
impl Accord for Shared {
    async fn reach(&self, asking: &mut Asking) -> Result<(), Unfit> {
        let place = asking.key(NAME);
        for _ in 0..ROUNDS {
            let (now, fields): (u64, Vec<(String, Vec<u8>)>) = asking.eval(&self.read, &place, &[]).await?;
            let (script, writes, key) = if fields.is_empty() {
                (&self.found, self.sealed(&place, now)?, None)
            } else {
                let key = self.open(&place, &fields).ok_or(Unfit::OtherKeys)?;
                self.adopt(key)?;
                (&self.renew, self.to_renew(&place, now, &fields)?, Some(()))
            };
            if key.is_some() && writes.is_empty() {
                return Ok(());
            }
            let writes: Vec<&[u8]> = writes.iter().map(Vec::as_slice).collect();
            // What stood there a moment ago may be gone, or somebody else may have been faster: then again.
            if asking.eval::<u8>(script, &place, &writes).await? == 1 {
                self.known.lock().agreed = true;
                return Ok(());
            }
        }
        Err(Unfit::Slow)
    }
}

fn envelopes(token_keys: &[TokenKey]) -> Result<Vec<Envelope>, KeysError> {
    let envelope = |key: &TokenKey| {
        let master = master(key.0.expose());
        let mut name = [0; 6];
        derive(&master, "resetgate names kid v1", &mut name)?;
        let sealer = Sealer::new(secret(&master, "resetgate names seal v1")?);
        Some(Envelope { name: URL_SAFE_NO_PAD.encode(name), sealer })
    };
    token_keys.iter().map(envelope).collect::<Option<_>>().ok_or(KeysError::Crypto)
}
