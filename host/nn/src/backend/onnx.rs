//! ONNX Runtime, through `ort`. Only this file and those below it know the engine.
//!
//! The library is loaded from an explicit path when the first graph is loaded. A host without ONNX models therefore
//! needs no library, and a missing one is an error with a remedy rather than a panic. Sessions have one intra-op thread
//! by default and don't spin: on few cores, one session that is run by a thread a core was the fastest layout.

mod check;
mod external;
mod protobuf;
mod runs;
mod session;
mod walk;
mod weights;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytemuck::{NoUninit, PodCastError};
use half::{bf16, f16};
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{PrimitiveTensorElementType, TensorElementType, TensorRef, Value, ValueType};

use self::runs::Runs;
use self::session::SharedSession;
use super::{Backend, Canceller, ComputeError, Engine, Graph, LoadError, LoadOptions, Target};
use crate::external::{ExternalFile, GraphBytes};
use crate::tensor::{AxisNames, DType, Signature, Tensor, TensorSpec, Tensors, rows};
use crate::weights::Weights;

/// After so many consecutive runs of at most half of the largest batch, the memory for that batch is freed.
const SHRINK_AFTER: usize = 64;

/// Loads ONNX graphs with one ONNX Runtime library.
pub struct Onnx {
    library: Result<PathBuf, String>,
    environment: OnceLock<Result<Environment, String>>,
}

impl Onnx {
    /// An engine with the library at a path, or with none for the given reason. The library is not loaded yet.
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

    fn supports(&self, target: Target) -> bool {
        target == Target::Cpu
    }

    fn prepare(&self) {
        let _ = self.environment();
    }

    fn external_files(&self, graph: &[u8]) -> Result<Vec<String>, LoadError> {
        check::check(graph).and_then(|tensors| external::files(&tensors)).map_err(LoadError::Invalid)
    }

    fn load(&self, graph: GraphBytes<'_>, options: &LoadOptions) -> Result<Box<dyn Graph>, LoadError> {
        if !self.supports(options.target) {
            return Err(LoadError::NoTarget(options.target, Engine::Onnx));
        }
        let environment = self.environment()?;
        let tensors = check::check(graph.graph).map_err(LoadError::Invalid)?;
        external::check_files(&tensors, graph.external).map_err(LoadError::Invalid)?;
        let session = open_session(environment, graph, options).map_err(|e| LoadError::Invalid(e.to_string()))?;
        let signature = Signature { inputs: specs(session.inputs())?, outputs: specs(session.outputs())? };
        let axis_names = AxisNames(session.inputs().iter().map(|input| axis_names(input.dtype())).collect());
        let session = SharedSession::new(session).map_err(|e| LoadError::Invalid(e.to_string()))?;
        let runs = Runs::new().map_err(|e| LoadError::NoEngine(e.to_string()))?;
        let (session, runs) = (Arc::new(session), Arc::new(runs));
        Ok(Box::new(OnnxGraph { session, signature, axis_names, trimmer: Arc::default(), runs }))
    }

    fn weights(&self, graph: &[u8]) -> Result<Weights, LoadError> {
        weights::count(graph).map_err(LoadError::Invalid)
    }
}

struct OnnxGraph {
    session: Arc<SharedSession>,
    signature: Signature,
    axis_names: AxisNames,
    trimmer: Arc<Mutex<ArenaTrimmer>>,
    /// The options of this handle's runs.
    runs: Arc<Runs>,
}

/// Decides when memory is freed that ONNX Runtime's arena would keep for good: it never shrinks below what the largest
/// batch needed.
#[derive(Default)]
struct ArenaTrimmer {
    /// The rows of the largest batch that the arena has memory for; 0 before the first run.
    largest_batch: usize,
    /// Consecutive runs of at most half of these rows.
    smaller_runs: usize,
}

/// The memory that is freed after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trim {
    Nothing,
    /// Free memory of the C library's heap.
    Heap,
    /// Free memory of the heap and of the engine's arena.
    Arena,
}

impl Graph for OnnxGraph {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn axis_names(&self) -> AxisNames {
        self.axis_names.clone()
    }

    fn share(&self) -> Box<dyn Graph> {
        let Self { session, signature, axis_names, trimmer, runs } = self;
        // Without options of its own, this handle is cancelled together with the other one.
        let runs = Runs::new().map_or_else(|_| runs.clone(), Arc::new);
        Box::new(Self {
            session: session.clone(),
            signature: signature.clone(),
            axis_names: axis_names.clone(),
            trimmer: trimmer.clone(),
            runs,
        })
    }

    fn canceller(&self) -> Arc<dyn Canceller> {
        self.runs.clone()
    }

    fn compute(&mut self, inputs: &Tensors) -> Result<Tensors, ComputeError> {
        let values = inputs
            .iter()
            .map(|(name, tensor)| Ok((name.as_str(), borrow(tensor)?)))
            .collect::<ort::Result<Vec<_>>>()
            .map_err(failed)?;
        let trim = self.trimmer.lock().unwrap_or_else(PoisonError::into_inner).observe(rows(inputs).unwrap_or(1));
        let options = if trim == Trim::Arena { self.runs.shrinking() } else { self.runs.ordinary() };
        let outputs = self.session.run(&values, options).map_err(failed)?;
        let tensors = self.signature.outputs.iter().zip(&outputs);
        let tensors = tensors.map(|(spec, value)| Ok((spec.name.clone(), copy_out(spec, value)?))).collect();
        drop(outputs);
        if trim != Trim::Nothing {
            trim_heap();
        }
        tensors
    }
}

impl ArenaTrimmer {
    /// Observes a run of a batch of `rows` rows, and decides what is freed after it: the garbage of loading after the
    /// first run, and the memory for the largest batch once [`SHRINK_AFTER`] runs did not come near that size.
    fn observe(&mut self, rows: usize) -> Trim {
        if rows * 2 > self.largest_batch {
            let trim = if self.largest_batch == 0 { Trim::Heap } else { Trim::Nothing };
            *self = Self { largest_batch: rows.max(self.largest_batch), smaller_runs: 0 };
            return trim;
        }
        self.smaller_runs += 1;
        if self.smaller_runs < SHRINK_AFTER {
            return Trim::Nothing;
        }
        *self = Self { largest_batch: rows, smaller_runs: 0 };
        Trim::Arena
    }
}

fn open_library(path: &Path) -> Result<Environment, String> {
    let remedy = "run `make runtime`, or name the library with --onnxruntime or MODELFN_ONNXRUNTIME";
    ort::init_from(path)
        .map_err(|e| format!("ONNX Runtime could not be loaded from {}: {e}; {remedy}", path.display()))?
        .with_name("modelfn")
        .with_telemetry(false)
        .with_logger(Arc::new(log_message))
        .build()
        .map_err(|e| format!("ONNX Runtime at {} did not start: {e}; {remedy}", path.display()))
}

/// Writes a message of the engine to this program's log, which knows the time and is one format.
fn log_message(level: LogLevel, _category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Fatal | LogLevel::Error => tracing::error!(location, "onnxruntime: {message}"),
        LogLevel::Warning => tracing::warn!(location, "onnxruntime: {message}"),
        LogLevel::Info => tracing::debug!(location, "onnxruntime: {message}"),
        LogLevel::Verbose => tracing::trace!(location, "onnxruntime: {message}"),
    }
}

fn open_session(environment: &Environment, graph: GraphBytes<'_>, options: &LoadOptions) -> ort::Result<Session> {
    let mut builder = Session::builder(environment)?
        .with_intra_threads(options.threads.get())?
        .with_inter_threads(1)?
        // Spinning threads would take cores from the guests that prepare the next request.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        // Only the format that was checked; the engine has another one of its own.
        .with_config_entry("session.load_model_format", "ONNX")?
        // The engine opens no file itself; a graph was checked for what it may name.
        .with_config_entry("session.model_external_initializers_file_folder_path", "/nonexistent")?
        // On processors without VNNI the fast kernels add two INT8 products in saturating 16 bits, which changes
        // results. This selects exact kernels there, and does nothing elsewhere.
        .with_config_entry("session.x64quantprecision", "1")?;
    for ExternalFile { name, bytes } in graph.external {
        // The engine copies what it needs of the file before the session is there.
        builder = builder.with_external_initializer_file_in_memory(name, bytes.clone())?;
    }
    builder.commit_from_memory(graph.graph)
}

/// Returns free memory of the heap to the kernel. Parsing and optimizing a graph leaves more free memory behind than
/// the session uses (20 MB for 18 MB of weights), and the allocator would keep it for good.
fn trim_heap() {
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

fn axis_names(value: &ValueType) -> Vec<String> {
    match value {
        ValueType::Tensor { dimension_symbols, .. } => dimension_symbols.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
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

/// Views a tensor as a value of the engine. The data is copied only if it is not aligned for its type.
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
    Tensor::new(spec.dtype, shape, data.into())
        .map_err(|e| ComputeError::Failed(format!("output '{}': {e}", spec.name)))
}

fn failed(error: ort::Error) -> ComputeError {
    ComputeError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_large_batches_is_freed_once_only_small_ones_come() {
        let mut trimmer = ArenaTrimmer::default();
        assert_eq!(trimmer.observe(8), Trim::Heap, "what loading left");
        let mut kept = |rows| trimmer.observe(rows) == Trim::Nothing;
        for _ in 0..3 {
            assert!((1..SHRINK_AFTER).all(|_| kept(1)));
            assert!(kept(5), "a batch near the largest keeps it");
        }
        assert!((1..SHRINK_AFTER).all(|_| kept(4)));
        assert_eq!(trimmer.observe(4), Trim::Arena);
        let mut kept = |rows| trimmer.observe(rows) == Trim::Nothing;
        assert!((0..SHRINK_AFTER * 2).all(|_| kept(3)), "now 4 is the largest");
    }
}
