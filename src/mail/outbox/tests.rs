mod relay;

use std::{
    collections::VecDeque,
    os::unix::fs::PermissionsExt,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use self::relay::Double;
use super::*;
use crate::config::Wording;
use crate::{
    config::{self, Smtp, SmtpTls, Transport},
    mail::{
        letter::{
            Written,
            tests::{read, settings},
        },
        smtp,
    },
    reset::{
        ports::{About, Client, Event, Secret, Source, Start},
        process::EmailSettings,
    },
};

const START: u64 = 1_700_000_000_000;
const LINK: &str = "https://id.example.com/#/r/&token=t&code=c";

struct ManualClock(watch::Sender<u64>);

impl ManualClock {
    fn advance(&self, millis: u64) {
        self.0.send_modify(|now| *now += millis);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Time {
        Time::from_millis(*self.0.borrow())
    }
    async fn until(&self, at: Time) {
        self.0.subscribe().wait_for(|now| *now >= at.millis()).await.unwrap();
    }
}

/// Denies for as long as is told first, then allows so many, or any number.
#[derive(Default)]
struct Pace {
    denials: Mutex<VecDeque<Duration>>,
    left: Mutex<Option<usize>>,
    allowed: AtomicUsize,
}

impl Pace {
    fn deny(&self, wait: Duration) {
        self.denials.lock().push_back(wait);
    }
    fn allow(&self, times: usize) {
        *self.left.lock() = Some(times);
    }
}

#[async_trait]
impl Limits for Pace {
    async fn charge(&self, rule: Rule, key: LimitKey) -> Decision {
        assert_eq!((rule, key), (Rule::MailTotal, LimitKey::Everyone));
        if let Some(retry_after) = self.denials.lock().pop_front() {
            return Decision::Denied { retry_after, policy: None };
        }
        if let Some(left) = self.left.lock().as_mut() {
            match left.checked_sub(1) {
                Some(rest) => *left = rest,
                None => return Decision::Denied { retry_after: Duration::from_secs(1), policy: None },
            }
        }
        self.allowed.fetch_add(1, SeqCst);
        Decision::Allowed
    }
    async fn is_pressed(&self, _: Client) -> bool {
        false
    }
    async fn restore(&self, _: Rule, _: LimitKey) {}

    async fn start(&self, _: Client) -> Start {
        panic!("an outbox starts no flow")
    }
}

struct Noted(watch::Sender<Vec<Event>>);

impl Events for Noted {
    fn record(&self, event: Event, _: &About<'_>) {
        self.0.send_modify(|events| events.push(event));
    }
}

impl Noted {
    async fn wait(&self, wanted: &[Event]) {
        let mut events = self.0.subscribe();
        let got = events.wait_for(|events| events.len() >= wanted.len());
        let got = tokio::time::timeout(Duration::from_secs(5), got).await;
        assert!(got.is_ok(), "waited for {wanted:?}, got {:?}", self.0.borrow());
        assert_eq!(*self.0.borrow(), wanted);
    }
}

struct Rig {
    relay: Double,
    clock: Arc<ManualClock>,
    pace: Arc<Pace>,
    events: Arc<Noted>,
    postbox: Postbox,
}

impl Rig {
    async fn new(capacity: usize) -> Self {
        Self::with(capacity, &settings(false, &[("en", "Reset")], &[("en", "%link% %minutes%")])).await
    }

    async fn with(capacity: usize, settings: &EmailSettings) -> Self {
        let relay = Double::up().await;
        let clock = Arc::new(ManualClock(watch::Sender::new(START)));
        let pace = Arc::new(Pace::default());
        let events = Arc::new(Noted(watch::Sender::new(Vec::new())));
        let credentials = Some(("u".to_owned(), Secret::new("p")));
        let config =
            Smtp { host: "127.0.0.1".to_owned(), port: relay.port(), tls: SmtpTls::None, ca: None, credentials };
        let carrier = smtp::Relay::new(&config, Some("reset.example.com"), Duration::from_millis(500)).unwrap();
        let world = World {
            letters: Some(Letters::new(Some("info@example.com"), settings, false, &Wording::default()).unwrap()),
            notices: Notices::new(Some("info@example.com"), &Wording::default()).unwrap(),
            carrier: Box::new(carrier),
            limits: pace.clone(),
            clock: clock.clone(),
            events: events.clone(),
            random: || 0,
        };
        Self { relay, clock, pace, events, postbox: Postbox::start(world, capacity, capacity.div_ceil(4)) }
    }

    fn send(&self, account: u8, to: &str, life: Duration) {
        self.postbox.reserve(Share::First).ok().unwrap().send(Job {
            account: [account; 16],
            source: Source::nobody(),
            to: Secret::new(to),
            link: Secret::new(LINK),
            code: Secret::new("20406080"),
            name: None,
            languages: String::new(),
            until: self.clock.now().after(life),
            trace: None,
        });
    }

    fn send_later(&self, account: u8) {
        self.postbox.reserve(Share::Later).ok().unwrap().send(Job {
            account: [account; 16],
            source: Source::nobody(),
            to: Secret::new("later@example.org"),
            link: Secret::new(LINK),
            code: Secret::new("20406080"),
            name: None,
            languages: String::new(),
            until: self.clock.now().after(LIFE),
            trace: None,
        });
    }

    /// The worker has taken a mail from the queue and waits for the pace.
    async fn pace_waits(&self) {
        eventually(|| self.postbox.desk.health.lock().paced_until() > self.clock.now()).await;
    }

    fn decoy(&self, life: Duration) {
        self.postbox.reserve(Share::First).ok().unwrap().decoy(self.clock.now().after(life));
    }

    /// How many places are free.
    fn free(&self) -> usize {
        let mut slots = Vec::new();
        while let Ok(slot) = self.postbox.reserve(Share::First) {
            slots.push(slot);
        }
        slots.len()
    }

    async fn free_becomes(&self, places: usize) {
        eventually(|| self.free() == places).await;
    }
}

async fn eventually(done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), wait).await.unwrap();
}

/// Gives whatever should not happen the time to happen.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(30)).await;
}

const fn sent(account: u8) -> Event {
    Event::MailSent { account: [account; 16] }
}
const fn delayed(account: u8) -> Event {
    Event::MailDelayed { account: [account; 16] }
}
const fn dropped(account: u8) -> Event {
    Event::MailDropped { account: [account; 16] }
}

const LIFE: Duration = Duration::from_secs(20 * 60);

#[tokio::test]
async fn a_mail_is_sent_with_the_link_and_the_minutes_of_now() {
    let rig = Rig::new(2).await;
    rig.pace.deny(Duration::from_secs(120));
    rig.send(1, "jane@example.org", LIFE);
    settle().await;
    rig.clock.advance(120_000);
    rig.events.wait(&[sent(1)]).await;
    let mails = rig.relay.mails();
    assert_eq!(mails[0].to, "jane@example.org");
    assert_eq!(read(mails[0].content.as_bytes()).text, format!("{LINK} 18"));
    rig.free_becomes(2).await;
}

#[tokio::test]
async fn mails_leave_in_order_at_the_pace_and_wait_for_no_decoy() {
    let rig = Rig::new(9).await;
    rig.pace.allow(0);
    rig.send(1, "u1@example.org", LIFE);
    for _ in 0..6 {
        rig.decoy(LIFE);
    }
    rig.send(2, "u2@example.org", LIFE);
    settle().await;
    for (round, expected) in [vec![sent(1)], vec![sent(1), sent(2)]].iter().enumerate() {
        rig.pace.allow(1);
        rig.clock.advance(999);
        settle().await;
        assert_eq!(rig.pace.allowed.load(SeqCst), round);
        rig.clock.advance(1);
        eventually(|| rig.pace.allowed.load(SeqCst) == round + 1).await;
        rig.events.wait(expected).await;
        settle().await;
        assert_eq!(rig.relay.mails().len(), expected.len());
    }
    rig.clock.advance(1_000);
    rig.free_becomes(9).await;
}

/// Takes letters, and never says so.
struct Silent(Arc<Mutex<Vec<u64>>>, Arc<ManualClock>);

#[async_trait]
impl Carrier for Silent {
    async fn carry(&self, _: &Written) -> Outcome {
        self.0.lock().push((self.1.now().millis() - START) / 1000);
        Outcome::Unknown(Trouble::new("timeout"))
    }
    async fn probe(&self) -> Result<(), Trouble> {
        Ok(())
    }
}

#[tokio::test]
async fn a_letter_whose_fate_is_unknown_is_sent_twice_more_at_most_and_later() {
    let Rig { clock, pace, events, relay: _relay, postbox } = Rig::new(1).await;
    drop(postbox);
    let times = Arc::new(Mutex::default());
    let world = World {
        letters: Some(
            Letters::new(None, &settings(false, &[("en", "Reset")], &[("en", "%link%")]), false, &Wording::default())
                .unwrap(),
        ),
        notices: Notices::new(None, &Wording::default()).unwrap(),
        carrier: Box::new(Silent(Arc::clone(&times), clock.clone())),
        limits: pace.clone(),
        clock: clock.clone(),
        events: events.clone(),
        random: || 0,
    };
    let rig = Rig { relay: Double::up().await, postbox: Postbox::start(world, 2, 1), clock, pace, events };
    rig.send(1, "jane@example.org", LIFE);
    for (seconds, expected) in [(0, vec![0]), (15, vec![0]), (1, vec![0, 16]), (29, vec![0, 16]), (1, vec![0, 16, 46])]
    {
        rig.clock.advance(seconds * 1000);
        eventually(|| times.lock().len() == expected.len()).await;
        settle().await;
        assert_eq!(*times.lock(), expected);
    }
    rig.events.wait(&[delayed(1), delayed(1), dropped(1)]).await;
    rig.free_becomes(2).await;
}

#[tokio::test]
async fn places_are_exactly_as_many_as_configured() {
    let rig = Rig::new(3).await;
    let mut slots: Vec<_> = (0..3).map(|_| rig.postbox.reserve(Share::First).ok().unwrap()).collect();
    assert_eq!(rig.postbox.reserve(Share::First).err(), Some(Full { retry_after: LEAST_WAIT }));
    drop(slots.pop());
    let again = rig.postbox.reserve(Share::First).ok().unwrap();
    assert!(rig.postbox.reserve(Share::First).is_err());
    rig.pace.deny(Duration::from_secs(7));
    drop(again);
    rig.send(1, "jane@example.org", LIFE);
    settle().await;
    assert_eq!(rig.postbox.reserve(Share::First).err(), Some(Full { retry_after: Duration::from_secs(7) }));
    rig.clock.advance(7_000);
    rig.events.wait(&[sent(1)]).await;
    rig.free_becomes(1).await;
    drop(slots);
    assert_eq!(rig.free(), 3);
}

#[tokio::test]
async fn mails_of_first_starts_leave_before_those_of_later_ones_and_have_three_places_in_four() {
    let rig = Rig::new(8).await;
    rig.pace.allow(0);
    rig.send(1, "u1@example.org", LIFE);
    rig.pace_waits().await;
    rig.send_later(2);
    assert!(rig.postbox.reserve(Share::Later).is_err(), "two of eight are taken");
    for account in 3..=7 {
        rig.send(account, &format!("u{account}@example.org"), LIFE);
    }
    assert_eq!((rig.postbox.taken(), rig.free()), (7, 1));
    rig.pace.allow(7);
    rig.clock.advance(1_000);
    let is_sent = |event: &&Event| matches!(event, Event::MailSent { .. });
    eventually(|| rig.events.0.borrow().iter().filter(is_sent).count() == 7).await;
    // As many hands carry at once, so the last may be overtaken by them and by nobody else.
    let place = rig.events.0.borrow().iter().filter(is_sent).position(|event| *event == sent(2));
    assert!(place >= Some(7 - HANDS), "{place:?}");
    rig.free_becomes(8).await;
    assert!(rig.postbox.reserve(Share::Later).is_ok());
}

#[tokio::test]
async fn a_deferred_mail_is_tried_until_its_link_is_dead() {
    let rig = Rig::new(1).await;
    rig.send(1, "defer@example.org", Duration::from_secs(10));
    rig.events.wait(&[delayed(1)]).await;
    assert_eq!(rig.postbox.reserve(Share::First).err(), Some(Full { retry_after: LONGEST_WAIT }));
    rig.clock.advance(999);
    settle().await;
    assert_eq!(rig.relay.recipients().len(), 1);
    rig.clock.advance(1);
    rig.events.wait(&[delayed(1), delayed(1)]).await;
    rig.clock.advance(2_000);
    rig.events.wait(&[delayed(1), delayed(1), delayed(1)]).await;
    // The next wait is 4 s, the one after it would end past the link.
    rig.clock.advance(4_000);
    rig.events.wait(&[delayed(1), delayed(1), delayed(1), dropped(1)]).await;
    assert_eq!(rig.relay.recipients().len(), 4);
    rig.free_becomes(1).await;
}

#[tokio::test]
async fn a_refused_mail_is_not_tried_again() {
    let rig = Rig::new(1).await;
    rig.send(1, "reject@example.org", LIFE);
    rig.events.wait(&[dropped(1)]).await;
    rig.free_becomes(1).await;
    rig.clock.advance(60_000);
    settle().await;
    assert_eq!(rig.relay.recipients().len(), 1);
    // An address that this relay cannot take is one, too.
    rig.send(2, "jörg@example.org", LIFE);
    rig.events.wait(&[dropped(1), dropped(2)]).await;
}

#[tokio::test]
async fn a_relay_that_turns_everybody_away_is_tried_again() {
    let rig = Rig::new(1).await;
    rig.relay.greet("554 go away");
    rig.send(1, "jane@example.org", LIFE);
    rig.events.wait(&[delayed(1)]).await;
    rig.relay.greet("220 double");
    // Credentials that are not taken are the operator's fault, not the mail's.
    rig.relay.answer_login("535 wrong");
    rig.clock.advance(1_000);
    rig.events.wait(&[delayed(1), delayed(1)]).await;
    rig.relay.answer_login("235 come in");
    rig.clock.advance(2_000);
    rig.events.wait(&[delayed(1), delayed(1), sent(1)]).await;
}

#[tokio::test]
async fn a_relay_that_was_down_gets_the_mail_when_it_is_up() {
    let mut rig = Rig::new(2).await;
    rig.relay.down().await;
    rig.send(1, "jane@example.org", LIFE);
    rig.events.wait(&[delayed(1)]).await;
    rig.clock.advance(1_000);
    rig.events.wait(&[delayed(1), delayed(1)]).await;
    rig.relay.up_again().await;
    rig.clock.advance(2_000);
    rig.events.wait(&[delayed(1), delayed(1), sent(1)]).await;
    assert_eq!(rig.relay.mails().len(), 1);
}

#[tokio::test]
async fn only_a_lost_answer_makes_a_second_copy_and_it_has_the_same_name() {
    let rig = Rig::new(2).await;
    rig.send(1, "lost@example.org", LIFE);
    rig.events.wait(&[delayed(1)]).await;
    rig.clock.advance(1_000);
    rig.events.wait(&[delayed(1), delayed(1)]).await;
    let mails = rig.relay.mails();
    assert_eq!(mails.len(), 2);
    let name = |content: &str| content.split("\r\n").find(|line| line.starts_with("Message-ID")).unwrap().to_owned();
    assert_eq!(name(&mails[0].content), name(&mails[1].content));
}

#[tokio::test]
async fn a_mail_that_hangs_or_breaks_holds_up_no_other() {
    let rig = Rig::new(9).await;
    rig.send(1, "hang@example.org", LIFE);
    rig.send(2, "break@example.org", LIFE);
    rig.events.wait(&[delayed(2)]).await;
    rig.send(3, "jane@example.org", LIFE);
    rig.events.wait(&[delayed(2), sent(3)]).await;
    // The deadline, in real time.
    rig.events.wait(&[delayed(2), sent(3), delayed(1)]).await;
    assert_eq!(rig.free(), 7);
}

#[tokio::test]
async fn no_more_hands_than_a_few() {
    let rig = Rig::new(9).await;
    for account in 0..7 {
        rig.send(account, "hold@example.org", LIFE);
    }
    eventually(|| rig.relay.recipients().len() == HANDS).await;
    settle().await;
    assert_eq!(rig.relay.recipients().len(), HANDS);
    rig.relay.release();
    eventually(|| rig.relay.mails().len() == 7).await;
}

#[tokio::test]
async fn the_dead_leave_the_queue_though_the_pace_stands_still() {
    let rig = Rig::new(3).await;
    rig.pace.deny(Duration::from_secs(3600));
    rig.send(1, "a@example.org", LIFE * 2);
    rig.send(2, "b@example.org", LIFE);
    rig.decoy(LIFE);
    settle().await;
    rig.clock.advance(20 * 60_000 - 1);
    settle().await;
    assert_eq!(rig.free(), 0);
    rig.clock.advance(1);
    rig.events.wait(&[dropped(2)]).await;
    rig.free_becomes(2).await;
    rig.clock.advance(20 * 60_000);
    rig.events.wait(&[dropped(2), dropped(1)]).await;
    rig.free_becomes(3).await;
    assert!(rig.relay.recipients().is_empty());
}

#[tokio::test]
async fn a_decoy_takes_as_long_as_mails_did() {
    let rig = Rig::new(1).await;
    rig.send(1, "hold@example.org", LIFE);
    eventually(|| rig.relay.recipients().len() == 1).await;
    rig.clock.advance(4_000);
    rig.relay.release();
    rig.events.wait(&[sent(1)]).await;
    rig.free_becomes(1).await;
    // (3 × 100 ms + 4000 ms) / 4
    rig.decoy(LIFE);
    settle().await;
    rig.clock.advance(1_074);
    settle().await;
    assert_eq!(rig.free(), 0);
    rig.clock.advance(1);
    rig.free_becomes(1).await;
    rig.events.wait(&[sent(1)]).await;
}

#[tokio::test]
async fn a_decoy_waits_its_turn_behind_a_mail_that_waits_for_the_pace() {
    let rig = Rig::new(2).await;
    rig.pace.deny(Duration::from_secs(5));
    rig.send(1, "jane@example.org", LIFE);
    rig.decoy(LIFE);
    settle().await;
    rig.clock.advance(4_999);
    settle().await;
    assert_eq!(rig.free(), 0);
    rig.clock.advance(1);
    rig.events.wait(&[sent(1)]).await;
    rig.clock.advance(100);
    rig.free_becomes(2).await;
    assert_eq!(rig.pace.allowed.load(SeqCst), 1, "the pace is for mails");
}

#[tokio::test]
async fn decoys_back_off_while_mails_fail_and_go_when_one_is_sent() {
    let mut rig = Rig::new(3).await;
    rig.relay.down().await;
    rig.send(1, "jane@example.org", LIFE);
    rig.events.wait(&[delayed(1)]).await;
    rig.decoy(LIFE);
    rig.decoy(Duration::from_secs(5));
    settle().await;
    // Both decoys pretend, fail, and wait 1 s and 2 s; the shorter one would then wait past its end.
    for _ in 0..30 {
        rig.clock.advance(100);
        settle().await;
    }
    assert_eq!(rig.free(), 0);
    for _ in 0..20 {
        rig.clock.advance(100);
        settle().await;
    }
    assert_eq!(rig.free(), 1);
    rig.relay.up_again().await;
    // Once for the mail's turn, once more for the decoy's, each with the time that it takes.
    for wait in [30_000, 1_000, 30_000, 1_000] {
        rig.clock.advance(wait);
        settle().await;
    }
    assert_eq!(rig.free(), 3);
    assert_eq!(rig.relay.mails().len(), 1);
}

#[tokio::test]
async fn a_decoy_alone_finds_out_that_the_relay_is_back() {
    let mut rig = Rig::new(2).await;
    rig.relay.down().await;
    rig.send(1, "jane@example.org", Duration::from_millis(500));
    rig.events.wait(&[dropped(1)]).await;
    rig.decoy(LIFE);
    settle().await;
    rig.clock.advance(1_000);
    settle().await;
    assert_eq!(rig.free(), 1);
    rig.relay.up_again().await;
    rig.clock.advance(30_000);
    rig.free_becomes(2).await;
    assert!(rig.relay.recipients().is_empty());
}

#[tokio::test]
async fn a_drain_waits_for_mails_and_for_nothing_else() {
    let rig = Rig::new(4).await;
    rig.postbox.drained().await;
    rig.send(1, "defer@example.org", Duration::from_secs(3));
    rig.send(2, "hold@example.org", LIFE);
    rig.events.wait(&[delayed(1)]).await;
    eventually(|| rig.relay.recipients().len() == 2).await;
    rig.pace.deny(Duration::from_secs(3600));
    let mut drained = std::pin::pin!(rig.postbox.drained());
    tokio::select! {
        () = &mut drained => panic!("two mails are here"),
        () = settle() => {}
    }
    rig.relay.release();
    rig.events.wait(&[delayed(1), sent(2)]).await;
    tokio::select! {
        () = &mut drained => panic!("one mail is here"),
        () = settle() => {}
    }
    rig.clock.advance(3_000);
    rig.decoy(LIFE);
    tokio::time::timeout(Duration::from_secs(5), drained).await.unwrap();
    rig.events.wait(&[delayed(1), sent(2), dropped(1)]).await;
    assert_eq!(rig.free(), 3);
}

#[tokio::test]
async fn no_body_ends_the_dialogue_early() {
    let body = "a\n.\nb\r.\rc\r\n.\r\nMAIL FROM:<x@example.com>\r\n\n.\r\n..\r\n%link%\r\n.";
    let rig = Rig::with(2, &settings(false, &[("en", "Reset")], &[("en", body)])).await;
    rig.send(1, "jane@example.org", LIFE);
    rig.send(2, "jane@example.org", LIFE);
    eventually(|| rig.relay.mails().len() == 2).await;
    settle().await;
    assert_eq!(rig.relay.mails().len(), 2);
    assert!(!rig.relay.saw_bare_line_ends());
    let text = read(rig.relay.mails()[0].content.as_bytes()).text;
    assert!(text.starts_with("a\r\n.\r\nb\r\n.\r\nc\r\n.\r\nMAIL FROM:<x@example.com>\r\n\r\n.\r\n..\r\n"), "{text:?}");
}

#[tokio::test]
async fn the_worker_ends_with_the_outbox() {
    let rig = Rig::new(2).await;
    let desk = Arc::downgrade(&rig.postbox.desk);
    rig.send(1, "hang@example.org", LIFE);
    eventually(|| rig.relay.recipients().len() == 1).await;
    drop(rig);
    eventually(|| desk.upgrade().is_none()).await;
}

#[tokio::test]
async fn a_folder_gets_one_file_a_mail_that_nobody_else_reads() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("new/mails");
    let config = config::Mail {
        wording: Wording::default(),
        transport: Transport::File(folder.clone()),
        from: Some("info@example.com".to_owned()),
        helo: None,
        capacity: 5,
        later: 5,
    };
    let settings = settings(true, &[("en", "Reset")], &[("en", "<a href='%link%'>x</a>")]);
    let clock = Arc::new(ManualClock(watch::Sender::new(START)));
    let events = Arc::new(Noted(watch::Sender::new(Vec::new())));
    let outbox =
        crate::mail::start(&config, &settings, false, None, Arc::new(Pace::default()), clock.clone(), events.clone())
            .unwrap();
    for account in 1..=2 {
        outbox.reserve(Share::First).ok().unwrap().send(Job {
            account: [account; 16],
            source: Source::nobody(),
            to: Secret::new("jane@example.org"),
            link: Secret::new(LINK),
            code: Secret::new("20406080"),
            name: None,
            languages: String::new(),
            until: clock.now().after(LIFE),
            trace: None,
        });
    }
    outbox.drained().await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2);
    for file in files {
        assert_eq!(file.extension().unwrap(), "eml");
        assert_eq!(mode(&file), 0o600);
        let letter = read(&std::fs::read(&file).unwrap());
        assert!(letter.text.contains(LINK) && letter.html.contains(LINK));
    }
    assert!(outbox.deliverable("jane@example.org"));
    assert!(!outbox.deliverable("jane@example.org,bob@example.org"));
    std::fs::write(place.path().join("file"), "").unwrap();
    let config = config::Mail { transport: Transport::File(place.path().join("file/x")), ..config };
    let failed = crate::mail::start(&config, &settings, false, None, Arc::new(Pace::default()), clock, events);
    assert!(matches!(failed.err(), Some(crate::mail::StartError::Folder(_))));
}

#[test]
fn the_waits_double_and_vary() {
    let waits: Vec<_> = (0..7).map(|attempts| backoff(attempts, 0).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(backoff(u32::MAX, 0), LONGEST_WAIT);
    for random in [1, 250, 251, 1 << 40, u64::MAX] {
        let wait = backoff(3, random);
        assert!((Duration::from_secs(6)..=Duration::from_secs(8)).contains(&wait), "{wait:?}");
    }
}
