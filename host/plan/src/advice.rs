//! What would make a model cheaper, and what would not: from its file and from what was measured of it.

use super::Size;
use super::measure::{Batch, Layout, Measurement};
use modelfn_nn::backend::{Backend, Engine, Target};
use modelfn_nn::files::ModelFiles;

/// A difference that is more than noise.
const WORTH_IT: f64 = 1.1;

/// The targets beside the CPU that the model's engine supports in this build.
pub(super) fn other_targets(files: &ModelFiles, backends: &[Box<dyn Backend>]) -> Vec<Target> {
    let Ok(engine) = modelfn_nn::backend::find(backends, files.card.graph.engine) else { return Vec::new() };
    [Target::Gpu, Target::Tpu].into_iter().filter(|target| engine.supports(*target)).collect()
}

/// Sentences, the most useful first.
pub(super) fn advise(size: &Size, measured: Option<&Measurement>, hardware: (Engine, &[Target])) -> Vec<String> {
    let mut said = Vec::new();
    said.extend(measured.and_then(disturbance));
    said.extend(dtype(size, measured.is_some()));
    if let Some(measured) = measured {
        said.push(batching(measured));
        said.extend(layout(measured));
    }
    said.push(acceleration(hardware));
    said.extend(pruning(size));
    said
}

/// What other programs took while it was measured, where that is more than a little.
pub(super) fn disturbance(measured: &Measurement) -> Option<String> {
    let Measurement { others_cores, machine_cores, .. } = *measured;
    (others_cores > 0.15 * machine_cores as f64).then(|| {
        format!(
            "disturbed: other programs kept {others_cores:.1} of {machine_cores} cores busy meanwhile, so rates and times are \
             those of what they left; measure again when the machine is idle"
        )
    })
}

fn dtype(size: &Size, is_here: bool) -> Option<String> {
    let [now, fp16, int8] = [size.bytes, size.bytes_as_fp16, size.bytes_as_int8].map(|bytes| bytes as f64 / 1e6);
    // Scales and biases of a quantised model are floats, too.
    if now < int8 * 1.5 {
        return (size.parameters > 0).then(|| "dtype: most weights are of 8 bits or fewer already.".to_owned());
    }
    let here = if is_here { vnni() } else { "" };
    Some(format!(
        "dtype: INT8 would help: {int8:.1} MB of weights instead of {now:.1}, and where the processor has VNNI{here}, half \
         the CPU time of EfficientNet-Lite0 (bench/README.md). Check the answers. FP16 would be {fp16:.1} MB on disk, and \
         slower: on a CPU this engine computes it as FP32."
    ))
}

/// Whether this processor multiplies bytes as fast as INT8 wants it.
fn vnni() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        let has = std::arch::is_x86_feature_detected!("avx512vnni") || std::arch::is_x86_feature_detected!("avxvnni");
        if has { ", as this one" } else { ", which this one does not" }
    }
    #[cfg(not(target_arch = "x86_64"))]
    ""
}

fn batching(measured: &Measurement) -> String {
    let (Some(one), [_, larger @ ..]) = (measured.batches.first(), measured.batches.as_slice()) else {
        return "batches: nothing was measured.".to_owned();
    };
    let gain = |batch: &Batch| {
        let rate = batch.rows_per_second / one.rows_per_second;
        // What others leave changes by the moment; CPU time does not, and must show the same.
        let cpu = one.cpu_seconds * batch.rows as f64 / batch.cpu_seconds;
        if disturbance(measured).is_some() { rate.min(cpu) } else { rate }
    };
    let Some(best) = larger.iter().max_by(|a, b| gain(a).total_cmp(&gain(b))) else {
        return "batches: the model takes one row at a time, so nothing can be stacked.".to_owned();
    };
    let (rows, gain) = (best.rows, gain(best));
    if gain >= WORTH_IT {
        return format!(
            "batches: {rows} rows at once give {gain:.2} times the rows/s; set dynamic_batching = true in its card."
        );
    }
    format!(
        "batches: stacking does not help this model here: {rows} rows at once give {gain:.2} times the rows/s of one."
    )
}

fn layout(measured: &Measurement) -> Option<String> {
    let layouts = &measured.layouts;
    let planned = layouts.first()?;
    let rate = |layout: &Layout| layout.requests_per_second;
    let best = layouts.iter().max_by(|a, b| rate(a).total_cmp(&rate(b)))?;
    let gain = rate(best) / rate(planned);
    let Layout { instances, threads, .. } = *best;
    if gain >= WORTH_IT {
        return Some(format!(
            "layout: instances = {instances}, threads = {threads} gave {gain:.2} times the requests/s; set it in the card, plan again."
        ));
    }
    let other = layouts.iter().skip(1).map(rate).fold(0.0, f64::max);
    let less = rate(planned) / other;
    let Layout { instances, threads, .. } = *planned;
    Some(format!(
        "layout: instances = {instances}, threads = {threads} is as good as what was compared, or better ({less:.2} times the best other)."
    ))
}

fn acceleration((engine, targets): (Engine, &[Target])) -> String {
    let engine = format!("{engine:?}").to_lowercase();
    if targets.is_empty() {
        return format!(
            "hardware: the {engine} engine of this build computes on cpu only; a card with another target is refused."
        );
    }
    format!(
        "hardware: the {engine} engine of this build also has {targets:?}; set `target` in the card and plan again."
    )
}

fn pruning(size: &Size) -> Option<String> {
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

    fn size(bytes: u64, int8: u64) -> Size {
        Size {
            parameters: 100,
            bytes,
            bytes_as_fp16: bytes / 2,
            bytes_as_int8: int8,
            sparsity: 0.5,
            weights: Weights::default(),
        }
    }

    fn measured(batches: &[(usize, f64)], layouts: &[(usize, usize, f64)]) -> Measurement {
        let layout = |&(instances, threads, requests_per_second): &(usize, usize, f64)| Layout {
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
                .map(|&(rows, rate)| Batch { rows, rows_per_second: rate, cpu_seconds: 0.01 * rows as f64 })
                .collect(),
            cpu_seconds_per_request: 0.0,
            crowd_requests: 64,
            crowd_peak_bytes: 0.0,
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
        // Twice the rows for the same CPU time: somebody else had left more of it.
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
        assert_eq!(disturbance(&Measurement { others_cores: 0.3, ..quiet.clone() }), None);
        assert!(disturbance(&Measurement { others_cores: 0.8, ..quiet }).unwrap().contains("0.8 of 2 cores"));
    }

    #[test]
    fn hardware_that_is_not_there_is_not_promised() {
        assert!(acceleration((Engine::Onnx, &[])).contains("on cpu only"));
        assert!(acceleration((Engine::Onnx, &[Target::Gpu])).contains("also has [Gpu]"));
    }
}
