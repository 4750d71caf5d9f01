//! The process itself, by the names that every Prometheus client library has for it. What cannot be read is left out.

use std::{fs, time::Duration};

use prometheus::{Registry, proto::MetricType};
use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

use super::{MetricsError, read::Read};
use crate::reset::ports::Time;

/// Adds all that there is to say of the process, which started then.
pub(super) fn process(registry: &Registry, started: Time) -> Result<(), MetricsError> {
    let r = registry;
    let (counter, gauge) = (MetricType::COUNTER, MetricType::GAUGE);
    let started = started.millis() as f64 / 1000.0;
    let help = "When the process started, in seconds since the Unix epoch";
    Read::add(r, gauge, ("process_start_time_seconds", None), help, move || Some(started))?;
    Read::add(r, counter, ("process_cpu_seconds_total", None), "Time that its threads had a processor", || {
        Some(processor_time().as_secs_f64())
    })?;
    let help = "Memory that it has, as the kernel counts it";
    Read::add(r, gauge, ("process_resident_memory_bytes", None), help, || kilobytes("VmRSS:"))?;
    let help = "Memory that it has asked for addresses of";
    Read::add(r, gauge, ("process_virtual_memory_bytes", None), help, || kilobytes("VmSize:"))?;
    Read::add(r, gauge, ("process_open_fds", None), "Files and sockets that it has open", open_files)?;
    Read::add(r, gauge, ("process_max_fds", None), "How many it may have open", max_files)
}

/// The processor time that this process has taken so far, all its threads together.
pub(crate) fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

fn kilobytes(of: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(of))?;
    line.trim().strip_suffix(" kB")?.parse().ok().map(|kilobytes: f64| kilobytes * 1024.0)
}

fn open_files() -> Option<f64> {
    // Its size is their number, from Linux 6.2 on; else they are counted, with the one to count them by.
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => fs::read_dir("/proc/self/fd").ok().map(|all| all.count().saturating_sub(1) as f64),
        number => Some(number as f64),
    }
}

fn max_files() -> Option<f64> {
    Some(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself() {
        let registry = Registry::new();
        process(&registry, Time::from_millis(5_900)).unwrap();
        let _file = fs::File::open("/proc/self/status").unwrap();
        let all = registry.gather();
        let value = |name: &str| {
            let family = all.iter().find(|family| family.name() == name).unwrap_or_else(|| panic!("{name}"));
            let metric = &family.get_metric()[0];
            metric.get_gauge().get_value() + metric.get_counter().get_value()
        };
        assert_eq!(value("process_start_time_seconds"), 5.9);
        assert!(value("process_cpu_seconds_total") > 0.0);
        let resident = value("process_resident_memory_bytes");
        assert!(resident > 1e6 && resident < value("process_virtual_memory_bytes"));
        assert!(value("process_open_fds") > 3.0 && value("process_open_fds") < value("process_max_fds"));
        assert_eq!(all.len(), 6);
    }
}
