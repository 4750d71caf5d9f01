//! The time, as each line begins with it.

use std::{
    cell::RefCell,
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use time::OffsetDateTime;

thread_local! {
    /// A second and its text: a day and a time of day are worked out once for all lines that share them.
    static SECOND: RefCell<(u64, Vec<u8>)> = const { RefCell::new((0, Vec::new())) };
}

/// Writes the time: in UTC, to the microsecond.
pub(in crate::telemetry) fn now(line: &mut Vec<u8>) {
    #[expect(clippy::disallowed_methods, reason = "when a line is written is no matter of the program's clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    at(line, since.as_secs(), since.subsec_micros());
}

fn at(line: &mut Vec<u8>, second: u64, micros: u32) {
    SECOND.with_borrow_mut(|(known, text)| {
        if *known != second || text.is_empty() {
            *known = second;
            text.clear();
            let second = i64::try_from(second).ok().and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok());
            let (date, (h, m, s)) = second.map_or((time::Date::MIN, (0, 0, 0)), |at| (at.date(), at.to_hms()));
            let (year, month, day) = date.to_calendar_date();
            // It cannot fail: there is no end to a Vec.
            let _ = write!(text, "{year:04}-{:02}-{day:02}T{h:02}:{m:02}:{s:02}.", u8::from(month));
        }
        line.extend_from_slice(text);
    });
    line.extend_from_slice(&padded::<6>(micros));
    line.push(b'Z');
}

/// So many of its last digits.
pub(in crate::telemetry) fn padded<const N: usize>(number: u32) -> [u8; N] {
    let (mut digits, mut rest) = ([b'0'; N], number);
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_rfc_3339_has_them() {
        let text = |second, micros| {
            let mut line = b"at ".to_vec();
            at(&mut line, second, micros);
            String::from_utf8(line).unwrap()
        };
        for (second, micros, expected) in [
            (0, 0, "at 1970-01-01T00:00:00.000000Z"),
            (951_782_399, 999_999, "at 2000-02-28T23:59:59.999999Z"),
            (951_782_400, 1, "at 2000-02-29T00:00:00.000001Z"),
            (951_782_400, 120, "at 2000-02-29T00:00:00.000120Z"),
            (1_796_123_456, 5, "at 2026-12-01T11:10:56.000005Z"),
        ] {
            assert_eq!(text(second, micros), expected);
        }
        assert_eq!((padded(7), padded(1234)), (*b"007", *b"234"));
    }
}
