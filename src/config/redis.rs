//! `[codes] store = "redis://…"`: the server on which all processes keep their codes.

use std::{fmt, path::PathBuf, time::Duration};

use url::Host;

use super::{
    ClientTls, Place, Secret, Token,
    endpoints::{at, place},
    plaintext::is_beyond,
    raw::Section,
    secret::{EXPOSED, Surroundings},
    tls::{check_host, client_tls},
    units,
};

/// The keys of `[codes]` that are about the server.
pub struct Redis {
    /// What is at `servers`.
    pub kind: RedisKind,
    /// Where it is, or those are who know where it is. Never empty.
    pub servers: Vec<Server>,
    /// `database`, or the number in the URL.
    pub database: u32,
    /// `username`: of the server's ACL; its default user, if there is none.
    pub username: Option<String>,
    /// `password`
    pub password: Option<Secret>,
    /// `[codes.tls]`, with `rediss`.
    pub tls: Option<ClientTls>,
    /// `namespace`: what all keys begin with. Who shares it shares codes.
    pub namespace: String,
    /// `connect_timeout`: until a connection can be used, TLS, credentials and checks included.
    pub connect_timeout: Duration,
    /// `timeout`: of a step, whatever it takes.
    pub timeout: Duration,
    /// `wait_replicas`: how many of the server's own replicas must have a step before it counts.
    pub wait_replicas: u32,
}

/// What a URL leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisKind {
    /// `redis`, `rediss`, `unix`: the server itself.
    Server,
    /// `redis+sentinel`: servers that know where the one of that name is.
    Sentinels(String),
    /// `redis+cluster`: servers one of which has the keys.
    Cluster,
}

/// A server, and the name that its certificate should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it is.
    pub place: Place,
    /// The host as it is written.
    pub host: String,
}

/// All but who asks.
impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, servers, database, namespace, .. } = self;
        f.debug_struct("Redis")
            .field("kind", kind)
            .field("servers", servers)
            .field("database", database)
            .field("namespace", namespace)
            .finish_non_exhaustive()
    }
}

/// Where codes are.
#[derive(Debug)]
pub enum Store {
    /// In the process.
    Memory,
    /// On a server.
    Redis(Box<Redis>),
}

impl Store {
    /// Whether what cannot change in a running process is the same.
    pub fn stays(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Memory, Self::Memory) => true,
            (Self::Redis(one), Self::Redis(other)) => one.is_at(other),
            _ => false,
        }
    }
}

impl Redis {
    /// Whether the keys are in the same place, and as much is asked of it. As whom to ask, and by which certificates, may
    /// be another matter.
    pub fn is_at(&self, other: &Self) -> bool {
        let place = |of: &Self| (of.kind.clone(), of.servers.clone(), of.database, of.namespace.clone());
        let times = |of: &Self| (of.connect_timeout, of.timeout, of.wait_replicas, of.tls.is_some());
        place(self) == place(other) && times(self) == times(other)
    }
}

/// Means something with a server only.
const KEYS: [&str; 7] =
    ["database", "username", "password", "namespace", "connect_timeout", "timeout", "wait_replicas"];

/// Reads `store`, and all that it brings with it.
pub(super) fn store(section: &mut Section<'_>, token: Option<&Token>, around: &Surroundings<'_>) -> Option<Store> {
    section.hide("password");
    let url = section.or("store", "memory", url);
    let allow_plaintext = section.flag("allow_plaintext");
    let database = section.number("database", 0, 0..=MOST_DATABASES);
    let username = section.optional("username", units::printable);
    let password = section.optional("password", |text| around.secret(text));
    let namespace = section.or("namespace", "resetgate", namespace);
    let connect_timeout = section.or("connect_timeout", "1s", units::duration_in("10ms"..="30s"));
    let timeout = section.or("timeout", "1s", units::duration_in("10ms"..="7s"));
    let wait_replicas = section.number("wait_replicas", 0, 0..=16);
    let encrypted = matches!(&url, Some(Some(url)) if url.tls);
    // A URL that is wrong says nothing of what else is wanted.
    let tls = client_tls(section.section("tls"), encrypted || url.is_none(), "a rediss://", around);
    let Some(url) = url? else {
        for key in KEYS {
            if section.has(key) {
                section.fault(key, "means nothing with store = \"memory\"");
            }
            section.means(key, None);
        }
        return Some(Store::Memory);
    };
    if token.is_some_and(|token| token.ephemeral) {
        section.fault(
            "store",
            "needs token.keys, the same for all processes: what one keeps, others must be able to read",
        );
    }
    if !url.tls && !allow_plaintext && url.servers.iter().any(|server| is_beyond(&server.place)) {
        section.fault("store", "is plaintext beyond loopback: use rediss://, or set codes.allow_plaintext = true");
    }
    if url.tls {
        for server in &url.servers {
            check_host(section, "store", &server.host, tls.as_ref());
        }
    }
    let database = match url.database {
        Some(_) if section.has("database") => {
            section.fault("database", "must not be set beside the one in codes.store");
            None
        }
        Some(of_url) => {
            section.means("database", None);
            Some(of_url)
        }
        None => database,
    };
    if url.kind == RedisKind::Cluster && database.is_some_and(|database| database != 0) {
        section.fault(if section.has("database") { "database" } else { "store" }, "must be 0: a cluster has no other");
    }
    if section.has("username") && !section.has("password") {
        section.fault("username", "must come with codes.password");
    }
    let password = password?;
    if password.as_ref().is_some_and(|found| found.exposed) {
        section.warn("password", EXPOSED);
    }
    Some(Store::Redis(Box::new(Redis {
        kind: url.kind,
        servers: url.servers,
        database: database?,
        username: username?,
        password: password.map(|found| found.text),
        tls: url.tls.then_some(tls?),
        namespace: namespace?,
        connect_timeout: connect_timeout?,
        timeout: timeout?,
        wait_replicas: wait_replicas?,
    })))
}

/// More than any server has.
const MOST_DATABASES: u32 = 65_535;
/// Servers in one URL.
const MOST_SERVERS: usize = 32;

/// What a URL says.
struct Url {
    kind: RedisKind,
    tls: bool,
    servers: Vec<Server>,
    database: Option<u32>,
}

/// `memory`; `redis://host:6379/0`, `rediss://…`; `unix:/run/redis.sock`; `redis+sentinel://a:26379,b:26379/name/0`;
/// `redis+cluster://a:6379,b:6379`.
fn url(text: &str) -> Result<Option<Url>, String> {
    const RULE: &str = "must be \"memory\", redis://host:6379/0, rediss:// for TLS, unix:/path, \
                        redis+sentinel://host:26379,host:26379/name or redis+cluster://host:6379,host:6379";
    if text == "memory" {
        return Ok(None);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        let place = place(text)?;
        let server = Server { place, host: PathBuf::from(path).display().to_string() };
        return Ok(Some(Url { kind: RedisKind::Server, tls: false, servers: vec![server], database: None }));
    }
    let (scheme, rest) = text.split_once("://").ok_or(RULE)?;
    let (scheme, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    let tls = match scheme {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        _ => return Err(RULE.to_owned()),
    };
    if rest.contains('@') {
        return Err("must not have a user or a password in it: use codes.username and codes.password".to_owned());
    }
    if rest.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#' | '%' | '\\')) {
        return Err(format!("{RULE}, and no more"));
    }
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (kind, path, port) = match kind {
        "" => (RedisKind::Server, path, 6379),
        "cluster" => (RedisKind::Cluster, path, 6379),
        "sentinel" => {
            let (name, path) = path.split_once('/').unwrap_or((path, ""));
            if name.is_empty() {
                return Err("must have the name that the sentinels know the server by after a /".to_owned());
            }
            (RedisKind::Sentinels(name.to_owned()), path, 26379)
        }
        _ => return Err(RULE.to_owned()),
    };
    let is_number = !path.is_empty() && path.len() <= 5 && path.bytes().all(|byte| byte.is_ascii_digit());
    let database = match path {
        "" => None,
        path => Some(
            path.parse()
                .ok()
                .filter(|n| is_number && *n <= MOST_DATABASES)
                .ok_or("must end with the number of a database, such as /0")?,
        ),
    };
    let servers: Vec<_> = hosts.split(',').map(|host| server(host, port).ok_or(RULE)).collect::<Result<_, _>>()?;
    if kind == RedisKind::Server && servers.len() > 1 {
        return Err("must have one host: several are for redis+sentinel:// and redis+cluster://".to_owned());
    }
    if servers.len() > MOST_SERVERS {
        return Err(format!("must have {MOST_SERVERS} hosts at most"));
    }
    Ok(Some(Url { kind, tls, servers, database }))
}

/// `host`, `host:6379`, `[::1]:6379`.
fn server(text: &str, port: u16) -> Option<Server> {
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let (host, port) = match text.rsplit_once(':').filter(|_| has_port) {
        Some((host, digits)) => {
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            (host, digits.parse().ok().filter(|port| is_number && *port != 0)?)
        }
        None => (text, port),
    };
    let found = Host::parse(host).ok()?;
    Some(Server { place: at(&found, port), host: host.trim_matches(['[', ']']).to_owned() })
}

/// It stands in braces in each key, so that a cluster has them all in one place.
fn namespace(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/');
    if text.len() <= 64 && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("must be up to 64 of A-Z a-z 0-9 - _ . : /".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_what_is_where() {
        let read = |text: &str| {
            let url = url(text).unwrap_or_else(|rule| panic!("{text}: {rule}")).unwrap();
            let places: Vec<_> = url.servers.iter().map(|server| server.place.to_string()).collect();
            (url.kind, url.tls, places.join(" "), url.database)
        };
        let one = RedisKind::Server;
        assert!(url("memory").unwrap().is_none());
        assert_eq!(read("redis://localhost"), (one.clone(), false, "127.0.0.1:6379".into(), None));
        assert_eq!(read("rediss://cache.internal:6380/3"), (one.clone(), true, "cache.internal:6380".into(), Some(3)));
        assert_eq!(read("valkeys://[::1]/"), (one.clone(), true, "[::1]:6379".into(), None));
        assert_eq!(read("unix:/run/redis.sock"), (one, false, "unix:/run/redis.sock".into(), None));
        let sentinels = RedisKind::Sentinels("main".into());
        assert_eq!(read("redis+sentinel://a,b:1/main/2"), (sentinels, false, "a:26379 b:1".into(), Some(2)));
        assert_eq!(
            read("rediss+cluster://10.0.0.1,b"),
            (RedisKind::Cluster, true, "10.0.0.1:6379 b:6379".into(), None)
        );
        for wrong in [
            "",
            "redis",
            "redis:",
            "redis://",
            "redis://h:0",
            "redis://h:x",
            "redis://h/x",
            "redis://h/65536",
            "redis://h/+1",
            "redis://h/0/1",
            "redis://a,b",
            "redis://user:secret@h",
            "redis://h?x=1",
            "redis://h h",
            "redis+sentinel://a",
            "redis+sentinel://a/",
            "redis+other://a",
            "unix:redis.sock",
            "unix:",
            "http://h",
            "redis://a,/0",
            "redis://::1",
        ] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
