//! The engine with its real code cache, limits and keys, between a store and an outbox that are lists, on a clock that
//! moves only when told: hours in seconds, without sockets.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use resetgate::{
    app,
    config::{self, Config},
    flows::{
        memory::{MemoryFlows, Rules},
        repeats::MemoryRepeats,
    },
    keys::{RingKeys, install_crypto},
    limits::Governor,
    reset::{
        Caller, Engine, Ports, Settings,
        filter::Filter,
        ports::{
            About, Account, AccountId, Accounts, AnyPassword, Change, Client, Clock, Decision, Down, Event, Events,
            Field, Full, Job, LimitKey, NewValue, Nothing, Notice, Outbox, Patched, Reply, Resource, Revision, Rule,
            Secret, Share, Slot, Time,
        },
    },
};
use serde_json::{Value, json};

use super::clock::ManualClock;

/// A password that reached the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Patch {
    pub(crate) account: String,
    pub(crate) password: String,
}

/// Accounts by user name, which is also their id; all active, all with an address, but for those named after what they
/// lack. Each call lets others run in its middle.
#[derive(Default)]
pub(crate) struct People {
    pub(crate) names: Mutex<Vec<String>>,
    pub(crate) patches: Mutex<Vec<Patch>>,
    /// How much longer a look-up takes of somebody who is there.
    pub(crate) found_lag: Mutex<Duration>,
    /// The same, by a clock that moves only when told.
    pub(crate) found_moves: Mutex<Option<(Arc<ManualClock>, Duration)>>,
}

impl People {
    fn account(name: &str) -> Account {
        let status = if name.starts_with("dormant") { "inactive" } else { "active" };
        let mut fields = vec![("userName", name.to_owned()), ("accountStatus", status.to_owned())];
        if !name.starts_with("nomail") {
            fields.push(("mail", format!("{name}@example.com")));
        }
        let attributes = fields.into_iter().map(|(name, value)| (Field::new(name), Secret::new(value))).collect();
        let (id, revision) = (AccountId(name.to_owned()), Some(Revision("1".to_owned())));
        Account { id, revision, attributes, structures: BTreeMap::new() }
    }

    fn all(&self) -> Vec<Account> {
        self.names.lock().iter().map(|name| Self::account(name)).collect()
    }
}

async fn breathe() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}

#[async_trait]
impl Accounts for People {
    async fn find(
        &self,
        _: &Caller,
        _: &Resource,
        filter: &Filter,
        _: &[Field],
        _: usize,
    ) -> Result<Vec<Account>, Down> {
        breathe().await;
        let found: Vec<_> =
            self.all().into_iter().filter(|account| filter.matches(|field| account.text(field))).take(2).collect();
        let lag = *self.found_lag.lock();
        if !found.is_empty() && !lag.is_zero() {
            tokio::time::sleep(lag).await;
        }
        if let (false, Some((clock, span))) = (found.is_empty(), &*self.found_moves.lock()) {
            clock.forward(*span);
        }
        Ok(found)
    }

    async fn read(&self, _: &Caller, _: &Resource, id: &AccountId, _: &[Field]) -> Result<Option<Account>, Down> {
        breathe().await;
        Ok(self.all().into_iter().find(|account| account.id == *id))
    }

    async fn patch(
        &self,
        _: &Caller,
        _: &Resource,
        id: &AccountId,
        _: Option<&Revision>,
        changes: &[Change<'_>],
    ) -> Result<Patched, Down> {
        breathe().await;
        let [change] = changes else { panic!("one change") };
        assert_eq!(change.field.as_str(), "password");
        let NewValue::Text(password) = change.value else { panic!("a password") };
        self.patches.lock().push(Patch { account: id.0.clone(), password: password.expose().to_owned() });
        breathe().await;
        Ok(Patched::Done)
    }
}

/// Mails as they were queued: nothing is slow and nothing fails.
#[derive(Clone, Default)]
pub(crate) struct Mails(Arc<Mutex<Vec<Job>>>);

#[async_trait]
impl Outbox for Mails {
    fn deliverable(&self, address: &str) -> bool {
        address.contains('@')
    }
    fn taken(&self) -> usize {
        0
    }

    fn reserve(&self, _: Share) -> Result<Box<dyn Slot>, Full> {
        Ok(Box::new(self.clone()))
    }
    fn notify(&self, notice: Notice) {
        panic!("{:?} has no aftermath", notice.account);
    }
    async fn drained(&self) {}
}

impl Slot for Mails {
    fn send(self: Box<Self>, job: Job) {
        self.0.lock().push(job);
    }
    fn decoy(self: Box<Self>, _: Time) {}
}

/// How often each kind of event was.
#[derive(Default)]
pub(crate) struct Counted(Mutex<BTreeMap<String, u64>>);

impl Events for Counted {
    fn record(&self, event: Event, _: &About<'_>) {
        let text = format!("{event:?}");
        let kind = text.split([' ', '{']).next().unwrap_or_default().to_owned();
        *self.0.lock().entry(kind).or_default() += 1;
    }
}

impl Counted {
    pub(crate) fn of(&self, kind: &str) -> u64 {
        self.0.lock().get(kind).copied().unwrap_or_default()
    }
}

/// A link that was mailed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mailed {
    pub(crate) to: String,
    pub(crate) token: String,
    pub(crate) code: String,
}

/// What the engine answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered(pub(crate) Reply);

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.0.body).unwrap()
    }
    pub(crate) fn token(&self) -> Option<String> {
        self.json()["token"].as_str().map(str::to_owned)
    }
    pub(crate) fn is_success(&self) -> bool {
        self.json()["status"] == json!({"success": true})
    }
    /// The stage that asks on.
    pub(crate) fn asks_for(&self, stage: &str) -> bool {
        self.0.status == 200 && self.json()["type"] == stage && !self.is_success()
    }
}

pub(crate) struct Machine {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) people: Arc<People>,
    pub(crate) events: Arc<Counted>,
    pub(crate) flows: Arc<MemoryFlows>,
    pub(crate) governor: Arc<Governor>,
    mails: Mails,
    engine: Arc<Engine>,
}

/// A configuration that says no more than it must; what else it says is `more`.
pub(crate) fn configured(more: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("selfservice-reset.json"), include_str!("../../../conf/selfservice-reset.json"))
        .unwrap();
    let toml = format!(
        r#"
[upstream]
url = "http://127.0.0.1:1"
[identity]
kind = "crest"
url = "http://127.0.0.1:1/openidm"
auth = {{ kind = "openidm", username = "resetgate", password = "env:IDENTITY_PASSWORD" }}
[token]
ephemeral = true
[mail]
from = "info@example.com"
{more}
"#
    );
    let toml = if toml.contains("[reset]") {
        toml.replace("[reset]", "[reset]\nprocess = \"selfservice-reset.json\"")
    } else {
        toml + "[reset]\nprocess = \"selfservice-reset.json\"\n"
    };
    let file = folder.path().join("resetgate.toml");
    std::fs::write(&file, toml).unwrap();
    let (config, _) = config::load(&file, &|_| Some("secret".to_owned())).unwrap();
    config
}

impl Machine {
    /// With its time standing still, and so without an answer floor.
    pub(crate) async fn new(config: &Config) -> Self {
        let clock = Arc::new(ManualClock::new());
        Self::on(config, clock.clone(), clock, Duration::ZERO).await
    }

    /// On another clock, with that floor.
    pub(crate) async fn on(config: &Config, manual: Arc<ManualClock>, clock: Arc<dyn Clock>, floor: Duration) -> Self {
        install_crypto();
        let (people, mails, events) = (Arc::new(People::default()), Mails::default(), Arc::new(Counted::default()));
        let noted: Arc<dyn Events> = events.clone();
        let rules = Rules::of(config);
        let flows = Arc::new(MemoryFlows::new(config.codes.capacity, rules, clock.clone()));
        let governor = Arc::new(Governor::new(&config.limits, &clock, &noted, &[7; 32]));
        let ports = Ports {
            accounts: people.clone(),
            flows: flows.clone(),
            repeats: Arc::new(MemoryRepeats::new(config.reset.repeat_window)),
            limits: governor.clone(),
            outbox: Arc::new(mails.clone()),
            passwords: Arc::new(AnyPassword),
            aftermath: Arc::new(Nothing),
            keys: Arc::new(RingKeys::new(&config.token.keys, &[9; 32]).unwrap()),
            clock,
            events: noted,
            challenge: None,
        };
        let settings = Settings { answer_floor: floor, ..app::settings(config) };
        let engine = Arc::new(Engine::new(&config.reset.process, settings, ports).await);
        Self { clock: manual, people, events, flows, governor, mails, engine }
    }

    pub(crate) fn insert(&self, name: &str) {
        self.people.names.lock().push(name.to_owned());
    }

    /// A POST of that client, whom the limit on all requests may stop as it does in front of the engine.
    pub(crate) async fn post(&self, client: Client, body: &Value) -> Answered {
        if let Decision::Denied { retry_after, policy } = self.governor.check(Rule::Client, LimitKey::Client(client)) {
            return Answered(Reply::too_many(retry_after, policy));
        }
        let caller = Caller { client, ..Caller::nobody() };
        Answered(self.engine.clone().submit(body.to_string().into(), caller).await)
    }

    pub(crate) async fn read(&self, client: Client) -> Answered {
        Answered(self.engine.read(client).await)
    }

    /// The links mailed so far.
    pub(crate) fn mailed(&self) -> Vec<Mailed> {
        let parse = |job: &Job| {
            let (_, rest) = job.link.expose().split_once("&token=").unwrap();
            let (token, code) = rest.split_once("&code=").unwrap();
            Mailed { to: job.to.expose().to_owned(), token: token.to_owned(), code: code.to_owned() }
        };
        self.mails.0.lock().iter().map(parse).collect()
    }

    /// The last link that was mailed; none is kept.
    #[allow(dead_code, reason = "of the benches, which use this file as well")]
    pub(crate) fn take_mail(&self) -> Mailed {
        let last = self.mailed().pop().unwrap();
        self.mails.0.lock().clear();
        last
    }

    pub(crate) fn patches(&self) -> Vec<Patch> {
        self.people.patches.lock().clone()
    }
}

/// An IPv4 client of its own for each number.
pub(crate) fn client(number: u32) -> Client {
    Client::V4((0x0a00_0000 + number).to_be_bytes())
}

pub(crate) fn start() -> Value {
    json!({"input": {}})
}

pub(crate) fn query(token: &str, user: &str) -> Value {
    json!({"token": token, "input": {"queryFilter": format!("userName eq \"{user}\"")}})
}

pub(crate) fn show(token: &str, code: &str) -> Value {
    json!({"token": token, "input": {"code": code}})
}

pub(crate) fn set(token: &str, password: &str) -> Value {
    json!({"token": token, "input": {"password": password}})
}
