//! Inputs that don't fit a model, and how to say so in the names of whoever sent them.

use std::fmt;

use crate::tensor::{DType, TensorSpec, TypeNames};

/// What is wrong with a computation's inputs.
#[derive(Debug)]
pub enum InvalidInput {
    /// One is missing, or there twice.
    NotEachOnce {
        /// The model's name.
        model: String,
        /// What it wants.
        inputs: Vec<TensorSpec>,
        /// The names that were given.
        given: Vec<String>,
    },
    /// The model has none of this name.
    Unknown {
        /// The model's name.
        model: String,
        /// What it wants.
        inputs: Vec<TensorSpec>,
        /// The name that was given.
        name: String,
    },
    /// Type or shape differ from the model's, or the tensor is empty.
    Misfit {
        /// The type that was given.
        dtype: DType,
        /// The shape that was given.
        shape: Vec<usize>,
        /// What the model wants.
        wanted: TensorSpec,
    },
}

impl InvalidInput {
    /// A sentence that names the tensor, what it is and what it should be.
    pub fn describe(&self, names: TypeNames) -> String {
        let list = |specs: &[TensorSpec]| specs.iter().map(|spec| spec.describe(names)).collect::<Vec<_>>().join(", ");
        match self {
            InvalidInput::NotEachOnce { model, inputs, given } => {
                let given = given.join(", ");
                format!("model '{model}' wants each of its inputs once: {}; given: {given}", list(inputs))
            }
            InvalidInput::Unknown { model, inputs, name } => {
                format!("model '{model}' has no input '{name}'; it has: {}", list(inputs))
            }
            InvalidInput::Misfit { dtype, shape, wanted } => {
                let (name, dtype, wanted) = (&wanted.name, names(*dtype), wanted.describe(names));
                format!("input '{name}' is {dtype} {shape:?}; the model wants {wanted}")
            }
        }
    }
}

impl fmt::Display for InvalidInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(DType::name))
    }
}

impl std::error::Error for InvalidInput {}
