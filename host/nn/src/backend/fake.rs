//! A fake engine, with which tests of queues, deadlines and failures are deterministic.
//!
//! Its graph file is TOML: the signature, and what `compute` does. Where a test needs an engine that is busy, `compute`
//! waits until a file exists.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Backend, Canceller, ComputeError, Engine, Graph, Isolation, LoadError, LoadOptions, Target};
use crate::backend::GraphBytes;
use crate::tensor::{DType, Signature, Tensor, TensorSpec, Tensors};
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
#[serde(rename_all = "kebab-case")]
enum Behaviour {
    /// The outputs are the inputs, in order.
    Echo,
    /// Every run except the first fails.
    Fail,
    /// Every run except the first panics.
    Panic,
    /// As `Echo`; a run with a byte 0 in its first input ends the process, except for the first.
    Crash,
    /// As `Echo`; a run with a byte 0 in its first input takes until it is cancelled, except for the first.
    Spin,
    /// As `Echo`; a run with a byte 0 in its first input does not end, not even when it is cancelled, except for the
    /// first.
    Hang,
    /// The first run, which is the warm-up, ends the process.
    CrashAtStart,
    /// The first run, which is the warm-up, does not end.
    HangAtStart,
    /// The first output tells what a computation can do: a 1 for each of the [`attempts`] that succeeds.
    Reach,
    /// Takes as many MiB of memory as the first byte of the first input says, then as `Echo`.
    Allocate,
}

#[derive(Clone)]
struct FakeGraph {
    signature: Signature,
    compute: Behaviour,
    gate: Option<PathBuf>,
    warm: bool,
    cancelled: Arc<FakeCanceller>,
}

#[derive(Default)]
struct FakeCanceller(AtomicBool);

impl Canceller for FakeCanceller {
    fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn reset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Backend for Fake {
    fn engine(&self) -> Engine {
        Engine::Fake
    }

    fn supports(&self, target: Target) -> bool {
        target == Target::Cpu
    }

    /// Its gates are files, which a process of its own could not see.
    fn default_isolation(&self) -> Option<Isolation> {
        Some(Isolation::Thread)
    }

    fn load(&self, graph: GraphBytes<'_>, options: &LoadOptions) -> Result<Box<dyn Graph>, LoadError> {
        if !self.supports(options.target) {
            return Err(LoadError::NoTarget(options.target, Engine::Fake));
        }
        let file: FakeFile = toml::from_slice(graph.graph).map_err(|e| LoadError::Invalid(e.to_string()))?;
        let signature = Signature { inputs: file.inputs, outputs: file.outputs };
        Ok(Box::new(FakeGraph {
            signature,
            compute: file.compute,
            gate: file.gate,
            warm: false,
            cancelled: Arc::default(),
        }))
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
        Box::new(FakeGraph { cancelled: Arc::default(), ..self.clone() })
    }

    fn canceller(&self) -> Arc<dyn Canceller> {
        self.cancelled.clone()
    }

    fn compute(&mut self, inputs: &Tensors) -> Result<Tensors, ComputeError> {
        if std::mem::replace(&mut self.warm, true) {
            if let Some(gate) = &self.gate {
                wait_for(gate);
            }
            match self.compute {
                Behaviour::Fail => return Err(ComputeError::Failed("told to fail".to_owned())),
                Behaviour::Panic => panic!("told to panic"),
                Behaviour::Crash if has_zero(inputs) => std::process::abort(),
                Behaviour::Spin if has_zero(inputs) => {
                    while !self.cancelled.0.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    return Err(ComputeError::Failed("told to spin".to_owned()));
                }
                Behaviour::Hang if has_zero(inputs) => hang(),
                Behaviour::Reach => return Ok(reach(&self.signature)),
                Behaviour::Allocate => allocate(inputs),
                _ => {}
            }
        } else {
            match self.compute {
                Behaviour::CrashAtStart => std::process::abort(),
                Behaviour::HangAtStart => hang(),
                _ => {}
            }
        }
        let names = self.signature.outputs.iter().map(|spec| spec.name.clone());
        Ok(names.zip(inputs.iter().map(|(_, tensor)| tensor.clone())).collect())
    }
}

/// Whether each of these works: opening a file, making a socket, starting a program, signalling the parent process.
fn attempts() -> [bool; 4] {
    [
        std::fs::File::open("/etc/hostname").or_else(|_| std::fs::File::open("/proc/self/status")).is_ok(),
        std::net::UdpSocket::bind("127.0.0.1:0").is_ok(),
        std::process::Command::new("/proc/self/exe").arg("--version").output().is_ok(),
        rustix::process::getppid().is_some_and(|parent| rustix::process::test_kill_process(parent).is_ok()),
    ]
}

fn reach(signature: &Signature) -> Tensors {
    let worked = attempts().map(u8::from).to_vec();
    let tensor = Tensor::new(DType::U8, vec![worked.len()], worked.into()).expect("a byte an element");
    signature.outputs.iter().take(1).map(|spec| (spec.name.clone(), tensor.clone())).collect()
}

fn allocate(inputs: &Tensors) {
    let mebibytes = inputs.first().and_then(|(_, tensor)| tensor.data().first()).copied().unwrap_or(0);
    std::hint::black_box(vec![1_u8; usize::from(mebibytes) << 20]);
}

fn hang() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn has_zero(inputs: &Tensors) -> bool {
    inputs.first().is_some_and(|(_, tensor)| tensor.data().contains(&0))
}

fn wait_for(gate: &Path) {
    while !gate.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}
