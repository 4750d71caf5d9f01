//! The server that codes are on, where processes share one: whether it can be reached, lets us in, is what it has to be, and
//! takes what is to be kept.

use std::sync::Arc;

use super::{
    clock,
    reach::{Service, reach},
    sheet::{Line, Outcome, Sheet},
};
use crate::{
    config::{Redis, RedisKind, Server, Store},
    kv::trial::{Trial, Unfit, Unkept},
    reset::ports::{Clock, Time},
};

/// The first major version that has all that the scripts need.
const OLDEST: u32 = 7;
/// What is asked once there is somebody to ask.
const CHECKS: [&str; 5] = ["credentials", "server", "policy", "write", "clock"];
/// What a user of the server needs, on keys that begin with ours.
const RIGHTS: &str = "+@read +@write +@scripting +time +ping +select -@dangerous +role +info +wait";

/// Goes through all of it.
pub(super) async fn examine(sheet: &mut Sheet, store: &Store, clock: &Arc<dyn Clock>) {
    let Store::Redis(config) = store else {
        return sheet.ok("", "they are in this process, and no server is needed");
    };
    if !reached(sheet, config, clock.now()).await {
        return sheet.skip_all(&CHECKS, "the server cannot be reached");
    }
    let mut trial = match Trial::open(config).await {
        Ok(trial) => trial,
        Err(why) => {
            sheet.fail("credentials", format!("the server {why}"), let_in(&why, config));
            let [_, rest @ ..] = CHECKS;
            return sheet.skip_all(&rest, "the server does not let us in");
        }
    };
    let whom = match (&config.username, &config.password) {
        (Some(_), _) => "the server takes codes.username with codes.password",
        (None, Some(_)) => "the server takes codes.password",
        (None, None) => "the server lets everybody in who can reach it",
    };
    sheet.ok("credentials", whom);
    let writable = server(sheet, &mut trial, config).await;
    policy(sheet, &mut trial, config).await;
    match writable {
        true => write(sheet, &mut trial, config).await,
        false => sheet.skip("write", "it is not to be written to"),
    }
    let sent = clock.now();
    match trial.time().await {
        Ok(Some(time)) => clock::judge_mildly(sheet, time, sent, clock.now()),
        Ok(None) => sheet.skip("clock", "we may not ask for its time"),
        Err(why) => sheet.skip("clock", format!("the server {why}")),
    }
}

/// Whether any of the servers can be talked to. Each has its own name for TLS, and all are one line a check.
async fn reached(sheet: &mut Sheet, config: &Redis, now: Time) -> bool {
    let (mut lines, mut any): (Vec<Line>, bool) = (Vec::new(), false);
    for Server { place, host } in &config.servers {
        let service = Service {
            section: "codes",
            url: "codes.store",
            places: std::slice::from_ref(place),
            tls: config.tls.as_ref().map(|tls| (tls, host.as_str())),
            speaks: &[],
            secure: "rediss://",
            within: config.connect_timeout,
        };
        let mut own = Sheet::new("codes");
        any |= reach(&mut own, &service, now).await.is_some();
        for line in own.lines {
            match lines.iter_mut().find(|other| other.check == line.check) {
                Some(other) => join(other, line),
                None => lines.push(line),
            }
        }
    }
    // One of several is enough.
    for line in lines.iter_mut().filter(|line| any && line.outcome == Outcome::Fail) {
        line.outcome = Outcome::Warn;
    }
    sheet.lines.append(&mut lines);
    any
}

/// The worse of the two counts, and what is seen of both is told.
fn join(line: &mut Line, other: Line) {
    if line.seen != other.seen {
        line.seen = format!("{}, {}", line.seen, other.seen);
    }
    if other.outcome > line.outcome {
        (line.outcome, line.cure) = (other.outcome, other.cure);
    }
}

fn let_in(why: &Unfit, config: &Redis) -> String {
    match why {
        Unfit::Stranger if config.password.is_none() => {
            "set codes.password, and codes.username if the server's ACL has a user for us".to_owned()
        }
        Unfit::Stranger => format!(
            "see both: does codes.username{} name a user of the server's ACL (ACL LIST), and is codes.password its own?",
            if config.username.is_none() { ", which is not set (the default user)," } else { "" }
        ),
        Unfit::Unknown if matches!(config.kind, RedisKind::Sentinels(_)) => {
            "see the name that codes.store has after its servers (SENTINEL MASTERS lists them)".to_owned()
        }
        Unfit::Error(_) => format!("see that the server has codes.database {}, and its own log", config.database),
        Unfit::Unreachable(_) => {
            "see that codes.store has the port of a Redis or Valkey server, and rediss:// if it speaks TLS".to_owned()
        }
        _ => "see the server's own log, and codes.connect_timeout".to_owned(),
    }
}

/// Its version and part. Whether it is to be written to.
async fn server(sheet: &mut Sheet, trial: &mut Trial, config: &Redis) -> bool {
    const CHECK: &str = "server";
    let (about, master) = match (trial.about().await, trial.is_master().await) {
        (Ok(about), Ok(master)) => (about, master),
        (Err(why), _) | (_, Err(why)) => {
            sheet.fail(CHECK, format!("it {why}"), "see the server's own log");
            return true;
        }
    };
    if master == Some(false) {
        let cure = "name its master in codes.store, or sentinels, which know the master (redis+sentinel://)";
        sheet.fail(CHECK, "it is a replica of another, and read-only", cure);
        return false;
    }
    let version = about.as_deref().and_then(version);
    match (version, master) {
        (Some((name, version)), _) if major(version).is_some_and(|major| major < OLDEST) => {
            let cure = format!("update it: Redis {OLDEST} or newer, or Valkey");
            sheet.fail(CHECK, format!("it is {name} {version}"), cure);
        }
        (Some((name, version)), Some(_)) => sheet.ok(CHECK, format!("{name} {version}, a master")),
        _ => {
            let seen = "its version, or whether it is a master, may not be asked for";
            sheet.warn(CHECK, seen, format!("let us ask (+info +role), or be certain of both: {}", rule(config)));
        }
    }
    true
}

/// The server's name and version.
fn version(about: &str) -> Option<(&'static str, &str)> {
    let said = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    // Valkey also says which Redis it is like.
    said("valkey_version").map(|version| ("Valkey", version)).or(Some(("Redis", said("redis_version")?)))
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// Live codes must not be thrown away for want of room.
async fn policy(sheet: &mut Sheet, trial: &mut Trial, config: &Redis) {
    const CHECK: &str = "policy";
    const CURE: &str = "CONFIG SET maxmemory-policy noeviction, and the same in its file";
    match trial.room().await {
        Ok(Some(room)) if !room.evicts() => sheet.ok(CHECK, "maxmemory-policy noeviction: it forgets nothing"),
        Ok(Some(room)) if room.limited => {
            let seen = format!("maxmemory-policy {}: when it is full, it throws live codes away", room.policy);
            sheet.fail(CHECK, seen, CURE);
        }
        Ok(Some(room)) => {
            let seen =
                format!("maxmemory-policy {}, by which it throws live codes away once it has a maxmemory", room.policy);
            sheet.warn(CHECK, seen, CURE);
        }
        Ok(None) => {
            let cure = format!("let us ask (+info), or be certain that it is noeviction: {}", rule(config));
            sheet.warn(CHECK, "its maxmemory-policy may not be asked for", cure);
        }
        Err(why) => sheet.skip(CHECK, format!("the server {why}")),
    }
}

async fn write(sheet: &mut Sheet, trial: &mut Trial, config: &Redis) {
    const CHECK: &str = "write";
    match trial.write().await {
        Ok(()) => sheet.ok(CHECK, "a key of ours was set by a script, read and removed"),
        Err(why @ Unkept::Forbidden) => sheet.fail(CHECK, why.to_string(), format!("allow it: {}", rule(config))),
        Err(Unkept::Unfit(Unfit::Error(code))) if code == "OOM" => {
            sheet.fail(
                CHECK,
                "it is full (OOM)",
                "raise its maxmemory: CONFIG SET maxmemory, and the same in its file",
            );
        }
        Err(Unkept::Unfit(why)) => sheet.fail(CHECK, format!("it {why}"), "see the server's own log"),
        Err(why @ Unkept::Lost) => {
            sheet.fail(CHECK, why.to_string(), "see that codes.store has one server, and no balancer before several");
        }
    }
}

/// The line of the server's ACL file that has all rights which are needed, and no others.
fn rule(config: &Redis) -> String {
    let user = config.username.as_deref().unwrap_or("default");
    format!("user {user} on >PASSWORD ~{{{}}}:* {RIGHTS}", config.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_versions() {
        assert_eq!(version("# Server\r\nredis_version:6.2.1\r\n"), Some(("Redis", "6.2.1")));
        assert_eq!(version("redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n"), Some(("Valkey", "8.0.1")));
        assert_eq!(version("# Server\r\n"), None);
        assert_eq!(["6.2.1", "7", "255.255.255", "x"].map(major), [Some(6), Some(7), Some(255), None]);
    }

    #[test]
    fn of_several_the_worst_is_told_with_its_cure() {
        let line = |seen: &str, outcome, cure: Option<&str>| Line {
            check: "codes.connect".into(),
            outcome,
            seen: seen.into(),
            cure: cure.map(str::to_owned),
        };
        let mut joined = line("a in 1 ms", Outcome::Ok, None);
        join(&mut joined, line("b: refused", Outcome::Fail, Some("start b")));
        assert_eq!(joined, line("a in 1 ms, b: refused", Outcome::Fail, Some("start b")));
    }
}
