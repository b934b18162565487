//! The coefficients of the formulas: fitted to a measurement of this model, or taken from other models.

use serde::Serialize;

use super::formula;
use super::measure::{MeasuredLayout, Measurement};

/// The coefficients of CPU = α × batch × time × rate, and of memory = β × instances × weights + γ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Coefficients {
    /// Where the coefficients come from.
    pub source: CoefficientSource,
    /// α: cores that are busy while one row is computed, including the server's own work.
    pub alpha: f64,
    /// Seconds that one row takes on an idle server.
    pub seconds_per_row: Option<f64>,
    /// β: bytes of working memory of one instance, for each byte of weights.
    pub beta: f64,
    /// γ: bytes of everything else: program, engine, functions, requests, and the weights, which the instances share.
    pub gamma_bytes: f64,
}

/// Where coefficients come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CoefficientSource {
    /// Measured with this model on this machine.
    Measured,
    /// Measured with other models; see [`Coefficients::estimated`].
    Static,
}

impl Coefficients {
    /// Fits the coefficients to what was measured of a model with `model_bytes` bytes of weights and requests of `batch`
    /// rows.
    pub(super) fn fitted(measured: &Measurement, model_bytes: u64, batch: usize) -> Coefficients {
        let seconds = measured.alone_seconds;
        let planned = (batch as f64 * seconds, measured.cpu_seconds_per_request);
        let batches = measured.batches.iter().map(|batch| (batch.rows as f64 * seconds, batch.cpu_seconds));
        // A function does more than compute with the model, so that only its own request counts there.
        let points: Vec<_> = batches.filter(|_| !measured.is_route).chain([planned]).collect();
        let memory = |layout: &MeasuredLayout| (layout.instances as f64, layout.peak_bytes);
        let (beta, gamma_bytes) = match measured.layouts.as_slice() {
            [one, other, ..] if model_bytes > 0 => {
                let (each, _) = formula::line(memory(one), memory(other));
                let each = each.max(0.0);
                (each / model_bytes as f64, one.peak_bytes - each * one.instances as f64)
            }
            layouts => (0.0, layouts.first().map_or(0.0, |layout| layout.peak_bytes)),
        };
        let alpha = formula::fit_factor(&points);
        Coefficients { source: CoefficientSource::Measured, alpha, seconds_per_row: Some(seconds), beta, gamma_bytes }
    }

    /// Coefficients of other models: what `modelfn plan --no-app` measured with ONNX Runtime 1.24, one row a request. EfficientNet-Lite0 and -Lite1 in
    /// FP32 peak at 98.2 and 107.7 MB with one instance or two, Lite0 in INT8 at 55.0 and 60.1: 41 MB, and 3.1 times the
    /// weights while they are loaded, which leaves enough for the working memory of an instance or two. α is 1 core for the engine's one thread and
    /// a tenth for the server, without the work of a function.
    pub(super) fn estimated(seconds_per_row: Option<f64>, model_bytes: u64) -> Coefficients {
        let gamma_bytes = 41e6 + 3.1 * model_bytes as f64;
        Coefficients { source: CoefficientSource::Static, alpha: 1.1, seconds_per_row, beta: 0.3, gamma_bytes }
    }

    /// Bytes that a server with this many instances of a model has resident.
    pub(super) fn memory(&self, model_bytes: u64, instances: usize) -> f64 {
        formula::memory(self.beta * instances as f64, model_bytes as f64, self.gamma_bytes)
    }

    /// Cores that `rate` requests per second of `batch` rows each keep busy. `None` where the time of a row is unknown.
    pub(super) fn cores(&self, batch: usize, rate: f64) -> Option<f64> {
        Some(formula::cores(self.alpha, batch, self.seconds_per_row?, rate))
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::{Latency, MeasuredBatch};
    use super::*;

    /// A row takes 10 ms alone and 12 ms of CPU; a server takes 80 MB, and 30 MB for each instance.
    fn measurement() -> Measurement {
        let layout = |instances: usize, peak_bytes| MeasuredLayout {
            instances,
            threads: 1,
            requests_per_second: 90.0 * instances as f64,
            peak_bytes,
            requests_at_once: 4,
        };
        Measurement {
            machine_cores: 2,
            others_cores: 0.0,
            request: String::new(),
            is_route: false,
            alone_seconds: 0.010,
            busy: Latency { requests: 100, mean_seconds: 0.011, p99_seconds: 0.012, variation: 0.0 },
            layouts: vec![layout(2, 140e6), layout(1, 110e6)],
            batches: [1, 2, 4, 8]
                .map(|rows| MeasuredBatch { rows, rows_per_second: 100.0, cpu_seconds: 0.012 * rows as f64 })
                .to_vec(),
            cpu_seconds_per_request: 0.012,
            peak_concurrency: 64,
            peak_concurrency_bytes: 200e6,
        }
    }

    #[test]
    fn fitted_coefficients_reproduce_the_measurement() {
        let fitted = Coefficients::fitted(&measurement(), 10_000_000, 1);
        assert!((fitted.alpha - 1.2).abs() < 1e-9, "{fitted:?}");
        assert!((fitted.beta - 3.0).abs() < 1e-9 && (fitted.gamma_bytes - 80e6).abs() < 1.0, "{fitted:?}");
        assert!((fitted.memory(10_000_000, 2) - 140e6).abs() < 1.0);
        assert!((fitted.memory(10_000_000, 4) - 200e6).abs() < 1.0);
        assert!((fitted.cores(1, 100.0).unwrap() - 1.2).abs() < 1e-9);
    }

    #[test]
    fn a_functions_request_counts_alone_and_a_model_without_weights_has_no_beta() {
        let route = Measurement { is_route: true, cpu_seconds_per_request: 0.020, ..measurement() };
        let fitted = Coefficients::fitted(&route, 0, 1);
        assert!((fitted.alpha - 2.0).abs() < 1e-9, "{fitted:?}");
        assert_eq!((fitted.beta, fitted.gamma_bytes), (0.0, 140e6));
    }

    #[test]
    fn noise_does_not_make_an_instance_cost_less_than_nothing() {
        let mut noisy = measurement();
        noisy.layouts[1].peak_bytes = 141e6;
        let fitted = Coefficients::fitted(&noisy, 10_000_000, 1);
        assert_eq!((fitted.beta, fitted.gamma_bytes), (0.0, 140e6));
    }
}
