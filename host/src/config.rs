//! What can be set: arguments as typed (also from `MODELFN_*` variables), and the checked configuration.
//!
//! Every limit of the host has its default here and nowhere else.

mod plan;

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use self::plan::{PlanArguments, PlanFormat};

/// Machine-learning models as sandboxed WebAssembly functions.
#[derive(Debug, Parser)]
#[command(name = "modelfn", version, about, max_term_width = 100)]
#[expect(missing_docs, reason = "clap shows the help texts of the fields")]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value_t, env = "MODELFN_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// What is logged: a level, or a filter such as `warn,modelfn=debug`.
    #[arg(long, global = true, default_value = "info", env = "MODELFN_LOG")]
    pub log: String,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "clap shows the help texts of the variants")]
pub enum Command {
    /// Serve the functions of an application over HTTP.
    #[command(
        after_help = "Examples:\n  modelfn serve\n  modelfn serve --app k8s/spin.toml --listen 0.0.0.0:8080 --admin-listen 0.0.0.0:8081\n  MODELFN_REQUEST_TIMEOUT=2s modelfn serve --load-model efficientnet-lite0-int8\n\nSIGHUP reads manifest, components and models again; SIGTERM drains.\n\nThen:\n  curl --data-binary @cat.jpg http://127.0.0.1:8080/classify\n  curl http://127.0.0.1:8081/readyz\n\nTraces go to a collector by OTLP over HTTP if the environment names one:\n  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 modelfn serve\nFurther variables: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG,\nOTEL_EXPORTER_OTLP_HEADERS, _PROTOCOL (http/protobuf or http/json) and _TIMEOUT, each also with TRACES_ before\nits last word; OTEL_BSP_*; OTEL_SDK_DISABLED."
    )]
    Serve(ServeArguments),
    /// Send one request through the whole path, without a server.
    #[command(
        after_help = "Examples:\n  modelfn invoke /classify cat.jpg\n  modelfn invoke '/classify?top_k=3' - < cat.jpg\n  modelfn invoke /model\n\nPrints the answer's body to stdout, and exits 1 if its status is an error."
    )]
    Invoke(InvokeArguments),
    /// Compile an application's components ahead of time, for images.
    #[command(
        after_help = "Example:\n  modelfn compile --out /var/lib/modelfn/code\n  modelfn serve --code-cache /var/lib/modelfn/code\n\nThe code fits this program and this version, and the processor that --cpu says; elsewhere it is compiled again."
    )]
    Compile(CompileArguments),
    /// Make an API key.
    #[command(
        after_help = "Examples:\n  modelfn key alice --file keys.txt\n  modelfn key ci --max-in-flight 4 --file keys.txt\n  modelfn serve --api-keys keys.txt\n\nThen:\n  curl -H \"X-API-Key: mfn_...\" --data-binary @cat.jpg http://127.0.0.1:8080/classify\n\nPrints the key, which is kept nowhere, and the line for the file, unless --file has added it there. To change a key,\nadd a second one of the same name, and delete the line of the first when nobody has it any more."
    )]
    Key(KeyArguments),
    /// Plan CPU, memory and replicas of a model, by measuring it here.
    #[command(
        after_help = "Examples:\n  modelfn plan efficientnet-lite0-int8\n  modelfn plan efficientnet-lite0-int8 --rate 200 --p99 50ms\n  modelfn plan efficientnet-lite0-int8 --rate 200 --route /classify --body cat.jpg --kustomize > plan.yaml\n  modelfn plan efficientnet-lite0-int8 --static --time 10ms --rate 200 --json\n\nStarts servers of its own on free ports for some seconds. Leave the machine alone meanwhile."
    )]
    Plan(Box<PlanArguments>),
    /// Look at models.
    Model {
        #[command(subcommand)]
        command: ModelCommand,
    },
}

/// What to do with models.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "clap shows the help texts of the variants")]
pub enum ModelCommand {
    /// Print a model's card, the graph's real inputs and outputs, and where they disagree.
    #[command(
        after_help = "Examples:\n  modelfn model inspect efficientnet-lite0-int8\n  modelfn model inspect efficientnet-lite0-int8 --json\n\nExits 1 if card and graph disagree."
    )]
    Inspect {
        /// The model's folder name.
        name: String,
        #[command(flatten)]
        models: ModelArguments,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the models of the folder.
    List {
        #[command(flatten)]
        models: ModelArguments,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "clap shows the help texts of the fields")]
pub struct ModelArguments {
    /// The folder of model folders.
    #[arg(long, default_value = "models", env = "MODELFN_MODELS", value_name = "FOLDER")]
    pub models: PathBuf,
    /// The ONNX Runtime library. Without it: ../lib/libonnxruntime.so* beside this program's folder.
    #[arg(long, env = "MODELFN_ONNXRUNTIME", value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "clap shows the help texts of the fields")]
pub struct HostArguments {
    /// The application's manifest.
    #[arg(long, default_value = "spin.toml", env = "MODELFN_APP", value_name = "FILE")]
    pub app: PathBuf,
    #[command(flatten)]
    pub models: ModelArguments,
    /// Load only this model (may be repeated). Without it: every model that can be loaded.
    #[arg(long, value_name = "NAME")]
    pub load_model: Vec<String>,
    /// Engine instances of a model whose card does not say. Without it: one a core, at most 4.
    #[arg(long, env = "MODELFN_MODEL_INSTANCES", value_name = "N")]
    pub model_instances: Option<NonZeroUsize>,
    /// Where compiled components are kept; an empty string keeps none. Without it: ~/.cache/modelfn/code.
    #[arg(long, env = "MODELFN_CODE_CACHE", value_name = "FOLDER")]
    pub code_cache: Option<PathBuf>,
    /// Components whose code stays in memory from the start. Of more than these, code is taken from the cache when it is
    /// first asked for.
    #[arg(long, default_value = "16", env = "MODELFN_READY_COMPONENTS", value_name = "N")]
    pub ready_components: usize,
    /// The longest that a request may take, from its head to the end of its answer.
    #[arg(long, default_value = "30s", env = "MODELFN_REQUEST_TIMEOUT", value_parser = parse_duration, value_name = "TIME")]
    pub request_timeout: Duration,
    /// The largest request body.
    #[arg(long, default_value_t = MAX_BODY, env = "MODELFN_MAX_BODY", value_name = "SIZE")]
    pub max_body: ByteSize,
    /// The bodies of all requests in flight; beyond that a request gets 503.
    #[arg(long, default_value_t = MAX_BODIES, env = "MODELFN_MAX_BODIES", value_name = "SIZE")]
    pub max_bodies: ByteSize,
    /// The most linear memory of one request.
    #[arg(long, default_value = "256MiB", env = "MODELFN_MAX_MEMORY", value_name = "SIZE")]
    pub max_memory: ByteSize,
    /// The most bytes of tensors that the host holds for one request.
    #[arg(long, default_value = "64MiB", env = "MODELFN_MAX_TENSORS", value_name = "SIZE")]
    pub max_tensors: ByteSize,
    /// The most elements of one table of a component.
    #[arg(long, default_value = "20000", env = "MODELFN_MAX_TABLE_ELEMENTS", value_name = "N")]
    pub max_table_elements: NonZeroUsize,
}

#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "clap shows the help texts of the fields")]
pub struct ServeArguments {
    #[command(flatten)]
    pub host: HostArguments,
    /// Where clients connect: HTTP/1.1, and HTTP/2 without TLS.
    #[arg(long, default_value = "127.0.0.1:8080", env = "MODELFN_LISTEN", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where /livez, /readyz, /metrics, and the requests to load models anew are.
    #[arg(long, default_value = "127.0.0.1:8081", env = "MODELFN_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: SocketAddr,
    /// Requests that have an instance at the same time. Without it: eight a core.
    #[arg(long, env = "MODELFN_MAX_INSTANCES", value_name = "N")]
    pub max_instances: Option<NonZeroUsize>,
    /// Requests that wait for an instance; further ones get 503.
    #[arg(long, default_value = "1024", env = "MODELFN_MAX_WAITING", value_name = "N")]
    pub max_waiting: usize,
    /// Inferences below /v2 in flight; further ones get 503.
    #[arg(long, default_value = "256", env = "MODELFN_MAX_INFERENCES", value_name = "N")]
    pub max_inferences: NonZeroUsize,
    /// Ask for an API key, one of this file: `name sha256:HEX [max_in_flight=N]` a line, which `modelfn key` makes.
    /// It is read again when it changes.
    #[arg(long, env = "MODELFN_API_KEYS", value_name = "FILE")]
    pub api_keys: Option<PathBuf>,
    /// Open connections; further ones wait to be accepted.
    #[arg(long, default_value = "4096", env = "MODELFN_MAX_CONNECTIONS", value_name = "N")]
    pub max_connections: NonZeroUsize,
    /// How long a client may take to send a request's head.
    #[arg(long, default_value = "10s", env = "MODELFN_HEADER_TIMEOUT", value_parser = parse_duration, value_name = "TIME")]
    pub header_timeout: Duration,
    /// How long a connection is kept on which nothing happens.
    #[arg(long, default_value = "2m", env = "MODELFN_IDLE_TIMEOUT", value_parser = parse_duration, value_name = "TIME")]
    pub idle_timeout: Duration,
    /// How long a queue may be full before /readyz says so.
    #[arg(long, default_value = "30s", env = "MODELFN_UNREADY_AFTER", value_parser = parse_duration, value_name = "TIME")]
    pub unready_after: Duration,
    /// How long requests in flight get to end after SIGTERM.
    #[arg(long, default_value = "25s", env = "MODELFN_DRAIN_TIMEOUT", value_parser = parse_duration, value_name = "TIME")]
    pub drain_timeout: Duration,
    /// How long after SIGTERM new requests are still answered, while /readyz says no: the time that a load balancer
    /// needs to notice. The drain comes after it. Without it: none.
    #[arg(long, env = "MODELFN_SHUTDOWN_DELAY", value_parser = parse_duration, value_name = "TIME")]
    pub shutdown_delay: Option<Duration>,
}

#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "clap shows the help texts of the fields")]
pub struct InvokeArguments {
    #[command(flatten)]
    pub host: HostArguments,
    /// Path and query, such as `/classify?top_k=3`.
    pub route: String,
    /// The request's body, `-` for stdin. Without it the request is a GET, with it a POST.
    pub file: Option<PathBuf>,
    /// Also print status and headers.
    #[arg(short, long)]
    pub include: bool,
}

#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "clap shows the help texts of the fields")]
pub struct KeyArguments {
    /// Whose key it is: letters, digits, hyphens, underscores and dots. It is shown in logs and metrics.
    pub name: String,
    /// Requests of this name in flight; further ones get 429. Without it: no limit of its own.
    #[arg(long, value_name = "N")]
    pub max_in_flight: Option<NonZeroUsize>,
    /// Add the line to this file, and print the key alone.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "clap shows the help texts of the fields")]
pub struct CompileArguments {
    /// The application's manifest.
    #[arg(long, default_value = "spin.toml", env = "MODELFN_APP", value_name = "FILE")]
    pub app: PathBuf,
    /// Where the compiled code goes; `modelfn serve --code-cache` takes it from there.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// The processor that the code is for.
    #[arg(long, value_enum, default_value_t)]
    pub cpu: Cpu,
}

/// The processor that compiled code is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Cpu {
    /// This one, with all that it has.
    #[default]
    Native,
    /// Any that has AVX2 (x86-64-v3: Haswell, Zen and later); on other architectures any.
    Baseline,
}

/// Each instance has the weights once more; more than this is a decision.
const MAX_DEFAULT_INSTANCES: usize = 4;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `human` on a terminal, `json` elsewhere.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// A number of bytes, written `16MiB`, `64kB` or `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(usize);

impl ByteSize {
    /// As a number.
    pub fn bytes(self) -> usize {
        self.0
    }
}

/// The largest body, where nothing else is said.
pub const MAX_BODY: ByteSize = ByteSize(16 << 20);

/// All bodies together, where nothing else is said.
pub const MAX_BODIES: ByteSize = ByteSize(256 << 20);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes > 0 && bytes.is_multiple_of(1 << 20) => write!(f, "{}MiB", bytes >> 20),
            bytes => write!(f, "{bytes}"),
        }
    }
}

impl FromStr for ByteSize {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed: bytesize::ByteSize =
            text.parse().map_err(|_| anyhow::anyhow!("\"{text}\" is not a size; write 16MiB, 64kB or 4096"))?;
        Ok(ByteSize(usize::try_from(parsed.as_u64()).context("the size does not fit this machine")?))
    }
}

/// A duration, written `30s`, `250ms` or `1m 30s`.
///
/// # Errors
///
/// It's none, or zero.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let time = humantime::parse_duration(text)
        .map_err(|_| anyhow::anyhow!("\"{text}\" is not a time; write 30s, 250ms or 1m"))?;
    ensure!(!time.is_zero(), "a time must be above zero");
    Ok(time)
}

impl ModelArguments {
    /// The engine's library: what was asked for, else what lies beside this program.
    ///
    /// # Errors
    ///
    /// The library that was asked for is not a file, or nothing was asked for and none was found.
    pub fn onnxruntime(&self) -> Result<PathBuf> {
        if let Some(path) = &self.onnxruntime {
            ensure!(path.is_file(), "--onnxruntime {}: no such file", path.display());
            return Ok(path.clone());
        }
        let program = std::env::current_exe().context("this program's own path")?;
        let folder = program.parent().and_then(Path::parent).unwrap_or(Path::new("/")).join("lib");
        let files = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let library = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so"))
        };
        files.filter(library).max().with_context(|| {
            format!(
                "no libonnxruntime.so in {}; run `make runtime`, or name it with --onnxruntime or MODELFN_ONNXRUNTIME",
                folder.display()
            )
        })
    }
}

/// Guests compute: more of them than keep the cores and the engine's batches busy make each other slower and take
/// memory. With 64 on two cores a server answered 0.82 of its peak at ten times its capacity, with 16 it answered 0.91
/// (`bench/README.md`).
pub fn default_max_instances() -> NonZeroUsize {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    cores.saturating_mul(NonZeroUsize::new(8).unwrap_or(NonZeroUsize::MIN))
}

impl HostArguments {
    /// Where compiled components are kept, if anywhere.
    pub fn code_cache(&self) -> Option<PathBuf> {
        match &self.code_cache {
            Some(folder) if folder.as_os_str().is_empty() => None,
            Some(folder) => Some(folder.clone()),
            None => {
                let home = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
                let cache = home("XDG_CACHE_HOME").or_else(|| home("HOME").map(|home| home.join(".cache")))?;
                Some(cache.join("modelfn/code"))
            }
        }
    }

    /// Engine instances of a model whose card does not say.
    pub fn model_instances(&self) -> NonZeroUsize {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let most = NonZeroUsize::new(MAX_DEFAULT_INSTANCES).unwrap_or(NonZeroUsize::MIN);
        self.model_instances.unwrap_or_else(|| cores().min(most))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes_and_times_are_read_with_their_units() {
        assert_eq!("16MiB".parse::<ByteSize>().unwrap().bytes(), 16 << 20);
        assert_eq!("64kB".parse::<ByteSize>().unwrap().bytes(), 64_000);
        assert_eq!("4096".parse::<ByteSize>().unwrap().bytes(), 4096);
        for text in ["16MiB", "4096", "0"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        assert!("lots".parse::<ByteSize>().unwrap_err().to_string().contains("write 16MiB"));
        assert_eq!(parse_duration("250ms").unwrap(), Duration::from_millis(250));
        assert!(parse_duration("0s").unwrap_err().to_string().contains("above zero"));
        assert!(parse_duration("soon").unwrap_err().to_string().contains("write 30s"));
    }
}
