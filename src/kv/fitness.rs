//! Whether a server is what it has to be.

use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, aio::MultiplexedConnection};

use super::Unfit;

/// Whether it is a master that evicts nothing. What we may not ask is taken to be well: an operator who says so little to
/// us has to know.
pub(super) async fn judge(connection: &mut MultiplexedConnection) -> Result<(), Unfit> {
    let role: Option<Vec<Value>> = allowed(redis::cmd("ROLE").query_async(connection).await)?;
    if let Some(role) = role
        && !matches!(role.first(), Some(Value::BulkString(role)) if role == b"master")
    {
        return Err(Unfit::Replica);
    }
    let memory: Option<String> = allowed(redis::cmd("INFO").arg("memory").query_async(connection).await)?;
    match memory.as_deref().and_then(evicting) {
        Some(policy) => Err(Unfit::Evicting(policy.to_owned())),
        None => Ok(()),
    }
}

/// The policy, where there is a limit and keys are thrown away at it.
fn evicting(memory: &str) -> Option<&str> {
    let said = |name: &str| memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let unlimited = said("maxmemory").is_none_or(|limit| limit == "0");
    said("maxmemory_policy").filter(|policy| !unlimited && *policy != "noeviction")
}

fn allowed<T>(answer: RedisResult<T>) -> Result<Option<T>, Unfit> {
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
        assert_eq!(evicting(&info(0, "allkeys-lru")), None);
        assert_eq!(evicting(&info(1_000_000, "noeviction")), None);
        assert_eq!(evicting(&info(1_000_000, "volatile-ttl")), Some("volatile-ttl"));
        assert_eq!(evicting(""), None);
    }
}
