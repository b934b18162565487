//! How large a model is, now and with other element types.

use modelfn_nn::weights::Weights;
use serde::Serialize;

/// The weights of a model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelSize {
    /// Elements of all weights.
    pub parameters: u64,
    /// Bytes of the weights.
    pub bytes: u64,
    /// Bytes if the floating-point weights were FP16.
    pub bytes_as_fp16: u64,
    /// Bytes if the floating-point weights were INT8.
    pub bytes_as_int8: u64,
    /// Share of the elements that are zero, 0 to 1.
    pub sparsity: f64,
    /// Elements and bytes by element type.
    pub weights: Weights,
}

impl ModelSize {
    /// The size of a model with these weights.
    pub(super) fn of(weights: Weights) -> ModelSize {
        ModelSize {
            parameters: weights.elements(),
            bytes: weights.bytes(),
            bytes_as_fp16: weights.bytes_with_floats_of(16),
            bytes_as_int8: weights.bytes_with_floats_of(8),
            sparsity: weights.zeros() as f64 / weights.elements().max(1) as f64,
            weights,
        }
    }
}
