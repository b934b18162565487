//! What became of each model that was found: for people who start a server.

use super::{Registry, RegistryError};
use crate::model::Model;
use crate::tensor::{DType, TensorSpec};

/// What became of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelReport {
    /// The model's name, or that of a folder in which there is none.
    pub name: String,
    /// The version that serves; `None` where none does.
    pub version: Option<u32>,
    /// The inputs with their types, in the protocol's names, and their shapes; empty where the model does not serve.
    pub inputs: String,
    /// The outputs, likewise.
    pub outputs: String,
    /// The memory of the engine's process; 0 where it has none.
    pub memory_bytes: usize,
    /// Whether it serves, and why not.
    pub state: String,
}

impl Registry {
    /// What became of each model that was found and was to be loaded, by name.
    pub fn report(&self) -> Vec<ModelReport> {
        let served = self.models().map(|model| of_model(model));
        let refused = |state: &'static str| {
            move |(name, error): (&String, &std::sync::Arc<RegistryError>)| {
                absent(name, format!("{state}: {}", error.without_name()))
            }
        };
        let broken = self.broken.iter().map(refused("not served"));
        let left_out = self.left_out.iter().map(refused("left out"));
        let empty =
            self.empty.iter().map(|name| absent(name, "no model: neither model.toml nor an .onnx file".to_owned()));
        let mut reports: Vec<_> = served.chain(broken).chain(left_out).chain(empty).collect();
        reports.sort_by(|one, other| one.name.cmp(&other.name));
        reports
    }
}

fn of_model(model: &Model) -> ModelReport {
    let signature = model.signature();
    ModelReport {
        name: model.name().to_owned(),
        version: Some(model.version()),
        inputs: describe(&signature.inputs),
        outputs: describe(&signature.outputs),
        memory_bytes: model.worker.as_ref().map_or(0, |worker| worker.memory_bytes()),
        state: "served".to_owned(),
    }
}

fn absent(name: &str, state: String) -> ModelReport {
    let (inputs, outputs) = (String::new(), String::new());
    ModelReport { name: name.to_owned(), version: None, inputs, outputs, memory_bytes: 0, state }
}

/// The most tensors of a list that are shown.
const MAX_SHOWN: usize = 3;

fn describe(specs: &[TensorSpec]) -> String {
    let mut shown: Vec<_> = specs.iter().take(MAX_SHOWN).map(|spec| spec.describe(DType::oip_name)).collect();
    if specs.len() > MAX_SHOWN {
        shown.push(format!("and {} more", specs.len() - MAX_SHOWN));
    }
    shown.join(", ")
}
