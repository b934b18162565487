//! The interface `graph` of wasi-nn: models by name, and graphs from a guest's own bytes.

use std::sync::Arc;

use modelfn_nn::backend::{Engine, Target};
use modelfn_nn::registry::Registry;
use wasmtime::component::Resource;

use super::bindings::wasi::nn::errors::ErrorCode;
use super::bindings::wasi::nn::graph::{self, ExecutionTarget, GraphBuilder, GraphEncoding};
use super::convert::check_types;
use super::{GuestModel, GuestResult, NnError, State};
use crate::error::InvokeError;

impl graph::Host for State {
    async fn load(
        &mut self,
        builders: Vec<GraphBuilder>,
        encoding: GraphEncoding,
        target: ExecutionTarget,
    ) -> GuestResult<Resource<GuestModel>> {
        if !self.nn.grants.allow_load {
            let component = &self.nn.grants.component;
            let text = format!(
                "component '{component}' may not load graphs from bytes; use load-by-name, or set allow_load in [component.{component}.tool.modelfn]"
            );
            return self.guest_result(Err(NnError::new(ErrorCode::Security, text)));
        }
        let bytes = builders.iter().map(Vec::len).sum();
        let too_large =
            |limit| format!("a graph of {bytes} bytes is too large; graphs and tensors of a request may be {limit}");
        if let Err(error) = self.reserve(bytes, too_large)? {
            return self.guest_result(Err(error));
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
        match loaded.and_then(|loaded| check_types(&loaded.0).map(|()| loaded)) {
            Ok(loaded) => Ok(Ok(self.table.push(loaded)?)),
            Err(error) => self.guest_result(Err(error)),
        }
    }

    fn load_by_name(&mut self, name: String) -> GuestResult<Resource<GuestModel>> {
        if self.nn.registry.broken().contains_key(&name) && self.nn.grants.models.contains(&name) {
            // A broken model is not the guest's mistake, and wasi-nn has no error code for it: the guest traps and the
            // server reports that it is not ready.
            return Err(InvokeError::NoModel(name).into());
        }
        match self.nn.find(&name).and_then(|model| check_types(&model.0).map(|()| model)) {
            Ok(model) => Ok(Ok(self.table.push(model)?)),
            Err(error) => self.guest_result(Err(error)),
        }
    }
}

impl graph::HostGraph for State {
    fn init_execution_context(&mut self, graph: Resource<GuestModel>) -> GuestResult<Resource<GuestModel>> {
        let context = self.table.get(&graph)?.clone();
        Ok(Ok(self.table.push(context)?))
    }

    fn drop(&mut self, graph: Resource<GuestModel>) -> wasmtime::Result<()> {
        self.table.delete(graph)?;
        Ok(())
    }
}

fn engine(encoding: GraphEncoding) -> Option<Engine> {
    matches!(encoding, GraphEncoding::Onnx | GraphEncoding::Autodetect).then_some(Engine::Onnx)
}

/// Loads a graph on a blocking thread, since that takes tens of milliseconds.
async fn load_graph(
    registry: Arc<Registry>,
    engine: Engine,
    target: Target,
    builders: Vec<GraphBuilder>,
) -> Result<GuestModel, NnError> {
    let load = move || registry.load_graph(engine, target, &builders.concat());
    match tokio::task::spawn_blocking(load).await {
        Ok(model) => Ok(GuestModel(Arc::new(model?))),
        Err(panic) => Err(NnError::new(
            ErrorCode::RuntimeError,
            format!("the engine panicked while it loaded the graph: {panic}"),
        )),
    }
}
