//! ONNX Runtime, through `ort`. The only file that knows this engine.
//!
//! The library is loaded from an explicit path when the first graph is loaded, so that a host without
//! ONNX models needs none, and a missing one is an error with a remedy rather than a panic. Sessions have
//! one intra-op thread by default and don't spin: on few cores, a thread a core in one session was the fastest layout.

mod protobuf;
mod session;
mod weights;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytemuck::{NoUninit, PodCastError};
use half::{bf16, f16};
use ort::environment::Environment;
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{PrimitiveTensorElementType, TensorElementType, TensorRef, Value, ValueType};

use self::session::Shared;
use super::{Backend, ComputeError, Engine, Graph, LoadError, LoadOptions, Target};
use crate::tensor::{DType, Signature, Tensor, TensorSpec, Tensors, rows};
use crate::weights::Weights;

/// Runs of at most half of the largest batch, after which the memory for it is given back.
const SHRINK_AFTER: usize = 64;

/// Loads ONNX graphs with one ONNX Runtime library.
pub struct Onnx {
    library: Result<PathBuf, String>,
    environment: OnceLock<Result<Environment, String>>,
}

impl Onnx {
    /// An engine whose library is `library`, or that has none for the reason given. Nothing is loaded yet.
    pub fn new(library: Result<PathBuf, String>) -> Self {
        Onnx { library, environment: OnceLock::new() }
    }

    fn environment(&self) -> Result<&Environment, LoadError> {
        self.environment
            .get_or_init(|| open_library(self.library.as_deref().map_err(Clone::clone)?))
            .as_ref()
            .map_err(|reason| LoadError::NoEngine(reason.clone()))
    }
}

impl Backend for Onnx {
    fn engine(&self) -> Engine {
        Engine::Onnx
    }

    fn prepare(&self) {
        let _ = self.environment();
    }

    fn load(&self, graph: &[u8], options: &LoadOptions) -> Result<Box<dyn Graph>, LoadError> {
        if options.target != Target::Cpu {
            return Err(LoadError::NoTarget(options.target, Engine::Onnx));
        }
        let environment = self.environment()?;
        let session = open_session(environment, graph, options).map_err(|e| LoadError::Invalid(e.to_string()))?;
        let signature = Signature { inputs: specs(session.inputs())?, outputs: specs(session.outputs())? };
        let session = Shared::new(session).map_err(|e| LoadError::Invalid(e.to_string()))?;
        Ok(Box::new(OnnxGraph { session: Arc::new(session), signature, memory: Arc::default() }))
    }

    fn weights(&self, graph: &[u8]) -> Result<Weights, LoadError> {
        weights::count(graph).map_err(LoadError::Invalid)
    }
}

struct OnnxGraph {
    session: Arc<Shared>,
    signature: Signature,
    memory: Arc<Mutex<Memory>>,
}

/// What a session keeps memory for.
#[derive(Default)]
struct Memory {
    /// The most rows; 0 before the first run.
    largest: usize,
    /// Runs of half of them or less, in a row.
    smaller: usize,
}

/// Memory that is given back after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    Nothing,
    /// What the allocator holds and nobody uses.
    Free,
    /// That, and what the engine keeps for later runs.
    Engine,
}

impl Graph for OnnxGraph {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn share(&self) -> Box<dyn Graph> {
        let Self { session, signature, memory } = self;
        Box::new(Self { session: session.clone(), signature: signature.clone(), memory: memory.clone() })
    }

    fn compute(&mut self, inputs: &Tensors) -> Result<Tensors, ComputeError> {
        let values = inputs
            .iter()
            .map(|(name, tensor)| Ok((name.as_str(), borrow(tensor)?)))
            .collect::<ort::Result<Vec<_>>>()
            .map_err(failed)?;
        let release = self.memory.lock().unwrap_or_else(PoisonError::into_inner).note(rows(inputs).unwrap_or(1));
        let shrinking = (release == Release::Engine).then(shrinking).transpose().map_err(failed)?;
        let outputs = self.session.run(&values, shrinking.as_ref()).map_err(failed)?;
        let tensors = self.signature.outputs.iter().zip(&outputs);
        let tensors = tensors.map(|(spec, value)| Ok((spec.name.clone(), copy_out(spec, value)?))).collect();
        drop(outputs);
        if release != Release::Nothing {
            release_free_memory();
        }
        tensors
    }
}

/// For a run after which the engine gives back memory that it doesn't need.
fn shrinking() -> ort::Result<RunOptions> {
    let mut options = RunOptions::new()?;
    options.set("memory.enable_memory_arena_shrinkage", "cpu:0")?;
    Ok(options)
}

impl Memory {
    /// What is to be given back after a run with so many rows: what loading left, after the first; that of the largest
    /// batch, when none came near it for long. The engine itself keeps what it once needed.
    fn note(&mut self, rows: usize) -> Release {
        if rows * 2 > self.largest {
            let release = if self.largest == 0 { Release::Free } else { Release::Nothing };
            *self = Self { largest: rows.max(self.largest), smaller: 0 };
            return release;
        }
        self.smaller += 1;
        if self.smaller < SHRINK_AFTER {
            return Release::Nothing;
        }
        *self = Self { largest: rows, smaller: 0 };
        Release::Engine
    }
}

fn open_library(path: &Path) -> Result<Environment, String> {
    let remedy = "run `make runtime`, or name the library with --onnxruntime or MODELFN_ONNXRUNTIME";
    ort::init_from(path)
        .map_err(|e| format!("ONNX Runtime could not be loaded from {}: {e}; {remedy}", path.display()))?
        .with_name("modelfn")
        .with_telemetry(false)
        .build()
        .map_err(|e| format!("ONNX Runtime at {} did not start: {e}; {remedy}", path.display()))
}

fn open_session(environment: &Environment, graph: &[u8], options: &LoadOptions) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_intra_threads(options.threads.get())?
        .with_inter_threads(1)?
        // A spinning pool would take the core from the sandboxes that prepare the next request.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        // A graph has its weights with it: none may name other files of this machine as its data.
        .with_config_entry("session.model_external_initializers_file_folder_path", "/nonexistent")?
        // Before VNNI the quick sum of two INT8 products saturates at 16 bits, and answers change. There exact kernels
        // are taken instead; elsewhere this does nothing.
        .with_config_entry("session.x64quantprecision", "1")?
        .commit_from_memory(graph)
}

/// Parsing and optimising a graph leaves more free memory behind than the session keeps (20 MB for 18 MB of
/// weights), and the allocator would hold on to it for good.
fn release_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the C library has no safe binding for it")]
    // SAFETY: malloc_trim has no preconditions and is thread-safe (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

fn specs(outlets: &[ort::value::Outlet]) -> Result<Vec<TensorSpec>, LoadError> {
    outlets.iter().map(|outlet| spec(outlet.name(), outlet.dtype())).collect()
}

fn spec(name: &str, value: &ValueType) -> Result<TensorSpec, LoadError> {
    let unsupported = |what: String| LoadError::Invalid(format!("'{name}' is {what}, which modelfn can't carry"));
    let ValueType::Tensor { ty, shape, .. } = value else {
        return Err(unsupported(format!("{value}")));
    };
    let dtype = dtype(*ty).ok_or_else(|| unsupported(format!("a tensor of {ty}")))?;
    Ok(TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec() })
}

fn dtype(element: TensorElementType) -> Option<DType> {
    Some(match element {
        TensorElementType::Float16 => DType::Fp16,
        TensorElementType::Bfloat16 => DType::Bf16,
        TensorElementType::Float32 => DType::Fp32,
        TensorElementType::Float64 => DType::Fp64,
        TensorElementType::Uint8 => DType::U8,
        TensorElementType::Int32 => DType::I32,
        TensorElementType::Int64 => DType::I64,
        _ => return None,
    })
}

/// Views a tensor as an engine value; copies only where the bytes are not aligned for their type.
fn borrow(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
    match tensor.dtype() {
        DType::Fp16 => view::<f16>(tensor),
        DType::Bf16 => view::<bf16>(tensor),
        DType::Fp32 => view::<f32>(tensor),
        DType::Fp64 => view::<f64>(tensor),
        DType::U8 => view::<u8>(tensor),
        DType::I32 => view::<i32>(tensor),
        DType::I64 => view::<i64>(tensor),
    }
}

fn view<T>(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>>
where
    T: PrimitiveTensorElementType + bytemuck::AnyBitPattern + NoUninit + std::fmt::Debug + Clone + 'static,
{
    let shape = tensor.shape().to_vec();
    match bytemuck::try_cast_slice::<u8, T>(tensor.data()) {
        Ok(elements) => Ok(TensorRef::from_array_view((shape, elements))?.into()),
        Err(PodCastError::TargetAlignmentGreaterAndInputNotAligned) => {
            let elements: Vec<T> = bytemuck::allocation::pod_collect_to_vec(tensor.data());
            Ok(Value::from_array((shape, elements))?.into())
        }
        Err(e) => Err(ort::Error::new(e.to_string())),
    }
}

fn copy_out(spec: &TensorSpec, value: &Value) -> Result<Tensor, ComputeError> {
    match spec.dtype {
        DType::Fp16 => extract::<f16>(spec, value),
        DType::Bf16 => extract::<bf16>(spec, value),
        DType::Fp32 => extract::<f32>(spec, value),
        DType::Fp64 => extract::<f64>(spec, value),
        DType::U8 => extract::<u8>(spec, value),
        DType::I32 => extract::<i32>(spec, value),
        DType::I64 => extract::<i64>(spec, value),
    }
}

fn extract<T: PrimitiveTensorElementType + NoUninit>(spec: &TensorSpec, value: &Value) -> Result<Tensor, ComputeError> {
    let (shape, elements) = value.try_extract_tensor::<T>().map_err(failed)?;
    let shape = shape.iter().map(|&axis| usize::try_from(axis).unwrap_or(0)).collect();
    let data = bytemuck::cast_slice::<T, u8>(elements).to_vec();
    Tensor::new(spec.dtype, shape, data.into()).map_err(|e| ComputeError(format!("output '{}': {e}", spec.name)))
}

fn failed(error: ort::Error) -> ComputeError {
    ComputeError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_large_batches_is_given_back_once_they_stay_away() {
        let mut memory = Memory::default();
        assert_eq!(memory.note(8), Release::Free, "what loading left");
        let mut kept = |rows| memory.note(rows) == Release::Nothing;
        for _ in 0..3 {
            assert!((1..SHRINK_AFTER).all(|_| kept(1)));
            assert!(kept(5), "a batch near the largest keeps it");
        }
        assert!((1..SHRINK_AFTER).all(|_| kept(4)));
        assert_eq!(memory.note(4), Release::Engine);
        let mut kept = |rows| memory.note(rows) == Release::Nothing;
        assert!((0..SHRINK_AFTER * 2).all(|_| kept(3)), "now 4 is the largest");
    }
}
