//! Whether a server is what it has to be.

use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, aio::MultiplexedConnection};

use super::Unfit;

/// What becomes of keys when there is no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// `maxmemory-policy`
    pub policy: String,
    /// Whether there is a `maxmemory`, at which it counts.
    pub limited: bool,
}

impl Room {
    /// Whether keys that nobody removed may be thrown away some day.
    pub fn evicts(&self) -> bool {
        self.policy != "noeviction"
    }

    fn of(memory: &str) -> Option<Self> {
        let said =
            |name: &str| memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let limited = said("maxmemory").is_some_and(|limit| limit != "0");
        Some(Self { policy: said("maxmemory_policy")?.to_owned(), limited })
    }
}

/// Whether it is a master that evicts nothing. What we may not ask is taken to be well: an operator who says so little to
/// us has to know.
pub(super) async fn judge(connection: &mut MultiplexedConnection) -> Result<(), Unfit> {
    if is_master(connection).await? == Some(false) {
        return Err(Unfit::Replica);
    }
    match room(connection).await? {
        Some(room) if room.limited && room.evicts() => Err(Unfit::Evicting(room.policy)),
        _ => Ok(()),
    }
}

/// `None` if we may not ask.
pub(super) async fn is_master(connection: &mut MultiplexedConnection) -> Result<Option<bool>, Unfit> {
    let role: Option<Vec<Value>> = allowed(redis::cmd("ROLE").query_async(connection).await)?;
    Ok(role.map(|role| matches!(role.first(), Some(Value::BulkString(role)) if role == b"master")))
}

/// `None` if we may not ask, or are not told.
pub(super) async fn room(connection: &mut MultiplexedConnection) -> Result<Option<Room>, Unfit> {
    let memory: Option<String> = allowed(redis::cmd("INFO").arg("memory").query_async(connection).await)?;
    Ok(memory.as_deref().and_then(Room::of))
}

/// `None` if that is forbidden.
pub(super) fn allowed<T>(answer: RedisResult<T>) -> Result<Option<T>, Unfit> {
    let is_forbidden = |error: &RedisError| error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm);
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if is_forbidden(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_limit_makes_a_policy_evict() {
        let info = |limit, policy| format!("# Memory\r\nmaxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n");
        let told = |limit, policy| Room::of(&info(limit, policy)).map(|room| (room.limited, room.evicts()));
        assert_eq!(told(0, "allkeys-lru"), Some((false, true)));
        assert_eq!(told(1_000_000, "noeviction"), Some((true, false)));
        assert_eq!(told(1_000_000, "volatile-ttl"), Some((true, true)));
        assert_eq!(Room::of(""), None);
    }
}
