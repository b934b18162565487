//! The statistics of the models under the names of Triton's metrics, so that existing dashboards work.
//!
//! Names, labels and units are Triton's
//! (<https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/metrics.html>). Its
//! counters have no suffix `_total`, which OpenMetrics demands of the samples of a counter and which the dashboards'
//! queries don't have. They are therefore exported with the type unknown, whose samples are named like their family.
//! `rate` in Prometheus works on any type.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;

use super::statistics::{Reason, Snapshot, Statistics, Total};

/// The statistics of the loaded models, by name and version.
#[derive(Debug, Default)]
pub(super) struct Models(Mutex<BTreeMap<(String, u32), Weak<Statistics>>>);

#[derive(Clone, Debug, EncodeLabelSet)]
struct VersionLabels {
    model: String,
    version: u32,
}

#[derive(Debug, EncodeLabelSet)]
struct FailureLabels {
    model: String,
    reason: &'static str,
    version: u32,
}

#[derive(Debug, EncodeLabelSet)]
struct QueueLabels {
    model: String,
}

/// The name and description of a metric, and how its value is read.
type MetricRow = (&'static str, &'static str, fn(&Snapshot) -> u64);

/// The metrics with the labels of a model's version. Durations are sums over the computations that succeeded.
const METRICS: [MetricRow; 8] = [
    ("nv_inference_request_success", "Computations that succeeded, of any batch size", |s| s.success.count),
    ("nv_inference_count", "Rows that engines have computed", Snapshot::inferences),
    ("nv_inference_exec_count", "Engine calls that succeeded", Snapshot::executions),
    ("nv_inference_request_duration_us", "From being asked for to outputs, in microseconds", |s| us(s.success)),
    ("nv_inference_queue_duration_us", "Waiting for an engine thread, in microseconds", |s| us(s.queue)),
    ("nv_inference_compute_input_duration_us", "Stacking inputs, in microseconds", |s| us(s.compute_input)),
    ("nv_inference_compute_infer_duration_us", "In the engine, in microseconds", |s| us(s.compute_infer)),
    ("nv_inference_compute_output_duration_us", "Taking outputs apart, in microseconds", |s| us(s.compute_output)),
];

const FAILURES: FamilyDescriptor = FamilyDescriptor {
    name: "nv_inference_request_failure",
    help: "Computations that failed, of any batch size, by reason",
    kind: MetricType::Unknown,
};
const PENDING: FamilyDescriptor = FamilyDescriptor {
    name: "nv_inference_pending_request_count",
    help: "Computations that wait for an engine thread",
    kind: MetricType::Gauge,
};
const DEPTH: FamilyDescriptor = FamilyDescriptor {
    name: "modelfn_queue_depth",
    help: "Computations that wait for an engine thread, of any version",
    kind: MetricType::Gauge,
};

impl Models {
    /// Exports the statistics of a model until their owner drops them. Those of the same name and version are replaced.
    pub(super) fn add(&self, model: &str, version: u32, statistics: &Arc<Statistics>) {
        let mut models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        models.insert((model.to_owned(), version), Arc::downgrade(statistics));
    }

    fn snapshots(&self) -> Vec<(VersionLabels, Snapshot)> {
        let mut models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        models.retain(|_, statistics| statistics.strong_count() > 0);
        let snapshot = |((model, version), statistics): (&(String, u32), &Weak<Statistics>)| {
            let labels = VersionLabels { model: model.clone(), version: *version };
            statistics.upgrade().map(|statistics| (labels, statistics.snapshot()))
        };
        models.iter().filter_map(snapshot).collect()
    }
}

impl Collector for Models {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let models = self.snapshots();
        for (name, help, value) in METRICS {
            let samples = models.iter().map(|(labels, snapshot)| (labels.clone(), value(snapshot)));
            encode(&mut encoder, &FamilyDescriptor { name, help, kind: MetricType::Unknown }, samples)?;
        }
        let failures = models.iter().flat_map(|(labels, snapshot)| {
            let VersionLabels { model, version } = labels;
            Reason::ALL.into_iter().map(move |reason| {
                let labels = FailureLabels { model: model.clone(), reason: reason.word(), version: *version };
                (labels, snapshot.failures[reason as usize].count)
            })
        });
        encode(&mut encoder, &FAILURES, failures)?;
        let pending = models.iter().map(|(labels, snapshot)| (labels.clone(), snapshot.waiting as u64));
        encode(&mut encoder, &PENDING, pending)?;
        let mut depths = BTreeMap::new();
        for (labels, snapshot) in &models {
            *depths.entry(labels.model.clone()).or_insert(0) += snapshot.waiting as u64;
        }
        let depths = depths.into_iter().map(|(model, depth)| (QueueLabels { model }, depth));
        encode(&mut encoder, &DEPTH, depths)
    }
}

/// The name, description and type of a metric family.
struct FamilyDescriptor {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
}

fn encode<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    descriptor: &FamilyDescriptor,
    samples: impl Iterator<Item = (L, u64)>,
) -> fmt::Result {
    let FamilyDescriptor { name, help, kind } = descriptor;
    let mut family = encoder.encode_descriptor(name, help, None, *kind)?;
    for (labels, value) in samples {
        // A sample that is encoded as a gauge gets no suffix, whatever the type of its family.
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

fn us(total: Total) -> u64 {
    total.ns / 1000
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Metrics;
    use super::super::statistics::Steps;
    use super::*;

    #[test]
    fn names_and_labels_are_tritons_and_a_model_that_is_gone_is_not_shown() {
        let metrics = Metrics::new();
        let (one, other) = (Arc::new(Statistics::default()), Arc::new(Statistics::default()));
        metrics.expose("m", 1, &one);
        metrics.expose("m", 2, &other);
        let steps = Steps { infer: Duration::from_micros(7), ..Steps::default() };
        one.executed(4, &steps);
        one.succeeded(Duration::from_micros(9), Duration::from_micros(1), &steps);
        one.failed(Reason::Canceled, Duration::ZERO);
        one.set_waiting(2);
        other.set_waiting(3);
        let text = metrics.text();
        for line in [
            "# TYPE nv_inference_count unknown",
            "nv_inference_request_success{model=\"m\",version=\"1\"} 1",
            "nv_inference_request_success{model=\"m\",version=\"2\"} 0",
            "nv_inference_request_failure{model=\"m\",reason=\"CANCELED\",version=\"1\"} 1",
            "nv_inference_request_failure{model=\"m\",reason=\"BACKEND\",version=\"1\"} 0",
            "nv_inference_count{model=\"m\",version=\"1\"} 4",
            "nv_inference_exec_count{model=\"m\",version=\"1\"} 1",
            "nv_inference_request_duration_us{model=\"m\",version=\"1\"} 9",
            "nv_inference_queue_duration_us{model=\"m\",version=\"1\"} 1",
            "nv_inference_compute_infer_duration_us{model=\"m\",version=\"1\"} 7",
            "# TYPE nv_inference_pending_request_count gauge",
            "nv_inference_pending_request_count{model=\"m\",version=\"2\"} 3",
            "modelfn_queue_depth{model=\"m\"} 5",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in:\n{text}");
        }
        assert_eq!(text.matches("# TYPE nv_inference_count ").count(), 1, "a family is described once");
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
        drop(other);
        assert!(!metrics.text().contains("version=\"2\""));
    }
}
