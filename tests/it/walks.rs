//! Whatever is posted in whatever order: a password is set only by whoever showed the code that was mailed to the
//! account, once, and the mailed link is good for whoever has it.
//!
//! Each walk is a list of steps over three accounts that can be reset and three names that cannot. A model knows what
//! each token is worth, and judges every answer and every PATCH. `PROPTEST_CASES` says how many walks,
//! `PROPTEST_RNG_SEED` which; one that fails is shrunk and printed whole.

mod model;

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use proptest::{
    prelude::*,
    test_runner::{RngSeed, TestRunner},
};
use resetgate::config::Config;

use self::model::{Outcomes, Walk};
use crate::support::engine::{Machine, configured};

/// Whom a query asks for.
pub(super) const NAMES: [&str; 6] = ["alice", "bob", "carol", "nobody", "dormant", "nomail"];

/// Which token a POST carries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Token {
    None,
    Garbage,
    /// The one answered so many answers ago.
    Recent(usize),
    /// Any that was ever answered.
    Any(usize),
    /// That of a mailed link, counted from the newest.
    Link(usize),
}

/// What it says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    /// The code of a mail, counted from the newest, with so many blanks around it: another request, the same code.
    Code(usize, usize),
    Wrong(u8),
    Password(u8),
    Query(usize),
    /// All at once: each stage reads its own.
    Everything(usize, u8),
    Empty,
    Missing,
    NoObject,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Get,
    /// A start of its own, up to the answer to its query.
    Start(usize),
    Post(Token, Input),
    /// The same twice, one after the other.
    Twice(Token, Input),
    /// Two at the same moment.
    Pair((Token, Input), (Token, Input)),
    /// More wrong codes with that token than any lane takes.
    Burn(Token),
    /// The link of a mail with its own code, and if that is right, a password: what an owner does.
    Follow(usize, u8),
    /// So many seconds pass.
    Wait(u64),
}

fn token() -> impl Strategy<Value = Token> {
    prop_oneof![
        1 => Just(Token::None),
        1 => Just(Token::Garbage),
        8 => (0..4_usize).prop_map(Token::Recent),
        4 => any::<usize>().prop_map(Token::Any),
        6 => (0..4_usize).prop_map(Token::Link),
    ]
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        8 => (0..4_usize, 0..3_usize).prop_map(|(mail, blanks)| Input::Code(mail, blanks)),
        3 => any::<u8>().prop_map(Input::Wrong),
        8 => (0..3_u8).prop_map(Input::Password),
        3 => (0..NAMES.len()).prop_map(Input::Query),
        1 => (0..4_usize, 0..3_u8).prop_map(|(mail, password)| Input::Everything(mail, password)),
        1 => Just(Input::Empty),
        1 => Just(Input::Missing),
        1 => Just(Input::NoObject),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    // Times around which something ends: the gap, an asker's token, a link, the mails' refill.
    let wait = prop_oneof![0..90_u64, 295..305_u64, 1195..1205_u64, 0..4000_u64];
    prop_oneof![
        1 => Just(Step::Get),
        5 => (0..NAMES.len()).prop_map(Step::Start),
        10 => (token(), input()).prop_map(|(token, input)| Step::Post(token, input)),
        2 => (token(), input()).prop_map(|(token, input)| Step::Twice(token, input)),
        3 => ((token(), input()), (token(), input())).prop_map(|(one, other)| Step::Pair(one, other)),
        2 => token().prop_map(Step::Burn),
        2 => (0..4_usize, 0..3_u8).prop_map(|(mail, password)| Step::Follow(mail, password)),
        3 => wait.prop_map(Step::Wait),
    ]
}

fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| configured("[limits]\nclient = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\""))
}

/// Few enough for every run.
const WALKS: u32 = 300;

#[test]
fn no_walk_sets_a_password_without_the_mailed_code_and_none_locks_its_owner_out() {
    let mut settings =
        ProptestConfig { failure_persistence: None, max_shrink_iters: 4096, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        settings.cases = WALKS;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        settings.rng_seed = RngSeed::Fixed(20_261_121);
    }
    let walks = settings.cases;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let [patches, proofs, follows] = [const { AtomicU64::new(0) }; 3];
    let ended = TestRunner::new(settings).run(&prop::collection::vec(step(), 1..60), |steps| {
        let outcomes = runtime.block_on(async {
            let machine = Machine::new(config()).await;
            ["alice", "bob", "carol", "dormant", "nomail"].iter().for_each(|name| machine.insert(name));
            let mut walk = Walk::new(machine);
            for step in &steps {
                walk.take(step).await?;
            }
            Ok::<Outcomes, TestCaseError>(walk.outcomes())
        })?;
        patches.fetch_add(outcomes.patches, Relaxed);
        proofs.fetch_add(outcomes.proofs, Relaxed);
        follows.fetch_add(outcomes.good_links, Relaxed);
        Ok(())
    });
    if let Err(failure) = ended {
        panic!("{failure}");
    }
    // What never gets anywhere proves nothing.
    let [patches, proofs, follows] = [patches, proofs, follows].map(AtomicU64::into_inner);
    println!("{walks} walks: {proofs} codes shown right, {follows} of them had to be, {patches} passwords set");
    let enough = u64::from(walks) / 4;
    assert!(walks < 50 || (patches > enough && proofs > enough && follows > enough), "{patches}, {proofs}, {follows}");
}
