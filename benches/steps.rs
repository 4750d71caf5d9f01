//! What single steps cost: a route, a filter, a token, a POST through the engine with its real codes, limits and keys over a
//! store and an outbox that are lists, and a whole reset. `cargo bench --bench steps`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    dead_code,
    reason = "a bench may fail, and uses of the tests' engine what it needs"
)]

#[path = "../tests/it/support/clock.rs"]
mod clock;
#[path = "../tests/it/support/engine.rs"]
mod engine;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use resetgate::{
    proxy::route::Router,
    reset::{
        filter::Filter,
        ports::{Field, Keys, Time},
    },
};
use serde_json::{Value, json};

use self::engine::{Machine, client, configured, query, start};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const UNLIMITED: &str =
    "[limits]\nclient = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_per_account = \"0\"";

fn pure(c: &mut Criterion) {
    let router = Router::new("/openidm/selfservice/reset");
    for (name, target) in [
        ("route, passed", "/openidm/managed/user/0b1c2d3e?_fields=mail,sn&_prettyPrint=true"),
        ("route, reset", "/openidm/selfservice/reset?_action=submitRequirements"),
        ("route, disguised", "/openidm/./selfservice/%72eset;x"),
    ] {
        c.bench_function(name, |b| {
            b.iter(|| router.route(black_box(target.as_bytes()), Some(b"id.example.com")) == router.route(b"/", None))
        });
    }
    let fields = ["userName", "mail", "givenName", "sn"].map(Field::new);
    c.bench_function("filter, one", |b| {
        b.iter(|| Filter::parse(black_box("mail eq \"bjensen@example.com\""), &fields))
    });
    let both = "(userName eq \"bjensen\" OR mail eq \"bjensen\")";
    c.bench_function("filter, name or mail", |b| {
        b.iter(|| Filter::parse(black_box(both), &fields).unwrap().to_crest())
    });
}

fn tokens(c: &mut Criterion) {
    resetgate::keys::install_crypto();
    let config = configured(UNLIMITED);
    let keys = resetgate::keys::RingKeys::new(&config.token.keys, &[9; 32]).unwrap();
    let state = resetgate::reset::token::sample();
    let expires = Time::from_millis(1_900_000_000_000);
    c.bench_function("token, sealed", |b| b.iter(|| keys.seal(black_box(state.expose()), expires).unwrap()));
    let token = keys.seal(state.expose(), expires).unwrap();
    c.bench_function("token, opened", |b| b.iter(|| keys.open(black_box(&token)).unwrap()));
}

/// A reset from its first request to its last.
async fn whole(machine: &Machine, nth: u32) {
    let who = client(nth);
    let token = machine.post(who, &start()).await.token().unwrap();
    machine.post(who, &query(&token, "bjensen")).await;
    let mailed = machine.take_mail();
    let shown = json!({"token": mailed.token, "input": {"token": mailed.token, "code": mailed.code}});
    let proven = machine.post(who, &shown).await.token().unwrap();
    let set = json!({"token": proven, "input": {"password": format!("Fresh-Pass{nth}")}});
    assert!(machine.post(who, &set).await.is_success());
}

fn posts(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let machine = runtime.block_on(Machine::new(&configured(UNLIMITED)));
    machine.insert("bjensen");
    c.bench_function("first POST", |b| b.iter(|| runtime.block_on(machine.post(client(1), &start()))));
    let asked = runtime.block_on(async {
        let token = machine.post(client(1), &start()).await.token().unwrap();
        machine.post(client(1), &query(&token, "nobody")).await.token().unwrap()
    });
    let mut nth = 0_u64;
    let wrong = |nth: &mut u64| -> Value {
        *nth += 1;
        json!({"token": asked, "input": {"code": format!("wrong-{nth}")}})
    };
    c.bench_function("wrong code", |b| {
        b.iter_batched(
            || wrong(&mut nth),
            |body| runtime.block_on(machine.post(client(1), &body)),
            BatchSize::SmallInput,
        );
    });
    let mut nth = 0;
    c.bench_function("whole reset", |b| {
        b.iter(|| {
            nth += 1;
            runtime.block_on(whole(&machine, nth));
        });
    });
}

criterion_group!(benches, pure, tokens, posts);
criterion_main!(benches);
