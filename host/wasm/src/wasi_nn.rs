//! wasi-nn as guests see it, on the models of the registry.
//!
//! `compute` is async: the guest is suspended while an engine thread works, and no thread of the server waits
//! with it. Names are names of registry models that the manifest grants, never paths. Tensors that the host
//! holds for a guest are charged to its request.
//! Contract: `guest/wit/deps/nn` (wasi:nn 0.2.0-rc-2024-10-28).

#![expect(unreachable_pub, reason = "the generated bindings re-export the resource types")]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use wasmtime::component::{HasSelf, Linker, Resource};

use self::bindings::wasi::nn::errors::{self, ErrorCode};
use self::bindings::wasi::nn::graph::{self, ExecutionTarget, GraphBuilder, GraphEncoding};
use self::bindings::wasi::nn::inference;
use self::bindings::wasi::nn::tensor::{self, TensorType};
use super::function::{InvocationProgress, InvokeError, Settings};
use super::state::State;
use modelfn_nn::backend::{Engine, Target};
use modelfn_nn::batcher::Failure;
use modelfn_nn::model::{Model, ModelError};
use modelfn_nn::registry::Registry;
use modelfn_nn::tensor::Tensor;

mod convert;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../guest/wit/deps/nn",
        world: "ml",
        with: {
            "wasi:nn/errors.error": super::NnError,
            "wasi:nn/graph.graph": super::Loaded,
            "wasi:nn/inference.graph-execution-context": super::Loaded,
            "wasi:nn/tensor.tensor": super::GuestTensor,
        },
        imports: {
            "wasi:nn/graph.load": async | trappable,
            "wasi:nn/inference.[method]graph-execution-context.compute": async | trappable,
            default: trappable,
        },
    });
}

/// Adds wasi-nn to what guests can import.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    bindings::Ml::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}

/// The wasi-nn part of a request's state.
pub(super) struct Nn {
    registry: Arc<Registry>,
    settings: Granted,
    deadline: Instant,
    head: Arc<InvocationProgress>,
    tensor_bytes: usize,
}

/// What the manifest lets a component do here.
struct Granted {
    component: Arc<str>,
    models: Arc<[String]>,
    load: bool,
    max_tensor_bytes: usize,
}

/// A graph, and just as well its execution context: contexts have no state of their own.
#[derive(Clone)]
pub struct Loaded(Arc<Model>);

/// Bytes of an error's text.
const MAX_ERROR_TEXT: usize = 1024;

/// The resource `tensor`. Its shape and data need not agree until it is computed with.
pub struct GuestTensor {
    shape: Vec<u32>,
    dtype: TensorType,
    data: Bytes,
}

/// The resource `error`.
#[derive(Debug)]
pub struct NnError {
    code: ErrorCode,
    data: String,
}

impl Nn {
    pub(super) fn new(
        settings: &Settings,
        registry: Arc<Registry>,
        (deadline, head): (Instant, Arc<InvocationProgress>),
    ) -> Self {
        let settings = Granted {
            component: settings.component.clone(),
            models: settings.models.clone(),
            load: settings.allow_load,
            max_tensor_bytes: settings.limits.tensor_bytes,
        };
        Nn { registry, settings, deadline, head, tensor_bytes: 0 }
    }

    fn find(&self, name: &str) -> Result<Loaded, NnError> {
        let Granted { component, models, .. } = &self.settings;
        if !models.iter().any(|granted| granted == name) {
            let have = if models.is_empty() { "none".to_owned() } else { models.join(", ") };
            return Err(NnError::new(
                ErrorCode::NotFound,
                format!(
                    "component '{component}' is granted no model '{name}' (granted: {have}); name it in `models` of [component.{component}.tool.modelfn]"
                ),
            ));
        }
        let model = self.registry.get(name);
        model
            .map(|model| Loaded(model.clone()))
            .ok_or_else(|| NnError::new(ErrorCode::NotFound, format!("model '{name}' is not loaded")))
    }

    fn charge(&mut self, bytes: usize) -> Result<(), usize> {
        let total = self.tensor_bytes.saturating_add(bytes);
        if total > self.settings.max_tensor_bytes {
            return Err(self.settings.max_tensor_bytes);
        }
        self.tensor_bytes = total;
        Ok(())
    }

    fn refund(&mut self, bytes: usize) {
        self.tensor_bytes = self.tensor_bytes.saturating_sub(bytes);
    }
}

impl NnError {
    /// The text is cut: it may quote what the guest sent, and stays with the host.
    fn new(code: ErrorCode, data: impl Into<String>) -> Self {
        let mut data = data.into();
        data.truncate(data.floor_char_boundary(MAX_ERROR_TEXT));
        data.shrink_to_fit();
        NnError { code, data }
    }
}

/// What a wasi-nn function returns: an outer error traps the guest, an inner one is its to handle.
type Reply<T> = wasmtime::Result<Result<T, Resource<NnError>>>;

impl State {
    fn reply<T>(&mut self, result: Result<T, NnError>) -> Reply<T> {
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(error) => {
                match error.code {
                    ErrorCode::RuntimeError | ErrorCode::Unknown => tracing::warn!("wasi-nn: {:?}", error.data),
                    code => tracing::debug!(?code, "wasi-nn: {:?}", error.data),
                }
                Ok(Err(self.table.push(error)?))
            }
        }
    }

    /// Takes the guest's tensors; from here on they're no longer the guest's, whatever comes of them.
    fn take_inputs(&mut self, inputs: Vec<inference::NamedTensor>) -> wasmtime::Result<Vec<(String, GuestTensor)>> {
        inputs.into_iter().map(|(name, handle)| Ok((name, self.table.delete(handle)?))).collect()
    }

    fn give_outputs(&mut self, outputs: Vec<(String, Tensor)>) -> Reply<Vec<inference::NamedTensor>> {
        let outputs: Vec<_> = outputs.into_iter().map(|(name, tensor)| (name, GuestTensor::from(tensor))).collect();
        let bytes = outputs.iter().map(|(_, tensor)| tensor.held()).sum();
        if let Err(limit) = self.nn.charge(bytes) {
            let text = format!("the outputs are {bytes} bytes; the tensors of a request may be {limit}");
            return self.reply(Err(NnError::new(ErrorCode::TooLarge, text)));
        }
        let give = |(name, tensor)| Ok((name, self.table.push(tensor)?));
        outputs.into_iter().map(give).collect::<wasmtime::Result<_>>().map(Ok)
    }

    async fn compute(
        &mut self,
        model: &Model,
        inputs: Vec<(String, GuestTensor)>,
    ) -> wasmtime::Result<Result<Vec<(String, Tensor)>, NnError>> {
        let mut tensors = Vec::with_capacity(inputs.len());
        for (name, tensor) in inputs {
            match tensor.checked(&name) {
                Ok(tensor) => tensors.push((name, tensor)),
                Err(error) => return Ok(Err(error)),
            }
        }
        match model.compute(tensors, self.nn.deadline).await {
            Ok(computed) => {
                let mut phases = self.nn.head.phases();
                phases.queue += computed.queued;
                phases.compute += computed.computing;
                Ok(Ok(computed.outputs))
            }
            // wasi-nn has no word for "come back later": the guest ends here and the server says it.
            Err(ModelError::Failure(error @ Failure::Overloaded(_))) => {
                Err(InvokeError::Overloaded(error.to_string()).into())
            }
            Err(error) => Ok(Err(error.into())),
        }
    }
}

impl graph::Host for State {
    async fn load(
        &mut self,
        builders: Vec<GraphBuilder>,
        encoding: GraphEncoding,
        target: ExecutionTarget,
    ) -> Reply<Resource<Loaded>> {
        if !self.nn.settings.load {
            let component = &self.nn.settings.component;
            let text = format!(
                "component '{component}' may not load graphs from bytes; use load-by-name, or set allow_load in [component.{component}.tool.modelfn]"
            );
            return self.reply(Err(NnError::new(ErrorCode::Security, text)));
        }
        let bytes = builders.iter().map(Vec::len).sum();
        if let Err(limit) = self.nn.charge(bytes) {
            let text = format!("a graph of {bytes} bytes is too large; graphs and tensors of a request may be {limit}");
            return self.reply(Err(NnError::new(ErrorCode::TooLarge, text)));
        }
        let loaded = match (engine(encoding), builders.len()) {
            (Some(engine), 1) => load_graph(self.nn.registry.clone(), engine, target.into(), builders).await,
            (Some(_), count) => Err(NnError::new(
                ErrorCode::InvalidArgument,
                format!("a graph of this encoding is one builder, not {count}"),
            )),
            (None, _) => Err(NnError::new(
                ErrorCode::InvalidEncoding,
                format!("no engine for {encoding:?}; this host has: onnx"),
            )),
        };
        match loaded {
            Ok(loaded) => Ok(Ok(self.table.push(loaded)?)),
            Err(error) => self.reply(Err(error)),
        }
    }

    fn load_by_name(&mut self, name: String) -> Reply<Resource<Loaded>> {
        if self.nn.registry.broken().contains_key(&name) && self.nn.settings.models.contains(&name) {
            // Not the guest's mistake, and wasi-nn has no word for it: the client is to come back later.
            return Err(InvokeError::NoModel(name).into());
        }
        match self.nn.find(&name) {
            Ok(loaded) => Ok(Ok(self.table.push(loaded)?)),
            Err(error) => self.reply(Err(error)),
        }
    }
}

impl graph::HostGraph for State {
    fn init_execution_context(&mut self, graph: Resource<Loaded>) -> Reply<Resource<Loaded>> {
        let context = self.table.get(&graph)?.clone();
        Ok(Ok(self.table.push(context)?))
    }

    fn drop(&mut self, graph: Resource<Loaded>) -> wasmtime::Result<()> {
        self.table.delete(graph)?;
        Ok(())
    }
}

impl inference::Host for State {}

impl inference::HostGraphExecutionContext for State {
    async fn compute(
        &mut self,
        context: Resource<Loaded>,
        inputs: Vec<inference::NamedTensor>,
    ) -> Reply<Vec<inference::NamedTensor>> {
        let Loaded(model) = self.table.get(&context)?.clone();
        let inputs = self.take_inputs(inputs)?;
        let bytes = inputs.iter().map(|(_, tensor)| tensor.held()).sum();
        let outputs = State::compute(self, &model, inputs).await?;
        self.nn.refund(bytes);
        match outputs {
            Ok(outputs) => self.give_outputs(outputs),
            Err(error) => self.reply(Err(error)),
        }
    }

    fn drop(&mut self, context: Resource<Loaded>) -> wasmtime::Result<()> {
        self.table.delete(context)?;
        Ok(())
    }
}

impl tensor::Host for State {}

impl tensor::HostTensor for State {
    fn new(&mut self, shape: Vec<u32>, dtype: TensorType, data: Vec<u8>) -> wasmtime::Result<Resource<GuestTensor>> {
        let tensor = GuestTensor { shape, dtype, data: data.into() };
        let bytes = tensor.held();
        self.nn.charge(bytes).map_err(|limit| {
            // A constructor has no error to return.
            InvokeError::OutOfMemory(format!(
                "another tensor of {bytes} bytes would exceed the {limit} bytes that the tensors of a request may be"
            ))
        })?;
        Ok(self.table.push(tensor)?)
    }

    fn dimensions(&mut self, tensor: Resource<GuestTensor>) -> wasmtime::Result<Vec<u32>> {
        Ok(self.table.get(&tensor)?.shape.clone())
    }

    fn ty(&mut self, tensor: Resource<GuestTensor>) -> wasmtime::Result<TensorType> {
        Ok(self.table.get(&tensor)?.dtype)
    }

    fn data(&mut self, tensor: Resource<GuestTensor>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.table.get(&tensor)?.data.to_vec())
    }

    fn drop(&mut self, tensor: Resource<GuestTensor>) -> wasmtime::Result<()> {
        let tensor = self.table.delete(tensor)?;
        self.nn.refund(tensor.held());
        Ok(())
    }
}

impl errors::Host for State {}

impl errors::HostError for State {
    fn code(&mut self, error: Resource<NnError>) -> wasmtime::Result<ErrorCode> {
        Ok(self.table.get(&error)?.code)
    }

    fn data(&mut self, error: Resource<NnError>) -> wasmtime::Result<String> {
        Ok(self.table.get(&error)?.data.clone())
    }

    fn drop(&mut self, error: Resource<NnError>) -> wasmtime::Result<()> {
        self.table.delete(error)?;
        Ok(())
    }
}

fn engine(encoding: GraphEncoding) -> Option<Engine> {
    matches!(encoding, GraphEncoding::Onnx | GraphEncoding::Autodetect).then_some(Engine::Onnx)
}

/// Loading takes tens of milliseconds: it has a thread of its own.
async fn load_graph(
    registry: Arc<Registry>,
    engine: Engine,
    target: Target,
    builders: Vec<GraphBuilder>,
) -> Result<Loaded, NnError> {
    let load = move || registry.load_graph(engine, target, &builders.concat());
    match tokio::task::spawn_blocking(load).await {
        Ok(model) => Ok(Loaded(Arc::new(model?))),
        Err(panic) => Err(NnError::new(
            ErrorCode::RuntimeError,
            format!("the engine panicked while it loaded the graph: {panic}"),
        )),
    }
}
