//! Whether samples differ: in bytes, which must be equal, and in time, which must seem to come from one source.

use std::{collections::BTreeMap, time::Duration};

/// What one request was answered.
pub(super) struct Sample {
    pub(super) kind: &'static str,
    pub(super) step: &'static str,
    pub(super) took: Duration,
    /// Head and body as they came.
    pub(super) verbatim: (String, String),
}

impl Sample {
    pub(super) fn token(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_str(&self.verbatim.1).unwrap();
        body["token"].as_str().map(str::to_owned)
    }

    fn is_refused(&self) -> bool {
        self.verbatim.0.starts_with("HTTP/1.1 503 ")
    }

    /// Everything but the date, and the text of the request's own id, whose length counts.
    pub(super) fn whole(&self) -> String {
        let (head, body) = &self.verbatim;
        let dated: Vec<_> = head
            .lines()
            .map(|line| match line.split_once(": ") {
                Some(("Date", _)) => "Date: …".to_owned(),
                Some(("X-Request-Id", id)) => format!("X-Request-Id: {}", "x".repeat(id.len())),
                _ => line.to_owned(),
            })
            .collect();
        format!("{}\n\n{body}", dated.join("\n"))
    }

    /// The same without the token's own text, whose length counts.
    fn shape(&self) -> String {
        let whole = self.whole();
        self.token().map_or(whole.clone(), |token| whole.replace(&token, &"x".repeat(token.len())))
    }
}

/// Every step is answered the same for every kind; where there was no place, every refusal is the same.
pub(super) fn assert_alike(samples: &[Sample]) {
    let mut expected: BTreeMap<_, (&str, String)> = BTreeMap::new();
    for sample in samples {
        let (kind, shape) = expected.entry((sample.step, sample.is_refused())).or_insert((sample.kind, sample.shape()));
        assert_eq!(sample.shape(), *shape, "{}: {} and {kind}", sample.step, sample.kind);
    }
}

/// What tells a kind from unknown names, if anything does with no more than `chance` that it is chance.
pub(super) fn tell_apart(samples: &[Sample], chance: f64) -> Option<String> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        groups.entry((sample.step, sample.kind)).or_default().push(sample);
    }
    groups.iter().filter(|((_, kind), _)| *kind != "unknown").find_map(|((step, kind), group)| {
        let unknown = groups.get(&(*step, "unknown"))?;
        eprint!("{step}: {kind}: ");
        differ(group, unknown, chance).map(|how| format!("{step}: {kind}: {how}"))
    })
}

fn differ(these: &[&Sample], those: &[&Sample], chance: f64) -> Option<String> {
    let refused = |group: &[&Sample]| group.iter().filter(|sample| sample.is_refused()).count();
    let odds = same_share((refused(these), these.len()), (refused(those), those.len()));
    if odds < chance {
        return Some(format!(
            "{} of {} are refused, and {} of {}",
            refused(these),
            these.len(),
            refused(those),
            those.len()
        ));
    }
    let [these, those] = [these, those].map(times);
    let (p, medians) = (same_source(&these, &those), (median(&these), median(&those)));
    let apart = (medians.0 - medians.1).abs();
    let how = format!("p = {p:.2e}, medians {:.2} ms and {:.2} ms, of {}", medians.0, medians.1, these.len());
    eprintln!("{how}");
    (p < chance || (these.len() >= MANY && apart > FARTHEST)).then_some(how)
}

/// Where there are that many, medians may be so many milliseconds apart; of fewer they say nothing that holds.
const MANY: usize = 200;
const FARTHEST: f64 = 5.0;

/// In milliseconds, the shortest first.
fn times(group: &[&Sample]) -> Vec<f64> {
    let mut times: Vec<_> = group.iter().map(|sample| sample.took.as_secs_f64() * 1000.0).collect();
    times.sort_by(f64::total_cmp);
    times
}

fn median(sorted: &[f64]) -> f64 {
    (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0
}

/// Kolmogorov and Smirnov: how probable it is that two samples of one source are as far apart as these. Both sorted.
/// The asymptotic series with Stephens' correction for few (Numerical Recipes, §14.3).
pub(super) fn same_source(these: &[f64], those: &[f64]) -> f64 {
    let share = |sorted: &[f64], at: f64| sorted.partition_point(|time| *time <= at) as f64 / sorted.len() as f64;
    let distance =
        these.iter().chain(those).map(|at| (share(these, *at) - share(those, *at)).abs()).fold(0.0, f64::max);
    let (n, m) = (these.len() as f64, those.len() as f64);
    let root = (n * m / (n + m)).sqrt();
    let lambda = (root + 0.12 + 0.11 / root) * distance;
    if lambda < 0.2 {
        return 1.0;
    }
    let term = |k: i32| f64::from(1 - 2 * ((k - 1) % 2)) * (-2.0 * f64::from(k * k) * lambda * lambda).exp();
    (2.0 * (1..=100).map(term).sum::<f64>()).clamp(0.0, 1.0)
}

/// How probable it is that two shares as far apart as these are of one source: two-sided, by the normal distribution's
/// bound `erfc(x) ≤ exp(-x²)`, which is never less than the truth and so alarms too seldom rather than too often.
fn same_share((some, n): (usize, usize), (others, m): (usize, usize)) -> f64 {
    let (n, m) = (n as f64, m as f64);
    let (one, other) = (some as f64 / n, others as f64 / m);
    let pooled = (some + others) as f64 / (n + m);
    let deviation = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    if deviation == 0.0 { 1.0 } else { (-((one - other) / deviation).powi(2) / 2.0).exp() }
}

#[test]
fn the_statistic_is_the_published_one() {
    // Its tail at the usual critical values (Smirnov 1948): λ 1.3581 is 5 %, 1.6276 is 1 %, 1.9495 is 0.1 %.
    let even: Vec<f64> = (0..100_000).map(f64::from).collect();
    for (lambda, p) in [(1.3581, 0.05), (1.6276, 0.01), (1.9495, 0.001)] {
        let distance = lambda / (50_000_f64.sqrt() + 0.12);
        let moved: Vec<f64> = even.iter().map(|at| at + distance * 100_000.0).collect();
        assert!((same_source(&even, &moved) / p - 1.0).abs() < 0.02, "{lambda}: {}", same_source(&even, &moved));
    }
    assert_eq!(same_source(&even, &even), 1.0);
    assert!(same_share((50, 100), (48, 100)) > 0.5 && same_share((90, 100), (20, 100)) < 1e-9);
}
