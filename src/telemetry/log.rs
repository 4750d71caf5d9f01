//! Log lines on standard error: one event a line, as JSON or for people.
//!
//! A line is made of its own event only (not of the spans around it), in UTC, and holds no control character: nothing
//! that a stranger gets into a field can end a line or steer a terminal. It says the [`FIELDS`] and no other: a field that
//! somebody adds without a thought of what may be in it is named and not told. Records of the `log` crate come along, by
//! their message alone.
//!
//! A thread of its own writes the lines. Where nobody takes them, a bounded number waits, and the others are dropped
//! and counted: no request ever waits for the log.

mod queue;
mod stamp;

use std::{env, error::Error, fmt, io, panic, sync::OnceLock};

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Registry,
    filter::{LevelFilter, filter_fn},
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use self::queue::Queue;
pub use self::queue::Rest;
pub(super) use self::stamp::{now, padded};

/// The environment variable that says what is logged, in the directives of `tracing_subscriber::EnvFilter`, such as
/// `debug` or `warn,resetgate::mail=trace`. Without it: `info`.
pub const FILTER: &str = "RESETGATE_LOG";

/// The fields that a line may have. None holds what a client, a store or a relay said; see the module for why there is
/// such a list.
pub const FIELDS: &[&str] = &[
    "message",
    // the audit trail
    "event",
    "account",
    "rule",
    "why",
    "lane",
    "service",
    "what",
    "skipped",
    // requests that are over
    "method",
    "route",
    "path",
    "duration_ms",
    "bytes_received",
    "bytes_sent",
    "client",
    "protocol",
    "tls",
    "upstream",
    "upstream_ms",
    "tries",
    "request",
    "trace",
    // connections
    "cap",
    // calls of other services
    "call",
    "kind",
    "status",
    "sent",
    "transaction",
    "class",
    "code",
    "hint",
    // the program and its surroundings
    "address",
    "addresses",
    "admin",
    "at",
    "connections",
    "deny",
    "fault",
    "handed_over",
    "keys",
    "error",
    "mode",
    "process",
];

/// An error with its causes, in one line.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let why = source.to_string();
        // Some errors' texts hold their cause's.
        if !text.ends_with(&why) {
            text = format!("{text}: {why}");
        }
        cause = source.source();
    }
    text
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Why nothing is logged.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("{FILTER}: {0}")]
    Filter(String),
    /// Somebody else logs in this process.
    #[error("another logger is installed")]
    Taken,
    /// Nobody can write the lines.
    #[error("no thread for the log: {0}")]
    Thread(io::Error),
}

static LINES: OnceLock<(Queue, Format)> = OnceLock::new();

/// Lines that were dropped because nobody took them, or what they were written to is full.
pub fn dropped() -> usize {
    LINES.get().map_or(0, |(lines, _)| lines.dropped())
}

/// How lines look, if there is a log.
pub(super) fn format() -> Option<Format> {
    LINES.get().map(|(_, format)| *format)
}

/// Puts a whole line among the others.
pub(super) fn put(line: &[u8]) {
    if let Some((lines, _)) = LINES.get() {
        lines.put(line);
    }
}

/// Starts logging to standard error; calling it again changes nothing. What is still waiting is written, for a second
/// at most, when what the first call returned is dropped.
pub fn init(format: Format) -> Result<Option<Rest>, LogError> {
    static DONE: Mutex<bool> = Mutex::new(false);
    let mut done = DONE.lock();
    if !*done {
        let directives = match env::var(FILTER) {
            Ok(directives) => directives,
            Err(env::VarError::NotPresent) => String::new(),
            Err(env::VarError::NotUnicode(_)) => return Err(LogError::Filter("is not UTF-8".into())),
        };
        let filter = filter(&directives)?;
        let lines = Queue::default();
        let rest = lines.written_to(io::stderr()).map_err(LogError::Thread)?;
        let own = lines.clone();
        subscriber(format, filter, lines).try_init().map_err(|_| LogError::Taken)?;
        LINES.get_or_init(|| (own, format));
        *done = true;
        return Ok(Some(rest));
    }
    Ok(None)
}

fn filter(directives: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        // A field's value is compared as text: no pattern of anybody's is run over what is logged.
        .with_regex(false)
        .parse(directives)
        .map_err(|e| LogError::Filter(e.to_string()))
}

fn subscriber<W>(format: Format, filter: EnvFilter, to: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .event_format(Lines(format))
        // It would print to standard error, and panic where that is closed.
        .log_internal_errors(false)
        .with_writer(to);
    Registry::default().with(filter).with(filter_fn(may_speak)).with(lines)
}

/// Foreign crates say too much at `debug`: request headers, mail addresses, SMTP dialogues. No filter brings that out.
/// Pingora says too much at any level: an upstream's answer that it cannot parse, cookies and all, and a line for every
/// client that hangs up. What matters of it we say ourselves.
fn may_speak(meta: &Metadata<'_>) -> bool {
    (*meta.level() <= Level::INFO && !meta.target().starts_with("pingora")) || is_ours(meta.target())
}

fn is_ours(target: &str) -> bool {
    target.strip_prefix("resetgate").is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Has a panic logged by its place alone. Its message may quote what could not be handled: a slice that is cut in the
/// middle of a character quotes all of it.
///
/// ```standalone_crate
/// # #[derive(Clone, Default)] struct Sink(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
/// # impl std::io::Write for Sink {
/// #     fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> { self.0.lock().unwrap().write(bytes) }
/// #     fn flush(&mut self) -> std::io::Result<()> { Ok(()) }
/// # }
/// # let (sink, secret) = (Sink::default(), "påssword");
/// # let to = sink.clone();
/// # tracing::subscriber::set_global_default(tracing_subscriber::fmt().with_writer(move || to.clone()).finish()).unwrap();
/// resetgate::telemetry::log::quiet_panics();
/// let caught = std::panic::catch_unwind(|| secret[..2].len());
/// assert!(caught.is_err());
/// # let said = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
/// assert!(said.contains("panicked") && said.contains(".rs:") && !said.contains(secret), "{said}");
/// ```
pub fn quiet_panics() {
    panic::set_hook(Box::new(|info| {
        let at = info.location().map(ToString::to_string);
        tracing::error!(at, "panicked");
    }));
}

struct Lines(Format);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut at = Vec::new();
        now(&mut at);
        let at = String::from_utf8_lossy(&at);
        let mut said = Said { ours: is_ours(event.metadata().target()), ..Said::default() };
        event.record(&mut said);
        said.end();
        let level = event.metadata().level();
        let target = said.target.as_deref().unwrap_or(event.metadata().target());
        let line = match self.0 {
            Format::Json => {
                json!({"timestamp": at, "level": level.as_str(), "target": target, "fields": said.fields}).to_string()
            }
            Format::Text => text(&at, level, target, &said.fields),
        };
        write_safely(writer, &line)
    }
}

/// An event's fields. A record of the `log` crate brings its real target as a field.
#[derive(Default)]
struct Said {
    ours: bool,
    target: Option<String>,
    fields: Map<String, Value>,
    withheld: Vec<&'static str>,
}

impl Said {
    fn note(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("log.target", Value::String(target)) => self.target = Some(target),
            ("message", value) => self.say("message", value),
            (name, value) if self.ours && FIELDS.contains(&name) => self.say(name, value),
            (name, _) if self.ours => self.withheld.push(name),
            _ => {}
        }
    }

    fn say(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    fn end(&mut self) {
        if !self.withheld.is_empty() {
            self.say("withheld", self.withheld.join(",").into());
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.note(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.note(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.note(field, value.into());
    }
}

/// `2026-01-02T03:04:05.000006Z  INFO target: message name="value"`
fn text(at: &str, level: &Level, target: &str, fields: &Map<String, Value>) -> String {
    let mut line = format!("{at} {level:>5} {target}:");
    if let Some(message) = fields.get("message") {
        line.push(' ');
        line.push_str(&message.as_str().map_or_else(|| message.to_string(), str::to_owned));
    }
    for (name, value) in fields.iter().filter(|(name, _)| *name != "message") {
        line.push_str(&format!(" {name}={value}"));
    }
    line
}

/// Writes the line and ends it. What could end it earlier, steer a terminal or turn the reading direction is written
/// as `\uXXXX`, which in JSON (where it stands in strings only) is the same text.
fn write_safely(mut writer: Writer<'_>, line: &str) -> fmt::Result {
    for ch in line.chars() {
        match ch {
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                write!(writer, "\\u{:04x}", u32::from(ch))?;
            }
            ch if ch.is_control() => write!(writer, "\\u{:04x}", u32::from(ch))?,
            ch => writer.write_char(ch)?,
        }
    }
    writer.write_char('\n')
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::Arc};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `work` logs.
    fn logged(format: Format, directives: &str, work: impl FnOnce()) -> Vec<String> {
        let sink = Sink::default();
        let to = sink.clone();
        let subscriber = subscriber(format, filter(directives).unwrap(), move || to.clone());
        tracing::subscriber::with_default(subscriber, work);
        let all = String::from_utf8(sink.0.lock().clone()).unwrap();
        assert!(all.is_empty() || all.ends_with('\n'));
        all.lines().map(str::to_owned).collect()
    }

    const NASTY: &str = "a\nb\r\t\u{1b}[31m\u{7f}\u{9b}\u{85}\u{202e}\u{2028}\"ü";

    #[test]
    fn json_is_one_object_a_line() {
        let lines = logged(Format::Json, "", || {
            tracing::warn!(target: "resetgate::x", status = 7, sent = true, error = NASTY, "hello {}", NASTY);
            tracing::info!(target: "resetgate::x", skipped = 0.5, code = Option::<u64>::None, event = "e");
        });
        assert_eq!(lines.len(), 2);
        assert!(!lines.concat().chars().any(|c| c.is_control() || c == '\u{202e}' || c == '\u{2028}'));
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["target"], "resetgate::x");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(line["fields"]["message"], format!("hello {NASTY}"));
        assert_eq!(line["fields"]["error"], NASTY);
        assert_eq!((&line["fields"]["status"], &line["fields"]["sent"]), (&7.into(), &true.into()));
        let line: Value = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!(line["fields"], json!({"skipped": 0.5, "event": "e"}));
    }

    #[test]
    fn text_is_one_line_and_safe() {
        let lines = logged(Format::Text, "", || {
            tracing::error!(target: "resetgate", error = NASTY, status = 7, "hello {}", NASTY);
        });
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].chars().any(|c| c.is_control() || c == '\u{202e}' || c == '\u{2028}'));
        assert!(lines[0].contains("Z ERROR resetgate: hello a\\u000ab\\u000d\\u0009\\u001b[31m"), "{}", lines[0]);
        assert!(lines[0].ends_with(" status=7"), "{}", lines[0]);
    }

    #[test]
    fn a_field_that_is_not_listed_is_named_and_not_told() {
        let lines = logged(Format::Json, "", || {
            tracing::warn!(target: "resetgate::x", password = "hunter2", user = ?"bjensen", status = 7, "m");
            tracing::warn!(target: "hyper", status = "hunter2", uri = "/?code=hunter2", "m");
        });
        let fields = |line: &String| serde_json::from_str::<Value>(line).unwrap()["fields"].clone();
        assert_eq!(fields(&lines[0]), json!({"message": "m", "status": 7, "withheld": "password,user"}));
        assert_eq!(fields(&lines[1]), json!({"message": "m"}));
    }

    fn speak_everywhere() {
        tracing::info!(target: "resetgate::a", "ours info");
        tracing::debug!(target: "resetgate::a", "ours debug");
        tracing::trace!(target: "resetgate::b", "ours trace");
        tracing::error!(target: "rustls", "theirs error");
        tracing::error!(target: "pingora_core", "pingora's error");
        tracing::info!(target: "hyper", "theirs info");
        tracing::debug!(target: "hyper", "theirs debug");
        tracing::trace!(target: "resetgatekeeper", "theirs trace");
    }

    #[test]
    fn foreign_crates_never_say_more_than_info() {
        let said = |directives| {
            let lines = logged(Format::Text, directives, speak_everywhere);
            lines.iter().map(|l| l.rsplit(": ").next().unwrap().to_owned()).collect::<Vec<_>>().join(",")
        };
        assert_eq!(said(""), "ours info,theirs error,theirs info");
        assert_eq!(said("trace"), "ours info,ours debug,ours trace,theirs error,theirs info");
        assert_eq!(said("info,hyper=trace,resetgatekeeper=trace"), "ours info,theirs error,theirs info");
        assert_eq!(said("warn,resetgate::a=debug"), "ours info,ours debug,theirs error");
        assert_eq!(said("off"), "");
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_an_error() {
        assert!(matches!(filter("resetgate=loud"), Err(LogError::Filter(_))));
    }

    #[test]
    fn records_of_the_log_crate_come_along_and_starting_twice_is_starting_once() {
        let _guard = init(Format::Text).unwrap().unwrap();
        assert!(init(Format::Json).unwrap().is_none());
        let lines = logged(Format::Json, "trace", || {
            ::log::error!(target: "rustls", "peer went {}", "away");
            ::log::debug!(target: "rustls", "secret");
            ::log::error!(target: "pingora_proxy", "set-cookie: secret");
        });
        assert_eq!(lines.len(), 1);
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((&line["target"], &line["level"]), (&"rustls".into(), &"ERROR".into()));
        assert_eq!(line["fields"], json!({"message": "peer went away"}));
    }
}
