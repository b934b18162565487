//! Resources that the process uses, under the standard names of Prometheus clients, and the build of the program.
//!
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>

use std::fmt;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Unit;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Build {
    version: &'static str,
    arch: &'static str,
}

/// `modelfn_build_info`.
pub(super) fn build() -> Info<Build> {
    Info::new(Build { version: env!("CARGO_PKG_VERSION"), arch: std::env::consts::ARCH })
}

/// Reads the resources of the process at each scrape.
#[derive(Debug)]
pub(super) struct Process {
    started: SystemTime,
}

impl Process {
    pub(super) fn started_now() -> Self {
        Process { started: SystemTime::now() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let cpu = ConstCounter::new(cpu().as_secs_f64());
        let seconds = Some(&Unit::Seconds);
        let descriptor = |name, help, unit| MetricDescriptor { name, help, unit };
        encode(&mut encoder, descriptor("process_cpu", "Processor time of all threads", seconds), &cpu)?;
        let started = ConstGauge::new(started.as_secs_f64());
        let start_time = descriptor("process_start_time", "When the process started, since 1970", seconds);
        encode(&mut encoder, start_time, &started)?;
        let mut gauge = |name, help, unit, value: Option<u64>| match value.and_then(|n| i64::try_from(n).ok()) {
            Some(n) => encode(&mut encoder, descriptor(name, help, unit), &ConstGauge::new(n)),
            // Not every system provides every value.
            None => Ok(()),
        };
        let (virtual_bytes, resident) = memory().unzip();
        gauge("process_resident_memory", "Memory that is there", Some(&Unit::Bytes), resident)?;
        gauge(
            "process_virtual_memory",
            "Addresses that are taken; sandboxes reserve many",
            Some(&Unit::Bytes),
            virtual_bytes,
        )?;
        gauge("process_open_fds", "Open files and sockets", None, open_files())?;
        gauge("process_max_fds", "Files and sockets that may be open", None, getrlimit(Resource::Nofile).current)
    }
}

struct MetricDescriptor<'a> {
    name: &'static str,
    help: &'static str,
    unit: Option<&'a Unit>,
}

fn encode(
    encoder: &mut DescriptorEncoder,
    descriptor: MetricDescriptor<'_>,
    metric: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    let MetricDescriptor { name, help, unit } = descriptor;
    metric.encode(encoder.encode_descriptor(name, &format!("{help}."), unit, metric.metric_type())?)
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// Bytes of virtual and of resident memory.
fn memory() -> Option<(u64, u64)> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = statm.split(' ').map_while(|field| field.parse::<u64>().ok());
    let page = rustix::param::page_size() as u64;
    Some((pages.next()? * page, pages.next()? * page))
}

/// The number of open file descriptors, without the one that is opened to count them.
fn open_files() -> Option<u64> {
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(count.saturating_sub(1))
}
