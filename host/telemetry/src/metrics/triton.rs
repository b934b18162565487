//! The models' statistics under the names of Triton's metrics, for dashboards that exist already.
//!
//! Names, labels and units are Triton's
//! (<https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/metrics.html>). Its counters
//! have no `_total`, which OpenMetrics demands of a counter's samples: with it the queries of those dashboards would find
//! nothing. So they are of type unknown here, where a sample is named as its family. Prometheus' `rate` asks for no type.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;

use super::statistics::{Reason, Snapshot, Statistics, Total};

/// The models that are loaded, by name and version.
#[derive(Debug, Default)]
pub(super) struct Models(Mutex<BTreeMap<(String, u32), Weak<Statistics>>>);

#[derive(Clone, Debug, EncodeLabelSet)]
struct Labels {
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
struct ModelLabels {
    model: String,
}

/// A name, its description, and the number.
type Row = (&'static str, &'static str, fn(&Snapshot) -> u64);

/// Durations are of computations that succeeded, and of all their time together.
const ROWS: [Row; 8] = [
    ("nv_inference_request_success", "Computations that succeeded, of any batch size", |s| s.success.count),
    ("nv_inference_count", "Rows that engines have computed", Snapshot::inferences),
    ("nv_inference_exec_count", "Engine calls that succeeded", Snapshot::executions),
    ("nv_inference_request_duration_us", "From being asked for to outputs, in microseconds", |s| us(s.success)),
    ("nv_inference_queue_duration_us", "Waiting for an engine thread, in microseconds", |s| us(s.queue)),
    ("nv_inference_compute_input_duration_us", "Stacking inputs, in microseconds", |s| us(s.compute_input)),
    ("nv_inference_compute_infer_duration_us", "In the engine, in microseconds", |s| us(s.compute_infer)),
    ("nv_inference_compute_output_duration_us", "Taking outputs apart, in microseconds", |s| us(s.compute_output)),
];

const FAILURES: (&str, &str) =
    ("nv_inference_request_failure", "Computations that failed, of any batch size, by reason");
const PENDING: (&str, &str) = ("nv_inference_pending_request_count", "Computations that wait for an engine thread");
const DEPTH: (&str, &str) = ("modelfn_queue_depth", "Computations that wait for an engine thread, of any version");

impl Models {
    /// Shows a model for as long as its statistics are held by somebody. One of the same name and version is replaced.
    pub(super) fn add(&self, model: &str, version: u32, statistics: &Arc<Statistics>) {
        let mut models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        models.insert((model.to_owned(), version), Arc::downgrade(statistics));
    }

    fn snapshots(&self) -> Vec<(Labels, Snapshot)> {
        let mut models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        models.retain(|_, statistics| statistics.strong_count() > 0);
        let snapshot = |((model, version), statistics): (&(String, u32), &Weak<Statistics>)| {
            let labels = Labels { model: model.clone(), version: *version };
            statistics.upgrade().map(|statistics| (labels, statistics.snapshot()))
        };
        models.iter().filter_map(snapshot).collect()
    }
}

impl Collector for Models {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let models = self.snapshots();
        for (name, help, value) in ROWS {
            let samples = models.iter().map(|(labels, snapshot)| (labels.clone(), value(snapshot)));
            family(&mut encoder, (name, help), MetricType::Unknown, samples)?;
        }
        let failures = models.iter().flat_map(|(labels, snapshot)| {
            let Labels { model, version } = labels;
            Reason::ALL.into_iter().map(move |reason| {
                let labels = FailureLabels { model: model.clone(), reason: reason.word(), version: *version };
                (labels, snapshot.failures[reason as usize].count)
            })
        });
        family(&mut encoder, FAILURES, MetricType::Unknown, failures)?;
        let pending = models.iter().map(|(labels, snapshot)| (labels.clone(), snapshot.waiting as u64));
        family(&mut encoder, PENDING, MetricType::Gauge, pending)?;
        let mut depths = BTreeMap::new();
        for (labels, snapshot) in &models {
            *depths.entry(labels.model.clone()).or_insert(0) += snapshot.waiting as u64;
        }
        let depths = depths.into_iter().map(|(model, depth)| (ModelLabels { model }, depth));
        family(&mut encoder, DEPTH, MetricType::Gauge, depths)
    }
}

fn family<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&'static str, &'static str),
    kind: MetricType,
    samples: impl Iterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in samples {
        // Nothing is appended to a gauge's name, nor to one of no known type.
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
        metrics.expose(("m", 1), &one);
        metrics.expose(("m", 2), &other);
        let steps = Steps { infer: Duration::from_micros(7), ..Steps::default() };
        one.executed(4, &steps);
        one.succeeded(Duration::from_micros(9), Duration::from_micros(1), &steps);
        one.failed(Reason::Canceled, Duration::ZERO);
        one.waiting(2);
        other.waiting(3);
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
