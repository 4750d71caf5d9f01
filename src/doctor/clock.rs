//! Our clock against that of a service.
//!
//! Tokens and links are judged by this machine's clock alone, so a store's clock that is off harms no reset. But access
//! tokens and certificates are judged by both, and mails and audit trails tell a time.

use std::time::{Duration, UNIX_EPOCH};

use super::sheet::Sheet;
use crate::reset::ports::Time;

/// What a `Date`, which has whole seconds, and the way may take away.
const SLACK: u64 = 2;
/// From here on it is worth a warning, and from there on a failure: certificates and access tokens break.
const WARN: u64 = 5;
const FAIL: u64 = 60;
const CHECK: &str = "clock";
const CURE: &str = "set both by the network (chrony, systemd-timesyncd), and see which of them is wrong";

/// Judges a `Date` that came between two moments of our clock.
pub(super) fn judge(sheet: &mut Sheet, date: Option<&str>, sent: Time, came: Time) {
    let Some(date) = date else { return sheet.skip(CHECK, "its answer has no Date") };
    let Some(theirs) = seconds(date) else { return sheet.skip(CHECK, "its Date is none") };
    let Some((off, seen)) = apart(sheet, theirs, sent, came) else { return };
    match off {
        ..WARN => sheet.ok(CHECK, seen),
        WARN..=FAIL => sheet.warn(CHECK, seen, CURE),
        _ => sheet.fail(CHECK, seen, CURE),
    }
}

/// The same of a clock that nothing but a time that is told hangs on: it is never a failure.
pub(super) fn judge_mildly(sheet: &mut Sheet, theirs: u64, sent: Time, came: Time) {
    match apart(sheet, theirs, sent, came) {
        Some((..WARN, seen)) => sheet.ok(CHECK, seen),
        Some((_, seen)) => sheet.warn(CHECK, seen, CURE),
        None => {}
    }
}

/// How far, and in which direction; `None` if it is nothing, which is said.
fn apart(sheet: &mut Sheet, theirs: u64, sent: Time, came: Time) -> Option<(u64, String)> {
    let (sent, came) = (sent.secs(), came.secs());
    let (off, which) =
        if theirs > came { (theirs - came, "ahead of") } else { (sent.saturating_sub(theirs), "behind") };
    if off <= SLACK {
        sheet.ok(CHECK, "as ours, to the second or two");
        return None;
    }
    Some((off, format!("the clock there is {} {which} ours", spelled(off))))
}

fn seconds(date: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(date).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// `90 s`, `5 h`, `81 days`
pub(super) fn spelled(seconds: u64) -> String {
    let whole = Duration::from_secs(seconds).as_secs();
    match whole {
        0..300 => format!("{whole} s"),
        300..10_800 => format!("{} min", whole / 60),
        10_800..172_800 => format!("{} h", whole / 3600),
        _ => format!("{} days", whole / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::sheet::Outcome;

    fn judged(date: &str) -> Outcome {
        let mut sheet = Sheet::new("identity");
        // 2023-11-14 22:13:20
        let sent = Time::from_millis(1_700_000_000_000);
        judge(&mut sheet, Some(date), sent, sent.after(Duration::from_secs(1)));
        sheet.lines[0].outcome
    }

    #[test]
    fn seconds_pass_and_minutes_do_not() {
        for (date, outcome) in [
            ("Tue, 14 Nov 2023 22:13:18 GMT", Outcome::Ok),
            ("Tue, 14 Nov 2023 22:13:24 GMT", Outcome::Ok),
            ("Tue, 14 Nov 2023 22:13:15 GMT", Outcome::Warn),
            ("Tue, 14 Nov 2023 22:13:26 GMT", Outcome::Warn),
            ("Tue, 14 Nov 2023 22:12:19 GMT", Outcome::Fail),
            ("Tue, 14 Nov 2023 22:14:30 GMT", Outcome::Fail),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Outcome::Fail),
            ("yesterday", Outcome::Skip),
        ] {
            assert_eq!(judged(date), outcome, "{date}");
        }
    }

    #[test]
    fn times_are_spelled() {
        assert_eq!([90, 300, 7200, 20_000, 7_000_000].map(spelled), ["90 s", "5 min", "120 min", "5 h", "81 days"]);
    }
}
