//! Every setting of the program: name, default, unit and help text stand here once.
//!
//! A group is a table of flags as they are typed (each also a `MODELFN_*` variable), and a method that turns it into the
//! settings of the layer that obeys them. The help, the completions and `docs/settings.md` come from these definitions.

mod application;
mod models;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::builder::{OsStringValueParser, Resettable, TypedValueParser};
use clap::{Args, Command, FromArgMatches};
use modelfn_plan::settings::ServerDefaults;
use modelfn_server::admission::RequestLimits;
use modelfn_server::connection::{ConnectionLimits, GracePeriods};
use modelfn_server::loader::AppSettings;
use modelfn_server::units::{ByteSize, parse_duration};
use modelfn_wasm::function::SandboxLimits;

pub(crate) use self::models::{ModelSettings, default_model_instances};
use crate::{embedded, memory_limit};

/// Files and sockets that are kept for other things than clients' connections: models, components, the folders and files
/// that guests have open, and the admin port.
const RESERVED_FILES: usize = 512;

/// The fewest connections that the limit of open files leaves.
const MIN_CONNECTIONS: usize = 16;

/// The application that is loaded, and how.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Application")]
pub(crate) struct ApplicationSettings {
    /// The application's manifest. Default: spin.toml, where no model is named by its path.
    #[arg(long, env = "MODELFN_APP", value_name = "FILE")]
    app: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) models: ModelSettings,
    /// Load only this model (may be repeated). Default: every model of those paths or of that folder that were named;
    /// where none was, the models that the manifest names.
    #[arg(long, value_name = "NAME", help_heading = "Models")]
    load_model: Vec<String>,
    /// Engine instances of a model whose card does not say. Default: one a core, at most 4.
    #[arg(long, env = "MODELFN_MODEL_INSTANCES", value_name = "N", help_heading = "Models")]
    model_instances: Option<NonZeroUsize>,
    /// Where compiled components are kept; an empty string keeps none. Default: ~/.cache/modelfn/code.
    #[arg(
        long,
        env = "MODELFN_CODE_CACHE",
        value_name = "FOLDER",
        value_parser = OsStringValueParser::new().map(PathBuf::from),
        help_heading = "Application"
    )]
    code_cache: Option<PathBuf>,
    /// Components whose code stays in memory from the start. With more components than this, code is loaded from the
    /// cache when it is first needed.
    #[arg(
        long,
        default_value = "16",
        env = "MODELFN_READY_COMPONENTS",
        value_name = "N",
        help_heading = "Application"
    )]
    ready_components: usize,
}

/// What one request may use.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits of a request")]
pub(crate) struct RequestSettings {
    /// The longest that a request may take, from its head to the end of its response.
    #[arg(
        long,
        default_value = "30s",
        env = "MODELFN_REQUEST_TIMEOUT",
        value_parser = parse_duration,
        value_name = "TIME"
    )]
    pub(crate) request_timeout: Duration,
    /// The largest request body.
    #[arg(long, default_value = "16MiB", env = "MODELFN_MAX_BODY", value_name = "SIZE")]
    max_body: ByteSize,
    /// The most linear memory of one request.
    #[arg(long, default_value = "256MiB", env = "MODELFN_MAX_MEMORY", value_name = "SIZE")]
    max_memory: ByteSize,
    /// The most bytes of tensors that the host holds for one request.
    #[arg(long, default_value = "64MiB", env = "MODELFN_MAX_TENSORS", value_name = "SIZE")]
    max_tensors: ByteSize,
    /// How long a client may read nothing of a response that is too large to be kept for it (1 MiB); its function is
    /// ended then.
    #[arg(
        long,
        default_value = "10s",
        env = "MODELFN_UNREAD_TIMEOUT",
        value_parser = parse_duration,
        value_name = "TIME"
    )]
    unread_timeout: Duration,
    /// The most elements of one table of a component.
    #[arg(long, default_value = "20000", env = "MODELFN_MAX_TABLE_ELEMENTS", value_name = "N")]
    max_table_elements: NonZeroUsize,
    /// The bodies of all requests in flight; beyond that a request gets 503.
    #[arg(
        long,
        default_value = "256MiB",
        env = "MODELFN_MAX_BODIES",
        value_name = "SIZE",
        help_heading = "Limits of the server"
    )]
    max_bodies: ByteSize,
    /// The memory of the whole process. What it and its models leave is shared by requests; beyond that a request gets
    /// 503. Default: what the container may have (its cgroup's limit), or 80 % of the machine's.
    #[arg(long, env = "MODELFN_MAX_MEMORY_TOTAL", value_name = "SIZE", help_heading = "Limits of the server")]
    max_memory_total: Option<ByteSize>,
}

/// What all requests of a server together may use; `modelfn invoke` sends one request and needs none of it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits of the server")]
pub(crate) struct AdmissionSettings {
    /// Requests that have an instance at the same time. Default: eight a core.
    #[arg(long, env = "MODELFN_MAX_INSTANCES", value_name = "N")]
    max_instances: Option<NonZeroUsize>,
    /// Requests that wait for an instance; further ones get 503.
    #[arg(long, default_value = "1024", env = "MODELFN_MAX_WAITING", value_name = "N")]
    max_waiting: usize,
    /// How long a request may be expected to wait for an instance; if longer, it gets 503 at once.
    #[arg(
        long,
        default_value = "1s",
        env = "MODELFN_TARGET_LATENCY",
        value_parser = parse_duration,
        value_name = "TIME"
    )]
    target_latency: Duration,
    /// Inferences below /v2 in flight; further ones get 503.
    #[arg(long, default_value = "256", env = "MODELFN_MAX_INFERENCES", value_name = "N")]
    max_inferences: NonZeroUsize,
    /// How long a queue may be full before /readyz says so.
    #[arg(
        long,
        default_value = "30s",
        env = "MODELFN_UNREADY_AFTER",
        value_parser = parse_duration,
        value_name = "TIME"
    )]
    unready_after: Duration,
}

/// Where clients connect, and for how long.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connections")]
pub(crate) struct ConnectionSettings {
    /// Where clients connect: HTTP/1.1, and HTTP/2 without TLS.
    #[arg(long, default_value = "127.0.0.1:8080", env = "MODELFN_LISTEN", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Where /livez, /readyz, /metrics and the requests to reload are.
    #[arg(long, default_value = "127.0.0.1:8081", env = "MODELFN_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub(crate) admin_listen: SocketAddr,
    /// Open connections. A further one takes the place of the one that has been idle for longest; while none is idle, it
    /// waits to be accepted.
    #[arg(long, default_value = "4096", env = "MODELFN_MAX_CONNECTIONS", value_name = "N")]
    max_connections: NonZeroUsize,
    /// Open connections of one address, or of one IPv6 network of 64 bits. Leave it out behind a proxy, whose address
    /// all clients have. Default: as many as there may be.
    #[arg(long, env = "MODELFN_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    max_connections_per_address: Option<NonZeroUsize>,
    /// How long a client may take to send a request's head.
    #[arg(
        long,
        default_value = "10s",
        env = "MODELFN_HEADER_TIMEOUT",
        value_parser = parse_duration,
        value_name = "TIME"
    )]
    header_timeout: Duration,
    /// How long an idle connection is kept.
    #[arg(
        long,
        default_value = "2m",
        env = "MODELFN_IDLE_TIMEOUT",
        value_parser = parse_duration,
        value_name = "TIME"
    )]
    idle_timeout: Duration,
    /// How long requests in flight get to end after SIGTERM.
    #[arg(
        long,
        default_value = "25s",
        env = "MODELFN_DRAIN_TIMEOUT",
        value_parser = parse_duration,
        value_name = "TIME"
    )]
    drain_timeout: Duration,
    /// How long after SIGTERM new requests are still served, while /readyz says no: the time that a load balancer needs
    /// to notice. The drain comes after it. Default: none.
    #[arg(long, env = "MODELFN_SHUTDOWN_DELAY", value_parser = parse_duration, value_name = "TIME")]
    shutdown_delay: Option<Duration>,
}

/// Who may send requests.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Security")]
pub(crate) struct SecuritySettings {
    /// Ask for an API key, one of this file: `name sha256:HEX [max_in_flight=N]` a line, which `modelfn key` makes.
    /// It is read again when it changes.
    #[arg(long, env = "MODELFN_API_KEYS", value_name = "FILE")]
    pub(crate) api_keys: Option<PathBuf>,
}

impl ApplicationSettings {
    /// An application of one model, whose manifest this program made.
    ///
    /// # Errors
    ///
    /// A variable of the environment is wrong.
    pub(crate) fn of_one_model(manifest: &Path, models: &ModelSettings, name: &str) -> Result<Self> {
        let command = ApplicationSettings::augment_args(Command::new("application").no_binary_name(true));
        let matches = command.try_get_matches_from(std::iter::empty::<&str>())?;
        let settings = ApplicationSettings::from_arg_matches(&matches)?;
        Ok(Self {
            app: Some(manifest.to_owned()),
            models: models.clone(),
            load_model: vec![name.to_owned()],
            ..settings
        })
    }

    /// The manifest; `None` where the models at `paths` are served without one.
    ///
    /// # Errors
    ///
    /// There is neither a manifest nor a model. Says what to type.
    pub(crate) fn manifest(&self, paths: &[PathBuf]) -> Result<Option<PathBuf>> {
        application::manifest(self.app.as_deref(), paths, &self.models)
    }

    /// Keeps compiled components in `folder`, where nobody says another.
    pub(crate) fn keep_code_in(&mut self, folder: PathBuf) {
        self.code_cache.get_or_insert(folder);
    }

    /// What the loader needs: this application, with sandboxes of these limits.
    pub(crate) fn app_settings(&self, paths: &[PathBuf], request: &RequestSettings) -> Result<AppSettings> {
        Ok(AppSettings {
            manifest: self.manifest(paths)?,
            sources: application::sources(paths, &self.models)?,
            choice: application::choice(&self.load_model, paths, &self.models),
            model_instances: self.model_instances.unwrap_or_else(default_model_instances),
            ready_components: self.ready_components,
            code_cache: application::code_cache(self.code_cache.as_deref()),
            memory_total: request.memory_total(),
            classify: embedded::classify(),
            sandbox: request.sandbox_limits(),
        })
    }
}

impl RequestSettings {
    fn sandbox_limits(&self) -> SandboxLimits {
        SandboxLimits {
            memory: self.max_memory.bytes(),
            table_elements: self.max_table_elements.get(),
            tensor_bytes: self.max_tensors.bytes(),
        }
    }

    /// Bytes that the whole process may use.
    fn memory_total(&self) -> usize {
        self.max_memory_total.map_or_else(memory_limit::available, ByteSize::bytes)
    }

    /// The limits of a server that is asked once, by this program itself.
    ///
    /// # Errors
    ///
    /// Two of the limits contradict each other.
    pub(crate) fn single_request_limits(&self) -> Result<RequestLimits> {
        self.check()?;
        Ok(RequestLimits {
            instances: 1,
            waiting: 0,
            inferences: 1,
            body: self.max_body.bytes(),
            bodies: self.max_bodies.bytes(),
            target_latency: Duration::MAX,
            unread_timeout: self.unread_timeout,
            timeout: self.request_timeout,
            unready_after: Duration::MAX,
        })
    }

    fn check(&self) -> Result<()> {
        ensure!(
            self.max_bodies >= self.max_body,
            "--max-bodies must be at least --max-body, or the largest bodies never fit"
        );
        Ok(())
    }
}

impl AdmissionSettings {
    /// The limits of a server whose requests have the limits `request`.
    ///
    /// # Errors
    ///
    /// The two contradict each other.
    pub(crate) fn request_limits(&self, request: &RequestSettings) -> Result<RequestLimits> {
        request.check()?;
        let instances = self.max_instances().get();
        u32::try_from(instances).context("--max-instances is too large")?;
        Ok(RequestLimits {
            instances,
            waiting: self.max_waiting,
            inferences: self.max_inferences.get(),
            body: request.max_body.bytes(),
            bodies: request.max_bodies.bytes(),
            target_latency: self.target_latency,
            unread_timeout: request.unread_timeout,
            timeout: request.request_timeout,
            unready_after: self.unready_after,
        })
    }

    /// Requests that have an instance at the same time. Guests compute: more of them than keep the cores and the
    /// engine's batches busy slow each other down and take memory. With 64 on two cores a server reached 0.82 of its
    /// peak goodput at ten times its capacity, with 16 it reached 0.91 (`bench/README.md`).
    pub(crate) fn max_instances(&self) -> NonZeroUsize {
        let eight = NonZeroUsize::new(8).expect("eight is not zero");
        self.max_instances.unwrap_or_else(|| cores().saturating_mul(eight))
    }
}

impl ConnectionSettings {
    /// What a connection may take. `stall` is how long a client may leave a response unread, and `files` how many files
    /// and sockets this process may open.
    pub(crate) fn limits(&self, stall: Duration, files: Option<u64>) -> ConnectionLimits {
        let most = self.max_connections.get();
        let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
        let connections = most.min(files.saturating_sub(RESERVED_FILES).max(MIN_CONNECTIONS));
        if connections < most {
            tracing::warn!(
                "--max-connections is {connections} instead of {most}: this process may open {files} files and \
                 sockets; raise the limit (`ulimit -n`)"
            );
        }
        ConnectionLimits {
            connections,
            per_address: self.max_connections_per_address,
            header_timeout: self.header_timeout,
            stall,
            idle: self.idle_timeout,
        }
    }

    /// How long a server that was told to end goes on.
    pub(crate) fn grace_periods(&self) -> GracePeriods {
        GracePeriods { delay: self.shutdown_delay.unwrap_or_default(), drain: self.drain_timeout }
    }
}

/// The limits of `modelfn serve` where nobody sets them, for the servers that `modelfn plan` measures.
pub(crate) fn server_defaults() -> ServerDefaults {
    // The environment of the planning program says nothing about the servers that it measures.
    let command = Defaults::augment_args(Command::new("defaults").no_binary_name(true))
        .mut_args(|argument| argument.env(Resettable::Reset));
    let matches = command.get_matches_from(std::iter::empty::<&str>());
    let Defaults { request, admission } = Defaults::from_arg_matches(&matches).expect("every limit has a default");
    ServerDefaults {
        max_instances: admission.max_instances().get(),
        max_body: request.max_body.bytes(),
        max_bodies: request.max_bodies.bytes(),
        max_memory: request.max_memory.bytes(),
        max_tensors: request.max_tensors.bytes(),
    }
}

/// The groups whose defaults others need.
#[derive(Args)]
struct Defaults {
    #[command(flatten)]
    request: RequestSettings,
    #[command(flatten)]
    admission: AdmissionSettings,
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests;
