//! Numbers that are read whenever somebody looks, and kept by those whose they are.

use prometheus::{
    PullingGauge, Registry,
    core::{Collector, Desc},
    proto::{self, MetricFamily, MetricType},
};

use super::{Metrics, MetricsError};

/// A counter or gauge, a series of it, that is read whenever somebody looks, and may not be known.
pub(super) struct Read<F> {
    desc: Desc,
    kind: MetricType,
    read: F,
}

impl<F: Fn() -> Option<f64> + Send + Sync + 'static> Read<F> {
    pub(super) fn add(
        registry: &Registry,
        kind: MetricType,
        (name, label): (&str, Option<(&str, &str)>),
        help: &str,
        read: F,
    ) -> Result<(), MetricsError> {
        let labels = label.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
        let desc = Desc::new(name.to_owned(), help.to_owned(), Vec::new(), labels)?;
        Ok(registry.register(Box::new(Self { desc, kind, read }))?)
    }
}

impl<F: Fn() -> Option<f64> + Send + Sync> Collector for Read<F> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(value) = (self.read)() else { return Vec::new() };
        let mut metric = proto::Metric::from_label(self.desc.const_label_pairs.clone());
        if self.kind == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(self.kind);
        family.set_metric(vec![metric]);
        vec![family]
    }
}

impl Metrics {
    /// Adds `resetgate_<name>`, read whenever somebody looks; `read` must not block.
    pub fn gauge(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Result<(), MetricsError> {
        let gauge = PullingGauge::new(format!("resetgate_{name}"), help, Box::new(read))?;
        Ok(self.registry.register(Box::new(gauge))?)
    }

    /// Adds a series of `resetgate_<name>`, read likewise, with one label; it is not shown while there is nothing to read.
    pub fn labelled_gauge(
        &self,
        name: &str,
        help: &str,
        label: (&str, &str),
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) -> Result<(), MetricsError> {
        let name = format!("resetgate_{name}");
        Read::add(&self.registry, MetricType::GAUGE, (&name, Some(label)), help, read)
    }

    /// Adds `resetgate_<name>_total`, read likewise; it never goes down.
    pub fn counter(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Result<(), MetricsError> {
        let name = format!("resetgate_{name}_total");
        Read::add(&self.registry, MetricType::COUNTER, (&name, None), help, move || Some(read()))
    }

    /// Adds `resetgate_<name>`, what of something bounded is in use, and `resetgate_<name>_capacity`, its bound.
    pub fn bounded(
        &self,
        name: &str,
        help: &str,
        capacity: impl Fn() -> usize + Send + Sync + 'static,
        read: impl Fn() -> usize + Send + Sync + 'static,
    ) -> Result<(), MetricsError> {
        self.gauge(name, help, move || read() as f64)?;
        self.gauge(&format!("{name}_capacity"), &format!("{help}: the most"), move || capacity() as f64)
    }
}
