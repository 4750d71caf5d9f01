//! Makes metrics, each named `resetgate_…` and registered, and counts in those that have labels.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector};

use super::MetricsError;

pub(super) fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("resetgate_{name}"), help)
}

pub(super) fn register(registry: &Registry, metric: &(impl Collector + Clone + 'static)) -> Result<(), MetricsError> {
    Ok(registry.register(Box::new(metric.clone()))?)
}

pub(super) fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, MetricsError> {
    let made = IntCounter::with_opts(opts(&format!("{name}_total"), help))?;
    register(registry, &made)?;
    Ok(made)
}

pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
    let made = IntGauge::with_opts(opts(name, help))?;
    register(registry, &made)?;
    Ok(made)
}

/// A counter with labels, each of which takes the values listed.
pub(super) fn family(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[(&str, &[&str])],
) -> Result<IntCounterVec, MetricsError> {
    let names: Vec<_> = labels.iter().map(|(name, _)| *name).collect();
    let made = IntCounterVec::new(opts(&format!("{name}_total"), help), &names)?;
    register(registry, &made)?;
    let mut series = vec![Vec::new()];
    for (_, values) in labels {
        series = series.iter().flat_map(|so_far| values.iter().map(move |v| [so_far, &[*v][..]].concat())).collect();
    }
    for values in series {
        made.get_metric_with_label_values(&values)?;
    }
    Ok(made)
}

pub(super) fn add(family: &IntCounterVec, values: &[&str]) {
    // Fails only on a wrong number of labels. A count lost is better than a request.
    if let Ok(counter) = family.get_metric_with_label_values(values) {
        counter.inc();
    }
}

pub(super) fn buckets(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts { common_opts: opts(name, help), buckets: buckets.to_vec() }
}

pub(super) fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    borders: &[f64],
) -> Result<Histogram, MetricsError> {
    let made = Histogram::with_opts(buckets(name, help, borders))?;
    register(registry, &made)?;
    Ok(made)
}
