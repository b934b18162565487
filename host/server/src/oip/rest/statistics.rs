//! What models have done, as Triton's extension `statistics` says it.
//!
//! <https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md>. There is no
//! response cache, and so nothing of one.

use serde::Serialize;

use modelfn_nn::model::Model;
use modelfn_telemetry::metrics::statistics::{BatchSize, Snapshot, Total};

#[derive(Serialize)]
struct ModelStatistics<'a> {
    name: &'a str,
    version: String,
    last_inference: u64,
    inference_count: u64,
    execution_count: u64,
    inference_stats: InferenceStatistics,
    batch_stats: Vec<BatchStatistics>,
}

#[derive(Serialize)]
struct InferenceStatistics {
    success: Total,
    fail: Total,
    queue: Total,
    compute_input: Total,
    compute_infer: Total,
    compute_output: Total,
}

#[derive(Serialize)]
struct BatchStatistics {
    batch_size: usize,
    #[serde(flatten)]
    steps: BatchSize,
}

/// The statistics of `models`.
pub(crate) fn document<'a>(models: impl Iterator<Item = &'a Model>) -> serde_json::Value {
    serde_json::json!({ "model_stats": models.map(of).collect::<Vec<_>>() })
}

fn of(model: &Model) -> ModelStatistics<'_> {
    let snapshot = model.statistics().snapshot();
    let (inference_count, execution_count, fail) = (snapshot.inferences(), snapshot.executions(), snapshot.fail());
    let Snapshot { success, queue, compute_input, compute_infer, compute_output, last_inference, batches, .. } =
        snapshot;
    ModelStatistics {
        name: model.name(),
        version: model.version().to_string(),
        last_inference,
        inference_count,
        execution_count,
        inference_stats: InferenceStatistics { success, fail, queue, compute_input, compute_infer, compute_output },
        batch_stats: batches.into_iter().map(|(batch_size, steps)| BatchStatistics { batch_size, steps }).collect(),
    }
}
