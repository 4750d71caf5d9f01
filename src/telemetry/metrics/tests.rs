use super::*;
use crate::reset::ports::{Decoy, Lane, Rule, Service};

/// One of each kind, with the series that it counts in.
pub(in crate::telemetry) fn one_of_each() -> Vec<(Event, &'static str)> {
    let account = [0xab; 16];
    vec![
        (Event::Limited { rule: Rule::StartTotal }, "limited_requests_total{rule=\"start_total\"}"),
        (Event::LimitObserved { rule: Rule::Client }, "limit_observed_total{rule=\"client\"}"),
        (Event::LimitNear { rule: Rule::MailTotal }, "limit_near_total{rule=\"mail_total\"}"),
        (Event::Decoyed { why: Decoy::LookUpFailed }, "decoyed_starts_total{why=\"look_up_failed\"}"),
        (Event::MailQueued { account }, "mail_messages_total{outcome=\"queued\"}"),
        (Event::MailJoined { account }, "mail_messages_total{outcome=\"joined\"}"),
        (Event::MailSent { account }, "mail_messages_total{outcome=\"sent\"}"),
        (Event::MailDelayed { account }, "mail_messages_total{outcome=\"delayed\"}"),
        (Event::MailDropped { account }, "mail_messages_total{outcome=\"dropped\"}"),
        (Event::OutboxFull, "full_refusals_total{what=\"outbox\"}"),
        (Event::CodesFull, "full_refusals_total{what=\"codes\"}"),
        (Event::SubmitsFull, "full_refusals_total{what=\"submits\"}"),
        (Event::KeysFull, "full_refusals_total{what=\"limiter_keys\"}"),
        (Event::LookUpsFull, "full_refusals_total{what=\"look_ups\"}"),
        (Event::CodeRight { account, lane: Lane::Link }, "code_attempts_total{lane=\"link\",outcome=\"right\"}"),
        (Event::CodeWrong { account, lane: Lane::Asker }, "code_attempts_total{lane=\"asker\",outcome=\"wrong\"}"),
        (Event::KbaRight { account }, "kba_attempts_total{outcome=\"right\"}"),
        (Event::KbaWrong { account }, "kba_attempts_total{outcome=\"wrong\"}"),
        (Event::KbaLocked { account }, "kba_attempts_total{outcome=\"locked\"}"),
        (Event::KbaUnusable { account }, "kba_unusable_questions_total"),
        (Event::PasswordRefused { account }, "password_changes_total{outcome=\"refused\"}"),
        (Event::PasswordSet { account }, "password_changes_total{outcome=\"set\"}"),
        (Event::OutcomeUnknown { account }, "password_changes_total{outcome=\"unknown\"}"),
        (Event::LinkInvalid { account }, "link_refusals_total"),
        (Event::FloorMissed, "floor_misses_total"),
        (Event::ServiceDown { service: Service::Codes }, "service_failures_total{service=\"codes\"}"),
        (Event::Broken { what: "test" }, "broken_states_total"),
    ]
}

pub(crate) fn value(text: &str, series: &str) -> String {
    let start = format!("resetgate_{series} ");
    text.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("{series}:\n{text}")).to_owned()
}

#[test]
fn each_event_counts_in_its_own_series() {
    let metrics = Metrics::new(Time::from_millis(5_900)).unwrap();
    let before = metrics.render();
    for (_, series) in one_of_each() {
        assert_eq!(value(&before, series), "0");
    }
    for (event, series) in one_of_each() {
        metrics.count(event);
        assert_eq!(value(&metrics.render(), series), "1");
    }
    let ones = metrics.render().lines().filter(|l| l.ends_with(" 1") && l.contains("_total")).count();
    assert_eq!(ones, one_of_each().len());
    assert_eq!(before.lines().count(), metrics.render().lines().count());
}

#[test]
fn what_is_no_event_is_counted_as_well() {
    let metrics = Metrics::new(Time::from_millis(5_900)).unwrap();
    metrics.panicked();
    metrics.denied(Denial::MethodOverride);
    metrics.upstream_process("username", Some(true));
    metrics.upstream_process("registration", Some(false));
    metrics.connections(7);
    metrics.connection_accepted();
    metrics.connection_evicted(Cap::Client);
    metrics.connection_refused(Cap::Total);
    metrics.connection_was_slow(Slow::Body);
    let text = metrics.render();
    assert_eq!(value(&text, "accepted_connections_total"), "1");
    assert_eq!(value(&text, "panic_answers_total"), "1");
    assert_eq!(value(&text, "denied_requests_total{why=\"method_override\"}"), "1");
    assert_eq!(value(&text, "open_connections"), "7");
    assert_eq!(value(&text, "evicted_connections_total{cap=\"client\"}"), "1");
    assert_eq!(value(&text, "refused_connections_total{cap=\"total\"}"), "1");
    assert_eq!(value(&text, "slow_connections_total{at=\"body\"}"), "1");
    let open = UPSTREAM_PROCESSES.map(|name| value(&text, &format!("upstream_process_open{{process=\"{name}\"}}")));
    assert_eq!(open, ["-1", "1", "0"]);
    assert!(text.contains("\nprocess_start_time_seconds 5.9\n"), "{text}");
    let build = concat!("build_info{revision=\"unknown\",version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    assert_eq!(value(&text, build), "1");
}

#[test]
fn a_reload_that_fails_leaves_the_time_of_the_last_that_did_not() {
    let metrics = Metrics::new(Time::from_millis(5_900)).unwrap();
    let shown = || {
        let text = metrics.render();
        ["successful", "success_timestamp_seconds"].map(|name| value(&text, &format!("config_last_reload_{name}")))
    };
    assert_eq!(shown(), ["1", "5"]);
    metrics.reloaded(false, Time::from_millis(7_000));
    assert_eq!(shown(), ["0", "5"]);
    metrics.reloaded(true, Time::from_millis(9_000));
    assert_eq!(shown(), ["1", "9"]);
}

#[test]
fn gauges_are_read_when_looked_at_and_named_once() {
    let metrics = Metrics::new(Time::from_millis(0)).unwrap();
    let depth = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(3));
    let read = std::sync::Arc::clone(&depth);
    metrics
        .gauge("outbox_depth", "Mails waiting", move || read.load(std::sync::atomic::Ordering::Relaxed).into())
        .unwrap();
    assert_eq!(value(&metrics.render(), "outbox_depth"), "3");
    depth.store(4, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(value(&metrics.render(), "outbox_depth"), "4");
    assert!(metrics.gauge("outbox_depth", "Again", || 0.0).is_err());
    assert!(metrics.gauge("not a name", "Bad", || 0.0).is_err());
    metrics.counter("lines_lost", "Lines", || 7.0).unwrap();
    assert!(metrics.render().contains("# TYPE resetgate_lines_lost_total counter\nresetgate_lines_lost_total 7\n"));
}
