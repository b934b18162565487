//! Inputs that don't match a model's signature, described with the type names of the caller's protocol.

use std::fmt;

use crate::tensor::{DType, TensorSpec, TypeNames};

/// Why the inputs of a computation are invalid.
#[derive(Debug)]
pub enum InvalidInput {
    /// An input is missing or repeated.
    NotEachOnce {
        /// The model's name.
        model: String,
        /// The inputs of its signature.
        inputs: Vec<TensorSpec>,
        /// The names that were given.
        given: Vec<String>,
    },
    /// The model has no input of this name.
    Unknown {
        /// The model's name.
        model: String,
        /// The inputs of its signature.
        inputs: Vec<TensorSpec>,
        /// The name that was given.
        name: String,
    },
    /// Type or shape don't match the signature.
    Misfit {
        /// The type that was given.
        dtype: DType,
        /// The shape that was given.
        shape: Vec<usize>,
        /// The input of the signature.
        wanted: TensorSpec,
    },
    /// Two axes to which the graph gives the same name have different sizes.
    AxesDisagree {
        /// The name of the axes.
        axis: String,
        /// An input, and the size of its axis.
        first: (String, usize),
        /// Another input, or the same, and the size of its axis.
        second: (String, usize),
    },
}

impl InvalidInput {
    /// A sentence that names the tensor, what it is, and what it should be, with the type names `words`.
    pub fn describe(&self, words: TypeNames) -> String {
        let list = |specs: &[TensorSpec]| specs.iter().map(|spec| spec.describe(words)).collect::<Vec<_>>().join(", ");
        match self {
            InvalidInput::NotEachOnce { model, inputs, given } => {
                let given = given.join(", ");
                format!("model '{model}' wants each of its inputs once: {}; given: {given}", list(inputs))
            }
            InvalidInput::Unknown { model, inputs, name } => {
                format!("model '{model}' has no input '{name}'; it has: {}", list(inputs))
            }
            InvalidInput::Misfit { dtype, shape, wanted } => {
                let (name, dtype, wanted) = (&wanted.name, words(*dtype), wanted.describe(words));
                format!("input '{name}' is {dtype} {shape:?}; the model wants {wanted}")
            }
            InvalidInput::AxesDisagree { axis, first: (first, one), second: (second, other) } => format!(
                "inputs '{first}' and '{second}' must have the same size on the axis '{axis}', but have {one} and {other}"
            ),
        }
    }
}

impl fmt::Display for InvalidInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(DType::name))
    }
}

impl std::error::Error for InvalidInput {}
