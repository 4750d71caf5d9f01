use std::{fs, num::NonZeroU32, os::unix::fs::PermissionsExt, path::Path};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

mod after;
mod captcha;
mod policies;
mod process_files;
mod questions;
mod reference;
mod templates;

const GOOD: &str = r#"[upstream]
url = "http://127.0.0.1:8081"
[identity]
kind = "crest"
url = "http://127.0.0.1:8081/openidm"
auth = { kind = "openidm", username = "resetgate", password = "env:IDENTITY_PASSWORD" }
[reset]
process = "selfservice-reset.json"
[reset.cors]
[token]
keys = ["file:keys/current", "env:PREVIOUS"]
[listen]
[admin]
[edge]
[codes]
[limits]
[mail]
from = "help@example.com"
[captcha]
[log]
hash_key = "file:keys/audit"
[audit]
[tracing]
[drain]
[reload]
[upgrade]
[reset.messages]
[policy]
[policy.breach]
"#;
const PROCESS: &str = include_str!("../../conf/selfservice-reset.json");
const CURRENT: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const PREVIOUS: &str = "__________________________________________8";

/// A folder with all that [`GOOD`] names.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(TempDir::new().unwrap());
        fs::create_dir(folder.0.path().join("keys")).unwrap();
        folder.put("selfservice-reset.json", PROCESS);
        folder.put("keys/current", &format!("{CURRENT}\n"));
        folder.put("keys/previous", PREVIOUS);
        folder.put("keys/audit", CURRENT);
        folder.put("keys/smtp", "smtp-secret\r\n");
        folder.put("keys/identity", "identity-secret");
        folder
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn load(&self, toml: &str) -> Result<(Config, Vec<String>), Vec<String>> {
        self.put("x.toml", toml);
        let env = |name: &str| match name {
            "IDENTITY_PASSWORD" => Some("identity-secret".to_owned()),
            "PREVIOUS" | "TOKEN_KEY" => Some(PREVIOUS.to_owned()),
            "CURRENT" => Some(CURRENT.to_owned()),
            "EMPTY" => Some(String::new()),
            "TWO_LINES" => Some("identity\nsecret".to_owned()),
            "SHORT" => Some("AQEB".to_owned()),
            "ZEROS" => Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned()),
            "PROSE" => Some("not a key at all".to_owned()),
            _ => None,
        };
        let path = self.0.path().join("x.toml");
        let named = |faults: Vec<Fault>| {
            let folder = format!("{}/", self.0.path().display());
            faults.iter().map(|fault| fault.to_string().replace(&folder, "")).collect::<Vec<_>>()
        };
        load(&path, &env).map(|(config, warnings)| (config, named(warnings))).map_err(named)
    }

    fn good(&self, toml: &str) -> Config {
        self.load(toml).unwrap().0
    }

    fn warnings(&self, toml: &str) -> Vec<String> {
        self.load(toml).unwrap().1
    }

    fn faults(&self, toml: &str) -> Vec<String> {
        self.load(toml).expect_err("there is a fault")
    }
}

/// [`GOOD`] with a line put first in a section, in place of the same key's.
fn with(section: &str, line: &str) -> String {
    let key = line.split('=').next().unwrap();
    let mut out = String::new();
    let mut inside = false;
    for old in GOOD.lines() {
        if old.starts_with('[') {
            inside = old == format!("[{section}]");
            out.push_str(&format!("{old}\n"));
            if inside {
                out.push_str(&format!("{line}\n"));
            }
        } else if !(inside && old.starts_with(key)) {
            out.push_str(&format!("{old}\n"));
        }
    }
    out
}

fn line_in(text: &str, wanted: &str) -> usize {
    1 + text.lines().position(|line| line.contains(wanted)).unwrap()
}

#[test]
fn a_good_file_with_the_defaults() {
    let config = Folder::new().good(GOOD);
    assert_eq!(config.listen.addresses, [Address::from("0.0.0.0:8080".parse::<SocketAddr>().unwrap())]);
    assert_eq!(config.listen.client_header, ClientHeader::XForwardedFor);
    assert_eq!(config.listen.connections, Connections::default());
    assert_eq!(config.admin.address, "127.0.0.1:9090".parse().unwrap());
    assert_eq!(config.identity.endpoints.url.as_str(), "http://127.0.0.1:8081/openidm");
    let Auth::OpenIdm { username, password } = &config.identity.auth else { panic!("openidm") };
    assert_eq!((username.as_str(), password.expose().as_str()), ("resetgate", "identity-secret"));
    let seconds = Duration::from_secs;
    assert_eq!(config.identity.endpoints.connect_timeout, seconds(2));
    assert_eq!((config.identity.timeout, config.identity.idle_timeout), (seconds(5), seconds(20)));
    assert_eq!(config.identity.pool_size, 32);
    assert_eq!(config.identity.breaker, Breaker { failures: Some(10), open: Duration::from_secs(5) });
    assert_eq!(config.reset.path, "/openidm/selfservice/reset");
    assert_eq!(config.reset.link_lifetime, Duration::from_secs(1200));
    assert_eq!(config.reset.answer_floor, Duration::from_millis(250));
    assert_eq!(config.reset.process.stages.len(), 5);
    assert_eq!(config.token.keys.iter().map(|key| key.0.expose()[0]).collect::<Vec<_>>(), [1, 255]);
    assert_eq!((config.codes.tries, config.codes.refused, config.codes.capacity), (5, 10, 1_000_000));
    let rate = |count, secs| Some(Rate { count: NonZeroU32::new(count).unwrap(), period: Duration::from_secs(secs) });
    assert_eq!(config.limits.client, rate(300, 60));
    assert_eq!(config.limits.start_per_client, rate(30, 600));
    assert_eq!(config.limits.start_total, rate(1200, 60));
    assert_eq!(config.limits.mail_per_account, rate(3, 3600));
    assert_eq!(config.limits.mail_total, rate(120, 60));
    assert_eq!((config.mail.from.as_deref(), config.mail.capacity), (Some("help@example.com"), 10_000));
    assert!(matches!(&config.mail.transport, Transport::Smtp(smtp) if smtp.host == "127.0.0.1" && smtp.port == 25));
    assert_eq!(config.limits.capacity, 420_000);
    assert_eq!((config.reset.max_in_flight, config.identity.max_concurrent), (4096, 256));
    let log = Log { format: LogFormat::Json, access: Access::All, client: ClientLog::Address };
    assert_eq!(config.log, log);
    assert_eq!(Folder::new().warnings(GOOD), [""; 0]);
}

/// Section, line, the fault after `x.toml:12: `.
const BAD: &[(&str, &str, &str)] = &[
    ("listen", r#"addresses = []"#, "listen.addresses = []: must have at least one address"),
    (
        "listen",
        r#"addresses = ["8080"]"#,
        r#"listen.addresses[0] = "8080": must be ip:port, unix:/path or systemd:name, after tls:, h2c:, proxy:, proxy+tls: or proxy+h2c: where it is more than plain HTTP"#,
    ),
    (
        "listen",
        r#"addresses = ["unix:run/x"]"#,
        r#"listen.addresses[0] = "unix:run/x": must have an absolute path after unix:"#,
    ),
    ("listen", r#"addresses = ["[::]:80", "[::]:80"]"#, r#"listen.addresses[1] = "[::]:80": must not be listed twice"#),
    (
        "listen",
        r#"addresses = ["h2c:8080"]"#,
        r#"listen.addresses[0] = "h2c:8080": must be ip:port, unix:/path or systemd:name, after tls:, h2c:, proxy:, proxy+tls: or proxy+h2c: where it is more than plain HTTP"#,
    ),
    (
        "listen",
        r#"addresses = ["systemd:a:b"]"#,
        r#"listen.addresses[0] = "systemd:a:b": must have the FileDescriptorName= of a socket unit after systemd:"#,
    ),
    (
        "listen",
        r#"addresses = ["[::]:80", "h2c:[::]:80"]"#,
        r#"listen.addresses[1] = "h2c:[::]:80": must not be listed twice"#,
    ),
    (
        "listen",
        r#"trusted_proxies = ["10.0.0.0/8", "10.0.0.0/33"]"#,
        r#"listen.trusted_proxies[1] = "10.0.0.0/33": must be an address, a network such as 10.0.0.0/8, or "unix""#,
    ),
    (
        "listen",
        r#"client_header = "X-Real-IP""#,
        r#"listen.client_header = "X-Real-IP": must be "X-Forwarded-For" or "Forwarded""#,
    ),
    ("admin", r#"address = "localhost:1""#, r#"admin.address = "localhost:1": must be ip:port"#),
    ("listen", "max_connections = 0", "listen.max_connections = 0: must be a whole number from 1 to 1000000"),
    (
        "listen",
        "max_connections_per_client = 11\nmax_connections = 10",
        "listen.max_connections_per_client = 11: must not be more than listen.max_connections",
    ),
    ("listen", r#"header_timeout = "99ms""#, r#"listen.header_timeout = "99ms": must be from 100ms to 5m"#),
    ("listen", r#"idle_timeout = "2h""#, r#"listen.idle_timeout = "2h": must be from 100ms to 1h"#),
    ("listen", r#"body_timeout = "10m""#, r#"listen.body_timeout = "10m": must be from 100ms to 5m"#),
    ("listen", "min_rate = 31", "listen.min_rate = 31: must be a whole number from 32 to 65536"),
    ("listen", r#"max_lifetime = "500ms""#, r#"listen.max_lifetime = "500ms": must be from 1s to 24h"#),
    ("listen", "max_requests = 0", "listen.max_requests = 0: must be a whole number from 1 to 1000000000"),
    ("admin", r#"address = "0.0.0.0:8080""#, r#"admin.address = "0.0.0.0:8080": must differ from listen.addresses"#),
    (
        "upstream",
        r#"url = "ftp://x""#,
        r#"upstream.url = "ftp://x": must be an http:// or https:// URL without user, query and fragment"#,
    ),
    (
        "upstream",
        r#"url = "https://me:hunter2@x""#,
        r#"upstream.url = "https://…@x": must be an http:// or https:// URL without user, query and fragment"#,
    ),
    (
        "upstream",
        r#"url = "https://x?key=hunter2""#,
        r#"upstream.url = "https://…": must be an http:// or https:// URL without user, query and fragment"#,
    ),
    (
        "upstream",
        r##"url = "https://x#y""##,
        r##"upstream.url = "https://x#y": must be an http:// or https:// URL without user, query and fragment"##,
    ),
    (
        "upstream",
        r#"url = "https://x/openidm""#,
        r#"upstream.url = "https://x/openidm": must have no path: requests keep their own"#,
    ),
    (
        "upstream",
        r#"url = "http://10.0.0.1""#,
        r#"upstream.url = "http://10.0.0.1": is plaintext beyond loopback: use https, or set allow_plaintext = true beside it"#,
    ),
    (
        "upstream",
        r#"addresses = []"#,
        r#"upstream.addresses = []: must have at least one address; leave it out to use the URL's own"#,
    ),
    (
        "upstream",
        r#"addresses = ["127.0.0.1"]"#,
        r#"upstream.addresses[0] = "127.0.0.1": must be host:port, ip:port or unix:/path"#,
    ),
    (
        "upstream",
        r#"addresses = ["unix:idm.sock"]"#,
        r#"upstream.addresses[0] = "unix:idm.sock": must have an absolute path after unix:, of 100 bytes at most"#,
    ),
    (
        "upstream",
        r#"addresses = ["127.0.0.1:1", "127.0.0.1:1"]"#,
        r#"upstream.addresses[1] = "127.0.0.1:1": must differ from addresses[0]"#,
    ),
    (
        "upstream",
        r#"addresses = ["127.0.0.1:1", "10.0.0.1:1"]"#,
        r#"upstream.addresses[1] = "10.0.0.1:1": is plaintext beyond loopback: use https, or set allow_plaintext = true beside it"#,
    ),
    (
        "upstream",
        r#"addresses = ["idm.internal:80"]"#,
        r#"upstream.addresses[0] = "idm.internal:80": is plaintext beyond loopback: use https, or set allow_plaintext = true beside it"#,
    ),
    (
        "upstream",
        r#"addresses = ["127.0.0.1:8080"]"#,
        r#"upstream.addresses[0] = "127.0.0.1:8080": must not be one of listen.addresses: every request would go round until nothing is left"#,
    ),
    ("upstream", r#"connect_timeout = "1ms""#, r#"upstream.connect_timeout = "1ms": must be from 10ms to 30s"#),
    ("upstream", r#"try_timeout = "1ms""#, r#"upstream.try_timeout = "1ms": must be from 50ms to 10m"#),
    (
        "upstream",
        r#"total_timeout = "59s""#,
        r#"upstream.total_timeout = "59s": must leave total_timeout at least as long as try_timeout"#,
    ),
    (
        "upstream",
        r#"try_timeout = "91s""#,
        r#"upstream.try_timeout = "91s": must leave total_timeout at least as long as try_timeout"#,
    ),
    ("upstream", r#"idle_timeout = "2h""#, r#"upstream.idle_timeout = "2h": must be from 100ms to 1h"#),
    ("upstream", r#"pool_size = 0"#, r#"upstream.pool_size = 0: must be a whole number from 1 to 65536"#),
    (
        "upstream",
        r#"websocket = ["/a/*"]"#,
        r#"upstream.websocket[0] = "/a/*": must be a path such as /openidm/info, or /admin/** with all below it: one to eight plain segments of A-Z a-z 0-9 . _ ~ -, none of them dots alone, no other *, no slash at the end"#,
    ),
    (
        "upstream",
        r#"websocket_idle_timeout = "0s""#,
        r#"upstream.websocket_idle_timeout = "0s": must be from 100ms to 24h"#,
    ),
    (
        "upstream",
        r#"health = { path = "ping" }"#,
        r#"upstream.health.path = "ping": must be a path such as /openidm/info/ping"#,
    ),
    (
        "upstream",
        r#"health = { path = "/ping", interval = "0s" }"#,
        r#"upstream.health.path = "/ping": means nothing beside interval = "0s", which is no checks"#,
    ),
    (
        "upstream",
        r#"health = { unhealthy = 0 }"#,
        r#"upstream.health.unhealthy = 0: must be a whole number from 1 to 100"#,
    ),
    (
        "upstream",
        r#"tls = { server_name = "a" }"#,
        r#"upstream.tls.server_name = "a": means nothing without TLS: use an https:// URL"#,
    ),
    (
        "identity",
        r#"url = "http://idm/openidm""#,
        r#"identity.url = "http://idm/openidm": is plaintext beyond loopback: use https, or set allow_plaintext = true beside it"#,
    ),
    ("identity", r#"kind = "scim""#, r#"identity.kind = "scim": is not built yet; must be "crest""#),
    ("identity", r#"kind = "ldap""#, r#"identity.kind = "ldap": must be "crest""#),
    (
        "identity",
        r#"auth = { kind = "kerberos", username = "u", password = "env:CURRENT" }"#,
        r#"identity.auth.kind = "kerberos": must be "openidm" or "basic" or "bearer" or "oauth2""#,
    ),
    (
        "identity",
        r#"auth = { kind = "basic", username = "u:v", password = "env:CURRENT" }"#,
        r#"identity.auth.username = "u:v": must have no colon: Basic ends it there"#,
    ),
    (
        "identity",
        r#"auth = { kind = "basic", username = "u", password = "env:CURRENT", token = "hunter2" }"#,
        "identity.auth.token: is not a key of [identity.auth]; there are kind, password, username",
    ),
    (
        "identity",
        r#"auth = { kind = "bearer", token = "hunter2" }"#,
        r#"identity.auth.token = …: must be "env:NAME" or "file:path": a secret does not stand in this file"#,
    ),
    (
        "identity",
        r#"auth = { kind = "bearer", token = "env:PROSE" }"#,
        r#"identity.auth.token = "env:PROSE": must lead to a token: A-Z a-z 0-9 - . _ ~ + / and = at its end"#,
    ),
    (
        "identity",
        r#"auth = { kind = "oauth2", token_url = "http://idp/token", client_id = "c", client_secret = "env:CURRENT" }"#,
        r#"identity.auth.token_url = "http://idp/token": is plaintext beyond loopback: use https, or set allow_plaintext = true beside it"#,
    ),
    (
        "identity",
        r#"auth = { kind = "oauth2", token_url = "https://u@idp/token", client_id = "c", client_secret = "env:CURRENT" }"#,
        r#"identity.auth.token_url = "https://…@idp/token": must be an http:// or https:// URL without user and fragment"#,
    ),
    (
        "identity",
        r#"auth = { kind = "oauth2", token_url = "https://idp/token", client_id = "c", client_secret = "env:TWO_LINES" }"#,
        r#"identity.auth.client_secret = "env:TWO_LINES": must not lead to control characters: it goes in a header"#,
    ),
    (
        "identity",
        r#"auth = { kind = "oauth2", token_url = "https://idp/token", client_id = "c" }"#,
        "identity.auth.client_secret: must be set",
    ),
    (
        "identity",
        r#"auth = { kind = "oauth2", token_url = "https://idp/token", client_id = "c", client_secret = "env:CURRENT", client_auth = "jwt" }"#,
        r#"identity.auth.client_auth = "jwt": must be "basic" or "post""#,
    ),
    (
        "identity",
        r#"auth = { kind = "oauth2", token_url = "https://idp/token", client_id = "c", client_secret = "env:CURRENT", resource = "idm" }"#,
        r#"identity.auth.resource = "idm": must be an absolute URI without a fragment"#,
    ),
    (
        "identity",
        r#"auth = { kind = "oauth2", token_url = "http://localhost/token", client_id = "c", client_secret = "env:CURRENT", tls = { server_name = "idp" } }"#,
        r#"identity.auth.tls.server_name = "idp": means nothing without TLS: use an https:// URL"#,
    ),
    (
        "identity",
        r#"tls = { server_name = "idm" }"#,
        r#"identity.tls.server_name = "idm": means nothing without TLS: use an https:// URL"#,
    ),
    ("identity", r#"timeout = "10s""#, r#"identity.timeout = "10s": must be from 100ms to 7s"#),
    (
        "identity",
        r#"timeout = "2s""#,
        r#"identity.timeout = "2s": leaves a call no time: timeout must be longer than connect_timeout"#,
    ),
    (
        "identity",
        r#"connect_timeout = "5s""#,
        r#"identity.connect_timeout = "5s": leaves a call no time: timeout must be longer than connect_timeout"#,
    ),
    ("identity", r#"idle_timeout = "0s""#, r#"identity.idle_timeout = "0s": must be from 1s to 10m"#),
    ("identity", "pool_size = 10_001", "identity.pool_size = 10_001: must be a whole number from 0 to 10000"),
    (
        "identity",
        "breaker = { failures = -1 }",
        "identity.breaker.failures = -1: must be a whole number from 0 to 10000",
    ),
    ("identity", r#"breaker = { open = "31s" }"#, r#"identity.breaker.open = "31s": must be from 100ms to 30s"#),
    (
        "identity",
        r#"breaker = { closed = "1s" }"#,
        "identity.breaker.closed: is not a key of [identity.breaker]; there are failures, open",
    ),
    (
        "identity",
        r#"auth = { kind = "openidm", username = "Anonymous", password = "env:CURRENT" }"#,
        r#"identity.auth.username = "Anonymous": must be a user who may read and patch accounts, which anonymous may not"#,
    ),
    (
        "identity",
        r#"auth = { kind = "openidm", username = "u", password = "hunter2" }"#,
        r#"identity.auth.password = …: must be "env:NAME" or "file:path": a secret does not stand in this file"#,
    ),
    (
        "identity",
        r#"auth = { kind = "openidm", username = "u", password = "env:NONE" }"#,
        r#"identity.auth.password = "env:NONE": must name an environment variable that is set"#,
    ),
    (
        "identity",
        r#"auth = { kind = "openidm", username = "u", password = "env:EMPTY" }"#,
        r#"identity.auth.password = "env:EMPTY": must not lead to an empty secret"#,
    ),
    (
        "identity",
        r#"auth = { kind = "openidm", username = "u", password = "env:TWO_LINES" }"#,
        r#"identity.auth.password = "env:TWO_LINES": must not lead to control characters: it goes in a header"#,
    ),
    (
        "identity",
        r#"auth = { kind = "openidm", username = "u", password = "file:keys/none" }"#,
        r#"identity.auth.password = "file:keys/none": must name a file that can be read: No such file or directory (os error 2)"#,
    ),
    (
        "identity",
        r#"auth = { kind = "openidm", username = "u", passwrod = "hunter2", password = "env:CURRENT" }"#,
        "identity.auth.passwrod: is not a key of [identity.auth]; there are kind, password, username",
    ),
    ("identity", r#"auth = "me:hunter2""#, "identity.auth = …: must be a table"),
    (
        "reset",
        r#"process = "none.json""#,
        r#"reset.process = "none.json": must name a file that can be read: No such file or directory (os error 2)"#,
    ),
    (
        "reset",
        r#"link_lifetime = "20""#,
        r#"reset.link_lifetime = "20": must be a number with a unit, such as "250ms", "60s", "20m" or "1h""#,
    ),
    ("reset", r#"link_lifetime = 20"#, "reset.link_lifetime = 20: must be a text, in quotes"),
    ("reset", r#"link_lifetime = "25h""#, r#"reset.link_lifetime = "25h": must be from 1s to 24h"#),
    ("reset", r#"link_lifetime = "0m""#, r#"reset.link_lifetime = "0m": must be from 1s to 24h"#),
    (
        "reset",
        r#"link_lifetime = "19m""#,
        r#"reset.link_lifetime = "19m": must be at least one refill of limits.mail_per_account, 1200s, or an owner could be without mail and without link"#,
    ),
    ("reset", r#"answer_floor = "0ms""#, r#"reset.answer_floor = "0ms": must be from 1ms to 10s"#),
    ("reset", r#"repeat_window = "11m""#, r#"reset.repeat_window = "11m": must be from 1s to 10m"#),
    ("reset", r#"mail_gap = "61m""#, r#"reset.mail_gap = "61m": must be from 0s to 1h"#),
    (
        "reset",
        r#"mail_gap = "21m""#,
        r#"reset.mail_gap = "21m": must not be longer than reset.link_lifetime, or an owner could be without mail and without link"#,
    ),
    ("reset", r#"crest_ids = "yes""#, r#"reset.crest_ids = "yes": must be true or false, without quotes"#),
    (
        "reset",
        r#"path = "/openidm/../reset""#,
        r#"reset.path = "/openidm/../reset": must be a path such as /openidm/selfservice/reset: plain segments of A-Z a-z 0-9 . _ ~ -, none of them dots alone, no slash at the end"#,
    ),
    (
        "reset.cors",
        r#"origins = ["*"]"#,
        r#"reset.cors.origins[0] = "*": must be an origin such as https://login.example.com: scheme, host, port, no path, no *"#,
    ),
    (
        "reset.cors",
        r#"origins = ["https://a.example/"]"#,
        r#"reset.cors.origins[0] = "https://a.example/": must be an origin such as https://login.example.com: scheme, host, port, no path, no *"#,
    ),
    ("reset.cors", r#"methods = []"#, "reset.cors.methods: is not a key of [reset.cors]; there are origins"),
    ("token", r#"keys = []"#, "token.keys = …: must have at least one key"),
    (
        "token",
        r#"keys = ["AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="]"#,
        r#"token.keys[0] = …: must be "env:NAME" or "file:path": a secret does not stand in this file"#,
    ),
    (
        "token",
        r#"keys = ["env:CURRENT", "file:keys/current"]"#,
        r#"token.keys[1] = "file:keys/current": must differ from token.keys[0]"#,
    ),
    (
        "token",
        r#"keys = ["env:SHORT"]"#,
        r#"token.keys[0] = "env:SHORT": must lead to the base64 of 32 bytes, not of 3; `resetgate key` makes one"#,
    ),
    ("token", r#"keys = ["env:ZEROS"]"#, r#"token.keys[0] = "env:ZEROS": must not lead to a key of zeros"#),
    ("token", r#"keys = ["env:PROSE"]"#, r#"token.keys[0] = "env:PROSE": must lead to base64"#),
    ("token", r#"ephemeral = true"#, "token.ephemeral = true: must not be true beside token.keys"),
    (
        "drain",
        r#"linger = "25s""#,
        "drain.linger = \"25s\": must be shorter than drain.within, or nothing that runs could be finished",
    ),
    ("drain", r#"within = "0s""#, "drain.within = \"0s\": must be from 1s to 1h"),
    ("reload", r#"watch = "2h""#, "reload.watch = \"2h\": must be from 0s to 1h"),
    ("upgrade", r#"folder = 1"#, "upgrade.folder = 1: must be a text, in quotes"),
    (
        "codes",
        r#"store = "redis://h/0""#,
        r#"codes.store = "redis://h/0": is plaintext beyond loopback: use rediss://, or set codes.allow_plaintext = true"#,
    ),
    (
        "codes",
        r#"store = "rediss://:hunter2@h""#,
        r#"codes.store = "rediss://…@h": must not have a user or a password in it: use codes.username and codes.password"#,
    ),
    (
        "codes",
        r#"store = "disk""#,
        "codes.store = \"disk\": must be \"memory\", redis://host:6379/0, rediss:// for TLS, unix:/path, \
         redis+sentinel://host:26379,host:26379/name or redis+cluster://host:6379,host:6379",
    ),
    (
        "codes",
        "state_file = \"codes\"\nstore = \"unix:/run/redis.sock\"",
        r#"codes.state_file = "codes": means nothing with codes on a server: they outlive this process there"#,
    ),
    (
        "codes",
        "database = 2\nstore = \"redis://127.0.0.1/1\"",
        "codes.database = 2: must not be set beside the one in codes.store",
    ),
    ("codes", "database = 2\nstore = \"rediss+cluster://h\"", "codes.database = 2: must be 0: a cluster has no other"),
    (
        "codes",
        "username = \"gate\"\nstore = \"redis://localhost\"",
        r#"codes.username = "gate": must come with codes.password"#,
    ),
    (
        "codes",
        "password = \"hunter2\"\nstore = \"redis://localhost\"",
        "codes.password = …: must be \"env:NAME\" or \"file:path\": a secret does not stand in this file",
    ),
    ("codes", r#"namespace = "a""#, r#"codes.namespace = "a": means nothing with store = "memory""#),
    (
        "codes",
        "namespace = \"a{b}\"\nstore = \"rediss://h\"",
        r#"codes.namespace = "a{b}": must be up to 64 of A-Z a-z 0-9 - _ . : /"#,
    ),
    ("codes", "timeout = \"8s\"\nstore = \"rediss://h\"", r#"codes.timeout = "8s": must be from 10ms to 7s"#),
    (
        "codes",
        "wait_replicas = 17\nstore = \"rediss://h\"",
        "codes.wait_replicas = 17: must be a whole number from 0 to 16",
    ),
    (
        "codes",
        "tls = { server_name = \"cache\" }\nstore = \"redis://localhost\"",
        r#"codes.tls.server_name = "cache": means nothing without TLS: use a rediss:// URL"#,
    ),
    (
        "limits",
        r#"store = "redis""#,
        r#"limits.store = "redis": needs a server to count on: set codes.store to its redis:// URL"#,
    ),
    ("codes", r#"format = "letters""#, r#"codes.format = "letters": must be "opaque" or "digits""#),
    ("codes", r#"digits = 5"#, "codes.digits = 5: must be a whole number from 6 to 10"),
    (
        "limits",
        r#"code_per_account = "101/1h""#,
        r#"limits.code_per_account = "101/1h": must not allow more than 100 at once"#,
    ),
    ("codes", r#"tries = 0"#, "codes.tries = 0: must be a whole number from 1 to 100"),
    ("codes", r#"tries = "5""#, r#"codes.tries = "5": must be a whole number from 1 to 100"#),
    ("codes", r#"refused = 0"#, "codes.refused = 0: must be a whole number from 1 to 100"),
    ("codes", r#"capacity = -1"#, "codes.capacity = -1: must be a whole number from 1 to 50000000"),
    (
        "limits",
        r#"observe = ["client", "start_totals"]"#,
        r#"limits.observe[1] = "start_totals": must be "client" or "start_per_client" or "start_total" or "mail_per_account" or "mail_total" or "code_per_account" or "answer_per_account""#,
    ),
    (
        "limits",
        r#"client = "300""#,
        r#"limits.client = "300": must be "count/period", such as "300/1m", or "0" for off"#,
    ),
    (
        "limits",
        r#"client = "+3/1m""#,
        r#"limits.client = "+3/1m": must be "count/period", such as "300/1m", or "0" for off"#,
    ),
    (
        "limits",
        r#"mail_total = "0/1m""#,
        r#"limits.mail_total = "0/1m": must have a count from 1 to 1000000 and a period from 1ms to 24h"#,
    ),
    (
        "limits",
        r#"start_total = "1/25h""#,
        r#"limits.start_total = "1/25h": must have a count from 1 to 1000000 and a period from 1ms to 24h"#,
    ),
    (
        "mail",
        r#"transport = "ftp://x""#,
        r#"mail.transport = "ftp://x": must be smtp://host:port, smtp+starttls://host:port, smtps://host:port, idm or file:dir"#,
    ),
    (
        "mail",
        r#"transport = "smtps://me:hunter2@x""#,
        r#"mail.transport = "smtps://…@x": must not have a user in it: use mail.username and mail.password"#,
    ),
    (
        "mail",
        r#"transport = "smtp://relay""#,
        r#"mail.transport = "smtp://relay": is plaintext beyond loopback: use TLS, or set mail.allow_plaintext = true"#,
    ),
    ("policy", r#"source = "idm""#, r#"policy.source = "idm": must be "upstream" or "service" or "local""#),
    ("policy", r#"cache = "1m""#, r#"policy.cache = "1m": means nothing unless policy.source is "service""#),
    ("policy", "cache = \"0s\"\nsource = \"service\"", r#"policy.cache = "0s": must be from 1s to 24h"#),
    (
        "policy",
        "min_length = 12\nsource = \"service\"",
        r#"policy.min_length = 12: means nothing unless policy.source is "local""#,
    ),
    (
        "policy",
        "bad_passwords = \"keys/audit\"",
        r#"policy.bad_passwords = "keys/audit": means nothing unless policy.source is "local""#,
    ),
    ("policy", "min_length = 0\nsource = \"local\"", "policy.min_length = 0: must be a whole number from 1 to 256"),
    (
        "policy",
        "max_length = 1001\nsource = \"local\"",
        "policy.max_length = 1001: must be a whole number from 0 to 1000",
    ),
    (
        "policy",
        "max_length = 7\nsource = \"local\"",
        "policy.max_length = 7: must leave room for what min_length and the classes ask for, or be 0, which is none",
    ),
    (
        "policy",
        "max_length = 9\nmin_upper = 4\nmin_lower = 3\nmin_digits = 2\nmin_special = 1\nsource = \"local\"",
        "policy.max_length = 9: must leave room for what min_length and the classes ask for, or be 0, which is none",
    ),
    ("policy", "min_upper = 65\nsource = \"local\"", "policy.min_upper = 65: must be a whole number from 0 to 64"),
    ("policy", "min_lower = 65\nsource = \"local\"", "policy.min_lower = 65: must be a whole number from 0 to 64"),
    ("policy", "min_digits = 65\nsource = \"local\"", "policy.min_digits = 65: must be a whole number from 0 to 64"),
    ("policy", "min_special = 65\nsource = \"local\"", "policy.min_special = 65: must be a whole number from 0 to 64"),
    (
        "policy",
        "forbid_user_data = [\"userName\", \"a b\"]\nsource = \"local\"",
        r#"policy.forbid_user_data[1] = "a b": must be the name of an attribute, such as "userName""#,
    ),
    (
        "policy",
        "bad_passwords = \"nowhere\"\nsource = \"local\"",
        r#"policy.bad_passwords = "nowhere": must name a file that can be read: No such file or directory (os error 2)"#,
    ),
    (
        "policy.breach",
        r#"url = "https://a.example""#,
        r#"policy.breach.url = "https://a.example": means nothing unless policy.source is "local""#,
    ),
    ("mail", r#"username = "me""#, r#"mail.username = "me": must come with mail.password"#),
    ("mail", r#"password = "env:CURRENT""#, r#"mail.password = "env:CURRENT": must come with mail.username"#),
    (
        "mail",
        "ca = \"keys/smtp\"\ntransport = \"smtps://relay\"",
        r#"mail.ca = "keys/smtp": must name a PEM certificate"#,
    ),
    (
        "mail",
        "helo = \"me\"\ntransport = \"idm\"",
        r#"mail.helo = "me": means nothing with transport = "idm", which asks as identity.auth"#,
    ),
    ("mail", r#"helo = "a b""#, r#"mail.helo = "a b": must be a host name or [address]"#),
    (
        "mail",
        r#"from = "a@example.com, b@example.com""#,
        r#"mail.from = "a@example.com, b@example.com": must be one mailbox, such as Help <help@example.com>"#,
    ),
    (
        "mail",
        r#"from = "a@example.com\r\nBcc: b@example.com""#,
        r#"mail.from = "a@example.com\r\nBcc: b@example.com": must be one mailbox, such as Help <help@example.com>"#,
    ),
    (
        "edge",
        r#"trust_headers = ["X-Remote-User", "X User"]"#,
        r#"edge.trust_headers[1] = "X User": must be the name of a header, such as "X-Remote-User""#,
    ),
    (
        "edge",
        r#"trust_headers = ["X_OpenIDM_Username"]"#,
        r#"edge.trust_headers[0] = "X_OpenIDM_Username": must not be a header that every client may send"#,
    ),
    ("edge", r#"method_override = "drop""#, r#"edge.method_override = "drop": must be "pass" or "refuse""#),
    (
        "edge",
        r#"deny_users = "openidm-admin""#,
        r#"edge.deny_users = "openidm-admin": must be a list of texts, in [ ]"#,
    ),
    ("edge", r#"deny_users = [""]"#, r#"edge.deny_users[0] = "": must not be empty"#),
    (
        "edge",
        r#"deny_users = ["jürg"]"#,
        r#"edge.deny_users[0] = "jürg": must be printable ASCII, without spaces around it"#,
    ),
    ("edge", r#"watch_upstream = "25h""#, r#"edge.watch_upstream = "25h": must be from 0s to 24h"#),
    ("mail", r#"from = """#, r#"mail.from = "": must not be empty"#),
    ("log", r#"format = "xml""#, r#"log.format = "xml": must be "json" or "text""#),
    ("log", r#"access = "some""#, r#"log.access = "some": must be "all" or "reset" or "off""#),
    ("log", r#"client = "hash""#, r#"log.client = "hash": must be "address" or "network" or "off""#),
    ("log", r#"level = "debug""#, "log.level: is not a key of [log]; there are access, client, format, hash_key"),
    (
        "log",
        r#"hash_key = "AQEB""#,
        "log.hash_key = …: must be \"env:NAME\" or \"file:path\": a secret does not stand in this file",
    ),
    (
        "log",
        r#"hash_key = "env:SHORT""#,
        r#"log.hash_key = "env:SHORT": must lead to the base64 of 32 bytes, not of 3; `resetgate key` makes one"#,
    ),
    ("audit", r#"to = "stderr""#, r#"audit.to = "stderr": must be "stdout", "file:path" or "off""#),
    ("audit", r#"to = "file:""#, r#"audit.to = "file:": must be "stdout", "file:path" or "off""#),
    ("audit", r#"to = "/var/log/x""#, r#"audit.to = "/var/log/x": must be "stdout", "file:path" or "off""#),
    (
        "tracing",
        r#"otlp = "http://10.0.0.1:4318""#,
        r#"tracing.otlp = "http://10.0.0.1:4318": is plaintext beyond loopback: use https, or set allow_plaintext = true beside it"#,
    ),
    (
        "tracing",
        r#"otlp = "https://me:hunter2@x""#,
        r#"tracing.otlp = "https://…@x": must be an http:// or https:// URL without user, query and fragment"#,
    ),
    (
        "tracing",
        r#"otlp = "collector:4317""#,
        r#"tracing.otlp = "collector:4317": must be an http:// or https:// URL without user, query and fragment"#,
    ),
    ("tracing", r#"sample = "0.1""#, r#"tracing.sample = "0.1": must be from "0%" to "100%", such as "12.5%""#),
    ("tracing", r#"sample = "100.1%""#, r#"tracing.sample = "100.1%": must be from "0%" to "100%", such as "12.5%""#),
    ("tracing", r#"sample = "1.2.3%""#, r#"tracing.sample = "1.2.3%": must be from "0%" to "100%", such as "12.5%""#),
    (
        "tracing",
        r#"service_name = " x""#,
        r#"tracing.service_name = " x": must be printable ASCII, without spaces around it"#,
    ),
    (
        "tracing",
        r#"headers = ["x-tenant: env:CURRENT", "authorization: Bearer hunter2"]"#,
        "tracing.headers[1] = …: must be \"env:NAME\" or \"file:path\": a secret does not stand in this file",
    ),
    (
        "tracing",
        r#"headers = ["x tenant: env:CURRENT"]"#,
        "tracing.headers[0] = …: must be \"name: env:NAME\" or \"name: file:path\"",
    ),
    (
        "tracing",
        r#"headers = ["authorization: env:NOBODY"]"#,
        r#"tracing.headers[0] = "authorization: env:NOBODY": must name an environment variable that is set"#,
    ),
    (
        "tracing",
        r#"headers = ["authorization: env:TWO_LINES"]"#,
        r#"tracing.headers[0] = "authorization: env:TWO_LINES": must lead to a header's value"#,
    ),
    (
        "tracing",
        r#"headers = ["Content-Type: env:CURRENT"]"#,
        r#"tracing.headers[0] = "Content-Type: env:CURRENT": must not be a header that an export has anyway"#,
    ),
    ("tracing", r#"timeout = "99ms""#, r#"tracing.timeout = "99ms": must be from 100ms to 1m"#),
    ("tracing", r#"interval = "2m""#, r#"tracing.interval = "2m": must be from 100ms to 1m"#),
    ("log", r#"format = json"#, "TOML: string values must be quoted, expected literal string"),
];

#[test]
fn every_bad_value_is_one_fault_with_its_line() {
    let folder = Folder::new();
    for (section, line, fault) in BAD {
        let toml = with(section, line);
        let at = 1 + line_in(&toml, &format!("[{section}]"));
        let faults = folder.faults(&toml);
        assert_eq!(faults, [format!("x.toml:{at}: {fault}")]);
    }
}

#[test]
fn the_audit_trail_goes_somewhere_and_should_have_a_key() {
    let folder = Folder::new();
    let config = folder.good(GOOD);
    assert_eq!(config.audit.to, AuditTo::Stdout);
    assert!(config.audit.hash_key.is_some() && config.audit.same_key(&folder.good(GOOD).audit));
    let config = folder.good(&with("audit", r#"to = "file:log/trail""#));
    assert_eq!(config.audit.to, AuditTo::File(folder.0.path().join("log/trail")));
    let keyless = GOOD.replace("hash_key = \"file:keys/audit\"\n", "");
    let [warning] = &folder.warnings(&keyless)[..] else { panic!("one") };
    assert!(warning.starts_with("x.toml:") && warning.contains("log.hash_key: is not set"), "{warning}");
    let other = GOOD.replace("file:keys/audit", "env:PREVIOUS");
    assert!(!folder.good(&other).audit.same_key(&config.audit) && !folder.good(&keyless).audit.same_key(&config.audit));
    let config = folder.load(&keyless.replace("[audit]\n", "[audit]\nto = \"off\"\n")).unwrap();
    assert_eq!((config.0.audit.to, config.1), (AuditTo::Off, vec![]));
    // Others may read it.
    fs::set_permissions(folder.0.path().join("keys/audit"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(folder.warnings(GOOD).iter().any(|told| told.contains("log.hash_key = \"file:keys/audit\"")));
}

#[test]
fn spans_go_where_it_says_and_nowhere_by_default() {
    let folder = Folder::new();
    let tracing = folder.good(GOOD).tracing;
    assert_eq!((tracing.otlp, tracing.service_name.as_str(), tracing.headers.len()), (None, "resetgate", 0));
    let with = |lines: &str| folder.good(&with("tracing", lines)).tracing;
    for (url, goes) in [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("https://c.example/otlp/", "https://c.example/otlp/v1/traces"),
    ] {
        assert_eq!(with(&format!("otlp = \"{url}\"")).otlp.unwrap().as_str(), goes);
    }
    assert!(with("otlp = \"http://c.mesh:4318\"\nallow_plaintext = true").otlp.is_some());
    for (text, part) in [("100%", 1_u64 << 56), ("12.5%", 1 << 53), ("50%", 1 << 55), ("0%", 0)] {
        assert_eq!(with(&format!("sample = \"{text}\"")).sample, part);
    }
    let tracing = with("headers = [\"Authorization: env:IDENTITY_PASSWORD\", \"x-tenant: file:keys/smtp\"]");
    let [(name, value), (_, tenant)] = &tracing.headers[..] else { panic!("two") };
    assert_eq!(
        (name.as_str(), value.as_bytes(), tenant.as_bytes()),
        ("authorization", &b"identity-secret"[..], &b"smtp-secret"[..])
    );
    assert!(!format!("{tracing:?}").contains("secret"), "{tracing:?}");
}

#[test]
fn a_listener_is_marked_for_http2() {
    let folder = Folder::new();
    let config = folder.good(&with("listen", r#"addresses = ["0.0.0.0:8080", "h2c:[::1]:8082"]"#));
    let (plain, marked): (SocketAddr, _) = ("0.0.0.0:8080".parse().unwrap(), "[::1]:8082".parse().unwrap());
    assert_eq!(
        config.listen.addresses,
        [Address::from(plain), Address { proxied: false, speaks: Speaks::H2c, at: At::Tcp(marked) }]
    );
    assert_eq!(config.listen.addresses[1].to_string(), "h2c:[::1]:8082");
    folder.good(&with("listen", r#"addresses = ["127.0.0.1:0", "h2c:127.0.0.1:0"]"#));
    let written = ["h2c:unix:/run/http.sock", "systemd:http", "h2c:systemd:mesh"];
    let config = folder.good(&with("listen", &format!("addresses = {written:?}")));
    assert_eq!(config.listen.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), written);
    // It is an address as any other to what must not be at it.
    let marked = with("listen", r#"addresses = ["h2c:127.0.0.1:8081"]"#);
    assert_eq!(folder.faults(&marked).len(), 1);
    let marked = with("listen", r#"addresses = ["h2c:127.0.0.1:9090", "0.0.0.0:8080"]"#);
    let faults = folder.faults(&marked);
    assert!(matches!(&faults[..], [fault] if fault.contains("admin.address")), "{faults:?}");
}

#[test]
fn overrides_of_limits_are_in_order_and_say_only_what_differs() {
    let rate = |count| Some(Rate { count: NonZeroU32::new(count).unwrap(), period: Duration::from_secs(60) });
    let toml = "[limits]\nclient = \"5/1m\"\nstart_per_client = \"2/1m\"\n\
                [[limits.override]]\nclients = [\"203.0.113.0/24\", \"2001:db8::/64\"]\nclient = \"50/1m\"\n\
                [[limits.override]]\nclients = [\"10.0.0.1\", \"::ffff:10.0.1.0/120\"]\nstart_per_client = \"0\"\n";
    let overrides = Folder::new().good(&GOOD.replace("[limits]\n", toml)).limits.overrides;
    let seen: Vec<_> = overrides
        .iter()
        .map(|one| (one.clients.iter().map(ToString::to_string).collect::<Vec<_>>(), one.client, one.start_per_client))
        .collect();
    let texts = |all: [&str; 2]| all.map(str::to_owned).to_vec();
    assert_eq!(
        seen,
        [
            (texts(["203.0.113.0/24", "2001:db8::/64"]), rate(50), rate(2)),
            (texts(["10.0.0.1/32", "10.0.1.0/24"]), rate(5), None),
        ]
    );
}

#[test]
fn what_is_wrong_with_an_override_is_told() {
    let cases = [
        (
            "clients = [\"10.0.0.0/8\"]",
            "limits.override[0].client: must be set, or start_per_client, or it changes nothing",
            0,
        ),
        ("client = \"0\"", "limits.override[0].clients: must have at least one address or network", 0),
        (
            "client = \"0\"\nclients = []",
            "limits.override[0].clients = []: must have at least one address or network",
            2,
        ),
        (
            "client = \"0\"\nclients = [\"10.0.0.1\", \"2001:db8::1\"]",
            "limits.override[0].clients[1] = \"2001:db8::1\": must be a /64 or wider: an IPv6 client is counted as its /64",
            2,
        ),
        (
            "client = \"0\"\nclients = [\"unix\"]",
            "limits.override[0].clients[0] = \"unix\": must be an address or a network, such as 203.0.113.0/24",
            2,
        ),
        (
            "clients = [\"10.0.0.1\"]\nclient = \"many\"",
            "limits.override[0].client = \"many\": must be \"count/period\", such as \"300/1m\", or \"0\" for off",
            2,
        ),
        (
            "clients = [\"10.0.0.1\"]\nclient = \"0\"\nstart_total = \"0\"",
            "limits.override[0].start_total: is not a key of [limits.override[0]]; there are client, clients, start_per_client",
            3,
        ),
    ];
    let folder = Folder::new();
    for (lines, fault, after) in cases {
        let toml = GOOD.replace("[limits]\n", &format!("[limits]\n[[limits.override]]\n{lines}\n"));
        let at = line_in(&toml, "[[limits.override]]") + after;
        assert_eq!(folder.faults(&toml), [format!("x.toml:{at}: {fault}")]);
    }
    let at = 1 + line_in(GOOD, "[limits]");
    let faults = |line: &str| folder.faults(&with("limits", line));
    assert_eq!(
        faults("override = { client = \"0\" }"),
        [format!("x.toml:{at}: limits.override = {{ client = \"0\" }}: must be a list of tables: [[limits.override]]")]
    );
    assert_eq!(faults("override = [1]"), [format!("x.toml:{at}: limits.override[0] = 1: must be a table")]);
}

#[test]
fn a_path_to_deny_reads_in_one_way() {
    const RULE: &str = "must be a path such as /openidm/info, or /admin/** with all below it: one to eight plain \
                        segments of A-Z a-z 0-9 . _ ~ -, none of them dots alone, no other *, no slash at the end";
    let folder = Folder::new();
    for path in [
        "admin",
        "admin/**",
        "/",
        "/**",
        "**",
        "*",
        "/admin/",
        "/admin/*",
        "/ad*min",
        "/admin/**/",
        "/admin/**/x",
        "/*/x/**",
        "/openidm/../admin/**",
        "/./admin",
        "/openidm//config/**",
        "/openidm/%63onfig",
        "/openidm/config?x",
        "/openidm;a/config",
        "/1/2/3/4/5/6/7/8/9/**",
    ] {
        let toml = with("edge", &format!("deny = [\"/openidm/config/**\", \"{path}\"]"));
        let at = 1 + line_in(&toml, "[edge]");
        assert_eq!(folder.faults(&toml), [format!("x.toml:{at}: edge.deny[1] = \"{path}\": {RULE}")]);
    }
    let deny = folder.good(&with("edge", "deny = [\"/admin/**\", \"/1/2/3/4/5/6/7/8\"]")).edge.deny;
    let pattern = |path: &str, below| PathPattern { path: path.to_owned(), below };
    assert_eq!(deny, [pattern("/admin", true), pattern("/1/2/3/4/5/6/7/8", false)]);
}

#[test]
fn all_faults_come_at_once_in_the_order_of_the_file() {
    let folder = Folder::new();
    folder.put(
        "bad.json",
        &PROCESS.replace("\"%link%\"", "\"%other%\"").replace("\"tokenExpiry\": 300", "\"tokenExpiry\": 0"),
    );
    let faults = folder.faults(
        "[listen]\n\
         addresses = [\n  \"0.0.0.0:8080\",\n  \"nowhere\",\n]\n\
         port = 1\n\
         [codes]\n\
         tries = 0\n\
         capacity = 5m\n\
         [reset]\n\
         process = \"bad.json\"\n\
         [surprise.below]\n\
         x = 1\n",
    );
    let rest: Vec<_> = faults.iter().map(|fault| fault.split(": ").take(2).collect::<Vec<_>>().join(": ")).collect();
    assert_eq!(
        rest,
        [
            "x.toml:4: listen.addresses[1] = \"nowhere\"",
            "x.toml:6: listen.port",
            "x.toml:8: codes.tries = 0",
            "x.toml:9: TOML",
            "x.toml:12: surprise",
            "x.toml: upstream.url",
            "x.toml: identity.kind",
            "x.toml: identity.url",
            "x.toml: identity.auth.kind",
            "x.toml: identity.auth.username",
            "x.toml: identity.auth.password",
            "x.toml: token.keys",
            "bad.json:32: /stageConfigs/3/messageTranslations = …",
            "bad.json:50: /snapshotToken/tokenExpiry = 0",
        ]
    );
}

#[test]
fn a_file_that_is_not_there_is_one_fault() {
    let faults = load(Path::new("/nowhere/x.toml"), &|_| None).expect_err("there is a fault");
    assert_eq!(
        faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["/nowhere/x.toml: cannot be read: No such file or directory (os error 2)"]
    );
}

#[test]
fn a_broken_line_hides_no_other_fault_and_makes_up_none() {
    let toml = GOOD.replace("[identity]", "[identity").replace("[log]", "[log]\nformat = 7");
    assert_eq!(
        Folder::new().faults(&toml),
        ["x.toml:3: TOML: unclosed table, expected `]`", "x.toml:21: log.format = 7: must be a text, in quotes",]
    );
}

#[test]
fn the_process_files_faults_have_its_name_and_lines() {
    let folder = Folder::new();
    let link = "https://id.example.com/#/passwordreset/";
    let cases = [
        (
            "\"identityIdField\": \"_id\",",
            "",
            "userQuery",
            "/stageConfigs/1: `identityIdField` must be there and be a text",
        ),
        (
            "\"tokenExpiry\": 300",
            "\"tokenExpiry\": \"soon\"",
            "tokenExpiry",
            r#"/snapshotToken/tokenExpiry = "soon": must be a number of seconds from 1 to 86400"#,
        ),
        (
            link,
            "/passwordreset",
            "verificationLink\"",
            r#"/stageConfigs/3/verificationLink = "/passwordreset": must be an absolute http:// or https:// URL"#,
        ),
        (
            link,
            "https://id.example.com/?token=1",
            "verificationLink\"",
            r#"/stageConfigs/3/verificationLink = "https://…": must not have a token of its own: resetgate appends &token=…&code=…"#,
        ),
        (
            link,
            "https://id.example.com/a b",
            "verificationLink\"",
            r#"/stageConfigs/3/verificationLink = "https://id.example.com/a b": must be ASCII without spaces"#,
        ),
        (
            "\"managed/user\",\n            \"identityPasswordField\"",
            "\"../user\",\n            \"identityPasswordField\"",
            "../user",
            r#"/stageConfigs/4/identityServiceUrl = "../user": must be a relative path such as managed/user"#,
        ),
    ];
    for (good, bad, near, fault) in cases {
        assert!(PROCESS.contains(good), "{good}");
        let text = PROCESS.replace(good, bad);
        folder.put("selfservice-reset.json", &text);
        // A missing key is where its object begins.
        let line = line_in(&text, near) - usize::from(near == "userQuery");
        assert_eq!(folder.faults(GOOD), [format!("selfservice-reset.json:{line}: {fault}")]);
    }
}

#[test]
fn a_fault_of_the_process_file_hides_no_other() {
    let folder = Folder::new();
    let text = PROCESS
        .replace("\"tokenExpiry\": 300", "\"tokenExpiry\": 0")
        .replace("https://id.example.com/#", "ftp://id.example.com/#")
        .replace("<helpdesk@example.com>", "<helpdesk>");
    folder.put("selfservice-reset.json", &text);
    let lines: Vec<_> = ["\"from\"", "verificationLink\"", "tokenExpiry"].map(|key| line_in(&text, key)).into();
    let faults = folder.faults(&GOOD.replace("from = \"help@example.com\"\n", ""));
    assert_eq!(faults.len(), 3, "{faults:#?}");
    for (fault, line) in faults.iter().zip(lines) {
        assert!(fault.starts_with(&format!("selfservice-reset.json:{line}: ")), "{fault}");
    }
}

#[test]
fn a_process_file_that_is_not_json_has_its_line() {
    let folder = Folder::new();
    folder.put("selfservice-reset.json", "{\n  \"stageConfigs\": [\n  oops\n]}");
    let faults = folder.faults(GOOD);
    assert_eq!(faults, ["selfservice-reset.json:3: must be JSON: expected value at line 3 column 3"]);
}

#[test]
fn who_sends_is_the_configurations_word_and_else_the_process_files() {
    let folder = Folder::new();
    let silent = GOOD.replace("from = \"help@example.com\"\n", "");
    assert_eq!(folder.good(&silent).mail.from.unwrap(), "Example Help Desk <helpdesk@example.com>");

    let from = "\"from\": \"Example Help Desk <helpdesk@example.com>\"";
    folder.put("selfservice-reset.json", &PROCESS.replace(from, "\"from\": \"nobody\""));
    assert_eq!(folder.good(GOOD).mail.from.unwrap(), "help@example.com");
    assert_eq!(
        folder.faults(&silent),
        [
            "selfservice-reset.json:26: /stageConfigs/3/from = \"nobody\": must be one mailbox, such as Help <help@example.com>"
        ]
    );

    folder.put("selfservice-reset.json", &PROCESS.replace(&format!("{from},"), ""));
    let rule = "mail.from: must be set, here or in the process file's emailValidation stage";
    assert_eq!(folder.faults(&silent), [format!("x.toml:{}: {rule}", line_in(&silent, "[mail]"))]);
}

#[test]
fn idm_s_own_mail_service_is_the_process_file_s_and_may_know_who_sends() {
    let folder = Folder::new();
    let idm = GOOD.replace("[mail]\n", "[mail]\ntransport = \"idm\"\n");
    let mail = folder.good(&idm).mail;
    assert!(matches!(mail.transport, Transport::Idm));
    assert_eq!(mail.from.as_deref(), Some("help@example.com"));

    let silent = idm.replace("from = \"help@example.com\"\n", "");
    let from = "\"from\": \"Example Help Desk <helpdesk@example.com>\"";
    folder.put("selfservice-reset.json", &PROCESS.replace(&format!("{from},"), ""));
    assert_eq!(folder.good(&silent).mail.from, None);
    folder.put("selfservice-reset.json", &PROCESS.replace(from, "\"from\": \"nobody\""));
    assert_eq!(folder.faults(&silent).len(), 1);

    let at = line_in(PROCESS, "emailServiceUrl");
    let rule = "must be a relative path such as external/email";
    for wrong in ["https://mail.example/send", "external/../email", "a//b"] {
        folder.put("selfservice-reset.json", &PROCESS.replace("external/email", wrong));
        assert!(folder.faults(&idm)[0].starts_with(&format!("selfservice-reset.json:{at}: /stageConfigs/3/email")));
        assert!(folder.faults(&idm)[0].ends_with(rule), "{wrong}");
        // Where mail does not go there, it means nothing.
        folder.good(GOOD);
    }
    folder.put("selfservice-reset.json", &PROCESS.replace("\"emailServiceUrl\": \"external/email\",", ""));
    let rule = "mail.transport = \"idm\": needs emailServiceUrl in the process file's emailValidation stage";
    assert_eq!(folder.faults(&idm), [format!("x.toml:{}: {rule}", line_in(&idm, "transport = "))]);
}

#[test]
fn secrets_are_in_no_fault() {
    let folder = Folder::new();
    folder.put("keys/identity", "hunter2\u{7}");
    folder.put("keys/smtp", "hunter2");
    let process = PROCESS.replace("\"snapshotToken\": {", "\"snapshotToken\": {\n\"sharedKey\": \"&{hunter2}\",");
    folder.put(
        "selfservice-reset.json",
        &process.replace("\"userQuery\",", "\"userQuery\",\n\"clientSecret\": \"hunter2\","),
    );
    let texts = [
        GOOD.replace("env:IDENTITY_PASSWORD", "hunter2"),
        GOOD.replace("env:IDENTITY_PASSWORD", "env:hunter2 hunter2"),
        GOOD.replace("env:IDENTITY_PASSWORD", "file:keys/identity"),
        GOOD.replace("\"env:IDENTITY_PASSWORD\"", "{ hunter2 = \"hunter2\" }"),
        GOOD.replace("\"env:IDENTITY_PASSWORD\"", "hunter2"),
        GOOD.replace("\"env:IDENTITY_PASSWORD\"", "\"hunter2"),
        GOOD.replace("\"file:keys/current\"", "\"hunter2\""),
        with("token", "keys = \"hunter2\""),
        with("mail", "password = \"hunter2\""),
        with("mail", "transport = \"smtp://me:hunter2@relay\""),
        with("mail", "transport = \"me:hunter2@relay\""),
        with("tracing", "headers = [\"authorization: hunter2\", \"hunter2\"]"),
        with("upstream", "url = \"https://x/?key=hunter2\""),
        with("upstream", "url = \"https://me:hunter2@x/?key=hunter2"),
        with("mail", "secret = \"hunter2\""),
        GOOD.replace("[mail]\n", "mail = \"hunter2\"\n"),
        GOOD.replace("[log]\n", "[[token]]\nkeys = \"hunter2\"\n"),
    ];
    for text in texts {
        let faults = folder.faults(&text).join("\n");
        assert!(!faults.contains("hunter2"), "{text}\n{faults}");
    }
}

#[test]
fn secrets_come_from_files_without_their_last_newline_and_warn_where_others_can_read() {
    let folder = Folder::new();
    let toml = with("mail", "transport = \"smtp+starttls://relay\"\nusername = \"me\"\npassword = \"file:keys/smtp\"");
    let Transport::Smtp(smtp) = folder.good(&toml).mail.transport else { panic!("SMTP") };
    let (username, password) = smtp.credentials.unwrap();
    assert_eq!((username.as_str(), password.expose().as_str()), ("me", "smtp-secret"));
    assert_eq!((smtp.host.as_str(), smtp.port, smtp.tls), ("relay", 587, SmtpTls::StartTls));

    for name in ["keys/smtp", "keys/current"] {
        fs::set_permissions(folder.0.path().join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let rule = "names a file that others on this machine may read; chmod 600 it";
    let mail = line_in(&toml, "file:keys/smtp");
    assert_eq!(
        folder.warnings(&toml),
        [
            format!("x.toml:11: token.keys[0] = \"file:keys/current\": {rule}"),
            format!("x.toml:{mail}: mail.password = \"file:keys/smtp\": {rule}"),
        ]
    );
}

#[test]
fn a_password_never_goes_out_in_the_clear() {
    let toml = with(
        "mail",
        "transport = \"smtp://relay\"\nallow_plaintext = true\nusername = \"me\"\npassword = \"file:keys/smtp\"",
    );
    let rule = "must not send mail.password in the clear beyond loopback: use smtp+starttls:// or smtps://";
    let line = line_in(&toml, "transport");
    assert_eq!(Folder::new().faults(&toml), [format!("x.toml:{line}: mail.transport = \"smtp://relay\": {rule}")]);
    Folder::new().good(&toml.replace("smtp://relay", "smtp://localhost"));
    Folder::new().good(&with("mail", "transport = \"smtp://relay\"\nallow_plaintext = true"));
}

#[test]
fn what_is_unwise_is_told() {
    let cases = [
        (
            "listen",
            r#"addresses = ["127.0.0.1:80", "unix:/run/x"]"#,
            "listen.trusted_proxies: makes everyone one client to the limits: every listener is local and nobody on it is trusted",
        ),
        (
            "listen",
            r#"trusted_proxies = ["0.0.0.0/0"]"#,
            r#"listen.trusted_proxies[0] = "0.0.0.0/0": lets every client say that it is another"#,
        ),
        (
            "admin",
            r#"address = "0.0.0.0:9090""#,
            r#"admin.address = "0.0.0.0:9090": shows metrics and states to the network, without asking who looks"#,
        ),
        (
            "identity",
            r#"auth = { kind = "openidm", username = "openidm-admin", password = "env:CURRENT" }"#,
            r#"identity.auth.username = "openidm-admin": may do everything: make a user that may read accounts and set passwords, and no more"#,
        ),
        (
            "reset",
            r#"reveal_unknown_accounts = true"#,
            "reset.reveal_unknown_accounts = true: tells strangers who has an account",
        ),
        (
            "limits",
            r#"observe = ["mail_total"]"#,
            r#"limits.observe[0] = "mail_total": refuses nothing: what it would refuse is only counted"#,
        ),
        (
            "mail",
            r#"transport = "file:mails""#,
            r#"mail.transport = "file:mails": sends no mail: it is for development"#,
        ),
    ];
    let folder = Folder::new();
    for (section, line, warning) in cases {
        let toml = with(section, line);
        let header = line_in(&toml, &format!("[{section}]"));
        let at = if warning.contains("listen.trusted_proxies:") { header } else { header + 1 };
        assert_eq!(folder.warnings(&toml), [format!("x.toml:{at}: {warning}")]);
    }
    let ephemeral = GOOD.replace("keys = [\"file:keys/current\", \"env:PREVIOUS\"]", "ephemeral = true");
    let (config, warnings) = folder.load(&ephemeral).unwrap();
    assert_eq!(config.token.keys.len(), 1);
    assert_eq!(
        warnings,
        ["x.toml:11: token.ephemeral = true: ends every open reset at exit, and works with one process only"]
    );

    for (link, rule) in [
        ("https://localhost:8443/#/passwordreset/", "leads to this machine, which is not where mail is read"),
        ("http://id.example.com/#/passwordreset/", "shows the code to the network: use https"),
    ] {
        let text =
            PROCESS.replace("https://id.example.com/#/passwordreset/", link).replace("\"storage\"", "\"stroage\"");
        folder.put("selfservice-reset.json", &text);
        let (at, unknown) = (line_in(&text, link), line_in(&text, "stroage"));
        assert_eq!(
            folder.warnings(GOOD),
            [
                format!("selfservice-reset.json:{at}: /stageConfigs/3/verificationLink = \"{link}\": {rule}"),
                format!(
                    "selfservice-reset.json:{unknown}: /stroage: is not a key that IDM or resetgate \
                     knows here; it does nothing"
                ),
            ]
        );
    }
}

#[test]
fn values_are_read_as_they_are_meant() {
    let folder = Folder::new();
    let listen = folder
        .good(&with(
            "listen",
            "trusted_proxies = [\"unix\", \"10.0.0.1\", \"fd00::/8\"]\nclient_header = \"forwarded\"",
        ))
        .listen;
    assert!(listen.trust_unix);
    let set = folder.good(&with("listen", "max_connections = 10\nidle_timeout = \"5s\"")).listen.connections;
    let expected = Connections { max: Some(10), idle_timeout: Duration::from_secs(5), ..Connections::default() };
    assert_eq!(set, expected);
    assert_eq!(listen.trusted_proxies, ["10.0.0.1/32".parse().unwrap(), "fd00::/8".parse().unwrap()]);
    assert_eq!(listen.client_header, ClientHeader::Forwarded);

    let edge = folder.good(&with("edge", "trust_headers = [\"X-Remote-User\", \"REMOTE_USER\"]")).edge;
    assert_eq!(edge.trust_headers, ["x-remote-user", "remote_user"]);
    assert!(folder.good(&with("edge", "trust_headers = []")).edge.trust_headers.is_empty());

    assert_eq!(folder.good(&with("limits", "client = \"0\"")).limits.client, None);
    let off = with("limits", "mail_per_account = \"0\"");
    assert_eq!(folder.good(&off.replace("[reset]", "[reset]\nlink_lifetime = \"5m\"")).limits.mail_per_account, None);

    let origins = folder.good(&with("reset.cors", "origins = [\"HTTPS://A.example:443\", \"http://b:81\"]")).reset;
    assert_eq!(origins.cors_origins, ["https://a.example", "http://b:81"]);

    let url = folder.good(&with("identity", "url = \"https://idm/openidm/\"")).identity.endpoints.url;
    assert_eq!(url.as_str(), "https://idm/openidm");

    for (text, host, port, tls) in [
        ("smtp://[::1]", "::1", 25, SmtpTls::None),
        ("smtp://localhost:80", "localhost", 80, SmtpTls::None),
        ("smtps://Relay.example/", "relay.example", 465, SmtpTls::Implicit),
        ("smtp+starttls://10.0.0.1:25", "10.0.0.1", 25, SmtpTls::StartTls),
    ] {
        let mail = folder.good(&with("mail", &format!("transport = \"{text}\""))).mail;
        let Transport::Smtp(smtp) = mail.transport else { panic!("SMTP") };
        assert_eq!((smtp.host.as_str(), smtp.port, smtp.tls), (host, port, tls), "{text}");
    }
    let mail = folder.good(&with("mail", "transport = \"file:mails\"")).mail;
    assert!(matches!(mail.transport, Transport::File(path) if path == folder.0.path().join("mails")));
}

#[test]
fn the_configurations_that_come_with_it_are_good() {
    let folder = Folder::new();
    for entry in fs::read_dir("conf").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let (_, mut warnings) =
                folder.load(&fs::read_to_string(&path).unwrap()).unwrap_or_else(|e| panic!("{e:#?}"));
            // A pod's kubelet and Prometheus do not come by loopback.
            warnings
                .retain(|warning| !path.ends_with("sidecar.toml") || !warning.contains(": shows metrics and states"));
            assert_eq!(warnings, [""; 0], "{}", path.display());
        }
    }
}

#[test]
fn the_reference_has_every_key_and_says_its_default() {
    let folder = Folder::new();
    let reference = include_str!("../../conf/resetgate.toml");
    let good = GOOD.replace(", \"env:PREVIOUS\"", "");
    let good = good.replace("help@example.com", "Help Desk <helpdesk@example.com>");
    assert_eq!(format!("{:#?}", folder.good(reference)), format!("{:#?}", folder.good(&good)));

    // What the sections know is in the rule for what they do not.
    let misspelt = GOOD.replace("auth = {", "auth = { zzz = 1,");
    let header = |line: &str| if line.starts_with('[') { format!("{line}\nzzz = 1\n") } else { format!("{line}\n") };
    let misspelt: String =
        misspelt.lines().chain(["[upstream.health]", "[upstream.tls]", "[tracing.tls]"]).map(header).collect();
    let faults = folder.faults(&format!("zzz = 1\n{misspelt}"));
    assert_eq!(faults.len(), 26, "{faults:#?}");
    let mut kinds = Vec::new();
    for kind in ["basic", "bearer", "oauth2"] {
        let auth = format!("auth = {{ kind = \"{kind}\", tls = {{ zzz = 1 }}, zzz = 1 }}");
        kinds.extend(folder.faults(&with("identity", &auth)));
    }
    kinds.extend(folder.faults(&with("identity", "tls = { zzz = 1 }\nhealth = { zzz = 1 }")));
    let faults = faults.into_iter().chain(kinds.into_iter().filter(|fault| fault.contains("there are ")));
    let known =
        |fault: String| fault.split_once("there are ").unwrap().1.split(", ").map(str::to_owned).collect::<Vec<_>>();
    for name in faults.flat_map(known) {
        let told = |line: &str| {
            let line = line.trim_start_matches("# ");
            line.starts_with(&format!("{name} = ")) || line.starts_with(&format!("[{name}]"))
        };
        assert!(
            reference.lines().any(told)
                || ["auth", "breach", "breaker", "cors", "messages", "override", "health", "tls"]
                    .contains(&name.as_str()),
            "{name}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is cut out of a good file and put in its place, there is an answer, a line a fault.
    #[test]
    fn nothing_makes_it_panic(from in 0..GOOD.len(), cut in 0..40_usize, put in "(\\PC|[\\[\\]\"'={}.,#\n]){0,12}") {
        let ends = |at: usize| (at..).find(|at| GOOD.is_char_boundary(*at)).unwrap();
        let (from, to) = (ends(from), ends((from + cut).min(GOOD.len())));
        let folder = Folder::new();
        if let Err(faults) = folder.load(&format!("{}{put}{}", &GOOD[..from], &GOOD[to..])) {
            prop_assert!(!faults.is_empty() && faults.iter().all(|fault| fault.lines().count() == 1), "{faults:#?}");
        }
    }

    #[test]
    fn no_value_makes_it_panic(text in "\\PC{0,20}", scheme in "(|https?://|smtps?://|unix:|/|[0-9]{1,20}(ms|h|/1m))") {
        let text = format!("{scheme}{text}");
        let _ = (units::rate(&text), units::address(&text), units::trusted(&text), units::path(&text));
        let _ = (units::base_url(&text), units::link(&text), units::origin(&text), units::relay(&text));
        let _ = (limits::network(&text), units::mailbox(&text), units::duration_in("1s"..="1h")(&text), fault::shown(&text));
    }
}

#[test]
fn what_the_next_process_is_left_it_must_be_able_to_open() {
    let folder = Folder::new();
    let kept = with("codes", "state_file = \"state/codes\"");
    assert_eq!(folder.good(&kept).codes.state_file, Some(folder.0.path().join("state/codes")));
    let faults = folder.faults(&kept.replace("keys = [\"file:keys/current\", \"env:PREVIOUS\"]", "ephemeral = true"));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("codes.state_file") && faults[0].contains("needs token.keys"), "{faults:?}");
}

/// At a reload the texts are those of before, and the files are what they are now.
#[test]
fn the_process_file_stays_as_it_was_read_while_keys_change() {
    let folder = Folder::new();
    let config = folder.good(GOOD);
    assert_eq!(config.files, ["keys/current", "keys/audit"].map(|name| folder.0.path().join(name)));
    folder.put("selfservice-reset.json", "{}");
    folder.put("x.toml", "nonsense");
    let env = |_: &str| Some(PREVIOUS.to_owned());
    let (again, _) = config.texts.check(&env).unwrap();
    assert_eq!(again.reset.process.stages.len(), config.reset.process.stages.len());
    folder.put("keys/current", "garbage");
    assert_eq!(config.texts.check(&env).unwrap_err().len(), 1);
    assert!(Texts::read(&config.texts.path).unwrap().check(&env).is_err());
}

#[test]
fn digits_need_a_budget_that_holds() {
    let folder = Folder::new();
    let digits =
        |rest: &str| with("codes", "format = \"digits\"").replace("[limits]\n", &format!("[limits]\n{rest}\n"));
    assert_eq!(folder.good(GOOD).codes.digits, None);
    assert_eq!(folder.good(&digits("")).codes.digits, Some(8));
    for unguarded in ["code_per_account = \"0\"", "observe = [\"code_per_account\"]"] {
        let faults = folder.faults(&digits(unguarded));
        assert_eq!(faults.len(), 1, "{faults:?}");
        let rule = "codes.format = \"digits\": needs limits.code_per_account: digits can be guessed";
        assert!(faults[0].ends_with(rule), "{faults:?}");
    }
    let short = folder.warnings(&digits("").replace("[codes]\n", "[codes]\ndigits = 6\n"));
    assert!(short.iter().any(|warning| warning.contains("codes.digits = 6: lets somebody")), "{short:?}");
}

#[test]
fn where_a_service_is() {
    let folder = Folder::new();
    let upstream = folder.good(GOOD).upstream;
    assert_eq!(upstream.endpoints.addresses, [Place::Ip("127.0.0.1:8081".parse().unwrap())]);
    assert!(upstream.endpoints.tls.is_none() && upstream.websocket.is_empty());
    assert_eq!((upstream.pool_size, upstream.endpoints.health.unhealthy), (256, 3));
    assert_eq!(
        [upstream.endpoints.connect_timeout, upstream.try_timeout, upstream.total_timeout, upstream.idle_timeout],
        [2, 60, 90, 20].map(Duration::from_secs)
    );
    // The URL is then only what it is called by, which a plain connection over a socket on this machine may be.
    let lines = "url = \"http://idm\"\naddresses = [\"unix:/run/idm.sock\", \"[::1]:80\"]";
    let upstream = folder.good(&GOOD.replacen("url = \"http://127.0.0.1:8081\"", lines, 1)).upstream;
    assert_eq!(upstream.endpoints.host(), "idm");
    let places: Vec<_> = upstream.endpoints.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(places, ["unix:/run/idm.sock", "[::1]:80"]);
    let many: Vec<_> = (1..=65).map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let faults = folder.faults(&with("upstream", &format!("addresses = [{}]", many.join(","))));
    assert!(faults.iter().all(|fault| fault.ends_with("must be 64 at most")) && faults.len() == 1, "{faults:?}");
    let own = folder.good(&with("upstream", "url = \"https://idm.example:8443\"")).upstream.endpoints;
    assert_eq!(own.addresses, [Place::Name("idm.example".into(), 8443)]);
    assert!(own.tls.is_some());
    // What is listened on, by any name for it.
    let unix = with("listen", "addresses = [\"unix:/run/a.sock\"]");
    let looped = unix
        .replace("url = \"http://127.0.0.1:8081\"\n[i", "url = \"http://a\"\naddresses = [\"unix:/run/a.sock\"]\n[i");
    let faults = folder.faults(&looped);
    assert!(faults.len() == 1 && faults[0].contains("must not be one of listen.addresses"), "{faults:?}");
}

/// It could be connected to and asked for nothing.
#[test]
fn tls_is_with_somebody_who_has_a_name() {
    let folder = Folder::new();
    let host = format!("{}.example", "x".repeat(64));
    let client = "kind = \"oauth2\", client_id = \"c\", client_secret = \"env:CURRENT\"";
    for (section, line) in [
        ("upstream", format!("url = \"https://{host}\"")),
        ("identity", format!("url = \"https://{host}/openidm\"")),
        ("identity", format!("auth = {{ {client}, token_url = \"https://{host}/token\" }}")),
    ] {
        let faults = folder.faults(&with(section, &line));
        assert!(faults.len() == 1 && faults[0].contains("a host that a certificate can be for"), "{faults:?}");
    }
    folder.good(&with("upstream", &format!("url = \"https://{host}\"\ntls = {{ server_name = \"idm.example\" }}")));
    folder.good(&with("upstream", "url = \"https://[::1]\""));
}

#[test]
fn a_store_is_asked_as_it_wants() {
    let folder = Folder::new();
    folder.put("keys/client", "s3cret\n");
    let auth = |auth: &str| folder.good(&with("identity", &format!("auth = {{ {auth} }}"))).identity.auth;
    let Auth::Basic { username, password } = auth(r#"kind = "basic", username = "u", password = "env:CURRENT""#) else {
        panic!("basic")
    };
    assert_eq!((username.as_str(), password.expose().as_str()), ("u", CURRENT));
    let Auth::Bearer { token } = auth(r#"kind = "bearer", token = "env:CURRENT""#) else { panic!("bearer") };
    assert_eq!(token.expose(), CURRENT);

    let required = r#"kind = "oauth2", client_id = "c", client_secret = "file:keys/client", token_url = "#;
    let Auth::OAuth2(oauth2) = auth(&format!("{required}\"https://idp/token\"")) else { panic!("oauth2") };
    assert_eq!(oauth2.token_url.as_str(), "https://idp/token");
    assert_eq!((oauth2.client_id.as_str(), oauth2.client_secret.expose().as_str()), ("c", "s3cret"));
    assert_eq!((oauth2.scope, oauth2.audience, oauth2.resource), (None, None, None));
    assert_eq!(oauth2.client_auth, ClientAuth::Basic);
    let Auth::OAuth2(exact) = auth(&format!("{required}\"https://idp/o/token/?p=x\"")) else { panic!("oauth2") };
    assert_eq!(exact.token_url.as_str(), "https://idp/o/token/?p=x", "as it stands");
    for wrong in ["ftp://idp/token", "https:idp/token", "https://idp/token#x", "https://idp:0/token", "idp/token"] {
        let toml = with("identity", &format!("auth = {{ {required}\"{wrong}\" }}"));
        let faults = folder.faults(&toml);
        assert!(faults.len() == 1 && faults[0].contains("identity.auth.token_url"), "{faults:?}");
    }
    let all = r#""http://idp/token", allow_plaintext = true, client_auth = "post", scope = "a b", audience = "x", resource = "urn:x""#;
    let Auth::OAuth2(oauth2) = auth(&format!("{required}{all}")) else { panic!("oauth2") };
    assert_eq!(oauth2.client_auth, ClientAuth::Post);
    let texts = [oauth2.scope, oauth2.audience, oauth2.resource].map(Option::unwrap);
    assert_eq!(texts, ["a b", "x", "urn:x"]);
    let files = folder.good(&with("identity", &format!("auth = {{ {required}\"https://idp/token\" }}"))).files;
    assert!(files.iter().any(|file| file.ends_with("keys/client")), "it is watched");

    let never = folder.good(&with("identity", "breaker = { failures = 0 }"));
    assert_eq!(never.identity.breaker.failures, None);
}

#[test]
fn listeners_speak_tls_by_certificates_that_hold() {
    let folder = Folder::new();
    let [one, other] =
        ["a.example", "b.example"].map(|name| rcgen::generate_simple_self_signed([name.into()]).unwrap());
    folder.put("one.pem", &one.cert.pem());
    folder.put("one.key", &one.signing_key.serialize_pem());
    folder.put("other.pem", &other.cert.pem());
    folder.put("other.key", &other.signing_key.serialize_pem());
    let toml = |addresses: &str, lines: &str| {
        let section = if lines.is_empty() { String::new() } else { format!("[listen.tls]\n{lines}\n") };
        GOOD.replace("[listen]\n", &format!("[listen]\naddresses = [{addresses}]\n{section}"))
    };
    let pair = "certificate = \"one.pem\"\nkey = \"file:one.key\"";
    let tls = r#""tls:127.0.0.1:0""#;
    let additional = "[[listen.tls.additional]]\ncertificate = \"other.pem\"\nkey = \"file:other.key\"";

    assert_eq!(folder.good(GOOD).listen.tls, None);
    let found = folder.good(&toml(tls, &format!("{pair}\n{additional}")));
    let config = found.listen.tls.unwrap();
    assert_eq!((config.pairs.len(), config.clients, config.forward_client_cert), (2, None, false));
    for file in ["one.pem", "one.key", "other.pem", "other.key"] {
        assert!(found.files.iter().any(|path| path.ends_with(file)), "{file}");
    }
    let required = |more: &str| {
        let config = folder.good(&toml(tls, &format!("{pair}\nclient_ca = \"other.pem\"\n{more}"))).listen.tls.unwrap();
        (config.clients.unwrap().required, config.forward_client_cert)
    };
    assert_eq!(required(""), (true, false));
    assert_eq!(required("client_auth = \"optional\"\nforward_client_cert = true"), (false, true));

    let bad = [
        (tls, "", "listen.tls.certificate: must be set: listen.addresses has one with tls:"),
        (tls, "certificate = \"one.pem\"", "must come with a key"),
        (tls, "certificate = \"one.pem\"\nkey = \"file:other.key\"", "must be the key of the certificate"),
        (tls, "certificate = \"none.pem\"\nkey = \"file:one.key\"", "must name a file that can be read"),
        (tls, &format!("{pair}\nclient_auth = \"required\""), "must come with client_ca"),
        (tls, &format!("{pair}\nforward_client_cert = true"), "means nothing without client_ca"),
        (tls, &format!("{pair}\nclient_ca = \"one.key\""), "must name a PEM file of certificates"),
        (tls, &format!("{pair}\n[[listen.tls.additional]]"), "listen.tls.additional[0].certificate: must be set"),
        (tls, &format!("{pair}\ncipher = \"x\""), "listen.tls.cipher: is not a key"),
        (r#""127.0.0.1:0""#, "client_auth = \"optional\"", "must come with client_ca"),
    ];
    for (addresses, lines, rule) in bad {
        let faults = folder.faults(&toml(addresses, lines));
        assert!(faults.iter().any(|fault| fault.contains(rule)), "{lines}: {faults:#?}");
    }
    let faults = folder.faults(&toml(r#""127.0.0.1:0""#, pair));
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(faults.iter().all(|fault| fault.ends_with("means nothing without a tls: address in listen.addresses")));
}

#[test]
fn whom_a_connection_is_from_only_the_trusted_may_say() {
    let folder = Folder::new();
    let toml = |addresses: &[&str], trusted: &[&str]| {
        with("listen", &format!("addresses = {addresses:?}\ntrusted_proxies = {trusted:?}"))
    };
    let written = ["proxy:127.0.0.1:0", "proxy+h2c:127.0.0.1:0", "proxy:systemd:http"];
    let config = folder.good(&toml(&written, &["127.0.0.1"]));
    assert_eq!(config.listen.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), written);
    assert!(config.listen.addresses.iter().all(|address| address.proxied));
    for (address, trusted, good) in [
        ("proxy:127.0.0.1:0", &[][..], false),
        ("proxy:127.0.0.1:0", &["unix"], false),
        ("proxy:unix:/run/x", &["127.0.0.1"], false),
        ("proxy:unix:/run/x", &["unix"], true),
        ("proxy:systemd:x", &[], false),
        ("proxy:systemd:x", &["unix"], true),
        ("proxy+127.0.0.1:0", &["127.0.0.1"], false),
        ("proxy:tls:127.0.0.1:0", &["127.0.0.1"], false),
    ] {
        assert_eq!(folder.load(&toml(&[address], trusted)).is_ok(), good, "{address} {trusted:?}");
    }
    let faults = folder.faults(&toml(&["proxy:127.0.0.1:0"], &[]));
    assert!(faults[0].contains("lets nobody in"), "{faults:?}");
}
