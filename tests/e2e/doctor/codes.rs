//! The server that codes are on.

use super::{Right, Told, whole};
use crate::support::{redis::RedisServer, setup::Plan};

/// With codes and counts on that server, and more lines of `[codes]`.
async fn told(right: &Right, server: &RedisServer, codes: &str) -> Told {
    let more = format!("[codes]\nstore = \"{}\"\n{codes}\n[limits]\nstore = \"redis\"", server.url());
    let files = whole(&Plan { more, ..right.plan() });
    files.write("redis-password", "canary-redis-password");
    let told = Told::of(&files, &["--canary", "canary"]).await;
    assert!(!told.text.contains("canary-redis"), "{}", told.text);
    told
}

const WITH_PASSWORD: &str = "password = \"file:redis-password\"";
const AS_GATE: &str = "username = \"gate\"\npassword = \"file:redis-password\"";
const RULE: &str = "user gate on >PASSWORD ~{resetgate}:* ";

/// A user of the server by the rule that was told, which has its password in it.
async fn allow(server: &RedisServer, rights: &[&str]) {
    let words = ["ACL", "SETUSER", "gate", "reset", "on", ">canary-redis-password", "~{resetgate}:*"];
    server.ask::<()>(&[&words, rights].concat()).await;
}

#[tokio::test]
async fn codes_on_a_server_that_is_right_and_left_as_it_was() {
    let Some(server) = RedisServer::with(&["--maxmemory", "64mb"]).await else { return };
    let right = Right::start().await;
    let all = told(&right, &server, "").await;
    assert_eq!((all.wrong(), all.code), (vec![], 0), "{}", all.text);
    for check in ["dns", "connect", "tls", "credentials", "server", "policy", "write", "clock"] {
        all.has(&format!("codes.{check}"), "ok", "", "");
    }
    all.has("codes.credentials", "ok", "everybody", "");
    all.has("codes.server", "ok", "a master", "");
    // Neither the checks nor the gate that is started for some of them.
    assert_eq!(server.ask::<Vec<String>>(&["KEYS", "*"]).await, [""; 0]);
    server.ask::<()>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let evicting = told(&right, &server, "").await;
    evicting.fails("codes.policy", "allkeys-lru", "CONFIG SET maxmemory-policy noeviction");
    assert_eq!(evicting.wrong(), ["codes.policy"], "{}", evicting.text);
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    told(&right, &server, "").await.has("codes.policy", "warn", "once it has a maxmemory", "noeviction");
    server.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let replica = told(&right, &server, "").await;
    replica.fails("codes.server", "read-only", "redis+sentinel://");
    replica.has("codes.write", "skip", "not to be written to", "");
}

#[tokio::test]
async fn codes_on_a_server_that_does_not_let_us_in_or_not_do_it_all() {
    let Some(server) = RedisServer::start().await else { return };
    let right = Right::start().await;
    let stranger = told(&right, &server, AS_GATE).await;
    stranger.fails("codes.credentials", "codes.username and codes.password", "ACL LIST");
    stranger.has("codes.write", "skip", "does not let us in", "");

    // No script: told with the rule that mends it.
    allow(&server, &["+@read", "+@write", "+time", "+ping", "+role", "+info"]).await;
    let unscripted = told(&right, &server, AS_GATE).await;
    unscripted.fails("codes.write", "its ACL forbids", RULE);
    assert_eq!(unscripted.wrong(), ["codes.write"], "{}", unscripted.text);
    // Of what scripts do, something; and nothing stays of the rest.
    allow(&server, &["+@all", "-hdel"]).await;
    told(&right, &server, AS_GATE).await.fails("codes.write", "its ACL forbids", RULE);
    assert_eq!(server.ask::<Vec<String>>(&["KEYS", "*"]).await, [""; 0]);
    // Nor may it be asked what it is.
    allow(&server, &["+@all", "-info", "-role"]).await;
    let silent = told(&right, &server, AS_GATE).await;
    assert_eq!((silent.wrong(), silent.code), (vec!["codes.server", "codes.policy"], 0), "{}", silent.text);
    silent.has("codes.policy", "warn", "may not be asked for", RULE);

    let rule = silent.line("codes.policy")[2].split_once(RULE).unwrap().1.to_owned();
    allow(&server, &rule.split(' ').collect::<Vec<_>>()).await;
    let allowed = told(&right, &server, AS_GATE).await;
    assert_eq!(allowed.wrong(), [""; 0], "{}", allowed.text);

    server.ask::<()>(&["ACL", "SETUSER", "gate", "resetpass", ">another"]).await;
    told(&right, &server, AS_GATE).await.fails("codes.credentials", "codes.password", "ACL LIST");
    // No password is known to it at all.
    told(&right, &server, WITH_PASSWORD).await.fails("codes.credentials", "codes.password", "which is not set");
}

#[tokio::test]
async fn codes_on_a_server_that_is_down_or_wants_a_password() {
    let Some(mut server) = RedisServer::start().await else { return };
    let right = Right::start().await;
    let open = told(&right, &server, "").await;
    open.has("codes.credentials", "ok", "everybody", "");
    server.ask::<()>(&["CONFIG", "SET", "requirepass", "canary-redis-password"]).await;
    told(&right, &server, "").await.fails("codes.credentials", "does not let us in", "set codes.password");
    assert_eq!(told(&right, &server, WITH_PASSWORD).await.wrong(), [""; 0]);
    server.kill();
    let down = told(&right, &server, "").await;
    down.fails("codes.connect", "redis.sock", "codes.store has its port");
    down.has("codes.dns", "ok", "no name", "");
    for check in ["tls", "credentials", "server", "policy", "write", "clock"] {
        assert_eq!(down.line(&format!("codes.{check}"))[0], "skip", "{}", down.text);
    }
    // What else there is, is looked at all the same.
    assert!(down.wrong().iter().all(|check| check.starts_with("codes.")), "{}", down.text);
}
