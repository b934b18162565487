//! The first computation of a graph, so that no request pays for the work of a first run.

use crate::backend::Graph;
use crate::tensor::{Tensor, Tensors};

/// The largest input of a warm-up, in bytes. A graph whose smallest input is larger is not one that is served.
const MAX_INPUT: usize = 1 << 30;

/// Computes once on zeros.
///
/// # Errors
///
/// The engine failed, or zeros of that shape can't be had. The sentence says why.
pub(crate) fn warm_up(graph: &mut dyn Graph) -> Result<(), String> {
    let inputs = graph.signature().inputs.clone();
    let zeros = inputs
        .iter()
        .map(|spec| {
            let shape = spec.smallest_shape();
            if Tensor::zeros_len(spec.dtype, &shape).is_none_or(|bytes| bytes > MAX_INPUT) {
                return Err(format!("its input {spec} is larger than {MAX_INPUT} bytes"));
            }
            Ok((spec.name.clone(), Tensor::zeros(spec.dtype, shape).map_err(|e| e.to_string())?))
        })
        .collect::<Result<Tensors, String>>()?;
    graph.compute(&zeros).map(drop).map_err(|e| e.to_string())
}
