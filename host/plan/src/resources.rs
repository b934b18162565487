//! What Kubernetes is told: the requests and limits of one replica, and the bounds of autoscaling.

use serde::Serialize;

use super::queue::Fleet;

/// The multiple of the planned rate that autoscaling provides for.
pub(super) const BURST: f64 = 2.0;

/// The part of its memory limit that a server gives to requests and itself.
const USED_OF_LIMIT: f64 = 0.9;

/// The memory limit as a multiple of the highest peak that was measured.
const LIMIT_BY_PEAK: f64 = 1.1;

/// The memory limit as a multiple of an estimate.
const LIMIT_BY_ESTIMATE: f64 = 1.5;

/// What one replica needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    /// Cores at full load, if known.
    pub(super) cores: Option<f64>,
    /// Bytes at full load.
    pub(super) memory_bytes: f64,
    /// Bytes with as many requests in flight as a server admits, if that was measured.
    pub(super) peak_concurrency_bytes: Option<f64>,
    /// Bytes of the largest request that a server admits.
    pub(super) largest_request_bytes: f64,
}

/// Resource requests and limits of a replica, and the bounds of autoscaling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// `requests.cpu` in thousandths of a core: what the replica uses at full load.
    pub cpu_request_millis: Option<u64>,
    /// `limits.cpu` in thousandths of a core: the request, rounded up to whole cores.
    pub cpu_limit_millis: Option<u64>,
    /// `requests.memory` in MiB.
    pub memory_request_mib: u64,
    /// `limits.memory` in MiB. The server stays below it by itself and refuses what does not fit, so that beside the usual
    /// requests there is room for one of the largest that it admits.
    pub memory_limit_mib: u64,
    /// Bounds of the HorizontalPodAutoscaler; `None` where no rate was given.
    pub scaling: Option<Scaling>,
}

/// Bounds of autoscaling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Scaling {
    /// Replicas for the planned rate.
    pub min_replicas: usize,
    /// Replicas for twice the planned rate.
    pub max_replicas: usize,
    /// Average use of CPU, in per cent of `requests.cpu`, above which replicas are added.
    pub cpu_percent: u64,
}

impl Scaling {
    /// Bounds from the fleets for the usual rate and for [`BURST`] times that rate. `utilisation` (0 to 1) is how busy a
    /// replica may be.
    pub(super) fn of(usual: Fleet, highest: Fleet, utilisation: f64) -> Scaling {
        let cpu_percent = ((utilisation * 100.0).floor() as u64).clamp(1, 99);
        Scaling { min_replicas: usual.replicas, max_replicas: highest.replicas, cpu_percent }
    }
}

impl Resources {
    /// Resources of a replica with these needs.
    pub(super) fn of(needs: &Needs, scaling: Option<Scaling>) -> Resources {
        // Rounded up to the next 10 m; a request of zero would mean none.
        let cpu = needs.cores.map(|cores| ((cores * 100.0).ceil() as u64).max(1) * 10);
        let limit = match needs.peak_concurrency_bytes {
            Some(peak) => peak.max(needs.memory_bytes) * LIMIT_BY_PEAK,
            None => needs.memory_bytes * LIMIT_BY_ESTIMATE,
        };
        Resources {
            cpu_request_millis: cpu,
            cpu_limit_millis: cpu.map(|millis| millis.div_ceil(1000) * 1000),
            memory_request_mib: mebibytes(needs.memory_bytes),
            memory_limit_mib: mebibytes((limit + needs.largest_request_bytes) / USED_OF_LIMIT),
            scaling,
        }
    }
}

fn mebibytes(bytes: f64) -> u64 {
    (bytes / f64::from(1 << 20)).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_up() {
        let needs = Needs {
            cores: Some(1.901),
            memory_bytes: 200.5 * 1048576.0,
            peak_concurrency_bytes: Some(300.0 * 1048576.0),
            largest_request_bytes: 30.0 * 1048576.0,
        };
        let resources = Resources::of(&needs, None);
        assert_eq!((resources.cpu_request_millis, resources.cpu_limit_millis), (Some(1910), Some(2000)));
        assert_eq!((resources.memory_request_mib, resources.memory_limit_mib), (201, 400));
        let estimate = Resources::of(&Needs { cores: None, peak_concurrency_bytes: None, ..needs }, None);
        assert_eq!((estimate.cpu_request_millis, estimate.memory_limit_mib), (None, 368));
        let tiny = Resources::of(&Needs { cores: Some(0.0), ..needs }, None);
        assert_eq!((tiny.cpu_request_millis, tiny.cpu_limit_millis), (Some(10), Some(1000)));
    }

    #[test]
    fn a_replica_is_never_planned_to_be_idle_or_full() {
        let percent = |utilisation| {
            let fleet = Fleet { replicas: 3, utilisation: 0.5, mean_seconds: 0.0, p99_seconds: 0.0, in_flight: 0.0 };
            Scaling::of(fleet, Fleet { replicas: 6, ..fleet }, utilisation)
        };
        assert_eq!(percent(0.705), Scaling { min_replicas: 3, max_replicas: 6, cpu_percent: 70 });
        assert_eq!((percent(0.001).cpu_percent, percent(1.0).cpu_percent), (1, 99));
    }
}
