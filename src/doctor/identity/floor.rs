//! How long look-ups take, against `reset.answer_floor`: what is longer than it can be told from what is not.

use std::time::Duration;

use tokio::time::Instant;

use super::{answer::Judge, nobody};
use crate::{doctor::sheet::Sheet, identity::Question};

const CHECK: &str = "floor";
/// How many look-ups.
const LOOK_UPS: usize = 20;
/// However slow they are.
const WITHIN: Duration = Duration::from_secs(12);
/// The highest floor that a configuration may have.
const HIGHEST: Duration = Duration::from_secs(10);

/// Looks nobody up, and the canary in turn, if there is one.
pub(super) async fn time(sheet: &mut Sheet, judge: &Judge<'_>, canary: Option<&str>, floor: Duration) {
    let begun = Instant::now();
    let mut took: Vec<Duration> = Vec::new();
    for number in 0..LOOK_UPS {
        if begun.elapsed() > WITHIN {
            break;
        }
        let name = canary.filter(|_| number % 2 == 1).map_or_else(nobody, str::to_owned);
        let Some(filter) = judge.accounts.named(&name) else { return };
        match judge.store.ask(&Question::Find(judge.accounts.find, &filter, &judge.accounts.want)).await {
            Ok(seen) if seen.status.is_success() => took.push(seen.took),
            Ok(_) => return sheet.skip(CHECK, "the service user may not look anybody up"),
            Err(unanswered) => {
                let seen = format!("after {} look-ups: {unanswered}", took.len());
                return sheet.fail(CHECK, seen, "see how much the store can do, and its own log");
            }
        }
    }
    judge_times(sheet, took, floor);
}

fn judge_times(sheet: &mut Sheet, mut took: Vec<Duration>, floor: Duration) {
    took.sort();
    let (Some(median), Some(longest)) = (took.get(took.len() / 2), took.last()) else { return };
    let seen = format!(
        "{} look-ups took {} ms in the middle, and {} at most; reset.answer_floor is {} ms",
        took.len(),
        median.as_millis(),
        longest.as_millis(),
        floor.as_millis()
    );
    // What comes after the look-up takes its part, too.
    if *longest < floor.mul_f64(0.8) {
        return sheet.ok(CHECK, seen);
    }
    let wanted = (longest.mul_f64(1.5).as_millis() / 50 + 1) * 50;
    if wanted <= HIGHEST.as_millis() {
        let cure = format!("set reset.answer_floor = \"{wanted}ms\", or times tell who has an account");
        sheet.warn(CHECK, seen, cure);
    } else {
        sheet.warn(CHECK, seen, "make the store faster, such as by an index for each of validQueryFields");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(millis: &[u64], floor: u64) -> String {
        let mut sheet = Sheet::new("identity");
        let took = millis.iter().copied().map(Duration::from_millis).collect();
        judge_times(&mut sheet, took, Duration::from_millis(floor));
        sheet.lines[0].to_string()
    }

    #[test]
    fn a_floor_has_room_over_the_longest() {
        let line_of = line(&[3, 1, 199, 2], 250);
        assert!(line_of.starts_with("ok    identity.floor"), "{line_of}");
        assert!(line_of.ends_with("4 look-ups took 3 ms in the middle, and 199 at most; reset.answer_floor is 250 ms"));
        assert!(
            line(&[3, 200], 250).ends_with("→ set reset.answer_floor = \"350ms\", or times tell who has an account")
        );
        assert!(line(&[400, 900], 250).contains("\"1400ms\""));
        assert!(line(&[9000], 250).contains("make the store faster"));
    }
}
