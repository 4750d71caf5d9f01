//! What the table came to.

use std::{collections::BTreeMap, fmt};

use super::{Deviation, case::Case, oracles::Outcome};

/// What is printed, and what is wrong.
#[derive(Default)]
pub(super) struct Report {
    classes: BTreeMap<String, [u32; 3]>,
    lines: Vec<String>,
    pub(super) wrong: Vec<String>,
}

impl Report {
    pub(super) fn skipped(&mut self, case: &Case, why: &str) {
        self.count(case, 2);
        self.lines.push(format!("{:9} n.a.: {why}", case.id));
    }

    pub(super) fn judged(&mut self, case: &Case, deviation: Option<&Deviation>, outcome: &Outcome, failed: &[String]) {
        let (expected, not) = match deviation {
            Some(deviation) => (deviation.status.as_ref(), deviation.not.as_slice()),
            None => (None, &[][..]),
        };
        let mut faults: Vec<String> = failed.iter().filter(|oracle| !not.contains(oracle)).cloned().collect();
        for stale in not.iter().filter(|oracle| !failed.contains(oracle)) {
            faults.push(format!("{stale} is listed as not holding, and holds"));
        }
        let as_case = case.answers_fit(&case.expect.status, outcome);
        match expected {
            None if !as_case => faults.push("the status".to_owned()),
            Some(_) if as_case => faults.push("the status is listed as deviating, and does not".to_owned()),
            Some(expected) if !case.answers_fit(expected, outcome) => {
                faults.push(format!("the status, which is listed as {}", expected.join(" or ")));
            }
            _ => {}
        }
        let (column, verdict) = match deviation {
            None if faults.is_empty() => (0, "pass".to_owned()),
            Some(deviation) if faults.is_empty() => (1, format!("open: {}", deviation.why)),
            _ => (1, "FAILED".to_owned()),
        };
        self.count(case, column);
        self.lines.push(format!("{:9} {verdict}", case.id));
        if !faults.is_empty() {
            self.wrong.push(format!(
                "{} ({}): {}\n    expected {}\n    got {outcome}",
                case.id,
                case.expect.property.split(':').next().unwrap_or_default(),
                faults.join(", "),
                case.expect.status.join(" or "),
            ));
        }
    }

    fn count(&mut self, case: &Case, column: usize) {
        self.classes.entry(case.class.clone()).or_default()[column] += 1;
    }
}

impl fmt::Display for Report {
    /// A line for each case, then how many there are of each class.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(f, "\n{:22}{:>6}{:>6}{:>6}", "class", "pass", "open", "n.a.")?;
        let mut total = [0; 3];
        for (class, counts) in &self.classes {
            let [pass, open, not_applicable] = counts;
            writeln!(f, "{class:22}{pass:>6}{open:>6}{not_applicable:>6}")?;
            total.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
        }
        let [pass, open, not_applicable] = total;
        writeln!(f, "{:22}{pass:>6}{open:>6}{not_applicable:>6}", "all")
    }
}
