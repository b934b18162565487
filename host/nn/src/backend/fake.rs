//! A fake engine, with which tests of queues, deadlines and failures are deterministic.
//!
//! Its graph file is TOML: the signature, and what `compute` does. Where a test needs an engine that is busy, `compute`
//! waits until a file exists.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Backend, ComputeError, Engine, Graph, LoadError, LoadOptions, Target};
use crate::tensor::{Signature, TensorSpec, Tensors};
use crate::weights::Weights;

/// The engine of cards that say `engine = "fake"`.
pub struct Fake;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FakeFile {
    compute: Behaviour,
    /// `compute` returns only once this file exists. The first run, which is the warm-up, does not wait.
    gate: Option<PathBuf>,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
}

#[derive(Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Behaviour {
    /// The outputs are the inputs, in order.
    Echo,
    /// Every run except the first fails.
    Fail,
    /// Every run except the first panics.
    Panic,
}

#[derive(Clone)]
struct FakeGraph {
    signature: Signature,
    compute: Behaviour,
    gate: Option<PathBuf>,
    warm: bool,
}

impl Backend for Fake {
    fn engine(&self) -> Engine {
        Engine::Fake
    }

    fn supports(&self, target: Target) -> bool {
        target == Target::Cpu
    }

    fn load(&self, graph: &[u8], options: &LoadOptions) -> Result<Box<dyn Graph>, LoadError> {
        if !self.supports(options.target) {
            return Err(LoadError::NoTarget(options.target, Engine::Fake));
        }
        let file: FakeFile = toml::from_slice(graph).map_err(|e| LoadError::Invalid(e.to_string()))?;
        let signature = Signature { inputs: file.inputs, outputs: file.outputs };
        Ok(Box::new(FakeGraph { signature, compute: file.compute, gate: file.gate, warm: false }))
    }

    fn weights(&self, _: &[u8]) -> Result<Weights, LoadError> {
        Ok(Weights::default())
    }
}

impl Graph for FakeGraph {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn share(&self) -> Box<dyn Graph> {
        Box::new(self.clone())
    }

    fn compute(&mut self, inputs: &Tensors) -> Result<Tensors, ComputeError> {
        if std::mem::replace(&mut self.warm, true) {
            if let Some(gate) = &self.gate {
                wait_for(gate);
            }
            match self.compute {
                Behaviour::Echo => {}
                Behaviour::Fail => return Err(ComputeError("told to fail".to_owned())),
                Behaviour::Panic => panic!("told to panic"),
            }
        }
        let names = self.signature.outputs.iter().map(|spec| spec.name.clone());
        Ok(names.zip(inputs.iter().map(|(_, tensor)| tensor.clone())).collect())
    }
}

fn wait_for(gate: &Path) {
    while !gate.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}
