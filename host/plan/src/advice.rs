//! Advice: what would make a model cheaper to serve and what would not, judged by its file and its measurement.

use super::measure::{MeasuredBatch, MeasuredLayout, Measurement};
use super::model_size::ModelSize;
use modelfn_nn::backend::{Backend, Engine, Target};
use modelfn_nn::files::ModelFiles;

/// The factor from which on a difference is more than noise.
const SIGNIFICANT: f64 = 1.1;

/// The share of the machine's cores that other programs may use before a measurement counts as disturbed.
const MAX_INTERFERENCE: f64 = 0.15;

/// What a model's engine can compute on in this build.
pub(super) struct Hardware {
    pub(super) engine: Engine,
    /// Targets beside the CPU.
    pub(super) accelerators: Vec<Target>,
}

impl Hardware {
    /// The hardware that the engine of a model supports. None but the CPU where this build lacks the engine.
    pub(super) fn of(files: &ModelFiles, backends: &[Box<dyn Backend>]) -> Hardware {
        let engine = files.card.graph.engine;
        let backend = modelfn_nn::backend::find(backends, engine).ok();
        let is_supported = |target: &Target| backend.is_some_and(|backend| backend.supports(*target));
        Hardware { engine, accelerators: [Target::Gpu, Target::Tpu].into_iter().filter(is_supported).collect() }
    }
}

/// Advice in sentences, the most useful first.
pub(super) fn advise(size: &ModelSize, measured: Option<&Measurement>, hardware: &Hardware) -> Vec<String> {
    let mut sentences = Vec::new();
    sentences.extend(measured.and_then(interference));
    sentences.extend(dtype(size, measured.is_some()));
    if let Some(measured) = measured {
        sentences.push(batching(measured));
        sentences.extend(layout(measured));
    }
    sentences.push(acceleration(hardware));
    sentences.extend(pruning(size));
    sentences
}

/// A warning that other programs disturbed the measurement, where they used more than a little.
pub(super) fn interference(measured: &Measurement) -> Option<String> {
    let Measurement { others_cores, machine_cores, .. } = *measured;
    (others_cores > MAX_INTERFERENCE * machine_cores as f64).then(|| {
        format!(
            "disturbed: other programs kept {others_cores:.1} of {machine_cores} cores busy meanwhile, so rates and times are \
             those of what they left; measure again when the machine is idle"
        )
    })
}

/// Whether weights of another element type would help. `is_measured` says that this is the machine that will serve.
fn dtype(size: &ModelSize, is_measured: bool) -> Option<String> {
    let [now, fp16, int8] = [size.bytes, size.bytes_as_fp16, size.bytes_as_int8].map(|bytes| bytes as f64 / 1e6);
    // A quantised model still has scales and biases in floating point.
    if now < int8 * 1.5 {
        return (size.parameters > 0).then(|| "dtype: most weights are of 8 bits or fewer already.".to_owned());
    }
    let here = if is_measured { vnni() } else { "" };
    Some(format!(
        "dtype: INT8 would help: {int8:.1} MB of weights instead of {now:.1}, and where the processor has VNNI{here}, half \
         the CPU time of EfficientNet-Lite0 (bench/README.md). Check the answers. FP16 would be {fp16:.1} MB on disk, and \
         slower: on a CPU this engine computes it as FP32."
    ))
}

/// Half a sentence that says whether this processor has the VNNI instructions, which multiply bytes.
fn vnni() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        let has = std::arch::is_x86_feature_detected!("avx512vnni") || std::arch::is_x86_feature_detected!("avxvnni");
        if has { ", as this one" } else { ", which this one does not" }
    }
    #[cfg(not(target_arch = "x86_64"))]
    ""
}

/// Whether stacking requests into batches helps.
fn batching(measured: &Measurement) -> String {
    let (Some(one), [_, larger @ ..]) = (measured.batches.first(), measured.batches.as_slice()) else {
        return "batches: nothing was measured.".to_owned();
    };
    let gain = |batch: &MeasuredBatch| {
        let rate = batch.rows_per_second / one.rows_per_second;
        // What other programs leave changes from moment to moment. CPU time does not, so that it must show the same gain.
        let cpu = one.cpu_seconds * batch.rows as f64 / batch.cpu_seconds;
        if interference(measured).is_some() { rate.min(cpu) } else { rate }
    };
    let Some(best) = larger.iter().max_by(|a, b| gain(a).total_cmp(&gain(b))) else {
        return "batches: the model takes one row at a time, so nothing can be stacked.".to_owned();
    };
    let (rows, gain) = (best.rows, gain(best));
    if gain >= SIGNIFICANT {
        return format!(
            "batches: {rows} rows at once give {gain:.2} times the rows/s; set dynamic_batching = true in its card."
        );
    }
    format!(
        "batches: stacking does not help this model here: {rows} rows at once give {gain:.2} times the rows/s of one."
    )
}

/// Whether another layout gave more throughput than the planned one.
fn layout(measured: &Measurement) -> Option<String> {
    let layouts = &measured.layouts;
    let planned = layouts.first()?;
    let rate = |layout: &MeasuredLayout| layout.requests_per_second;
    let best = layouts.iter().max_by(|a, b| rate(a).total_cmp(&rate(b)))?;
    let gain = rate(best) / rate(planned);
    let MeasuredLayout { instances, threads, .. } = *best;
    if gain >= SIGNIFICANT {
        return Some(format!(
            "layout: instances = {instances}, threads = {threads} gave {gain:.2} times the requests/s; set it in the card, plan again."
        ));
    }
    let other = layouts.iter().skip(1).map(rate).fold(0.0, f64::max);
    let less = rate(planned) / other;
    let MeasuredLayout { instances, threads, .. } = *planned;
    Some(format!(
        "layout: instances = {instances}, threads = {threads} is as good as what was compared, or better ({less:.2} times the best other)."
    ))
}

/// Which targets the engine of this build has.
fn acceleration(hardware: &Hardware) -> String {
    let engine = format!("{:?}", hardware.engine).to_lowercase();
    if hardware.accelerators.is_empty() {
        return format!(
            "hardware: the {engine} engine of this build computes on cpu only; a card with another target is refused."
        );
    }
    format!(
        "hardware: the {engine} engine of this build also has {:?}; set `target` in the card and plan again.",
        hardware.accelerators
    )
}

/// What pruning brings: nothing where the engine has no sparse kernels.
fn pruning(size: &ModelSize) -> Option<String> {
    (size.parameters > 0).then(|| {
        format!(
            "pruning: {:.2}% of the weights are zero. More of them bring nothing here: the engine makes sparse weights dense \
             when it loads them (github.com/microsoft/onnxruntime/issues/5578), and with 80% of zeros EfficientNet-Lite0 took \
             as long (bench/README.md). Only a graph with fewer channels is faster.",
            size.sparsity * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::measure::Latency;
    use super::*;
    use modelfn_nn::weights::Weights;

    fn size(bytes: u64, int8: u64) -> ModelSize {
        ModelSize {
            parameters: 100,
            bytes,
            bytes_as_fp16: bytes / 2,
            bytes_as_int8: int8,
            sparsity: 0.5,
            weights: Weights::default(),
        }
    }

    fn measured(batches: &[(usize, f64)], layouts: &[(usize, usize, f64)]) -> Measurement {
        let layout = |&(instances, threads, requests_per_second): &(usize, usize, f64)| MeasuredLayout {
            instances,
            threads,
            requests_per_second,
            peak_bytes: 0.0,
            requests_at_once: 2,
        };
        Measurement {
            machine_cores: 2,
            others_cores: 0.0,
            request: String::new(),
            is_route: false,
            alone_seconds: 0.01,
            busy: Latency { requests: 100, mean_seconds: 0.01, p99_seconds: 0.01, variation: 0.0 },
            layouts: layouts.iter().map(layout).collect(),
            batches: batches
                .iter()
                .map(|&(rows, rate)| MeasuredBatch { rows, rows_per_second: rate, cpu_seconds: 0.01 * rows as f64 })
                .collect(),
            cpu_seconds_per_request: 0.0,
            peak_concurrency: 64,
            peak_concurrency_bytes: 0.0,
        }
    }

    #[test]
    fn int8_is_advised_where_it_is_not_yet_used() {
        assert!(dtype(&size(4000, 1000), false).unwrap().contains("INT8 would help"));
        assert!(dtype(&size(1100, 1000), false).unwrap().contains("already"));
    }

    #[test]
    fn batches_are_advised_where_they_were_faster() {
        let said = |batches: &[(usize, f64)]| batching(&measured(batches, &[]));
        assert!(said(&[(1, 100.0), (2, 120.0), (8, 150.0)]).contains("8 rows at once give 1.50 times"));
        assert!(said(&[(1, 100.0), (8, 105.0)]).contains("does not help"));
        assert!(said(&[(1, 100.0), (8, 80.0)]).contains("0.80 times"));
        assert!(said(&[(1, 100.0)]).contains("one row at a time"));
        // Twice the rows/s at the same CPU time a row: other programs had left more of the machine.
        let disturbed = Measurement { others_cores: 1.0, ..measured(&[(1, 100.0), (8, 200.0)], &[]) };
        assert!(batching(&disturbed).contains("does not help"), "{}", batching(&disturbed));
    }

    #[test]
    fn another_layout_is_advised_where_it_was_faster() {
        let said = |layouts: &[(usize, usize, f64)]| layout(&measured(&[], layouts)).unwrap();
        assert!(said(&[(2, 1, 100.0), (1, 1, 50.0), (1, 2, 150.0)]).contains("instances = 1, threads = 2 gave 1.50"));
        assert!(said(&[(2, 1, 100.0), (1, 1, 50.0), (1, 2, 80.0)]).contains("instances = 2, threads = 1 is as good"));
    }

    #[test]
    fn a_disturbed_measurement_says_so() {
        let quiet = measured(&[], &[]);
        assert_eq!(interference(&Measurement { others_cores: 0.3, ..quiet.clone() }), None);
        assert!(interference(&Measurement { others_cores: 0.8, ..quiet }).unwrap().contains("0.8 of 2 cores"));
    }

    #[test]
    fn only_the_targets_of_the_engine_are_named() {
        let onnx = |targets: &[Target]| Hardware { engine: Engine::Onnx, accelerators: targets.to_vec() };
        assert!(acceleration(&onnx(&[])).contains("on cpu only"));
        assert!(acceleration(&onnx(&[Target::Gpu])).contains("also has [Gpu]"));
    }
}
