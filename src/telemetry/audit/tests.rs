use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::*;
use crate::{
    reset::ports::{Lane, Rule, Service, Time},
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

/// Keeps what is written, as `LEVEL target name=value …`.
#[derive(Clone, Default)]
struct Trail(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

impl Subscriber for Trail {
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

/// What is written while `work` runs, at 1970 plus whatever it sets.
fn written(work: impl FnOnce(&Recorder, &Manual)) -> (Vec<String>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new(Time::from_millis(0)).unwrap());
    let clock = Arc::new(Manual(AtomicU64::new(0)));
    let recorder = Recorder::new(Arc::clone(&metrics), Arc::clone(&clock) as _);
    let trail = Trail::default();
    tracing::subscriber::with_default(trail.clone(), || work(&recorder, &clock));
    let lines = trail.0.lock().clone();
    (lines, metrics)
}

#[test]
fn each_event_is_one_line_with_at_most_eight_digits_of_an_account() {
    let (lines, _) = written(|recorder, _| one_of_each().iter().for_each(|(event, _)| recorder.record(*event)));
    let expected = [
        r#"INFO resetgate::audit event="limited" rule="start_total""#,
        r#"INFO resetgate::audit event="limit_observed" rule="client""#,
        r#"INFO resetgate::audit event="limit_near" rule="mail_total""#,
        r#"WARN resetgate::audit event="decoyed" why="look_up_failed""#,
        r#"INFO resetgate::audit event="mail_queued" account="abababab""#,
        r#"INFO resetgate::audit event="mail_joined" account="abababab""#,
        r#"INFO resetgate::audit event="mail_sent" account="abababab""#,
        r#"INFO resetgate::audit event="mail_delayed" account="abababab""#,
        r#"WARN resetgate::audit event="mail_dropped" account="abababab""#,
        r#"INFO resetgate::audit event="outbox_full""#,
        r#"INFO resetgate::audit event="codes_full""#,
        r#"INFO resetgate::audit event="submits_full""#,
        r#"INFO resetgate::audit event="limiter_keys_full""#,
        r#"INFO resetgate::audit event="look_ups_full""#,
        r#"INFO resetgate::audit event="code_right" account="abababab" lane="link""#,
        r#"INFO resetgate::audit event="code_wrong" account="abababab" lane="asker""#,
        r#"INFO resetgate::audit event="password_refused" account="abababab""#,
        r#"INFO resetgate::audit event="password_set" account="abababab""#,
        r#"WARN resetgate::audit event="outcome_unknown" account="abababab""#,
        r#"WARN resetgate::audit event="link_invalid" account="abababab""#,
        concat!(
            r#"WARN resetgate::audit event="floor_missed" "#,
            r#"what="look-ups outlast reset.answer_floor, and how long they take shows: raise it""#,
        ),
        r#"WARN resetgate::audit event="service_down" service="codes""#,
        r#"ERROR resetgate::audit event="broken" what="test""#,
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_flood_is_counted_in_full_and_written_once_a_second() {
    let (lines, metrics) = written(|recorder, clock| {
        for _ in 0..1000 {
            recorder.record(Event::Limited { rule: Rule::Client });
            recorder.record(Event::Limited { rule: Rule::MailTotal });
            recorder.record(Event::LimitObserved { rule: Rule::Client });
            recorder.record(Event::LimitNear { rule: Rule::Client });
            recorder.record(Event::OutboxFull);
            recorder.record(Event::CodesFull);
            recorder.record(Event::ServiceDown { service: Service::Identity });
            recorder.record(Event::ServiceDown { service: Service::Keys });
        }
        assert_eq!(clock.0.swap(999, Ordering::SeqCst), 0);
        recorder.record(Event::OutboxFull);
        clock.0.store(1001, Ordering::SeqCst);
        recorder.record(Event::OutboxFull);
        recorder.record(Event::OutboxFull);
    });
    assert_eq!(lines.len(), 9, "{lines:#?}");
    assert_eq!(lines[8], r#"INFO resetgate::audit event="outbox_full" skipped=1000"#);
    assert!(metrics.render().contains("resetgate_limited_requests_total{rule=\"client\"} 1000\n"));
    assert!(metrics.render().contains("resetgate_full_refusals_total{what=\"outbox\"} 1003\n"));
}

#[test]
fn what_an_operator_must_change_is_a_warning_a_minute() {
    let failed = Event::Decoyed { why: Decoy::LookUpFailed };
    let (lines, metrics) = written(|recorder, clock| {
        for second in 0..=60 {
            clock.0.store(1 + second * 1000, Ordering::SeqCst);
            for _ in 0..10 {
                recorder.record(Event::FloorMissed);
                recorder.record(failed);
            }
        }
    });
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(lines[2].starts_with("WARN resetgate::audit event=\"floor_missed\"") && lines[2].ends_with("skipped=599"));
    assert_eq!(lines[3], r#"WARN resetgate::audit event="decoyed" why="look_up_failed" skipped=599"#);
    assert!(metrics.render().contains("resetgate_floor_misses_total 610\n"));
}

#[test]
fn what_belongs_to_an_account_is_always_written() {
    let (lines, _) = written(|recorder, _| {
        for _ in 0..10 {
            recorder.record(Event::CodeWrong { account: [1; 16], lane: Lane::Asker });
        }
    });
    assert_eq!(lines.len(), 10);
}
