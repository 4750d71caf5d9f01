//! A line of the trail: what is in it, in which order, and how it holds on to the one before.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::keys::{Keys, Link, hex, unhex};
use crate::reset::ports::Time;

/// The form of the lines; another one will have another number.
pub(super) const SCHEMA: u32 = 1;
/// The longest line, its end included: what a pipe takes as a whole.
pub(super) const MAX_LINE: usize = 4096;
/// What the first line of all holds on to.
pub(super) const NOTHING: Link = [0; 32];

/// The first line of a process.
pub(super) const RUN_STARTED: &str = "run_started";
/// Its last, if it ends in good order.
pub(super) const RUN_ENDED: &str = "run_ended";
/// The first line of a process in a file that took another's place.
pub(super) const REOPENED: &str = "reopened";
/// Records were lost.
pub(super) const DROPPED: &str = "dropped";

/// A line without its hash. Its fields are in the order in which they are written; what is empty is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Line {
    /// RFC 3339, UTC, milliseconds.
    pub time: String,
    /// Which process wrote it: 16 hex digits, drawn at its start.
    pub run: String,
    /// Counts that process's lines, from 1 on.
    pub seq: u64,
    /// What happened.
    pub event: String,
    /// Why, in a word or an SMTP status; of a password that was refused, the policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The id of the request that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Whom the limits took its client for: an IPv4 address or an IPv6 /64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// One start, from its user query to its end: a keyed hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// The account's id in its store: a keyed hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Its mail address: a keyed hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<String>,
    /// What was typed to find it: keyed hashes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<String>,
    /// Whose token: `asker` or `link`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// A rule of `[limits]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How many records were lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// How many of the kind were not written since the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
    /// Of a process's first line: the form of its lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<u32>,
    /// Of a process's first line: the program's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Of a process's first line: the name of the key that vouches for its lines; none, if anybody can compute them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether what stands before it is the rest of a line that was not finished.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub torn: bool,
    /// The hash of the line before: of that process, or, of its first, of the last line that it found in the file.
    pub prev: String,
}

impl Line {
    /// The whole line, and what the next one will hold on to.
    pub(super) fn write(&self, keys: &Keys) -> (Vec<u8>, Link) {
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        text.pop();
        let link = keys.link(&text);
        text.extend_from_slice(HASH.as_bytes());
        text.extend_from_slice(hex(&link).as_bytes());
        text.extend_from_slice(b"\"}\n");
        (text, link)
    }
}

/// What stands between the rest of a line and its hash.
const HASH: &str = ",\"hash\":\"";

/// A line as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) line: Line,
    /// What it holds on to.
    pub(super) prev: Link,
    /// The hash that stands in it.
    pub(super) hash: Link,
    /// The hash that it should have.
    pub(super) due: Link,
}

/// Reads a line without its end; `None` if it is not one of a trail.
pub(super) fn read(text: &[u8], keys: &Keys) -> Option<Read> {
    let (text, hash) = split(text)?;
    let mut whole = text.to_vec();
    whole.push(b'}');
    let line: Line = serde_json::from_slice(&whole).ok()?;
    let is_run = line.run.len() == 16 && line.run.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_run || line.seq == 0 || line.event.is_empty() {
        return None;
    }
    Some(Read { prev: unhex(&line.prev)?, line, hash, due: keys.link(text) })
}

/// What the hash is of, and the hash.
fn split(text: &[u8]) -> Option<(&[u8], Link)> {
    let text = text.strip_suffix(b"\"}")?;
    let (text, hash) = text.split_at_checked(text.len().checked_sub(64)?)?;
    let hash = unhex(std::str::from_utf8(hash).ok()?)?;
    Some((text.strip_suffix(HASH.as_bytes())?, hash))
}

/// `2026-01-02T03:04:05.006Z`
pub fn time(at: Time) -> String {
    let secs = i64::try_from(at.secs()).unwrap_or_default();
    let at_secs = OffsetDateTime::from_unix_timestamp(secs).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, time) = (at_secs.date(), at_secs.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", at.millis() % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reset::ports::Secret;

    fn keys() -> Keys {
        Keys::lasting(&Secret::of([7; 32])).unwrap()
    }

    fn full() -> Line {
        let text = |text: &str| Some(text.to_owned());
        Line {
            time: time(Time::from_millis(1_767_323_045_006)),
            run: "00112233445566aa".to_owned(),
            seq: 7,
            event: "event".to_owned(),
            reason: text("reason"),
            request: text("request"),
            client: text("client"),
            flow: text("flow"),
            account: text("account"),
            mail: text("mail"),
            asked: vec!["one".to_owned(), "two".to_owned()],
            lane: text("lane"),
            rule: text("rule"),
            service: text("service"),
            count: Some(3),
            skipped: Some(4),
            schema: Some(SCHEMA),
            version: text("0.1.0"),
            key: text("key"),
            torn: true,
            prev: hex(&NOTHING),
        }
    }

    #[test]
    fn the_keys_of_a_line_are_in_a_fixed_order() {
        let (text, link) = full().write(&keys());
        let text = String::from_utf8(text).unwrap();
        let zeros = "0".repeat(64);
        let expected = concat!(
            r#"{"time":"2026-01-02T03:04:05.006Z","run":"00112233445566aa","seq":7,"event":"event","reason":"reason","#,
            r#""request":"request","client":"client","flow":"flow","account":"account","mail":"mail","#,
            r#""asked":["one","two"],"lane":"lane","rule":"rule","service":"service","count":3,"skipped":4,"#,
            r#""schema":1,"version":"0.1.0","key":"key","torn":true,"prev":""#,
        );
        assert_eq!(text, format!("{expected}{zeros}\",\"hash\":\"{}\"}}\n", hex(&link)));
        let short = Line { run: "00112233445566aa".to_owned(), event: "e".to_owned(), seq: 1, ..Line::default() };
        let (short, _) = short.write(&keys());
        assert!(short.starts_with(br#"{"time":"","run":"00112233445566aa","seq":1,"event":"e","prev":"","hash":""#));
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let (text, link) = full().write(&keys());
        let text = text.strip_suffix(b"\n").unwrap();
        let found = read(text, &keys()).unwrap();
        assert_eq!((&found.line, found.prev, found.hash, found.due), (&full(), NOTHING, link, link));
        for at in 0..text.len() {
            let mut other = text.to_vec();
            other[at] ^= 1;
            let holds = read(&other, &keys()).is_some_and(|found| found.hash == found.due);
            assert!(!holds, "{}", String::from_utf8_lossy(&other));
            assert!(read(&text[..at], &keys()).is_none());
        }
        for other in ["", "{}", "\"}", "null", r#"{"level":"INFO"}"#] {
            assert!(read(other.as_bytes(), &keys()).is_none(), "{other}");
        }
    }

    #[test]
    fn times_far_away_are_no_trouble() {
        assert_eq!(time(Time::from_millis(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(Time::from_millis(u64::MAX)).len(), 24);
    }
}
