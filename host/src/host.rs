//! Start-up: arguments, manifest and model folder become a service that answers requests.
//!
//! Everything that can be wrong with them is found here, before the first request is answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use wasmtime_engine::PoolSize;

use crate::app::{self, App, Handler};
use crate::config::{CompileArguments, HostArguments, ModelArguments};
use crate::metrics::Metrics;
use crate::nn::backend::{Backend, fake::Fake, onnx::Onnx};
use crate::nn::registry::{self, Registry};
use crate::server::admin::Readiness;
use crate::server::function::{RequestLimits, Service};
use crate::server::inference::{self, Inference};
use crate::server::router::{Router, Target};
use crate::wasm::code_cache::CodeCache;
use crate::wasm::engine as wasmtime_engine;
use crate::wasm::function::{Function, Limits, Mount, Settings};

/// How many requests the host takes.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Instances that live at the same time.
    pub instances: usize,
    /// Requests that wait for one.
    pub waiting: usize,
}

/// Loads models and functions. Returns when all of them are ready to answer. Until then nothing else is to be
/// done, so that it may block its thread.
///
/// # Errors
///
/// A message for the person who started the program, with the remedy.
pub async fn open(
    args: &HostArguments,
    capacity: Capacity,
    metrics: &Arc<Metrics>,
    readiness: &Arc<Readiness>,
) -> Result<Service> {
    ensure!(
        args.max_bodies >= args.max_body,
        "--max-bodies must be at least --max-body, or the largest bodies never fit"
    );
    let app = App::load(&args.app)?;
    check_routes(&app)?;
    // Models and code come from different files and engines: they are loaded side by side.
    let (registry, components) = std::thread::scope(|scope| {
        let registry = scope.spawn(|| load_models(args, &app, metrics));
        let components = load_components(args, capacity, &app);
        let registry = registry.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, anyhow::Error>((Arc::new(registry?), components?))
    })?;
    let (engine, components) = components;
    let mut functions = BTreeMap::new();
    for (id, component) in &app.components {
        let settings = settings(args, id, component)?;
        let shared = (registry.clone(), metrics.clone());
        let function = Function::load(&engine, &components[id], settings, shared);
        let function = function.map_err(|e| anyhow::anyhow!("component '{id}': {e:#}; it must export wasi:http/incoming-handler@0.2 and import only WASI 0.2 and wasi:nn"))?;
        function.warm().await.with_context(|| {
            format!("component '{id}' can't be instantiated; if it lacks room: --max-memory, its `memory`, or --max-table-elements")
        })?;
        functions.insert(id.clone(), Arc::new(function));
    }
    let limits = RequestLimits {
        instances: capacity.instances,
        waiting: capacity.waiting,
        body: args.max_body.bytes(),
        bodies: args.max_bodies.bytes(),
        timeout: args.request_timeout,
    };
    let inference = Inference::new(registry, readiness.clone());
    Ok(Service::new(router(&app, &functions), inference, limits, metrics.clone()))
}

/// Compiles the components of an application into a folder. Returns a line about each.
///
/// # Errors
///
/// As [`open`].
pub fn compile(args: &CompileArguments) -> Result<Vec<String>> {
    let app = App::load(&args.app)?;
    let pool = PoolSize { instances: 1, memory: 1 << 20, table_elements: 1 };
    let engine = wasmtime_engine::open(pool).map_err(|e| anyhow::anyhow!("the wasm engine did not start: {e:#}"))?;
    let cache = CodeCache::new(Some(args.out.clone()));
    let compile = |(id, component): (&String, &app::Component)| {
        let wasm = read_component(id, component)?;
        let path = cache.store(&engine, &wasm).map_err(|e| anyhow::anyhow!("component '{id}': {e:#}"))?;
        let size = std::fs::metadata(&path)?.len();
        Ok(format!("{id}: {} ({} KiB of wasm, {} KiB of code)", path.display(), wasm.len() >> 10, size >> 10))
    };
    app.components.iter().map(compile).collect()
}

/// The engines of this build.
///
/// # Errors
///
/// ONNX Runtime was named but is not there. One that can't be found by itself is an error only for those who
/// load a model with it.
pub fn backends(args: &ModelArguments) -> Result<Vec<Box<dyn Backend>>> {
    let library = match args.onnxruntime() {
        Err(e) if args.onnxruntime.is_some() => return Err(e),
        found => found.map_err(|e| format!("{e:#}")),
    };
    Ok(vec![Box::new(Onnx::new(library)), Box::new(Fake)])
}

fn load_models(args: &HostArguments, app: &App, metrics: &Arc<Metrics>) -> Result<Registry> {
    let source = registry::Source {
        folder: &args.models.models,
        only: &args.load_model,
        required: &app.models(),
        instances: args.model_instances(),
        metrics: metrics.clone(),
    };
    Ok(Registry::load(&source, backends(&args.models)?)?)
}

type Components = BTreeMap<String, wasmtime::component::Component>;

fn load_components(args: &HostArguments, capacity: Capacity, app: &App) -> Result<(wasmtime::Engine, Components)> {
    let pool = PoolSize {
        instances: u32::try_from(capacity.instances).context("--max-instances is too large")?,
        memory: args.max_memory.bytes(),
        table_elements: args.max_table_elements.get(),
    };
    let engine = wasmtime_engine::open(pool)
        .map_err(|e| anyhow::anyhow!("the wasm engine did not start: {e:#}; lower --max-instances or --max-memory"))?;
    let cache = CodeCache::new(args.code_cache());
    let mut components = Components::new();
    for (id, component) in &app.components {
        let wasm = read_component(id, component)?;
        let loaded = cache.load(&engine, &wasm);
        let loaded = loaded.map_err(|e| {
            anyhow::anyhow!(
                "component '{id}': {} is not a component that this host can run: {e:#}",
                component.source.display()
            )
        })?;
        components.insert(id.clone(), loaded);
    }
    Ok((engine, components))
}

fn read_component(id: &str, component: &app::Component) -> Result<Vec<u8>> {
    let path = component.source.display();
    let wasm = std::fs::read(&component.source)
        .with_context(|| format!("component '{id}': {path} can't be read; build it with `make guest`"))?;
    if let Some(expected) = &component.sha256 {
        let actual = registry::hex_sha256(&wasm);
        ensure!(actual == *expected, "component '{id}': {path} has sha256 {actual}, the manifest says {expected}");
    }
    Ok(wasm)
}

fn settings(args: &HostArguments, id: &str, component: &app::Component) -> Result<Settings> {
    let most = args.max_memory.bytes();
    let memory = component.memory.unwrap_or(most);
    ensure!(memory <= most, "component '{id}' wants {memory} bytes of memory, but --max-memory is {most}");
    let mount = |(source, destination): &(std::path::PathBuf, String)| Mount {
        source: source.clone(),
        destination: destination.clone(),
    };
    Ok(Settings {
        component: id.into(),
        environment: component.environment.clone().into_iter().collect(),
        mounts: component.files.iter().map(mount).collect(),
        models: component.models.clone().into(),
        allow_load: component.allow_load,
        limits: Limits {
            memory,
            table_elements: args.max_table_elements.get(),
            tensor_bytes: args.max_tensors.bytes(),
        },
    })
}

/// A route that would never be asked is a mistake.
fn check_routes(app: &App) -> Result<()> {
    let taken = app.routes.iter().map(|(route, _)| route.to_string()).find(|route| inference::has(route));
    taken.map_or(Ok(()), |route| {
        anyhow::bail!("route \"{route}\": /v2 is the Open Inference Protocol's; choose another")
    })
}

fn router(app: &App, functions: &BTreeMap<String, Arc<Function>>) -> Router {
    let target = |handler: &Handler| match handler {
        Handler::Component(id) => {
            Target::Function { function: functions[id].clone(), timeout: app.components[id].timeout }
        }
        Handler::Static(response) => Target::Static(response.clone()),
    };
    Router::new(app.routes.iter().map(|(route, handler)| (route.clone(), target(handler))).collect())
}
