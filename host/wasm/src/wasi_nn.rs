//! wasi-nn as guests see it, on the models of the registry.
//!
//! `compute` is async: the guest is suspended while an engine thread computes, and no thread of the server waits for
//! it. Names are names of registry models that the manifest grants, never paths. The bytes of tensors that the host
//! holds for a guest count towards its request's limit.
//!
//! The contract is `guest/wit/deps/nn` (wasi:nn 0.2.0-rc-2024-10-28).

#![expect(unreachable_pub, reason = "the generated bindings re-export the resource types")]

mod convert;
mod error;
mod graph;
mod inference;
mod tensor;

use std::sync::Arc;
use std::time::Instant;

use modelfn_nn::model::Model;
use modelfn_nn::registry::Registry;
use wasmtime::component::{HasSelf, Linker, Resource};

use self::bindings::wasi::nn::errors::ErrorCode;
pub use self::error::NnError;
pub use self::tensor::GuestTensor;
use super::error::InvokeError;
use super::phases::InvocationProgress;
use super::process_memory::{MemoryFull, MemoryReservation};
use super::services::FunctionServices;
use super::settings::FunctionSettings;
use super::state::State;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../guest/wit/deps/nn",
        world: "ml",
        with: {
            "wasi:nn/errors.error": super::NnError,
            "wasi:nn/graph.graph": super::GuestModel,
            "wasi:nn/inference.graph-execution-context": super::GuestModel,
            "wasi:nn/tensor.tensor": super::GuestTensor,
        },
        imports: {
            "wasi:nn/graph.load": async | trappable,
            "wasi:nn/inference.[method]graph-execution-context.compute": async | trappable,
            default: trappable,
        },
    });
}

/// Bytes of a request's tensors that are a small reservation.
const SMALL_TENSORS: usize = 2 << 20;

/// Adds wasi-nn to the imports that components can link against.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    bindings::Ml::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}

/// The resources `graph` and `graph-execution-context`. A context has no state of its own, so both are the model.
#[derive(Clone)]
pub struct GuestModel(Arc<Model>);

/// The result of a wasi-nn function: the outer error traps the guest, the inner one is returned to it.
type GuestResult<T> = wasmtime::Result<Result<T, Resource<NnError>>>;

/// The wasi-nn part of a request's state.
pub(super) struct Nn {
    registry: Arc<Registry>,
    grants: Grants,
    deadline: Instant,
    progress: Arc<InvocationProgress>,
    /// Bytes of the tensors and graphs that the host holds for the guest.
    tensor_bytes: usize,
    reservation: MemoryReservation,
}

/// The rights that the manifest gives to a component.
struct Grants {
    component: Arc<str>,
    /// Models that it may load by name.
    models: Arc<[String]>,
    /// Whether it may load graphs from bytes.
    allow_load: bool,
    max_tensor_bytes: usize,
}

/// Why bytes of tensors can't be held.
enum Unreserved {
    /// The tensors of a request may be so many bytes.
    Limit(usize),
    /// The guest traps: wasi-nn has no word for "try again later".
    MemoryFull(MemoryFull),
}

impl Nn {
    pub(super) fn new(
        settings: &FunctionSettings,
        services: &FunctionServices,
        deadline: Instant,
        progress: Arc<InvocationProgress>,
    ) -> Self {
        let grants = Grants {
            component: settings.component.clone(),
            models: settings.models.clone(),
            allow_load: settings.allow_load,
            max_tensor_bytes: settings.limits.tensor_bytes,
        };
        let (registry, reservation) = (services.registry.clone(), services.memory.reservation(SMALL_TENSORS));
        Nn { registry, grants, deadline, progress, tensor_bytes: 0, reservation }
    }

    /// The model `name` of the registry, if the component may use it.
    fn find(&self, name: &str) -> Result<GuestModel, NnError> {
        let Grants { component, models, .. } = &self.grants;
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
            .map(|model| GuestModel(model.clone()))
            .ok_or_else(|| NnError::new(ErrorCode::NotFound, format!("model '{name}' is not loaded")))
    }

    /// Reserves bytes of the request's tensor limit, and of the memory of all requests.
    fn reserve(&mut self, bytes: usize) -> Result<(), Unreserved> {
        let total = self.tensor_bytes.saturating_add(bytes);
        if total > self.grants.max_tensor_bytes {
            return Err(Unreserved::Limit(self.grants.max_tensor_bytes));
        }
        self.reservation.grow(bytes).map_err(Unreserved::MemoryFull)?;
        self.tensor_bytes = total;
        Ok(())
    }

    fn release(&mut self, bytes: usize) {
        self.tensor_bytes = self.tensor_bytes.saturating_sub(bytes);
        self.reservation.shrink(bytes);
    }
}

impl State {
    /// Reserves `bytes` for what the guest brings or gets. `too_large` says what the limit is.
    fn reserve(
        &mut self,
        bytes: usize,
        too_large: impl FnOnce(usize) -> String,
    ) -> wasmtime::Result<Result<(), NnError>> {
        match self.nn.reserve(bytes) {
            Ok(()) => Ok(Ok(())),
            Err(Unreserved::Limit(limit)) => Ok(Err(NnError::new(ErrorCode::TooLarge, too_large(limit)))),
            Err(Unreserved::MemoryFull(full)) => Err(InvokeError::MemoryFull(full).into()),
        }
    }

    /// Turns an error into a resource of the guest, and logs it: as a warning when the fault is the host's.
    fn guest_result<T>(&mut self, result: Result<T, NnError>) -> GuestResult<T> {
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(error) => {
                error.log();
                Ok(Err(self.table.push(error)?))
            }
        }
    }
}
