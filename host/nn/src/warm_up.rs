//! The first computation of a graph, so that no request pays for the work of a first run.
//!
//! It is computed on zeros. Their shapes are those that the card states, in its inputs or in `serving.warmup`. Axes that
//! it leaves open get usual sizes of pictures and sequences, one after the other until one computes: such a graph is
//! right even if it computes none of them.

mod shapes;

use std::collections::BTreeMap;

use modelfn_card::{Card, DType, Signature, TensorSpec};
use serde::{Deserialize, Serialize};

use self::shapes::Shapes;
use crate::backend::Graph;
use crate::tensor::{Tensor, Tensors};

/// The largest input of a warm-up, in bytes. A graph whose smallest input is larger is not one that is served.
const MAX_INPUT: usize = 1 << 30;

/// What a card says of the warm-up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct WarmUp {
    /// The inputs, which may fix sizes that the graph leaves open; empty where the card has none.
    pub(crate) inputs: Vec<TensorSpec>,
    /// Whole shapes, by the names of inputs.
    pub(crate) shapes: BTreeMap<String, Vec<usize>>,
}

/// How a warm-up ended that is no reason to refuse the graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WarmUpOutcome {
    /// The graph computed inputs of these shapes, in the order of its inputs.
    Computed(Vec<Vec<usize>>),
    /// The graph computed none of the shapes that were made up for it. Says which, and why.
    Unknown(String),
}

impl WarmUp {
    /// What `card` says.
    pub(crate) fn of(card: &Card) -> WarmUp {
        WarmUp { inputs: card.inputs.clone(), shapes: card.serving.warmup.clone() }
    }

    /// The shapes that computed once, for later processes of the same graph; `None` where none did.
    pub(crate) fn again(outcome: &WarmUpOutcome, signature: &Signature) -> Option<WarmUp> {
        let WarmUpOutcome::Computed(shapes) = outcome else { return None };
        let names = signature.inputs.iter().map(|spec| spec.name.clone());
        Some(WarmUp { inputs: Vec::new(), shapes: names.zip(shapes.iter().cloned()).collect() })
    }
}

/// Computes once on zeros, and on empty strings. `on_made_up` is called before shapes that nobody stated are tried: if they
/// end the process, that says nothing of the graph.
///
/// # Errors
///
/// The engine failed on shapes that were stated, or a stated shape is not one of the input. The sentence says why.
pub(crate) fn warm_up(
    graph: &mut dyn Graph,
    stated: &WarmUp,
    on_made_up: impl FnOnce(),
) -> Result<WarmUpOutcome, String> {
    let inputs = modelfn_card::refine(&stated.inputs, &graph.signature().inputs);
    let takes_strings = inputs.iter().any(|spec| spec.dtype == DType::String);
    let shapes = match Shapes::of(&inputs, &graph.metadata().axis_names, &stated.shapes)? {
        // Whatever the shape, a string is made up: some graphs take only numbers as text, or words that they know.
        Shapes::Stated(shapes) if takes_strings => vec![shapes],
        Shapes::Stated(shapes) => return compute(graph, &inputs, &shapes).map(|()| WarmUpOutcome::Computed(shapes)),
        Shapes::MadeUp(shapes) => shapes,
    };
    on_made_up();
    let mut last = String::new();
    for shapes in &shapes {
        match compute(graph, &inputs, shapes) {
            Ok(()) => return Ok(WarmUpOutcome::Computed(shapes.clone())),
            Err(reason) => last = reason,
        }
    }
    if takes_strings {
        return Ok(WarmUpOutcome::Unknown(format!("it computed no empty strings: {last}")));
    }
    let tried: Vec<_> = shapes.iter().map(|shapes| format!("{shapes:?}")).collect();
    Ok(WarmUpOutcome::Unknown(format!("it computed none of the shapes {}: {last}", tried.join(", "))))
}

fn compute(graph: &mut dyn Graph, inputs: &[TensorSpec], shapes: &[Vec<usize>]) -> Result<(), String> {
    let zeros = inputs.iter().zip(shapes).map(|(spec, shape)| {
        if Tensor::zeros_len(spec.dtype, shape).is_none_or(|bytes| bytes > MAX_INPUT) {
            return Err(format!("its input {spec} is larger than {MAX_INPUT} bytes"));
        }
        Ok((spec.name.clone(), Tensor::zeros(spec.dtype, shape.clone()).map_err(|e| e.to_string())?))
    });
    let zeros = zeros.collect::<Result<Tensors, String>>()?;
    graph.compute(&zeros).map(drop).map_err(|e| e.to_string())
}
