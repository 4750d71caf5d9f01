//! Limits that are counted on a server decide as those in memory do, however many processes ask.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use resetgate::{
    config::{LimitName, Limits as Settings, Override, Rate},
    kv::{Kv, Vault},
    limits::{Governor, ServerLimits},
    reset::ports::{Client, Clock, Decision, Events, LimitKey, Limits, Rule, Share, Start},
};

use crate::{
    flows_contract::connected,
    support::{clock::ManualClock, engine::Counted, redis::RedisServer},
};

const MINUTE: Duration = Duration::from_secs(60);

fn rate(count: u32, period: Duration) -> Option<Rate> {
    Some(Rate { count: NonZeroU32::new(count).unwrap(), period })
}

fn settings() -> Settings {
    Settings {
        client: None,
        start_per_client: rate(4, 40 * MINUTE),
        start_total: rate(32, 320 * MINUTE),
        mail_per_account: rate(2, 60 * MINUTE),
        mail_total: None,
        code_per_account: rate(3, 60 * MINUTE),
        answer_per_account: rate(3, 60 * MINUTE),
        overrides: vec![Override {
            clients: vec!["203.0.113.0/24".parse().unwrap()],
            client: None,
            start_per_client: rate(6, 60 * MINUTE),
        }],
        observe: Vec::new(),
        capacity: 1000,
        shared: true,
    }
}

/// One process's limits, and those in memory by the same settings.
struct Both {
    clock: Arc<ManualClock>,
    /// Never charged, but for what is not shared.
    own: Arc<Governor>,
    memory: Governor,
    server: ServerLimits,
    kv: Arc<Kv>,
    events: Arc<Counted>,
}

fn both(running: &RedisServer, settings: &Settings) -> Both {
    let (clock, events) = (Arc::new(ManualClock::new()), Arc::new(Counted::default()));
    let (time, noted): (Arc<dyn Clock>, Arc<dyn Events>) = (clock.clone(), events.clone());
    let quiet: Arc<dyn Events> = Arc::new(Counted::default());
    let own = Arc::new(Governor::new(settings, &time, &quiet, &[7; 32]));
    let memory = Governor::new(settings, &time, &quiet, &[7; 32]);
    let (kv, vault): (Arc<Kv>, Arc<dyn Vault>) = connected(running);
    let server = ServerLimits::new(own.clone(), kv.clone(), vault, noted);
    Both { clock, own, memory, server, kv, events }
}

fn decided(start: Start) -> Result<Share, Rule> {
    match start {
        Start::Allowed(share) => Ok(share),
        Start::Denied { rule, .. } => Err(rule),
    }
}

#[tokio::test]
async fn starts_are_decided_as_in_memory() {
    let Some(running) = RedisServer::start().await else { return };
    for observe in [vec![], vec![LimitName::StartPerClient], vec![LimitName::StartTotal]] {
        let Both { clock, memory, server, kv, own, .. } = both(&running, &Settings { observe, ..settings() });
        kv.met().await.unwrap();
        running.ask::<()>(&["FLUSHALL"]).await;
        let mut ahead = Duration::ZERO;
        let v6 = |subnet: u8| Client::V6([0x20, 1, 0xd, 0xb8, 0, 0, 0, subnet]);
        let mut clients = vec![Client::Unknown, Client::V4([192, 0, 2, 1]), Client::V4([203, 0, 113, 9])];
        clients.extend([1, 2, 3, 4, 1].map(v6));
        for turn in 0_usize..160 {
            let client = clients[turn * 7 % clients.len()];
            let (here, there) = (decided(memory.check_start(client)), decided(server.start(client).await));
            assert_eq!(here, there, "turn {turn}: {client:?}");
            for client in &clients {
                assert_eq!(memory.pressure(*client), server.is_pressed(*client).await, "turn {turn}: {client:?}");
            }
            if turn % 23 == 22 {
                // A little more than what comes back by then: the server's own clock goes on.
                let span = 11 * MINUTE + Duration::from_secs(7);
                clock.forward(span);
                ahead += span;
                kv.ahead(ahead);
            }
        }
        assert!(own.is_empty(), "nothing is counted here");
    }
}

#[tokio::test]
async fn what_an_account_may_have_is_had_once_by_all() {
    let Some(running) = RedisServer::start().await else { return };
    let (one, two) = (both(&running, &settings()), both(&running, &settings()));
    one.kv.met().await.unwrap();
    two.kv.met().await.unwrap();
    let account = LimitKey::Account([1; 16]);
    let charge = async |of: &Both, rule| of.server.charge(rule, account).await == Decision::Allowed;
    for rule in [Rule::MailPerAccount, Rule::CodePerAccount, Rule::AnswerPerAccount] {
        let mut allowed = 0;
        for _ in 0..4 {
            allowed += usize::from(charge(&one, rule).await) + usize::from(charge(&two, rule).await);
        }
        assert_eq!(allowed, if rule == Rule::MailPerAccount { 2 } else { 3 });
        one.server.restore(rule, account).await;
        assert!(charge(&two, rule).await, "given back to all");
    }
    let other = LimitKey::Account([2; 16]);
    assert_eq!(two.server.charge(Rule::MailPerAccount, other).await, Decision::Allowed);
    assert!(two.events.of("LimitNear") > 0);
}

/// Nobody is kept out for want of a server, and nobody gets more mails, or more guesses.
#[tokio::test]
async fn without_a_server_starts_are_counted_here_and_accounts_get_nothing() {
    let Some(mut running) = RedisServer::start().await else { return };
    let Both { server, kv, .. } = both(&running, &settings());
    kv.met().await.unwrap();
    let (client, account) = (Client::V4([192, 0, 2, 1]), LimitKey::Account([1; 16]));
    assert_eq!(server.charge(Rule::MailPerAccount, account).await, Decision::Allowed);
    running.kill();
    let mut told = Vec::new();
    for _ in 0..6 {
        told.push(decided(server.start(client).await));
    }
    assert!(told[..4].iter().all(Result::is_ok) && told[4..].iter().all(Result::is_err), "{told:?}");
    assert!(server.is_pressed(client).await && !server.is_pressed(Client::V4([192, 0, 2, 2])).await);
    for rule in [Rule::MailPerAccount, Rule::CodePerAccount, Rule::AnswerPerAccount] {
        assert!(matches!(server.charge(rule, account).await, Decision::Denied { .. }));
    }
}
