//! A stranger with a thousand addresses and a list of a thousand real names, as fast as all limits let through, by a clock
//! that moves as the story does.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use resetgate::{
    demo::{mailbox::Mail, store::User},
    reset::ports::{Clock, Time},
};

use super::{TRUSTED, query_from};
use crate::support::{
    clock::ManualClock,
    world::{Answer, Plan, World, link},
};

const ADDRESSES: u32 = 1000;
const MINUTES: usize = 10;
/// Starts that are tried every second, a little more than `start_total` gives back.
const A_SECOND: u32 = 22;
/// So long goes by between two such seconds' starts.
const STEP: Duration = Duration::from_secs(4);
/// So long goes by in one tick.
const TICK: Duration = Duration::from_millis(500);

struct Flood {
    world: World,
    clock: Arc<ManualClock>,
    asked: u32,
    /// Mails of persons, by address, and when they were there.
    came: HashMap<String, (Mail, Time)>,
}

#[tokio::test]
async fn a_thousand_addresses_at_full_speed_keep_nobody_out() {
    let clock = Arc::new(ManualClock::new());
    // All the limits, and the outbox, as they are by default.
    let (limits, reset) = ("", "answer_floor = \"1ms\"");
    let plan = Plan { clock: Some(Arc::clone(&clock)), listen: TRUSTED, limits, reset, ..Plan::default() };
    let world = World::with(plan).await;
    for n in 0..ADDRESSES {
        insert(&world, &format!("victim{n}"));
    }
    for minute in 0..MINUTES {
        insert(&world, &format!("person{minute}"));
    }
    let mut flood = Flood { world, clock, asked: 0, came: HashMap::new() };

    // First all that later starts may have, then all first starts at once.
    flood.ask((0..700).map(|n| n / 29)).await;
    flood.ask(0..ADDRESSES).await;
    let began = flood.clock.now();
    let mut asked = Vec::new();
    for minute in 0..MINUTES {
        flood.person_asks(minute).await;
        asked.push(flood.clock.now());
        while flood.clock.now() < began.after(Duration::from_secs(60) * u32::try_from(minute + 1).unwrap()) {
            let end = flood.clock.now().after(STEP);
            flood.flood_for(4).await;
            flood.rest(end).await;
        }
    }
    let refused: u64 = flood.world.metric("limited_requests_total{rule=\"start_total\"}").await.parse().unwrap();
    let full: u64 = flood.world.metric("full_refusals_total{what=\"outbox\"}").await.parse().unwrap();
    assert!(refused + full > 1000, "there was a flood: {refused}, {full}");

    for (minute, asked) in asked.into_iter().enumerate() {
        let (mail, came) = flood.mail_of(minute).await;
        let waited = came.since(asked);
        assert!(waited < Duration::from_secs(15 * 60), "person {minute} waited {waited:?}");
        let (token, code) = link(&mail);
        assert_eq!(flood.world.show(&token, &code).await.status, 200, "person {minute}'s link is good");
    }
}

fn insert(world: &World, name: &str) {
    world.store.insert(User::new(name, name, "Secret12").with("mail", format!("{name}@example.com")));
}

impl Flood {
    /// Has each of these addresses start once, each for the next of the names.
    async fn ask(&mut self, addresses: impl Iterator<Item = u32>) {
        // The same name by the same token would be a repeat.
        let token = &self.world.begin().await;
        let asks: Vec<_> = addresses.map(|address| (address, self.next_name())).collect();
        let world = &self.world;
        let all = stream::iter(asks).map(|(address, name)| async move {
            let client = format!("10.{}.{}.1", address / 250, address % 250);
            query_from(world, &client, token, &name).await.status
        });
        let all = all.buffer_unordered(100).collect();
        let _: Vec<u16> = moving(&self.clock, all).await;
    }

    /// Has the addresses ask, in turn, what they may ask in so many seconds.
    async fn flood_for(&mut self, seconds: u32) {
        let next = self.asked;
        self.ask((0..A_SECOND * seconds).map(|n| (next + n) % ADDRESSES)).await;
    }

    fn next_name(&mut self) -> String {
        self.asked += 1;
        format!("victim{}", self.asked % ADDRESSES)
    }

    /// A person asks once, from a network that nobody else is in, and again as told; it takes seconds at most.
    async fn person_asks(&mut self, minute: usize) {
        let (client, name) = (format!("198.51.{minute}.7"), format!("person{minute}"));
        let give_up = self.clock.now().after(Duration::from_secs(15));
        loop {
            // Whatever has come back by now, the stranger is there first.
            self.flood_for(8).await;
            let token = self.world.begin().await;
            let asked = query_from(&self.world, &client, &token, &name);
            let answer: Answer = moving(&self.clock, asked).await;
            if answer.status == 200 {
                return;
            }
            assert!(self.clock.now() < give_up, "person {minute} is kept out: {}", answer.body);
            let wait = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
            self.rest(self.clock.now().after(Duration::from_secs(wait))).await;
        }
    }

    async fn mail_of(&mut self, minute: usize) -> (Mail, Time) {
        let to = format!("person{minute}@example.com");
        loop {
            if let Some(came) = self.came.remove(&to) {
                return came;
            }
            self.rest(self.clock.now().after(Duration::from_secs(10))).await;
        }
    }

    /// Time passes, no faster than mail can leave.
    async fn rest(&mut self, until: Time) {
        while self.clock.now() < until {
            self.clock.forward(TICK.min(until.since(self.clock.now())));
            tick().await;
        }
        for mail in self.world.mailbox.mails() {
            if let Some(to) = mail.to.first().filter(|to| to.starts_with("person")).cloned() {
                self.came.entry(to).or_insert((mail, self.clock.now()));
            }
        }
    }
}

/// Lets the time pass that answers wait for.
async fn moving<T>(clock: &ManualClock, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tick() => clock.forward(Duration::from_millis(1)),
        }
    }
}

/// The clock of the story moves on once in so much of real time.
async fn tick() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
