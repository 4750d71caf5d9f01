use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use proptest::prelude::*;
use tempfile::TempDir;
use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::*;
use crate::{
    reset::{
        filter::Filter,
        ports::{self, AccountId, Client, Lane, PolicyFailure, Reason, RequestId, Rule, Secret, Service, Time},
    },
    telemetry::metrics::tests::one_of_each,
};

struct Manual(AtomicU64);

#[async_trait]
impl Clock for Manual {
    fn now(&self) -> Time {
        Time::from_millis(self.0.load(Ordering::SeqCst))
    }
    async fn until(&self, _: Time) {}
}

/// Keeps what is logged, as `LEVEL target name=value …`.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text(format!("{} {}", event.metadata().level(), event.metadata().target()));
        event.record(&mut text);
        self.0.lock().push(text.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn key() -> Keys {
    Keys::lasting(&Secret::of([7; 32])).unwrap()
}

/// A folder with a trail, and processes that write to it.
struct Rig {
    folder: TempDir,
    clock: Arc<Manual>,
    metrics: Arc<Metrics>,
    runs: AtomicU64,
}

impl Rig {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(Manual(AtomicU64::new(0))),
            metrics: Arc::new(Metrics::new(Time::from_millis(0)).unwrap()),
            runs: AtomicU64::new(0),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("in").join(name)
    }

    fn keyed(&self, keys: Keys) -> Trail {
        let run = (1 + self.runs.fetch_add(1, Ordering::SeqCst)).to_be_bytes();
        let clock = Arc::clone(&self.clock) as _;
        Trail::start(To::File(self.path("trail")), keys, run, clock, Arc::clone(&self.metrics)).unwrap()
    }

    fn trail(&self) -> Trail {
        self.keyed(key())
    }

    fn recorder(&self, trail: &Trail) -> Recorder {
        Recorder::new(Arc::clone(&self.metrics), Arc::clone(&self.clock) as _, trail.clone())
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn lines(&self, name: &str) -> Vec<Line> {
        let all = self.text(name);
        all.lines().map(|text| line::read(text.as_bytes(), &key()).unwrap().line).collect()
    }

    /// Waits until so many lines were written, of whatever process.
    fn written(&self, count: u64) {
        let late = std::time::Instant::now() + Duration::from_secs(20);
        while self.metrics.audit_written.get() < count {
            assert!(std::time::Instant::now() < late, "{count} lines, not {}", self.metrics.audit_written.get());
            std::thread::yield_now();
        }
    }

    /// What is said of files, `*` before what is broken.
    fn verified(&self, names: &[&str]) -> Vec<String> {
        verified(&key(), &names.iter().map(|name| (*name, self.text(name))).collect::<Vec<_>>())
    }
}

fn verified(keys: &Keys, files: &[(&str, String)]) -> Vec<String> {
    let mut verify = Verify::new(keys, false);
    for (name, text) in files {
        verify.file(name, &mut text.as_bytes()).unwrap();
    }
    let told = verify.finish();
    let mark = |finding: &Finding| {
        format!("{}{}:{} {}", if finding.broken { "*" } else { "" }, finding.file, finding.line, finding.what)
    };
    told.findings.iter().map(mark).collect()
}

fn broken(keys: &Keys, text: &str) -> Vec<u64> {
    let mut verify = Verify::new(keys, false);
    verify.file("trail", &mut text.as_bytes()).unwrap();
    verify.finish().findings.iter().filter(|finding| finding.broken).map(|finding| finding.line).collect()
}

fn request(id: &str) -> RequestId {
    RequestId::parse(id).unwrap()
}

const WRONG: Event = Event::CodeWrong { account: [1; 16], lane: Lane::Asker };

/// A start and what follows, of `name` whose id is `id`.
fn start(recorder: &Recorder, (name, id, number): (&str, &str, u8), event: Event, reason: Reason<'_>) {
    let asked = Filter::Eq(ports::Field::new("userName"), name.into());
    let (request, flow, account) = (request(&format!("r{number}")), [number; 16], AccountId(id.to_owned()));
    let client = Some(Client::V4([203, 0, 113, number]));
    let about = About { request: Some(&request), client, flow: Some(&flow), ..About::default() };
    recorder.record(Event::Started, &About { asked: Some(&asked), ..about });
    recorder.record(event, &About { account: (!id.is_empty()).then_some(&account), reason, ..about });
}

#[tokio::test]
async fn each_event_is_a_line_that_can_be_explained() {
    let rig = Rig::new();
    let trail = rig.trail();
    let recorder = rig.recorder(&trail);
    let more =
        [Event::Started, Event::TokenRefused, Event::Disguised, Event::Denied, Event::Reloaded, Event::ReloadFailed];
    let account = [0xab; 16];
    let held = [Event::FlowDead { account }, Event::PasswordHeld { account }, Event::PasswordNotSent { account }];
    let all: Vec<Event> = one_of_each().iter().map(|(event, _)| *event).chain(more).chain(held).collect();
    for event in &all {
        recorder.record(*event, &About::default());
    }
    trail.end().await;
    let lines = rig.lines("trail");
    assert_eq!(lines.len(), all.len() + 2);
    assert_eq!((lines[0].event.as_str(), lines[all.len() + 1].event.as_str()), ("run_started", "run_ended"));
    for (event, line) in all.iter().zip(&lines[1..]) {
        assert_eq!(line.event, words::name(*event));
        assert!(explain(line).contains(' ') && !explain(line).starts_with(&line.event), "{line:?}");
    }
    let texts: Vec<_> =
        lines.iter().map(|line| format!("{} {}", line.event, line.reason.as_deref().unwrap_or("-"))).collect();
    assert!(texts.contains(&"decoyed look-up-failed".to_owned()) && texts.contains(&"mail_joined gap".to_owned()));
    assert!(!rig.text("trail").contains("abababab"), "a record's key is nobody's hash");
}

#[tokio::test]
async fn every_reason_can_be_explained() {
    let decoys = [
        (Decoy::Unknown, "nobody"),
        (Decoy::Ambiguous, "several"),
        (Decoy::Inactive, "inactive"),
        (Decoy::NoAddress, "no-mail"),
        (Decoy::LongId, "long-id"),
        (Decoy::OverBudget, "budget"),
        (Decoy::Crowded, "crowded"),
        (Decoy::LookUpFailed, "look-up-failed"),
    ];
    for (why, word) in decoys {
        let reason = words::reason(Event::Decoyed { why }, Reason::None).unwrap();
        assert_eq!(reason, word);
        let line = Line { event: "decoyed".to_owned(), reason: Some(reason), ..Line::default() };
        let told = explain(&line);
        assert!(told.starts_with("no mail is sent: ") && !told.ends_with(word), "{told}");
    }
    let failure = |name: &str| PolicyFailure { requirement: name.to_owned(), params: None };
    let policies = [failure("MIN_LENGTH"), failure("bjensen@example.com"), failure(""), failure(&"A".repeat(65))];
    let refused = Event::PasswordRefused { account: [0; 16] };
    assert_eq!(words::reason(refused, Reason::Policies(&policies)).unwrap(), "MIN_LENGTH,OTHER");
    assert_eq!(words::reason(refused, Reason::Policies(&[])).unwrap(), "OTHER");
    let many: Vec<_> = (0..20).map(|at| failure(if at % 2 == 0 { "A" } else { "B" })).collect();
    assert_eq!(words::reason(refused, Reason::Policies(&many)).unwrap().len(), 15);
    assert_eq!(words::reason(Event::MailDropped { account: [0; 16] }, Reason::Status(550)).unwrap(), "550");
}

#[tokio::test]
async fn the_log_is_told_what_asks_for_something_to_be_done() {
    let rig = Rig::new();
    let recorder = rig.recorder(&Trail::off());
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        for (event, _) in one_of_each() {
            recorder.record(event, &About::default());
        }
    });
    let expected = [
        r#"WARN resetgate::audit event="decoyed" why="look_up_failed""#,
        r#"WARN resetgate::audit event="mail_dropped" account="abababab""#,
        r#"WARN resetgate::audit event="outcome_unknown" account="abababab""#,
        r#"WARN resetgate::audit event="link_invalid" account="abababab""#,
        concat!(
            r#"WARN resetgate::audit event="floor_missed" "#,
            r#"what="look-ups outlast reset.answer_floor, and how long they take shows: raise it""#,
        ),
        r#"WARN resetgate::audit event="service_down" service="codes""#,
        r#"ERROR resetgate::audit event="broken" what="test""#,
    ];
    assert_eq!(*log.0.lock(), expected);
}

#[tokio::test]
async fn what_an_operator_must_change_is_a_warning_a_minute() {
    let rig = Rig::new();
    let recorder = rig.recorder(&Trail::off());
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        for second in 0..=60 {
            rig.clock.0.store(1 + second * 1000, Ordering::SeqCst);
            for _ in 0..10 {
                recorder.record(Event::FloorMissed, &About::default());
                recorder.record(Event::Decoyed { why: Decoy::LookUpFailed }, &About::default());
            }
        }
    });
    let lines = log.0.lock();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(lines[2].starts_with("WARN resetgate::audit event=\"floor_missed\"") && lines[2].ends_with("skipped=599"));
    assert_eq!(lines[3], r#"WARN resetgate::audit event="decoyed" why="look_up_failed" skipped=599"#);
    assert!(rig.metrics.render().contains("resetgate_floor_misses_total 610\n"));
}

#[tokio::test]
async fn a_flood_is_counted_in_full_and_written_once_a_second() {
    let rig = Rig::new();
    let trail = rig.trail();
    let recorder = rig.recorder(&trail);
    let nobody = About::default();
    for _ in 0..1000 {
        recorder.record(Event::Limited { rule: Rule::Client }, &nobody);
        recorder.record(Event::Limited { rule: Rule::MailTotal }, &nobody);
        recorder.record(Event::OutboxFull, &nobody);
        recorder.record(Event::ServiceDown { service: Service::Identity }, &nobody);
        recorder.record(Event::Disguised, &nobody);
        recorder.record(Event::Denied, &nobody);
        recorder.record(Event::TokenRefused, &nobody);
    }
    rig.clock.0.store(1001, Ordering::SeqCst);
    recorder.record(Event::OutboxFull, &nobody);
    recorder.record(Event::OutboxFull, &nobody);
    for _ in 0..10 {
        recorder.record(WRONG, &nobody);
    }
    trail.end().await;
    let lines = rig.lines("trail");
    assert_eq!(lines.len(), 2 + 7 + 1 + 10, "{lines:#?}");
    assert_eq!((lines[8].event.as_str(), lines[8].skipped), ("outbox_full", Some(999)));
    assert!(rig.metrics.render().contains("resetgate_limited_requests_total{rule=\"client\"} 1000\n"));
}

#[tokio::test]
async fn a_line_tells_names_as_hashes_alone() {
    let rig = Rig::new();
    let trail = rig.trail();
    let recorder = rig.recorder(&trail);
    let (id, mail) = (AccountId("canary-id".to_owned()), Secret::new("Canary@Example.com"));
    let asked =
        Filter::parse("a eq \"canary\" or b eq \"CANARY\"", &[ports::Field::new("a"), ports::Field::new("b")]).unwrap();
    let request = request("4f1c");
    let about = About {
        request: Some(&request),
        client: Some(Client::of("2001:db8::1".parse().unwrap())),
        flow: Some(&[5; 16]),
        account: Some(&id),
        mail: Some(&mail),
        asked: Some(&asked),
        reason: Reason::Word("word"),
    };
    recorder.record(WRONG, &about);
    trail.end().await;
    let line = &rig.lines("trail")[1];
    let hash = |name: &str| Some(key().name(name));
    assert_eq!((line.request.as_deref(), line.client.as_deref()), (Some("4f1c"), Some("2001:db8::/64")));
    assert_eq!((&line.account, &line.mail), (&hash("canary-id"), &hash("canary@example.com")));
    assert_eq!((&line.asked, line.lane.as_deref()), (&vec![key().name("canary")], Some("asker")));
    assert_eq!(line.reason.as_deref(), Some("word"));
    let text = rig.text("trail").to_lowercase();
    assert!(!text.contains("canary") && !text.contains(&keys::hex(&[5; 16])), "{text}");
}

#[tokio::test]
async fn a_chain_goes_on_over_files_and_processes() {
    let rig = Rig::new();
    for _ in 0..2 {
        let trail = rig.trail();
        start(&rig.recorder(&trail), ("bjensen", "id", 1), WRONG, Reason::None);
        trail.end().await;
    }
    let trail = rig.trail();
    start(&rig.recorder(&trail), ("bjensen", "id", 1), WRONG, Reason::None);
    rig.written(11);
    fs::rename(rig.path("trail"), rig.path("trail.1")).unwrap();
    trail.reopen();
    rig.written(12);
    start(&rig.recorder(&trail), ("bjensen", "id", 1), WRONG, Reason::None);
    trail.end().await;
    let (old, new) = (rig.lines("trail.1"), rig.lines("trail"));
    assert_eq!((old.len(), new.len()), (11, 4));
    assert_eq!((new[0].event.as_str(), new[0].seq), ("reopened", 4));
    assert_eq!(rig.verified(&["trail.1", "trail"]), [""; 0]);
    assert_eq!(rig.verified(&["trail"]), ["trail:1 0000000000000003 goes on from its line 3, in an earlier file"]);
    let swapped = rig.verified(&["trail", "trail.1"]);
    assert!(swapped.iter().any(|told| told.starts_with("*trail.1:")), "{swapped:#?}");
    // Each process holds on to the one before.
    let lines: Vec<_> = rig.text("trail.1").lines().map(str::to_owned).collect();
    let without_one = [&lines[..4], &lines[8..]].concat().join("\n") + "\n";
    assert_eq!(broken(&key(), &without_one), [5]);
}

#[tokio::test]
async fn a_process_that_was_killed_is_gone_on_from() {
    let rig = Rig::new();
    let trail = rig.trail();
    start(&rig.recorder(&trail), ("bjensen", "id", 1), WRONG, Reason::None);
    rig.written(3);
    // As if the last line had been cut off in the middle.
    let text = rig.text("trail");
    fs::write(rig.path("trail"), &text[..text.len() - 20]).unwrap();
    let next = rig.trail();
    next.end().await;
    let told = rig.verified(&["trail"]);
    assert_eq!(
        told,
        [
            "trail:3 is the rest of a line that was not finished, as the next one says",
            "trail:2 0000000000000001 ended here without its last line: it was killed"
        ]
    );
    drop(trail);
    // In the middle of one, and nobody goes on.
    assert_eq!(
        verified(&key(), &[("x", text[..text.len() - 20].to_owned())]),
        [
            "x:3 is not finished: it is being written, or was cut off",
            "x:2 0000000000000001 has not ended: it still runs, was killed, or lines are missing after line 2"
        ]
    );
}

#[tokio::test]
async fn two_processes_may_write_to_one_file() {
    let rig = Rig::new();
    let former = rig.trail();
    start(&rig.recorder(&former), ("bjensen", "id", 1), WRONG, Reason::None);
    rig.written(3);
    let heir = rig.trail();
    rig.written(4);
    for count in 0..20 {
        start(&rig.recorder(&former), ("bjensen", "id", 1), WRONG, Reason::None);
        start(&rig.recorder(&heir), ("bjensen", "id", 2), WRONG, Reason::None);
        rig.written(4 + 4 * (count + 1));
    }
    former.end().await;
    heir.end().await;
    assert_eq!(rig.verified(&["trail"]), [""; 0]);
    assert_eq!(rig.lines("trail").len(), 3 + 1 + 80 + 2);
}

#[tokio::test]
async fn a_sink_that_fails_holds_nobody_up_and_what_is_lost_is_told() {
    let rig = Rig::new();
    let trail = rig.trail();
    let recorder = rig.recorder(&trail);
    rig.written(1);
    // Where the folder was is a file.
    fs::remove_dir_all(rig.path("")).unwrap();
    fs::write(rig.folder.path().join("in"), "").unwrap();
    trail.reopen();
    for _ in 0..3000 {
        recorder.record(WRONG, &About::default());
    }
    let dropped = rig.metrics.audit_dropped.get();
    assert!((900..=952).contains(&dropped), "{dropped}");
    fs::remove_file(rig.folder.path().join("in")).unwrap();
    // They may be lost in two places: while the first to be written waits, and after it.
    rig.written(1 + 1 + (3000 - dropped) + 1);
    recorder.record(Event::Reloaded, &About::default());
    trail.end().await;
    let lines = rig.lines("trail");
    assert_eq!(lines[0].event, "reopened");
    let mut expected = vec!["trail:1 0000000000000001 goes on from its line 1, in an earlier file".to_owned()];
    let mut all = 0;
    for (line, lost) in (1..).zip(&lines).filter(|(_, line)| line.event == "dropped") {
        let lost = lost.count.unwrap();
        expected.push(format!("trail:{line} {lost} records were lost here, as the trail says itself"));
        all += lost;
    }
    assert_eq!(all, dropped);
    assert_eq!(rig.verified(&["trail"]), expected);
}

#[tokio::test]
async fn an_end_does_not_wait_for_a_sink_that_fails() {
    let rig = Rig::new();
    fs::create_dir(rig.path("")).unwrap();
    std::os::unix::fs::symlink("/dev/full", rig.path("trail")).unwrap();
    let trail = rig.trail();
    rig.recorder(&trail).record(WRONG, &About::default());
    let begun = std::time::Instant::now();
    trail.end().await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert!(rig.metrics.render().contains("resetgate_audit_dropped_total 1\n"));
}

/// Six lines of one process.
async fn six() -> Vec<String> {
    let rig = Rig::new();
    let trail = rig.trail();
    start(&rig.recorder(&trail), ("bjensen", "id", 1), WRONG, Reason::None);
    start(&rig.recorder(&trail), ("scarter", "other", 2), WRONG, Reason::None);
    trail.end().await;
    rig.text("trail").lines().map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn whatever_is_done_to_a_trail_is_found_where_it_was_done() {
    let lines = six().await;
    assert_eq!(broken(&key(), &lines.concat()), [0; 0]);
    for at in 0..6 {
        let without: String =
            lines.iter().enumerate().filter(|(index, _)| *index != at).map(|(_, line)| line.as_str()).collect();
        // Of the last, nobody knows whether it is to come.
        let expected: &[u64] = if at == 5 { &[] } else { &[at as u64 + 1] };
        assert_eq!(broken(&key(), &without), expected, "without {at}");
        let mut twice = lines.clone();
        twice.insert(at, lines[at].clone());
        assert_eq!(broken(&key(), &twice.concat())[0], at as u64 + 2, "twice {at}");
        let mut put_in = lines.clone();
        put_in.insert(at, "{\"event\":\"password_set\"}\n".to_owned());
        assert_eq!(broken(&key(), &put_in.concat()), [at as u64 + 1], "before {at}");
        let mut changed = lines.clone();
        changed[at] = lines[at].replacen("\"seq\":", "\"seq\": ", 1);
        assert_eq!(broken(&key(), &changed.concat())[0], at as u64 + 1, "changed {at}");
    }
    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    assert_eq!(broken(&key(), &swapped.concat())[0], 3);
    // Nobody without the key can write it anew.
    let rig = Rig::new();
    let forged = rig.keyed(Keys::lasting(&Secret::of([8; 32])).unwrap());
    forged.end().await;
    assert_eq!(broken(&key(), &rig.text("trail")), [1]);
    let unkeyed = rig.keyed(Keys::passing(&Secret::of([8; 32])).unwrap());
    unkeyed.end().await;
    assert_eq!(broken(&key(), &rig.text("trail")), [1, 3]);
    let told = verified(&Keys::none().unwrap(), &[("x", lines.concat())]);
    assert!(told[0].starts_with("*x:1 0000000000000001 is vouched for by key "), "{told:?}");
}

#[tokio::test]
async fn a_trail_that_nobody_vouches_for_can_be_checked_by_anybody() {
    let rig = Rig::new();
    let trail = rig.keyed(Keys::passing(&Secret::of([9; 32])).unwrap());
    start(&rig.recorder(&trail), ("bjensen", "id", 1), WRONG, Reason::None);
    trail.end().await;
    let keys = Keys::none().unwrap();
    let text = rig.text("trail");
    assert_eq!(broken(&keys, &text), [0; 0]);
    assert_eq!(broken(&keys, &text.replacen("203.0.113.1", "203.0.113.2", 1)), [2]);
}

#[tokio::test]
async fn lines_of_others_may_stand_between() {
    let lines = six().await;
    let text = format!("{{\"level\":\"INFO\"}}\n{}\u{1b}[31mnoise\n{}", lines[1..3].concat(), lines[3..].concat());
    let keys = key();
    let mut verify = Verify::new(&keys, true);
    verify.file("-", &mut text.as_bytes()).unwrap();
    let told = verify.finish();
    assert_eq!((told.broken, told.others, told.lines, told.runs), (0, 2, 5, 1));
    assert_eq!(told.findings[0].what, "0000000000000001 is read from its line 2 on");
}

fn found(files: &[String], name: &str) -> BTreeMap<String, usize> {
    let keys = key();
    let mut find = Find::new(&keys, name);
    for _ in 0..2 {
        files.iter().for_each(|file| find.learn(&mut file.as_bytes()).unwrap());
    }
    files.iter().for_each(|file| find.collect(&mut file.as_bytes()).unwrap());
    let mut of = BTreeMap::new();
    for found in find.finish().0 {
        *of.entry(found.line.event).or_default() += 1;
    }
    of
}

#[tokio::test]
async fn somebody_is_found_by_whatever_they_were_asked_by() {
    let rig = Rig::new();
    let trail = rig.trail();
    let recorder = rig.recorder(&trail);
    let account = [0; 16];
    let id = "5b2d9a4e";
    start(&recorder, ("babs@example.com", id, 1), Event::MailQueued { account }, Reason::None);
    start(&recorder, ("bjensen", id, 2), Event::MailJoined { account }, Reason::None);
    start(&recorder, ("scarter", "another", 3), Event::MailQueued { account }, Reason::None);
    start(&recorder, ("nobody", "", 4), Event::Decoyed { why: Decoy::Unknown }, Reason::None);
    let (ours, theirs) = (request("r2"), request("r3"));
    recorder
        .record(Event::ServiceDown { service: Service::Codes }, &About { request: Some(&ours), ..About::default() });
    recorder.record(
        Event::ServiceDown { service: Service::Identity },
        &About { request: Some(&theirs), ..About::default() },
    );
    trail.end().await;
    let text = [rig.text("trail")];
    for name in ["bjensen", "BJENSEN", "babs@example.com", id] {
        let of = found(&text, name);
        assert_eq!((of["reset_started"], of["mail_queued"], of["mail_joined"]), (2, 1, 1), "{name}");
        assert_eq!((of["service_down"], of.len()), (1, 4), "{name}");
    }
    assert_eq!(found(&text, "nobody"), BTreeMap::from([("reset_started".into(), 1), ("decoyed".into(), 1)]));
    assert_eq!(found(&text, "stranger"), BTreeMap::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_byte_of_a_trail_can_be_another(at in 0.0..1.0_f64, by in 1..=255_u8) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut bytes = runtime.block_on(six()).concat().into_bytes();
        // But for the end of the last line, of which nobody knows whether it is to come.
        let at = ((bytes.len() - 1) as f64 * at) as usize;
        bytes[at] ^= by;
        let keys = key();
        let mut verify = Verify::new(&keys, false);
        verify.file("x", &mut bytes.as_slice()).unwrap();
        let told = verify.finish();
        prop_assert!(told.broken > 0, "{:?}", told.findings);
    }

    #[test]
    fn any_text_can_be_read(text in prop::collection::vec(any::<u8>(), 0..2000), mixed in any::<bool>()) {
        let keys = key();
        let mut verify = Verify::new(&keys, mixed);
        verify.file("x", &mut text.as_slice()).unwrap();
        prop_assert_eq!(verify.finish().lines, 0);
        let mut find = Find::new(&keys, "x");
        find.learn(&mut text.as_slice()).unwrap();
        find.collect(&mut text.as_slice()).unwrap();
        prop_assert!(find.finish().0.is_empty());
    }
}
