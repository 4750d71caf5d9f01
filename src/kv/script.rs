//! A Lua script, which the server knows by its digest once it has run.

use redis::{Cmd, ErrorKind, FromRedisValue, RedisResult, ServerErrorKind, aio::MultiplexedConnection};

/// A script.
pub struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    /// Of that text.
    pub fn new(text: &'static str) -> Self {
        Self { text, digest: redis::Script::new(text).get_hash().to_owned() }
    }

    /// Runs it; a server that does not know it gets its text.
    pub(super) async fn eval<T: FromRedisValue>(
        &self,
        connection: &mut MultiplexedConnection,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> RedisResult<T> {
        match self.command("EVALSHA", &self.digest, keys, arguments).query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.command("EVAL", self.text, keys, arguments).query_async(connection).await
            }
            answer => answer,
        }
    }

    fn command(&self, name: &str, script: &str, keys: &[&str], arguments: &[&[u8]]) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
        command
    }
}
