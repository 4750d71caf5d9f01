//! Strangers at one account for an hour, by the defaults of the configuration: its owner gets in at every moment.

use std::time::Duration;

use resetgate::{config::Config, reset::ports::Client};

use crate::support::engine::{Answered, Machine, client, configured, query, set, show, start};

const OWNER: &str = "bjensen";
const HALF_MINUTE: Duration = Duration::from_secs(30);
const STRANGERS: u32 = 4;

fn defaults() -> Config {
    configured("")
}

fn the_owner() -> Client {
    Client::V4([192, 0, 2, 7])
}

/// The account and everyone who is after it.
struct Siege {
    machine: Machine,
    /// Each comes from an address of his own.
    strangers: u32,
    /// What they were answered lately, oldest first.
    tokens: Vec<String>,
    guesses: u64,
}

impl Siege {
    async fn begin() -> Self {
        let machine = Machine::new(&defaults()).await;
        machine.insert(OWNER);
        Self { machine, strangers: 0, tokens: Vec::new(), guesses: 0 }
    }

    fn stranger(&mut self) -> Client {
        self.strangers += 1;
        client(self.strangers)
    }

    /// Asks as that client; what comes of it.
    async fn ask(&self, who: Client, name: &str) -> Answered {
        let first = self.machine.post(who, &start()).await;
        let Some(token) = first.token() else { return first };
        self.machine.post(who, &query(&token, name)).await
    }

    /// A guess in the shape of a code, which no other guess is.
    fn guess(&mut self) -> String {
        self.guesses += 1;
        format!("{:022}", self.guesses)
    }

    /// Everyone starts, guesses until well after his tries are spent, says the same twice, and tries what he has at the
    /// password, too; some guess with what others were answered a while ago.
    async fn attack(&mut self) {
        for _ in 0..STRANGERS {
            let who = self.stranger();
            let asked = self.ask(who, OWNER).await;
            let Some(token) = asked.token() else {
                assert_eq!(asked.0.status, 429, "there may be more of them than start_total lets in");
                continue;
            };
            for _ in 0..6 {
                self.is_refused(who, &token).await;
            }
            let same = show(&token, "the same again");
            assert_eq!(self.machine.post(who, &same).await, self.machine.post(who, &same).await);
            assert_eq!(self.machine.post(who, &set(&token, "Stolen-Pass1")).await.0.status, 400);
            self.tokens.push(token);
        }
        let older: Vec<_> = self.tokens.iter().rev().step_by(7).take(4).cloned().collect();
        for token in older {
            let who = self.stranger();
            self.is_refused(who, &token).await;
        }
    }

    async fn is_refused(&mut self, who: Client, token: &str) {
        let guess = self.guess();
        let answer = self.machine.post(who, &show(token, &guess)).await;
        assert_eq!(answer.0.status, 400);
    }

    /// So many start for names that nobody has that nobody else can start in this moment.
    async fn crowd(&mut self) {
        let mut refused = false;
        for _ in 0..30 {
            let who = self.stranger();
            let token = self.machine.post(who, &start()).await.token().unwrap();
            for n in 0..30 {
                refused |= self.machine.post(who, &query(&token, &format!("nobody{n}"))).await.0.status == 429;
            }
        }
        assert!(refused, "more than start_total allows");
    }

    /// The newest link in that mailbox, as far as the code: nothing is used up by that.
    async fn open_mail_of(&self, name: &str) -> Answered {
        let to = format!("{name}@example.com");
        let mail = self.machine.mailed().into_iter().rfind(|mail| mail.to == to).expect("a mail");
        self.machine.post(the_owner(), &show(&mail.token, &mail.code)).await
    }
}

#[tokio::test]
async fn at_every_half_minute_of_an_hour_the_owner_asks_and_has_a_mail_that_works() {
    let mut siege = Siege::begin().await;
    let mut turned_away = 0;
    for half in 0..=120 {
        siege.attack().await;
        if half % 30 == 29 {
            siege.crowd().await;
        }
        match siege.ask(the_owner(), OWNER).await {
            asked if asked.0.status == 429 => turned_away += 1,
            asked => assert!(asked.asks_for("emailValidation"), "half minute {half}: {asked:?}"),
        }
        let shown = siege.open_mail_of(OWNER).await;
        assert!(shown.asks_for("resetStage"), "half minute {half}: {shown:?}");
        siege.attack().await;
        siege.machine.clock.forward(HALF_MINUTE);
    }
    assert_eq!(turned_away, 4, "once in a crowd, and even then he had a link");
    let mails = siege.machine.mailed().len();
    assert!(mails <= 3 + 3, "three at once and three an hour: {mails}");
    assert_eq!(siege.machine.patches(), []);

    siege.ask(the_owner(), OWNER).await;
    let proven = siege.open_mail_of(OWNER).await.token().unwrap();
    assert!(siege.machine.post(the_owner(), &set(&proven, "Fresh-Pass1")).await.is_success());
    let patches = siege.machine.patches();
    assert_eq!(
        patches.iter().map(|patch| (&*patch.account, &*patch.password)).collect::<Vec<_>>(),
        [(OWNER, "Fresh-Pass1")]
    );
}

/// Whoever forgets it at once again: what strangers have had mailed to him before does not keep him out.
#[tokio::test]
async fn at_every_minute_of_an_hour_the_owner_sets_a_new_password() {
    let mut siege = Siege::begin().await;
    for minute in 0..60 {
        siege.attack().await;
        siege.machine.clock.forward(HALF_MINUTE);
        siege.attack().await;
        assert!(siege.ask(the_owner(), OWNER).await.asks_for("emailValidation"), "minute {minute}");
        let shown = siege.open_mail_of(OWNER).await;
        assert!(shown.asks_for("resetStage"), "minute {minute}: {shown:?}");
        let password = format!("Fresh-Pass{minute}");
        let answer = siege.machine.post(the_owner(), &set(&shown.token().unwrap(), &password)).await;
        assert!(answer.is_success(), "minute {minute}: {answer:?}");
        let patches = siege.machine.patches();
        assert_eq!((patches.len(), &*patches[minute].password), (minute + 1, &*password));
        siege.machine.clock.forward(HALF_MINUTE);
    }
}

/// By the defaults a link lives exactly as long as it takes until another mail may leave.
#[tokio::test]
async fn a_slow_look_up_leaves_no_moment_between_one_link_and_the_next() {
    let config = configured("[limits]\nclient = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"");
    let siege = Siege { machine: Machine::new(&config).await, strangers: 0, tokens: Vec::new(), guesses: 0 };
    siege.machine.insert(OWNER);
    *siege.machine.people.found_moves.lock() = Some((siege.machine.clock.clone(), Duration::from_secs(3)));
    for nth in 0..1000 {
        assert_eq!(siege.ask(the_owner(), OWNER).await.0.status, 200);
        let shown = siege.open_mail_of(OWNER).await;
        assert!(shown.asks_for("resetStage"), "{} s: {shown:?}", 3 * nth);
    }
    assert_eq!(siege.machine.mailed().len(), 3 + 2, "over {} minutes", 1000 * 3 / 60);
}

/// As many wrong codes as that, or as `RESETGATE_WRONG_CODES` says, such as 100000.
const WRONG_CODES: u64 = 5_000;
const PER_FLOW: u64 = 25;

#[tokio::test]
async fn wrong_codes_by_the_thousand_open_nothing_break_nothing_and_lock_nobody_out() {
    let wanted = std::env::var("RESETGATE_WRONG_CODES").map_or(WRONG_CODES, |text| text.parse().unwrap());
    let mut siege = Siege::begin().await;
    siege.machine.insert("zoe");
    let mut flows = 0;
    while siege.guesses < wanted {
        let who = siege.stranger();
        let name = [OWNER, "nobody", OWNER, "zoe"][flows % 4];
        let asked = siege.ask(who, name).await;
        assert_eq!(asked.0.status, 200, "flow {flows}");
        let token = asked.token().unwrap();
        let mut answers = Vec::new();
        for _ in 0..PER_FLOW {
            let guess = siege.guess();
            answers.push(siege.machine.post(who, &show(&token, &guess)).await.0);
        }
        assert_eq!(
            (answers[0].status, &answers[0].body[..]),
            (400, &br#"{"code":400,"reason":"Bad Request","message":"Invalid code"}"#[..])
        );
        assert!(answers.iter().all(|answer| *answer == answers[0]));
        flows += 1;
        if flows % 8 == 0 {
            siege.machine.clock.forward(Duration::from_secs(1));
        }
    }
    let machine = &siege.machine;
    machine.flows.tidy();
    machine.governor.tidy();
    assert_eq!(machine.events.of("CodeWrong"), siege.guesses);
    assert_eq!((machine.events.of("CodeRight"), machine.events.of("Broken"), machine.patches().len()), (0, 0, 0));
    assert_eq!((machine.flows.live(), machine.flows.starts()), (2, flows), "two records, whatever was tried");
    let remembered = machine.governor.len();
    // Those who start are remembered in two ways: their starts, and their first ones.
    assert!(remembered <= 3 * flows + 4, "{remembered} keys for {flows} clients");

    let shown = siege.open_mail_of(OWNER).await;
    assert!(shown.asks_for("resetStage"), "{shown:?}");
    let set = machine.post(the_owner(), &set(&shown.token().unwrap(), "Fresh-Pass1")).await;
    assert!(set.is_success());
    assert!(siege.open_mail_of("zoe").await.asks_for("resetStage"));
    assert_eq!(machine.patches().len(), 1);
}
