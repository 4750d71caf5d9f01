//! Codes on a server that other people run: what they may do to them, what it may lose, and the ways to get there.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use resetgate::{
    config::{ClientTls, Pair, Redis, RedisKind, Server, TokenKey},
    flows::{memory::Rules, redis::RedisFlows},
    keys::shared::Shared,
    kv::{Kv, Unfit, Vault},
    reset::ports::{Attempt, Claim, Clock, Digest, FlowRef, Flows, Lane, NewCode, Opened, Secret, Settled, Time},
    telemetry::metrics::Metrics,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::support::{clock::ManualClock, redis::RedisServer, tls::Authority};

const CODE: Digest = [1; 16];
const WRONG: Digest = [2; 16];
const PASSWORD: Digest = [3; 16];
const OTHER: Digest = [4; 16];
const LEASE: Duration = Duration::from_secs(60);
const LIFE: Duration = Duration::from_secs(1200);

/// One process's part of a cache.
struct Replica {
    flows: RedisFlows,
    kv: Arc<Kv>,
    metrics: Metrics,
    clock: Arc<ManualClock>,
}

impl Replica {
    async fn at(config: &Redis) -> Self {
        Self::with(config, 5, b'k').await.unwrap()
    }

    async fn with(config: &Redis, tries: u32, key: u8) -> Result<Self, Arc<Unfit>> {
        let metrics = Metrics::new(Time::default()).unwrap();
        let shared = Arc::new(Shared::new(&[TokenKey(Secret::of([key; 32]))]).unwrap());
        let ids: Arc<dyn Vault> = shared.ids();
        let kv = Arc::new(Kv::new(config, shared, metrics.kv().unwrap()).unwrap());
        kv.met().await?;
        let clock = Arc::new(ManualClock::new());
        let rules = Rules { tries, refused: 10, mail_gap: Duration::ZERO };
        let flows = RedisFlows::new(kv.clone(), ids, 100, rules, clock.clone());
        Ok(Self { flows, kv, metrics, clock })
    }

    fn later(&self) -> Time {
        self.clock.now().after(LIFE)
    }

    async fn open(&self, at: &FlowRef) -> Opened {
        let code = NewCode { digest: CODE, digits: None, expires: self.later() };
        self.flows.open(at, code).await.unwrap()
    }

    async fn attempt(&self, at: &FlowRef, code: Digest) -> bool {
        self.flows.attempt(at, Lane::Link, code, self.later()).await.unwrap() == Attempt::Right
    }

    async fn claim(&self, at: &FlowRef, password: Digest) -> Claim {
        self.flows.claim(at, password, LEASE).await.unwrap()
    }

    fn counts(&self, series: &str) -> String {
        let text = self.metrics.render();
        let start = format!("resetgate_codes_store_{series} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("{series}")).to_owned()
    }
}

fn flow(account: u8) -> FlowRef {
    FlowRef { account: [account; 16], flow: [account; 16] }
}

fn key(account: u8) -> String {
    format!("{{resetgate}}:flow:{}", format!("{account:02x}").repeat(16))
}

/// What is there, as it is.
async fn raw(server: &RedisServer, key: &str) -> Vec<u8> {
    server.ask::<Option<Vec<u8>>>(&["GET".as_bytes(), key.as_bytes()]).await.unwrap()
}

async fn put(server: &RedisServer, key: &str, value: &[u8]) {
    server.ask::<()>(&["SET".as_bytes(), key.as_bytes(), value]).await;
}

#[tokio::test]
async fn sixty_tries_over_three_replicas_are_sixty() {
    let Some(server) = RedisServer::start().await else { return };
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Replica::with(&server.config(), 60, b'k').await.unwrap());
    }
    replicas[0].open(&flow(1)).await;
    let tries = |count: usize| (0..count).map(|n| replicas[n % 3].attempt(&FLOW, WRONG));
    assert!(join_all(tries(59)).await.iter().all(|right| !right));
    assert!(replicas[1].attempt(&flow(1), CODE).await, "one is left");
    assert!(join_all(tries(1)).await.iter().all(|right| !right));
    assert!(!replicas[2].attempt(&flow(1), CODE).await, "none is left");
}

const FLOW: FlowRef = FlowRef { account: [1; 16], flow: [1; 16] };

/// Whoever can write there can end flows, and nothing else.
#[tokio::test]
async fn what_others_write_there_is_nothing_to_anybody() {
    let Some(server) = RedisServer::start().await else { return };
    let gate = Replica::at(&server.config()).await;
    for account in 1..=2 {
        assert_eq!(gate.open(&flow(account)).await, Opened::Mail);
    }
    let own = raw(&server, &key(1)).await;
    // Of another account, of nobody, cut short, changed in any of its bytes.
    put(&server, &key(2), &own).await;
    assert!(!gate.attempt(&FlowRef { account: [2; 16], flow: [1; 16] }, CODE).await);
    let mut forgeries = vec![b"".to_vec(), b"garbage".to_vec(), own[..own.len() - 1].to_vec()];
    forgeries.extend((0..own.len()).step_by(7).map(|at| {
        let mut forged = own.clone();
        forged[at] ^= 1;
        forged
    }));
    let count = forgeries.len() + 1;
    for forged in forgeries {
        put(&server, &key(1), &forged).await;
        assert!(!gate.attempt(&flow(1), CODE).await);
    }
    assert_eq!(gate.counts("forged_total"), count.to_string());
    server.ask::<()>(&["DEL", &key(1)]).await;
    server.ask::<()>(&["LPUSH", &key(1), "x"]).await;
    assert!(gate.flows.attempt(&flow(1), Lane::Link, CODE, gate.later()).await.is_err());
    server.ask::<()>(&["DEL", &key(1)]).await;
    // And a new start is a new record, whatever stood there.
    put(&server, &key(1), b"garbage").await;
    assert_eq!(gate.open(&flow(1)).await, Opened::Mail);
    assert!(gate.attempt(&flow(1), CODE).await);
    assert!(!own.windows(16).any(|part| part == CODE), "nothing of it can be read there");
}

/// A failover may lose the last writes. The one before the password's is the lease: it alone revives nothing; and a
/// process that has seen more than what is there now does not believe it.
#[tokio::test]
async fn r10_what_a_failover_brings_back_sets_no_second_password() {
    let Some(server) = RedisServer::start().await else { return };
    let (one, two) = (Replica::at(&server.config()).await, Replica::at(&server.config()).await);
    for account in 1..=2 {
        one.open(&flow(account)).await;
        assert!(one.attempt(&flow(account), CODE).await);
        let before = raw(&server, &key(account)).await;
        assert_eq!(one.claim(&flow(account), PASSWORD).await, Claim::Granted);
        let leased = raw(&server, &key(account)).await;
        one.flows.settle(&flow(account), Settled::Set).await.unwrap();
        if account == 1 {
            // Only the last write is lost: who never saw it finds the lease, and after that the one password.
            put(&server, &key(1), &leased).await;
            assert_eq!(two.claim(&flow(1), OTHER).await, Claim::Busy);
            two.kv.ahead(LEASE);
            assert_eq!(two.claim(&flow(1), OTHER).await, Claim::Undecided);
            two.kv.ahead(Duration::ZERO);
        } else {
            // More is lost: who has set it knows better, and so does everybody after it was asked.
            put(&server, &key(2), &before).await;
            assert_eq!(one.claim(&flow(2), OTHER).await, Claim::Gone);
            assert_eq!(two.claim(&flow(2), OTHER).await, Claim::Gone);
            assert_eq!(one.counts("returned_total"), "1");
            // The account itself is as good as any.
            assert_eq!(one.open(&flow(2)).await, Opened::Mail);
            assert!(two.attempt(&flow(2), CODE).await);
        }
    }
}

/// A port that nobody has and this is the first to ask for, of those that the system gives to nobody who leaves the choice
/// to it.
fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    let mut ports = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed));
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

fn on(port: u16, config: Redis) -> Redis {
    let place = resetgate::config::Place::Ip(([127, 0, 0, 1], port).into());
    Redis { servers: vec![Server { place, host: "127.0.0.1".to_owned() }], ..config }
}

#[tokio::test]
async fn r10_a_step_counts_when_enough_replicas_have_it() {
    let port = port();
    let Some(server) = RedisServer::with(&["--port", &port.to_string(), "--repl-diskless-sync-delay", "0"]).await
    else {
        return;
    };
    let config = Redis { wait_replicas: 1, timeout: Duration::from_millis(500), ..server.config() };
    let gate = Replica::at(&config).await;
    let opened = gate.flows.open(&flow(1), NewCode { digest: CODE, digits: None, expires: gate.later() }).await;
    assert!(opened.is_err_and(|down| down.sent), "nobody else has it");
    assert_eq!(gate.counts("failures_total{why=\"not_copied\"}"), "1");
    let Some(replica) = RedisServer::with(&["--replicaof", "127.0.0.1", &port.to_string()]).await else { return };
    let copied = async { while !replica.ask::<String>(&["INFO", "replication"]).await.contains("link_status:up") {} };
    tokio::time::timeout(Duration::from_secs(20), copied).await.expect("a replica");
    // It may be slow to say that it has what it was sent.
    let gate = Replica::at(&Redis { timeout: Duration::from_secs(10), ..config }).await;
    assert_eq!(gate.open(&flow(2)).await, Opened::Mail);
    assert!(gate.attempt(&flow(2), CODE).await);
    // Nobody writes to a replica, nor believes what it says.
    let told = Replica::with(&replica.config(), 5, b'k').await.map(|gate| gate.counts("up"));
    assert_eq!(told.unwrap(), "0");
}

#[tokio::test]
async fn others_with_other_keys_are_kept_apart() {
    let Some(server) = RedisServer::start().await else { return };
    let _one = Replica::at(&server.config()).await;
    let told = Replica::with(&server.config(), 5, b'x').await.map(|_| ()).unwrap_err();
    assert!(told.to_string().contains("other token.keys"), "{told}");
    let elsewhere = Redis { namespace: "other".to_owned(), ..server.config() };
    assert!(Replica::with(&elsewhere, 5, b'x').await.is_ok());
    let other_database = Redis { database: 3, ..server.config() };
    assert!(Replica::with(&other_database, 5, b'x').await.is_ok());
}

/// All that it needs to be allowed: a user of its own, over TLS, with a certificate.
#[tokio::test]
async fn tls_and_a_user_of_ones_own() {
    let (trusts, port) = (Authority::new(), port());
    let (shown, own) = (trusts.vouches("cache.internal"), trusts.vouches("gate.internal"));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).to_str().unwrap().to_owned()
    };
    let (ca, certificate) = (file("ca.pem", &trusts.pem), file("cert.pem", &shown.certificate));
    let key = file("key.pem", &shown.key);
    let port_text = port.to_string();
    let settings =
        ["--tls-port", &port_text, "--tls-ca-cert-file", &ca, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let Some(server) = RedisServer::with(&settings).await else { return };
    let user = "ACL SETUSER gate on >secret ~{resetgate}:* +@read +@write +@scripting +time +ping +select -@dangerous \
                +role +info +wait";
    server.ask::<()>(&user.split_whitespace().collect::<Vec<_>>()).await;
    let roots = vec![CertificateDer::from_pem_slice(trusts.pem.as_bytes()).unwrap()];
    let pair = Pair { chain: vec![own.der()], key: PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap() };
    let tls =
        ClientTls { roots: Some(roots), server_name: Some("cache.internal".to_owned()), pair: Some(pair), pin: None };
    let config = |name: &str, tls: ClientTls| Redis {
        username: Some("gate".to_owned()),
        password: Some(Secret::new(name)),
        tls: Some(tls),
        ..on(port, server.config())
    };
    let gate = Replica::at(&config("secret", tls.clone())).await;
    assert_eq!(gate.open(&flow(1)).await, Opened::Mail);
    assert!(gate.flows.reserve(gate.later()).await.unwrap());
    assert!(gate.attempt(&flow(1), CODE).await);
    for wrong in [
        config("wrong", tls.clone()),
        config("secret", ClientTls { server_name: Some("other.internal".to_owned()), ..tls.clone() }),
        config("secret", ClientTls { pair: None, ..tls.clone() }),
        config("secret", ClientTls { pin: Some([1; 32]), roots: None, server_name: None, ..tls }),
    ] {
        assert_eq!(Replica::at(&wrong).await.counts("up"), "0");
    }
}

#[tokio::test]
async fn sentinels_say_where_it_is_and_a_cluster_sends_on() {
    let (port, watched) = (port().to_string(), port());
    let Some(server) = RedisServer::with(&["--port", &port]).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sentinel.conf");
    std::fs::write(&file, format!("sentinel monitor main 127.0.0.1 {port} 1\n")).unwrap();
    let watched_text = watched.to_string();
    let Some(_sentinel) = RedisServer::by(Some(&file), &["--sentinel", "--port", &watched_text]).await else { return };
    let by = |name: &str| Redis { kind: RedisKind::Sentinels(name.to_owned()), ..on(watched, server.config()) };
    let gate = Replica::at(&by("main")).await;
    assert_eq!(gate.open(&flow(1)).await, Opened::Mail);
    assert_eq!(server.ask::<u32>(&["EXISTS", &key(1)]).await, 1);
    assert_eq!(Replica::at(&by("another")).await.counts("up"), "0");

    // Two nodes; the one that is asked first has none of the keys.
    let (first, second) = (self::port(), self::port());
    let mut nodes = Vec::new();
    let buses = [first, second].map(|_| self::port().to_string());
    for (port, bus) in [first, second].into_iter().zip(&buses) {
        let settings = ["--cluster-enabled", "yes", "--port", &port.to_string(), "--cluster-port", bus];
        nodes.push(RedisServer::with(&settings).await.unwrap());
    }
    nodes[1].ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    nodes[0].ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &second.to_string(), &buses[1]]).await;
    let gathered = async { while !nodes[0].ask::<String>(&["CLUSTER", "INFO"]).await.contains("state:ok") {} };
    tokio::time::timeout(Duration::from_secs(20), gathered).await.expect("a cluster");
    let gate = Replica::at(&Redis { kind: RedisKind::Cluster, ..on(first, nodes[0].config()) }).await;
    // A node that has just begun waits a little before it lets anybody write.
    tokio::time::timeout(Duration::from_secs(20), gate.kv.is_up()).await.expect("a cluster that can be used");
    assert_eq!(gate.open(&flow(1)).await, Opened::Mail);
    assert!(gate.attempt(&flow(1), CODE).await);
    assert!(gate.flows.reserve(gate.later()).await.unwrap());
    assert_eq!(nodes[1].ask::<u32>(&["EXISTS", &key(1)]).await, 1);
}
