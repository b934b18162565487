//! ONNX Runtime, through `ort`. Only this file and those below it know the engine.
//!
//! The library is loaded from an explicit path when the first graph is loaded. A host without ONNX models therefore
//! needs no library, and a missing one is an error with a remedy rather than a panic. Sessions have one intra-op thread
//! by default and don't spin: on few cores, one session that is run by a thread a core was the fastest layout.

mod arena_trimmer;
mod check;
mod external;
mod outlets;
mod protobuf;
mod refusal;
mod runs;
mod session;
mod signature;
mod strings;
mod walk;
mod weights;
mod zipmap;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytemuck::checked::{self, CheckedCastError};
use bytemuck::{CheckedBitPattern, NoUninit, PodCastError};
use half::{bf16, f16};
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{PrimitiveTensorElementType, TensorRef, Value};

use self::arena_trimmer::{ArenaTrimmer, ProcessMemory, Trim};
use self::runs::Runs;
use self::session::SharedSession;
use self::signature::Description;
use self::zipmap::WithoutZipMaps;
use super::{Backend, Canceller, ComputeError, Engine, Graph, GraphMetadata, LoadError, LoadOptions, Target};
use crate::backend::{ExternalFile, GraphBytes};
use crate::tensor::{ClassNames, DType, Signature, Tensor, TensorSpec, Tensors};
use crate::weights::Weights;

/// The oldest library that can be used is ONNX Runtime 1.x of this x.
pub const OLDEST_MINOR_VERSION: u32 = ort::MINOR_VERSION;

/// What this program reads of a graph itself, without the engine.
#[derive(Debug)]
pub struct Survey {
    /// The files that hold weights.
    pub external: Vec<String>,
    /// What is counted of its weights.
    pub weights: Weights,
    /// The graph in which tensors have taken the place of maps, if it has maps that no protocol carries.
    pub without_maps: Option<Vec<u8>>,
}

/// Reads all of a graph that is ever read without the engine: for tests that change graphs.
///
/// # Errors
///
/// It would not be given to the engine. The sentence says why.
pub fn survey(graph: &[u8]) -> Result<Survey, String> {
    let tensors = check::check(graph)?;
    let external = external::files(&tensors)?;
    let without_maps = zipmap::remove(graph)?.map(|without| without.file);
    refusal::explain("Unsupported model IR version", graph, None);
    Ok(Survey { external, weights: weights::count(graph)?, without_maps })
}

/// Loads ONNX graphs with one ONNX Runtime library.
pub struct Onnx {
    library: Result<PathBuf, String>,
    environment: OnceLock<Result<Environment, String>>,
    memory: OnceLock<Arc<ProcessMemory>>,
}

impl Onnx {
    /// An engine with the library at a path, or with none for the given reason. The library is not loaded yet.
    pub fn new(library: Result<PathBuf, String>) -> Self {
        Onnx { library, environment: OnceLock::new(), memory: OnceLock::new() }
    }

    fn memory(&self) -> &Arc<ProcessMemory> {
        self.memory.get_or_init(|| Arc::new(ProcessMemory::open()))
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
        self.memory();
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
        let GraphBytes { graph, external } = graph;
        let tensors = check::check(graph).map_err(LoadError::Invalid)?;
        external::check_files(&tensors, external).map_err(LoadError::Invalid)?;
        let without_maps = zipmap::remove(graph).map_err(LoadError::Invalid)?;
        let (graph, classes) = match &without_maps {
            Some(WithoutZipMaps { file, classes }) => (&file[..], classes.clone()),
            None => (graph, Vec::new()),
        };
        let session = open_session(environment, GraphBytes { graph, external }, options)
            .map_err(|e| LoadError::Invalid(refusal::explain(&e.to_string(), graph, self.library.as_deref().ok())))?;
        let Description { signature, axis_names, omitted } = signature::describe(&session, graph, &options.outputs)?;
        // Where the engine knows another number of columns than the map has keys, it reports neither.
        for ClassNames { output, names } in &classes {
            let spec = signature.outputs.iter().find(|spec| spec.name == *output);
            if spec.is_some_and(|spec| spec.shape.last() != Some(&(names.len() as i64))) {
                return Err(LoadError::Invalid(other_names(output, names.len())));
            }
        }
        let metadata = Arc::new(GraphMetadata { axis_names, classes, omitted });
        let session = SharedSession::new(session, &signature).map_err(|e| LoadError::Invalid(e.to_string()))?;
        let runs = Runs::new().map_err(|e| LoadError::NoEngine(e.to_string()))?;
        let (session, runs) = (Arc::new(session), Arc::new(runs));
        let (trimmer, memory) = (Arc::default(), self.memory().clone());
        Ok(Box::new(OnnxGraph { session, signature, metadata, trimmer, memory, runs }))
    }

    fn weights(&self, graph: &[u8]) -> Result<Weights, LoadError> {
        weights::count(graph).map_err(LoadError::Invalid)
    }
}

struct OnnxGraph {
    session: Arc<SharedSession>,
    signature: Signature,
    metadata: Arc<GraphMetadata>,
    trimmer: Arc<Mutex<ArenaTrimmer>>,
    memory: Arc<ProcessMemory>,
    /// The options of this handle's runs.
    runs: Arc<Runs>,
}

impl OnnxGraph {
    fn trimmer(&self) -> MutexGuard<'_, ArenaTrimmer> {
        self.trimmer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Graph for OnnxGraph {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn metadata(&self) -> GraphMetadata {
        GraphMetadata::clone(&self.metadata)
    }

    fn share(&self) -> Box<dyn Graph> {
        let Self { session, signature, metadata, trimmer, memory, runs } = self;
        // Without options of its own, this handle is cancelled together with the other one.
        let runs = Runs::new().map_or_else(|_| runs.clone(), Arc::new);
        Box::new(Self {
            session: session.clone(),
            signature: signature.clone(),
            metadata: metadata.clone(),
            trimmer: trimmer.clone(),
            memory: memory.clone(),
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
        let memory = self.memory.bytes();
        let trim = self.trimmer().before_run(memory);
        let options = if trim == Trim::Arena { self.runs.shrinking() } else { self.runs.ordinary() };
        let computed = self.session.run(&values, options).map_err(failed).and_then(|outputs| {
            let tensors = self.signature.outputs.iter().zip(&outputs);
            let outputs = tensors
                .map(|(spec, value)| Ok((spec.name.clone(), copy_out(spec, value)?)))
                .collect::<Result<_, _>>()?;
            check_classes(&self.metadata.classes, &outputs).map(|()| outputs)
        });
        if trim != Trim::Nothing {
            trim_heap();
        }
        computed
    }
}

/// Refuses what a map would have refused: more scores than names, or fewer, so that nothing says which is whose.
fn check_classes(classes: &[ClassNames], outputs: &Tensors) -> Result<(), ComputeError> {
    for ClassNames { output, names } in classes {
        let Some((_, scores)) = outputs.iter().find(|(name, _)| name == output) else { continue };
        if let Some(columns) = scores.shape().last()
            && *columns != names.len()
        {
            return Err(ComputeError::Failed(other_names(output, names.len())));
        }
    }
    Ok(())
}

fn other_names(output: &str, named: usize) -> String {
    format!(
        "output '{output}' does not have the {named} scores a row that its ZipMap has names for; export the model again"
    )
}

fn open_library(path: &Path) -> Result<Environment, String> {
    let remedy = format!(
        "name ONNX Runtime 1.{OLDEST_MINOR_VERSION} or newer with --onnxruntime or MODELFN_ONNXRUNTIME, or run \
         `pip install 'onnxruntime>=1.{OLDEST_MINOR_VERSION}'`"
    );
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

/// Views a tensor as a value of the engine. The data is copied only if it is not aligned for its type, and of strings.
fn borrow(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
    match tensor.dtype() {
        DType::Fp16 => view::<f16>(tensor),
        DType::Bf16 => view::<bf16>(tensor),
        DType::Fp32 => view::<f32>(tensor),
        DType::Fp64 => view::<f64>(tensor),
        DType::Bool => view::<bool>(tensor),
        DType::U8 => view::<u8>(tensor),
        DType::U16 => view::<u16>(tensor),
        DType::U32 => view::<u32>(tensor),
        DType::U64 => view::<u64>(tensor),
        DType::I8 => view::<i8>(tensor),
        DType::I16 => view::<i16>(tensor),
        DType::I32 => view::<i32>(tensor),
        DType::I64 => view::<i64>(tensor),
        DType::String => strings::to_value(tensor).map(Into::into),
    }
}

fn view<T>(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>>
where
    T: PrimitiveTensorElementType + CheckedBitPattern + NoUninit + std::fmt::Debug + Clone + 'static,
{
    let shape = tensor.shape().to_vec();
    match checked::try_cast_slice::<u8, T>(tensor.data()) {
        Ok(elements) => Ok(TensorRef::from_array_view((shape, elements))?.into()),
        Err(CheckedCastError::PodCastError(PodCastError::TargetAlignmentGreaterAndInputNotAligned)) => {
            let elements = tensor.data().chunks_exact(size_of::<T>()).map(checked::try_pod_read_unaligned::<T>);
            let elements = elements.collect::<Result<Vec<T>, _>>().map_err(|e| ort::Error::new(e.to_string()))?;
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
        DType::Bool => extract::<bool>(spec, value),
        DType::U8 => extract::<u8>(spec, value),
        DType::U16 => extract::<u16>(spec, value),
        DType::U32 => extract::<u32>(spec, value),
        DType::U64 => extract::<u64>(spec, value),
        DType::I8 => extract::<i8>(spec, value),
        DType::I16 => extract::<i16>(spec, value),
        DType::I32 => extract::<i32>(spec, value),
        DType::I64 => extract::<i64>(spec, value),
        DType::String => strings::from_value(value).map_err(|e| failed_output(spec, e)),
    }
}

/// Copies the bytes of a tensor's elements. Those of a hostile graph's booleans may be others than 0 and 1, and are not taken
/// for a tensor then.
fn extract<T: PrimitiveTensorElementType + NoUninit>(spec: &TensorSpec, value: &Value) -> Result<Tensor, ComputeError> {
    let (shape, elements) = value.try_extract_tensor::<T>().map_err(failed)?;
    let shape = shape.iter().map(|&axis| usize::try_from(axis).unwrap_or(0)).collect();
    let data = bytemuck::cast_slice::<T, u8>(elements).to_vec();
    Tensor::new(spec.dtype, shape, data.into()).map_err(|e| failed_output(spec, e))
}

fn failed_output(spec: &TensorSpec, why: impl std::fmt::Display) -> ComputeError {
    ComputeError::Failed(format!("output '{}': {why}", spec.name))
}

fn failed(error: ort::Error) -> ComputeError {
    ComputeError::Failed(error.to_string())
}
