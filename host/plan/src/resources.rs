//! What Kubernetes is told of one replica: requests, limits, and how many there may be.

use serde::Serialize;

use super::queue::Fleet;

/// Replicas are allowed for so many times the planned rate.
pub(super) const BURST: f64 = 2.0;

/// The memory limit is so much above the highest peak that was measured.
const ABOVE_PEAK: f64 = 1.1;

/// The memory limit is so much above an estimate.
const ABOVE_ESTIMATE: f64 = 1.5;

/// What one replica needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    pub(super) cores: Option<f64>,
    pub(super) memory_bytes: f64,
    /// With as many requests as a server admits, if that was measured.
    pub(super) crowd_bytes: Option<f64>,
}

/// Requests, limits and bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// `requests.cpu` in thousandths of a core: what the replica uses when it does all it can.
    pub cpu_request_millis: Option<u64>,
    /// `limits.cpu`: the next whole core.
    pub cpu_limit_millis: Option<u64>,
    /// `requests.memory`.
    pub memory_request_mib: u64,
    /// `limits.memory`: beyond it the replica is killed, so it is above what the server can hold.
    pub memory_limit_mib: u64,
    /// Of the HorizontalPodAutoscaler.
    pub scaling: Option<Scaling>,
}

/// How many replicas there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Scaling {
    /// For the planned rate.
    pub min_replicas: usize,
    /// For twice the planned rate.
    pub max_replicas: usize,
    /// Per cent of `requests.cpu` that replicas use on average; more of them are made when it's exceeded.
    pub cpu_percent: u64,
}

impl Scaling {
    /// For fleets for the usual rate and [`BURST`] times of it, whose replicas may be so busy (0 to 1).
    pub(super) fn of(usual: Fleet, highest: Fleet, utilisation: f64) -> Scaling {
        let cpu_percent = ((utilisation * 100.0).floor() as u64).clamp(1, 99);
        Scaling { min_replicas: usual.replicas, max_replicas: highest.replicas, cpu_percent }
    }
}

impl Resources {
    /// For replicas that need this.
    pub(super) fn of(needs: &Needs, scaling: Option<Scaling>) -> Resources {
        // To the next 10 m, and never none.
        let cpu = needs.cores.map(|cores| ((cores * 100.0).ceil() as u64).max(1) * 10);
        let limit = match needs.crowd_bytes {
            Some(crowd) => crowd.max(needs.memory_bytes) * ABOVE_PEAK,
            None => needs.memory_bytes * ABOVE_ESTIMATE,
        };
        Resources {
            cpu_request_millis: cpu,
            cpu_limit_millis: cpu.map(|millis| millis.div_ceil(1000) * 1000),
            memory_request_mib: mebibytes(needs.memory_bytes),
            memory_limit_mib: mebibytes(limit),
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
        let needs = Needs { cores: Some(1.901), memory_bytes: 200.5 * 1048576.0, crowd_bytes: Some(300.0 * 1048576.0) };
        let resources = Resources::of(&needs, None);
        assert_eq!((resources.cpu_request_millis, resources.cpu_limit_millis), (Some(1910), Some(2000)));
        assert_eq!((resources.memory_request_mib, resources.memory_limit_mib), (201, 330));
        let estimate = Resources::of(&Needs { cores: None, crowd_bytes: None, ..needs }, None);
        assert_eq!((estimate.cpu_request_millis, estimate.memory_limit_mib), (None, 301));
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
