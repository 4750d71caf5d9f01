//! A server that is asked, before anybody's codes are on it, what it has to be asked. It is found, connected to and written
//! to as by [`Kv`](super::Kv), over one connection that is not kept.

use std::{collections::hash_map::RandomState, hash::BuildHasher, io, time::Duration};

use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{Asking, Script, dial::Dialler, fitness};
pub use super::{Unfit, fitness::Room};
use crate::config;

/// What becomes of a key if it cannot be removed.
const LIFE: &str = "10000";
/// What all scripts do, on two keys of its own. Each has an end from the first, or from when it is known that one can be
/// set.
const TRIAL: &str = "redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('HINCRBY', KEYS[2], '1', 1)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('PTTL', KEYS[2])
redis.call('HGETALL', KEYS[2])
redis.call('HDEL', KEYS[2], '1')
return redis.call('GET', KEYS[1])";

/// By which servers say that a script does what its user may not: Redis 7.0, and later ones.
const FORBIDDEN: [&str; 2] = ["The user executing the script can't", "ACL failure in script"];

/// A connection to a server that lets us in.
pub struct Trial {
    asking: Asking,
    /// Of each question.
    within: Duration,
    /// Whether a step waits for replicas.
    copied: bool,
    _driver: AbortOnDropHandle<()>,
}

/// Why nothing can be kept there.
#[derive(Debug, thiserror::Error)]
pub enum Unkept {
    /// Something of it is not allowed to this user.
    #[error("its ACL forbids a command, or keys of that name")]
    Forbidden,
    /// Something else is in the way.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// It was not there, or could not be removed.
    #[error("what was written was not there to be read and removed")]
    Lost,
}

impl Trial {
    /// Connects as the configuration says, and hears that we are let in.
    ///
    /// # Errors
    /// [`Unfit`]
    pub async fn open(config: &config::Redis) -> Result<Self, Unfit> {
        let dialler = Dialler::new(config).map_err(|fault| Unfit::Unreachable(io::Error::other(fault)))?;
        let space = format!("{{{}}}:", config.namespace);
        let names = format!("{space}names");
        let dialled = timeout(dialler.timeout, dialler.dial(&names)).await;
        let (connection, driver) = dialled.map_err(|_| Unfit::Slow)??;
        let driver = AbortOnDropHandle::new(tokio::spawn(driver));
        let asking = Asking { connection, space: space.into() };
        let mut trial = Self { asking, within: config.timeout, copied: config.wait_replicas > 0, _driver: driver };
        // One that wants a password says so at the first command only.
        trial.ask::<redis::Value>(&redis::cmd("PING")).await?;
        Ok(trial)
    }

    /// What `INFO server` says; `None` if we may not ask.
    ///
    /// # Errors
    /// [`Unfit`]
    pub async fn about(&mut self) -> Result<Option<String>, Unfit> {
        self.ask(redis::cmd("INFO").arg("server")).await
    }

    /// Whether it may be written to; `None` if we may not ask.
    ///
    /// # Errors
    /// [`Unfit`]
    pub async fn is_master(&mut self) -> Result<Option<bool>, Unfit> {
        timeout(self.within, fitness::is_master(&mut self.asking.connection)).await.map_err(|_| Unfit::Slow)?
    }

    /// What it does when it is full; `None` if we may not ask.
    ///
    /// # Errors
    /// [`Unfit`]
    pub async fn room(&mut self) -> Result<Option<Room>, Unfit> {
        timeout(self.within, fitness::room(&mut self.asking.connection)).await.map_err(|_| Unfit::Slow)?
    }

    /// Its time, in seconds; `None` if we may not ask.
    ///
    /// # Errors
    /// [`Unfit`]
    pub async fn time(&mut self) -> Result<Option<u64>, Unfit> {
        let time: Option<(u64, u64)> = self.ask(&redis::cmd("TIME")).await?;
        Ok(time.map(|(seconds, _)| seconds))
    }

    /// Writes, reads and removes, and leaves nothing behind, whatever comes of it.
    ///
    /// # Errors
    /// [`Unkept`]
    pub async fn write(&mut self) -> Result<(), Unkept> {
        // Several may be at it at a time.
        let name = RandomState::new().hash_one(());
        let keys = ["text", "table"].map(|kind| self.asking.key(&format!("doctor:{kind}:{name:016x}")));
        let written = self.kept(&keys).await;
        let removed = self.within::<u32>(redis::cmd("DEL").arg(&keys[..])).await;
        written?;
        // Of the two the table went with its last row.
        if removed? == 1 { Ok(()) } else { Err(Unkept::Lost) }
    }

    async fn kept(&mut self, keys: &[String; 2]) -> Result<(), Unkept> {
        const TEXT: &[u8] = b"a trial of resetgate doctor";
        let [text, table] = keys;
        let script = Script::new(TRIAL);
        let (keys, arguments) = ([text.as_str(), table], [TEXT, LIFE.as_bytes()]);
        let run = script.eval::<Option<Vec<u8>>>(&mut self.asking.connection, &keys, &arguments);
        let found = timeout(self.within, run).await.map_err(|_| Unfit::Slow)?.map_err(Unkept::of)?;
        let read: Option<Vec<u8>> = self.within(redis::cmd("GET").arg(text)).await?;
        if self.copied {
            // That they have it is not asked for: one that lags is none that is wrong.
            self.within::<u32>(redis::cmd("WAIT").arg(0).arg(1)).await?;
        }
        if found.as_deref() == Some(TEXT) && read == found { Ok(()) } else { Err(Unkept::Lost) }
    }

    async fn within<T: redis::FromRedisValue>(&mut self, command: &redis::Cmd) -> Result<T, Unkept> {
        let asked: RedisResult<T> =
            timeout(self.within, command.query_async(&mut self.asking.connection)).await.map_err(|_| Unfit::Slow)?;
        asked.map_err(Unkept::of)
    }

    /// `None` if we may not ask.
    async fn ask<T: redis::FromRedisValue>(&mut self, command: &redis::Cmd) -> Result<Option<T>, Unfit> {
        let asked = timeout(self.within, command.query_async(&mut self.asking.connection)).await;
        fitness::allowed(asked.map_err(|_| Unfit::Slow)?)
    }
}

impl Unkept {
    /// What a script may not do is told in words alone.
    fn of(error: RedisError) -> Self {
        let words = |detail: &str| FORBIDDEN.iter().any(|words| detail.contains(words));
        let forbidden = error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) || error.detail().is_some_and(words);
        if forbidden { Self::Forbidden } else { Self::Unfit(error.into()) }
    }
}
