//! Start-up and reload: arguments, manifest and model folder become what answers requests.
//!
//! Everything that can be wrong with them is found here, before a request is answered with them. A reload makes all of
//! it anew, but for models and code that are still the same, and hands it over as a whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::sync::mpsc;
use wasmtime_engine::PoolSize;

use crate::app::{self, App, Handler};
use crate::config::{CompileArguments, Cpu, HostArguments, ModelArguments};
use crate::digest::sha256_hex;
use crate::metrics::Metrics;
use crate::nn::backend::{Backend, fake::Fake, onnx::Onnx};
use crate::nn::registry::{self, Registry};
use crate::server::admin::{Readiness, Reload};
use crate::server::function::{Current, RequestLimits, Service};
use crate::server::inference::{self, Inference};
use crate::server::keys::Keys;
use crate::server::router::{Router, Target};
use crate::traces::Traces;
use crate::wasm::code_cache::{self, CodeCache};
use crate::wasm::engine as wasmtime_engine;
use crate::wasm::function::{Code, Function, Limits, Mount, Offer, Settings};

/// How many requests the host takes.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Instances that live at the same time.
    pub instances: usize,
    /// Requests that wait for one.
    pub waiting: usize,
    /// Inferences without a function.
    pub inferences: usize,
    /// How long a queue may be full before the host calls itself unready.
    pub unready_after: Duration,
}

/// What every part of the process shares.
#[derive(Clone)]
pub struct Shared {
    /// Where everything is recorded.
    pub metrics: Arc<Metrics>,
    /// Whether requests are wanted.
    pub readiness: Arc<Readiness>,
    /// Who may ask, unless everyone may.
    pub keys: Option<Arc<Keys>>,
    /// Where requests are traced to, if anywhere.
    pub traces: Option<Traces>,
}

/// What makes functions and models from their files, at the start and again at each reload.
pub struct Host {
    args: HostArguments,
    shared: Shared,
    engine: wasmtime::Engine,
    offer: Offer,
    cache: CodeCache,
    loaded: Loaded,
}

/// The outcome of the last load: what the next one need not do again.
struct Loaded {
    app: Arc<App>,
    registry: Arc<Registry>,
    /// By the digest of their files.
    code: BTreeMap<String, Code>,
}

/// Loads models and functions. Returns when all of them are ready to answer. Until then nothing else is to be
/// done, so that it may block its thread.
///
/// # Errors
///
/// A message for the person who started the program, with the remedy.
pub async fn open(args: &HostArguments, capacity: Capacity, shared: Shared) -> Result<(Host, Arc<Service>)> {
    ensure!(
        args.max_bodies >= args.max_body,
        "--max-bodies must be at least --max-body, or the largest bodies never fit"
    );
    let app = Arc::new(load_app(args)?);
    let registry = Arc::new(Registry::new(backends(&args.models)?, shared.metrics.clone()));
    let engine = open_engine(args, capacity)?;
    let offer = Offer::new(&engine).map_err(|e| anyhow::anyhow!("what guests may call could not be set up: {e:#}"))?;
    let loaded = Loaded { app: app.clone(), registry, code: BTreeMap::new() };
    let Shared { metrics, keys, traces, .. } = shared.clone();
    let mut host = Host { args: args.clone(), shared, engine, offer, cache: CodeCache::new(args.code_cache()), loaded };
    let current = host.load(app, None).await?;
    let limits = RequestLimits {
        instances: capacity.instances,
        waiting: capacity.waiting,
        inferences: capacity.inferences,
        body: args.max_body.bytes(),
        bodies: args.max_bodies.bytes(),
        timeout: args.request_timeout,
        unready_after: capacity.unready_after,
    };
    Ok((host, Arc::new(Service::new(current, limits, metrics).with_keys(keys).traced(traces))))
}

impl Host {
    /// Serves `requests` to read files again, one after the other, on a thread of its own, until nobody can ask.
    ///
    /// # Errors
    ///
    /// The thread can't be made.
    pub fn serve_reloads(mut self, service: Arc<Service>, mut requests: mpsc::Receiver<Reload>) -> std::io::Result<()> {
        let runtime = tokio::runtime::Handle::current();
        let serve = move || {
            while let Some(Reload { model, reply }) = requests.blocking_recv() {
                let result = runtime.block_on(self.reload(model.as_deref(), &service));
                self.shared.metrics.reloaded(result.is_ok());
                match &result {
                    Ok(text) => tracing::info!("reloaded: {text}"),
                    Err(error) => tracing::error!("not reloaded, everything stays as it was: {error:#}"),
                }
                // Who asked may have left meanwhile.
                let _ = reply.send(result.map_err(|error| format!("{error:#}")));
            }
        };
        std::thread::Builder::new().name("reload".to_owned()).spawn(serve).map(drop)
    }

    /// Reads everything again, or one model. Says what serves now.
    async fn reload(&mut self, model: Option<&str>, service: &Service) -> Result<String> {
        let app = match model {
            Some(_) => self.loaded.app.clone(),
            None => Arc::new(load_app(&self.args)?),
        };
        let current = self.load(app, model).await?;
        service.replace(current);
        let models = self.loaded.registry.models().filter(|loaded| model.is_none_or(|name| name == loaded.name()));
        let models: Vec<_> = models.map(|model| format!("{} version {}", model.name(), model.version())).collect();
        Ok(models.join(", "))
    }

    /// Makes what answers for `app`; with only `model` anew, if one is named.
    async fn load(&mut self, app: Arc<App>, model: Option<&str>) -> Result<Current> {
        // Models and code come from different files and engines: they are loaded side by side.
        let (registry, components) = std::thread::scope(|scope| {
            let components = scope.spawn(|| self.load_components(&app));
            let registry = self.load_models(&app, model);
            let components = components.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok::<_, anyhow::Error>((Arc::new(registry?), components?))
        })?;
        let functions = self.load_functions(&app, &registry, &components).await?;
        let router = router(&app, &functions);
        let code = components.into_values().collect();
        self.loaded = Loaded { app, registry: registry.clone(), code };
        Ok(Current { router, inference: Inference::new(registry, self.shared.readiness.clone()) })
    }

    fn load_models(&self, app: &App, model: Option<&str>) -> Result<Registry> {
        let source = registry::Source {
            folder: &self.args.models.models,
            only: &self.args.load_model,
            required: &app.models(),
            instances: self.args.model_instances(),
        };
        let registry = &self.loaded.registry;
        Ok(model.map_or_else(|| registry.reload(&source), |name| registry.reload_model(&source, name))?)
    }

    /// Components that are the same file share their code.
    fn load_components(&self, app: &App) -> Result<Components> {
        let mut code: BTreeMap<String, Code> = BTreeMap::new();
        let mut components = Components::new();
        for (id, component) in &app.components {
            let (digest, wasm) = read_component(id, component)?;
            if let Some(known) = code.get(&digest).or(self.loaded.code.get(&digest)) {
                components.insert(id.clone(), (digest, known.clone()));
                continue;
            }
            let compiled = self.cache.load(&self.engine, &wasm).map_err(|e| {
                let path = component.source.display();
                anyhow::anyhow!("component '{id}': {path} is not a component that this host can run: {e:#}")
            })?;
            let linked = self.offer.link(compiled).map_err(|e| anyhow::anyhow!("component '{id}': {e:#}; it must export wasi:http/incoming-handler@0.2 and import only WASI 0.2 and wasi:nn"))?;
            if code.len() >= self.args.ready_components {
                linked.put_away();
            }
            code.insert(digest.clone(), linked.clone());
            components.insert(id.clone(), (digest, linked));
        }
        Ok(components)
    }

    async fn load_functions(
        &self,
        app: &App,
        registry: &Arc<Registry>,
        components: &Components,
    ) -> Result<BTreeMap<String, Arc<Function>>> {
        let distinct: BTreeSet<_> = components.values().map(|(digest, _)| digest).collect();
        let mut functions = BTreeMap::new();
        for (id, component) in &app.components {
            let settings = self.settings(id, component, registry)?;
            let shared = (registry.clone(), self.shared.metrics.clone());
            let function = Function::new(components[id].1.clone(), settings, shared);
            function.warm().await.with_context(|| {
                format!("component '{id}' can't be instantiated; if it lacks room: --max-memory, its `memory`, or --max-table-elements")
            })?;
            if distinct.len() > self.args.ready_components {
                components[id].1.put_away();
            }
            functions.insert(id.clone(), Arc::new(function));
        }
        Ok(functions)
    }

    fn settings(&self, id: &str, component: &app::Component, registry: &Registry) -> Result<Settings> {
        let most = self.args.max_memory.bytes();
        let memory = component.memory.unwrap_or(most);
        ensure!(memory <= most, "component '{id}' wants {memory} bytes of memory, but --max-memory is {most}");
        let mount = |(source, destination): &(PathBuf, String)| Mount {
            source: self.mounted(source, registry),
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
                table_elements: self.args.max_table_elements.get(),
                tensor_bytes: self.args.max_tensors.bytes(),
            },
        })
    }

    /// Who mounts a model's folder sees the version that serves: card and graph belong together.
    fn mounted(&self, source: &Path, registry: &Registry) -> PathBuf {
        let of_model = || {
            let (models, folder) = (self.args.models.models.canonicalize().ok()?, source.canonicalize().ok()?);
            if folder.parent() == Some(&models) { registry.served_folder(&folder) } else { None }
        };
        of_model().unwrap_or_else(|| source.to_owned())
    }
}

/// Compiles the components of an application into a folder. Returns a line about each.
///
/// # Errors
///
/// As [`open`].
pub fn compile(args: &CompileArguments) -> Result<Vec<String>> {
    let app = App::load(&args.app)?;
    let pool = PoolSize { instances: 1, memory: 1 << 20, table_elements: 1 };
    let engine = match args.cpu {
        Cpu::Native => wasmtime_engine::open(pool),
        Cpu::Baseline => code_cache::baseline_engine(),
    };
    let engine = engine.map_err(|e| anyhow::anyhow!("the wasm engine did not start: {e:#}"))?;
    let cache = CodeCache::new(Some(args.out.clone()));
    let compile = |(id, component): (&String, &app::Component)| {
        let (_, wasm) = read_component(id, component)?;
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

/// By id, with the digests of their files.
type Components = BTreeMap<String, (String, Code)>;

fn open_engine(args: &HostArguments, capacity: Capacity) -> Result<wasmtime::Engine> {
    let pool = PoolSize {
        instances: u32::try_from(capacity.instances).context("--max-instances is too large")?,
        memory: args.max_memory.bytes(),
        table_elements: args.max_table_elements.get(),
    };
    wasmtime_engine::open(pool)
        .map_err(|e| anyhow::anyhow!("the wasm engine did not start: {e:#}; lower --max-instances or --max-memory"))
}

/// Digest and bytes of a component.
fn read_component(id: &str, component: &app::Component) -> Result<(String, Vec<u8>)> {
    let path = component.source.display();
    let wasm = std::fs::read(&component.source)
        .with_context(|| format!("component '{id}': {path} can't be read; build it with `make guest`"))?;
    let actual = sha256_hex(&wasm);
    if let Some(expected) = &component.sha256 {
        ensure!(actual == *expected, "component '{id}': {path} has sha256 {actual}, the manifest says {expected}");
    }
    Ok((actual, wasm))
}

fn load_app(args: &HostArguments) -> Result<App> {
    let app = App::load(&args.app)?;
    check_routes(&app)?;
    Ok(app)
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
            let component = &app.components[id];
            let public = component.public.clone().into();
            Target::Function { function: functions[id].clone(), timeout: component.timeout, public }
        }
        Handler::Static(response) => Target::Static(response.clone()),
    };
    Router::new(app.routes.iter().map(|(route, handler)| (route.clone(), target(handler))).collect())
}
