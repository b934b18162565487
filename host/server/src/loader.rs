//! Start-up and reload: arguments, manifest and model folder become what serves requests.
//!
//! Everything that can be wrong with them is found here, before a request is served with them. A reload makes all of
//! it anew, but for models and code that are still the same, and hands it over as a whole or not at all.

pub mod compile;
mod entrances;
mod memory_limit;
mod model_functions;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub use self::entrances::Entrance;
use self::entrances::nothing;
use self::memory_limit::Whole;
use self::model_functions::ModelFunctions;
use anyhow::{Context, Result, bail, ensure};
use modelfn_artifact::{Digest, ReadError, read_verified};

use modelfn_nn::registry::{self, EngineSettings, ModelReport, Registry, Source};
use modelfn_wasm::code_cache::CodeCache;
use modelfn_wasm::engine::{self, Engine, PoolSize};
use modelfn_wasm::function::{Code, Function, FunctionServices, FunctionSettings, HostLinker, Mount, SandboxLimits};
use modelfn_wasm::guest_threads::GuestThreads;
use tokio::sync::mpsc;

use crate::admin::Reload;
use crate::admission::{ComponentShare, RequestLimits};
use crate::functions::manifest::{self, App, CodeSource, Handler};
use crate::model_page::ModelPages;
use crate::oip::{self, Inference};
use crate::router::{Router, Target};
use crate::service::{AppState, Service};
use crate::services::Services;

/// What an application is loaded from, and what one request of it may use.
#[derive(Clone, Debug)]
pub struct AppSettings {
    /// The manifest's path; `None` serves models alone.
    pub manifest: Option<PathBuf>,
    /// Where models come from.
    pub sources: Vec<Source>,
    /// Which of them are loaded.
    pub choice: ModelChoice,
    /// Engine instances of a model whose card does not say.
    pub model_instances: NonZeroUsize,
    /// Components whose code stays in memory from the start; beyond this number code is loaded when it is first needed.
    pub ready_components: usize,
    /// Where compiled components are kept; `None` compiles at each start.
    pub code_cache: Option<PathBuf>,
    /// Bytes that the whole process may use.
    pub memory_total: usize,
    /// The component that classifies pictures, which image classifiers get where there are pages of models.
    pub classify: Option<&'static [u8]>,
    /// The most that one request may use. A component can be given less memory by the manifest.
    pub sandbox: SandboxLimits,
}

/// Which models of the sources are loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelChoice {
    /// Every model that can be loaded.
    All,
    /// Those that the manifest names; all where it names none.
    OfManifest,
    /// These, and those that the manifest names.
    Named(Vec<String>),
}

/// What makes functions and models from their files, at the start and again at each reload.
pub struct AppLoader {
    settings: AppSettings,
    services: Services,
    engine: Engine,
    linker: HostLinker,
    cache: CodeCache,
    threads: GuestThreads,
    limits: RequestLimits,
    loaded: Loaded,
}

/// The outcome of the last load: what the next one need not do again.
struct Loaded {
    app: Arc<App>,
    registry: Arc<Registry>,
    /// By the digest of their files.
    code: BTreeMap<String, Code>,
}

impl AppLoader {
    /// Loads models and functions, and returns once all of them are ready to serve. This blocks its thread: nothing
    /// else should run there meanwhile.
    ///
    /// # Errors
    ///
    /// A message for the person who started the program, with the remedy.
    pub async fn open(
        settings: AppSettings,
        limits: RequestLimits,
        engines: EngineSettings,
        services: Services,
    ) -> Result<(AppLoader, Arc<Service>)> {
        let app = Arc::new(load_app(settings.manifest.as_deref())?);
        let registry = Arc::new(Registry::new(engines, services.metrics.clone()));
        let engine = open_engine(settings.sandbox, limits.instances)?;
        let linker =
            HostLinker::new(&engine).map_err(|e| anyhow::anyhow!("what guests may call could not be set up: {e:#}"))?;
        let loaded = Loaded { app: app.clone(), registry, code: BTreeMap::new() };
        let cache = CodeCache::new(settings.code_cache.clone());
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = GuestThreads::start(cores).context("threads for guests could not be started")?;
        let shared = services.clone();
        let mut loader = AppLoader { settings, services, engine, linker, cache, threads, limits, loaded };
        let state = loader.load(app, None).await?;
        loader.limit_memory()?;
        Ok((loader, Arc::new(Service::new(state, limits, shared))))
    }

    /// What became of each model.
    pub fn reports(&self) -> Vec<ModelReport> {
        self.loaded.registry.report()
    }

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
                self.services.metrics.reloaded(result.is_ok());
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
            None => Arc::new(load_app(self.settings.manifest.as_deref())?),
        };
        let current = self.load(app, model).await?;
        service.replace(current);
        // What was replaced is gone by now, unless a request still uses it.
        if let Err(error) = self.limit_memory() {
            tracing::warn!("the memory that requests may take stays as it was: {error:#}");
        }
        let models = self.loaded.registry.models().filter(|loaded| model.is_none_or(|name| name == loaded.name()));
        let models: Vec<_> = models.map(|model| format!("{} version {}", model.name(), model.version())).collect();
        Ok(models.join(", "))
    }

    /// Gives requests the memory that the program leaves.
    fn limit_memory(&self) -> Result<()> {
        let whole = Whole { bytes: self.settings.memory_total, engines: self.loaded.registry.engine_bytes() };
        memory_limit::set(&self.services.memory, whole, self.limits.instances)
    }

    /// Makes what serves `app`; with only `model` anew, if one is named.
    async fn load(&mut self, app: Arc<App>, model: Option<&str>) -> Result<AppState> {
        // Models and code come from different files and engines: they are loaded side by side.
        let (registry, mut components) = std::thread::scope(|scope| {
            let components = scope.spawn(|| self.load_components(&app.components));
            let registry = self.load_models(&app, model);
            let components = components.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok::<_, anyhow::Error>((Arc::new(registry?), components?))
        })?;
        if app.model_pages && app.routes.is_empty() && registry.models().next().is_none() {
            bail!("nothing to serve: {}", nothing(&registry, &self.settings.sources));
        }
        let own = if app.model_pages {
            ModelFunctions::of(&registry, self.settings.classify)
        } else {
            ModelFunctions::default()
        };
        components.extend(self.load_components(&own.components)?);
        let all: Vec<_> = app.components.iter().chain(&own.components).collect();
        let functions = self.load_functions(&all, &registry, &components).await?;
        let pages = pages(&registry).hiding_names(self.services.keys.is_some());
        let router = router(&app, &own, &functions, pages);
        let code = components.into_values().collect();
        let shares = all.into_iter().map(share).collect();
        self.loaded = Loaded { app, registry: registry.clone(), code };
        let inference = Inference::new(registry, self.services.readiness.clone());
        Ok(AppState { router, inference, shares, folders: Mutex::new(own.folders) })
    }

    fn load_models(&self, app: &App, model: Option<&str>) -> Result<Registry> {
        let required = app.models();
        let only = match &self.settings.choice {
            ModelChoice::All => &[],
            ModelChoice::OfManifest => required.as_slice(),
            ModelChoice::Named(names) => names,
        };
        let options = registry::RegistryOptions {
            sources: &self.settings.sources,
            only,
            required: &required,
            instances: self.settings.model_instances,
        };
        let registry = &self.loaded.registry;
        Ok(model.map_or_else(|| registry.reload(&options), |name| registry.reload_model(&options, name))?)
    }

    /// Components that are the same file share their code.
    fn load_components(&self, named: &BTreeMap<String, manifest::Component>) -> Result<Components> {
        let mut code: BTreeMap<String, Code> = BTreeMap::new();
        let mut components = Components::new();
        for (id, component) in named {
            let (digest, wasm) = read_component(id, component)?;
            if let Some(known) = code.get(&digest).or(self.loaded.code.get(&digest)) {
                components.insert(id.clone(), (digest, known.clone()));
                continue;
            }
            let compiled = self.cache.load(&self.engine, &wasm).map_err(|e| {
                let source = &component.source;
                anyhow::anyhow!(
                    "component '{id}': {source} is not a component that this host can run: {e:#}{}",
                    remedy(&wasm)
                )
            })?;
            let linked = self.linker.link(compiled).map_err(|e| anyhow::anyhow!("component '{id}': {e:#}; it must export wasi:http/incoming-handler@0.2 and import only WASI 0.2 and wasi:nn: build it without what needs more, or use a host that has it"))?;
            if code.len() >= self.settings.ready_components {
                linked.evict();
            }
            code.insert(digest.clone(), linked.clone());
            components.insert(id.clone(), (digest, linked));
        }
        Ok(components)
    }

    async fn load_functions(
        &self,
        named: &[(&String, &manifest::Component)],
        registry: &Arc<Registry>,
        components: &Components,
    ) -> Result<BTreeMap<String, Arc<Function>>> {
        let distinct: BTreeSet<_> = components.values().map(|(digest, _)| digest).collect();
        let services = FunctionServices {
            registry: registry.clone(),
            metrics: self.services.metrics.clone(),
            threads: self.threads.clone(),
            memory: self.services.memory.clone(),
            response_stall: self.limits.unread_timeout,
        };
        let mut functions = BTreeMap::new();
        for &(id, component) in named {
            let settings = self.function_settings(id, component, registry)?;
            let code = components[id].1.clone();
            let function = Function::new(code, settings, services.clone());
            function.warm().await.with_context(|| {
                format!("component '{id}' can't be instantiated; if it lacks room: --max-memory, its `memory`, or --max-table-elements")
            })?;
            if distinct.len() > self.settings.ready_components {
                components[id].1.evict();
            }
            functions.insert(id.to_owned(), Arc::new(function));
        }
        Ok(functions)
    }

    fn function_settings(
        &self,
        id: &str,
        component: &manifest::Component,
        registry: &Registry,
    ) -> Result<FunctionSettings> {
        let most = self.settings.sandbox.memory;
        let memory = component.memory.unwrap_or(most);
        ensure!(memory <= most, "component '{id}' wants {memory} bytes of memory, but --max-memory is {most}");
        let mount = |(source, destination): &(PathBuf, String)| Mount {
            // Who mounts a model's folder sees the version that serves: card and graph belong together.
            source: registry.served_folder(source).unwrap_or_else(|| source.clone()),
            destination: destination.clone(),
        };
        let mut environment = component.environment.clone();
        environment.extend(served_card(component, registry));
        Ok(FunctionSettings {
            component: id.into(),
            environment: environment.into_iter().collect(),
            mounts: component.files.iter().map(mount).collect(),
            models: component.models.clone().into(),
            allow_load: component.allow_load,
            limits: SandboxLimits { memory, ..self.settings.sandbox },
        })
    }
}

/// By id, with the digests of their files.
type Components = BTreeMap<String, (String, Code)>;

/// What a component may have of the instances.
fn share((id, component): (&String, &manifest::Component)) -> ComponentShare {
    ComponentShare { component: id.as_str().into(), max_instances: component.max_instances.map(NonZeroUsize::get) }
}

/// The variable of a component that mounts the folder of a model whose card does not say everything.
fn served_card(component: &manifest::Component, registry: &Registry) -> Option<(String, String)> {
    let name = |(source, _): &(PathBuf, String)| registry.in_folder(source).map(|found| found.name.clone());
    registry.get(&component.files.iter().find_map(name)?)?.card_variable()
}

fn open_engine(sandbox: SandboxLimits, instances: usize) -> Result<Engine> {
    let pool = PoolSize {
        instances: u32::try_from(instances).context("--max-instances is too large")?,
        memory: sandbox.memory,
        table_elements: sandbox.table_elements,
    };
    engine::open(pool)
        .map_err(|e| anyhow::anyhow!("the wasm engine did not start: {e:#}; lower --max-instances or --max-memory"))
}

/// The first bytes of a core module: what compilers make for targets before wasm32-wasip2. A component's version differs.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// What to do about wasm that is no component, where that is plain to see.
fn remedy(wasm: &[u8]) -> &'static str {
    if wasm.starts_with(CORE_MODULE) {
        "; it is a core module: build it for the target wasm32-wasip2, or make a component of it with `wasm-tools component new`"
    } else {
        ""
    }
}

/// Digest and bytes of a component.
fn read_component(id: &str, component: &manifest::Component) -> Result<(String, Cow<'static, [u8]>)> {
    let path = match &component.source {
        CodeSource::File(path) => path,
        CodeSource::Embedded(wasm) => return Ok((Digest::of(wasm).to_string(), (*wasm).into())),
    };
    let expected: Option<Digest> = component.sha256.as_deref().map(str::parse).transpose()?;
    let shown = path.display();
    let file = read_verified(path, expected.as_ref()).map_err(|error| match error {
        ReadError::Unreadable { reason, .. } => anyhow::Error::new(reason)
            .context(format!("component '{id}': {shown} can't be read; build it with `modelfn build`")),
        ReadError::Mismatch { actual, expected, .. } => {
            anyhow::anyhow!("component '{id}': {shown} has sha256 {actual}, the manifest says {expected}")
        }
    })?;
    Ok((file.digest.to_string(), file.bytes.into()))
}

fn load_app(manifest: Option<&Path>) -> Result<App> {
    let app = manifest.map_or_else(|| Ok(App::of_models()), App::load)?;
    check_routes(&app)?;
    Ok(app)
}

/// A route that would never be asked is a mistake.
fn check_routes(app: &App) -> Result<()> {
    let taken = app.routes.iter().map(|(route, _)| route.to_string()).find(|route| oip::rest::has(route));
    taken.map_or(Ok(()), |route| {
        anyhow::bail!("route \"{route}\": /v2 is the Open Inference Protocol's; choose another")
    })
}

/// The routes of the manifest, and what comes with models on paths that it leaves.
fn router(app: &App, own: &ModelFunctions, functions: &BTreeMap<String, Arc<Function>>, pages: ModelPages) -> Router {
    let of_component = |id: &String, component: &manifest::Component| Target::Function {
        function: functions[id].clone(),
        timeout: component.timeout,
        public: component.public.clone().into(),
    };
    let target = |handler: &Handler| match handler {
        Handler::Component(id) => of_component(id, &app.components[id]),
        Handler::Static(response) => Target::Static(response.clone()),
    };
    let router = Router::new(app.routes.iter().map(|(route, handler)| (route.clone(), target(handler))).collect());
    if !app.model_pages {
        return router;
    }
    let routes = own.routes.iter().map(|(route, id)| (route.clone(), of_component(id, &own.components[id])));
    router.with_models(routes.collect(), pages, own.without.clone())
}

/// The pages of the models that serve, or should.
fn pages(registry: &Registry) -> ModelPages {
    let models = registry.models().map(|model| model.name()).chain(registry.broken().keys().map(String::as_str));
    ModelPages::new(models.map(str::to_owned))
}
