//! A panic in the middle of a reset, which only a fault of ours can be: one answer, one count, and life goes on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use resetgate::{
    admin::{Inside, Part},
    app,
    clock::SystemClock,
    config::{self, Address, ConfigReaders},
    flows::{
        memory::{MemoryFlows, Rules},
        repeats::MemoryRepeats,
    },
    identity::Crest,
    keys::{RingKeys, install_crypto},
    mail,
    proxy::{Generation, InFlight},
    reset::{
        Engine, Ports,
        ports::{AnyPassword, Client, Clock, Decision, Events, LimitKey, Limits, Rule, Start},
    },
    serve::{self, Parts, handover::Legacy},
    telemetry::{
        audit::{Recorder, Trail},
        metrics::Metrics,
    },
};
use serde_json::json;

use crate::support::{answer::Answer, world::PATH};

/// Limits that panic: at every user query, and at every request when told to.
#[derive(Default)]
struct Broken {
    everywhere: AtomicBool,
}

#[async_trait]
impl Limits for Broken {
    async fn charge(&self, rule: Rule, _: LimitKey) -> Decision {
        assert!(!self.everywhere.load(Ordering::SeqCst), "told to panic");
        assert!(rule == Rule::Client, "told to panic");
        Decision::Allowed
    }

    async fn restore(&self, _: Rule, _: LimitKey) {}
    async fn start(&self, _: Client) -> Start {
        panic!("told to panic")
    }
    async fn is_pressed(&self, _: Client) -> bool {
        panic!("told to panic")
    }
}

#[tokio::test]
async fn r17_a_panic_is_one_500_and_the_gate_goes_on() {
    install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("selfservice-reset.json", include_str!("../../conf/selfservice-reset.json"));
    write(
        "resetgate.toml",
        r#"
        listen.addresses = ["127.0.0.1:0"]
        admin.address = "127.0.0.1:0"
        upstream.url = "http://127.0.0.1:1"
        edge.watch_upstream = "0s"
        reset = { process = "selfservice-reset.json", answer_floor = "1ms" }
        token.ephemeral = true
        mail = { transport = "file:mails", from = "info@example.com" }
        [identity]
        kind = "crest"
        url = "http://127.0.0.1:1/openidm"
        auth = { kind = "openidm", username = "resetgate", password = "env:PASSWORD" }
        "#,
    );
    let environment = |_: &str| Some("password".to_owned());
    let (config, _) = config::load(&folder.path().join("resetgate.toml"), &environment).unwrap();
    let broken = Arc::new(Broken::default());
    let bound = serve::bind(&config.listen, &config.admin, None).unwrap();
    let (Some(gate), admin) = (bound.addresses().first().and_then(Address::tcp), bound.admin_address()) else {
        panic!("a TCP address")
    };
    let parts = parts(&config, Arc::clone(&broken) as _).await;
    let running = tokio::spawn(async move {
        serve::run(bound, &config, parts, std::future::pending(), std::future::pending()).await.unwrap()
    });

    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |body: serde_json::Value| {
        let url = format!("http://{gate}{PATH}?_action=submitRequirements");
        Answer::of(
            http.post(url).header("content-type", "application/json").body(body.to_string()).send().await.unwrap(),
        )
        .await
    };
    let is_ours = |answer: &Answer| {
        assert_eq!(answer.status, 500, "{}", answer.body);
        assert_eq!(
            answer.json(),
            json!({"code": 500, "reason": "Internal Server Error", "message": "Internal Server Error"})
        );
    };
    let token = post(json!({"input": {}})).await.token();
    let query = json!({"token": token, "input": {"queryFilter": "userName eq \"bjensen\""}});
    is_ours(&post(query.clone()).await);
    // Nobody waits for ever for the one who panicked.
    is_ours(&post(query).await);
    broken.everywhere.store(true, Ordering::SeqCst);
    is_ours(&post(json!({"input": {}})).await);
    broken.everywhere.store(false, Ordering::SeqCst);
    assert_eq!(post(json!({"input": {}})).await.status, 200);
    let metrics = http.get(format!("http://{admin}/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\nresetgate_panic_answers_total 3\n"), "{metrics}");
    running.abort();
}

/// Nobody takes over.
struct Nothing;

#[async_trait]
impl Legacy for Nothing {
    fn names(&self) -> Option<Vec<u8>> {
        None
    }
    fn estate(&self) -> Option<Vec<u8>> {
        None
    }
    async fn go_on(&self, _: &[u8]) {}
}

impl Inside for Nothing {
    fn parts(&self) -> Vec<Part> {
        Vec::new()
    }
    fn config(&self) -> String {
        String::new()
    }
    fn config_readers(&self) -> ConfigReaders {
        ConfigReaders::Nobody
    }
}

/// As the program puts them together, but for the limits.
async fn parts(config: &config::Config, limits: Arc<dyn Limits>) -> Parts {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let metrics = Arc::new(Metrics::new(clock.now()).unwrap());
    let events: Arc<dyn Events> = Arc::new(Recorder::new(Arc::clone(&metrics), Arc::clone(&clock), Trail::off()));
    let email = config.reset.process.email().unwrap();
    let outbox =
        mail::start(&config.mail, email, false, None, Arc::clone(&limits), Arc::clone(&clock), Arc::clone(&events))
            .unwrap();
    let rules = Rules::of(config);
    let ports = Ports {
        accounts: Arc::new(Crest::new(&config.identity, Arc::clone(&clock), Arc::clone(&metrics)).unwrap()),
        flows: Arc::new(MemoryFlows::new(10, rules, Arc::clone(&clock))),
        repeats: Arc::new(MemoryRepeats::new(config.reset.repeat_window)),
        limits: Arc::clone(&limits),
        outbox: Arc::clone(&outbox),
        passwords: Arc::new(AnyPassword),
        aftermath: Arc::new(resetgate::reset::ports::Nothing),
        keys: Arc::new(RingKeys::new(&config.token.keys, &[7; 32]).unwrap()),
        clock,
        events: Arc::clone(&events),
        challenge: None,
    };
    let engine = Arc::new(Engine::new(&config.reset.process, app::settings(config), ports).await);
    let generation = Generation::start(config, engine, limits, &metrics).await.unwrap();
    let (generation, in_flight) = (Arc::new(ArcSwap::from_pointee(generation)), Arc::new(InFlight::new(10)));
    let mail_is_out = Box::pin(async move { outbox.drained().await });
    let (legacy, inside) = (Arc::new(Nothing), Arc::new(Nothing));
    Parts { generation, events, in_flight, tls: None, metrics, inside, legacy, supervisor: Arc::default(), mail_is_out }
}
