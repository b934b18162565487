//! The program: arguments, configuration, server, signal, drain.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use http_body_util::{BodyExt, Full};
use modelfn::config::{
    self, Arguments, Command, InvokeArguments, KeyArguments, LogFormat, ModelArguments, ModelCommand, PlanArguments,
    PlanFormat, ServeArguments,
};
use modelfn::host::{self, Capacity, Host, Shared};
use modelfn::key_file;
use modelfn::metrics::Metrics;
use modelfn::nn::{inspect, registry};
use modelfn::plan::{self, measure::Watch};
use modelfn::server::admin::{self, Admin, Readiness, Reload};
use modelfn::server::collector::Collector;
use modelfn::server::function::Service;
use modelfn::server::keys::Keys;
use modelfn::server::listen::{self, ConnectionLimits, Farewell};
use modelfn::traces::Traces;
use modelfn::traces::settings::Settings;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = start_log(&arguments).and_then(|()| match arguments.command {
        Command::Serve(args) => run(serve(args)),
        Command::Invoke(args) => run(invoke(args)),
        Command::Compile(args) => print_lines(&host::compile(&args)?),
        Command::Key(args) => key(&args),
        Command::Plan(args) => run(plan(*args)),
        Command::Model { command: ModelCommand::Inspect { name, models, json } } => inspect(&name, &models, json),
        Command::Model { command: ModelCommand::List { models, json } } => list(&models, json),
    });
    result.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "modelfn: {error:#}");
        ExitCode::FAILURE
    })
}

/// How long the last spans may take to be sent. With `--drain-timeout` it fits the 30 s that Kubernetes waits.
const FLUSH: Duration = Duration::from_secs(3);

/// Requests to reload that may wait.
const RELOADS: usize = 4;

/// Serves until SIGTERM or SIGINT, then drains. A second signal ends the process at once, and so does a first one
/// while nothing is served yet. SIGHUP reads all files again.
async fn serve(args: ServeArguments) -> Result<ExitCode> {
    raise_file_limit();
    let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hangups = signal(SignalKind::hangup())?;
    let metrics = Arc::new(Metrics::new());
    let keys = args.api_keys.clone().map(|path| Keys::open(path, metrics.clone())).transpose()?;
    let shared = Shared { metrics, readiness: Arc::new(Readiness::default()), keys, traces: start_traces()? };
    let (reloads, reload_requests) = mpsc::channel(RELOADS);
    // Liveness can be seen from here on; readiness only when every model and function has been loaded.
    let admin = listen::bind(args.admin_listen, "--admin-listen").await?;
    let admin_address = admin.local_addr()?;
    let Shared { metrics, readiness, .. } = shared.clone();
    let admin_port = Admin { metrics, readiness, reloads: reloads.clone() };
    admin::spawn(admin.into_std()?, admin_port)?;
    let listener = listen::bind(args.listen, "--listen").await?;
    let address = listener.local_addr()?;

    // Loading blocks this thread, the process's first: glibc gives it memory in larger steps than others.
    let (loaded, loading) = oneshot::channel();
    let signals = tokio::spawn(end_while(loading, signals));
    let (host, service) = load(args.clone(), shared.clone()).await?;
    let _ = loaded.send(());
    let signals = signals.await?;
    host.serve_reloads(service.clone(), reload_requests)?;
    shared.readiness.ready(&service);
    tokio::spawn(reload_on(hangups, reloads));
    tracing::info!(%address, admin = %admin_address, "serving on http://{address}");

    let limits = ConnectionLimits {
        connections: args.max_connections.get(),
        header_timeout: args.header_timeout,
        stall: args.host.request_timeout,
        idle: args.idle_timeout,
    };
    let shutdown = first_signal(signals, shared.readiness);
    let farewell = Farewell { delay: args.shutdown_delay.unwrap_or_default(), drain: args.drain_timeout };
    let open = listen::serve((listener, service), limits, shared.metrics, (shutdown, farewell)).await;
    if open > 0 {
        tracing::warn!("{open} connections were still open after {:?}", args.drain_timeout);
    }
    if let Some(traces) = shared.traces {
        tokio::task::spawn_blocking(move || traces.end(FLUSH)).await?;
    }
    tracing::info!("drained, goodbye");
    Ok(ExitCode::SUCCESS)
}

/// Connections and components need more files than shells allow by themselves. Without more, the limit is met later.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(e) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!("the limit of open files stays as it is: {e}");
    }
}

/// Ends the process at a signal while it is `loading`; then gives the signals back.
async fn end_while(loading: oneshot::Receiver<()>, mut signals: (Signal, Signal)) -> (Signal, Signal) {
    tokio::select! {
        _ = loading => signals,
        () = either(&mut signals.0, &mut signals.1) => {
            tracing::info!("told to end while loading: ending at once");
            std::process::exit(130);
        }
    }
}

async fn load(args: ServeArguments, shared: Shared) -> Result<(Host, Arc<Service>)> {
    let capacity = Capacity {
        instances: args.max_instances.unwrap_or_else(config::default_max_instances).get(),
        waiting: args.max_waiting,
        inferences: args.max_inferences.get(),
        unready_after: args.unready_after,
    };
    host::open(&args.host, capacity, shared).await
}

/// Traces, if the environment names a collector.
fn start_traces() -> Result<Option<Traces>> {
    let Some(settings) = Settings::read(|name| std::env::var(name).ok())? else { return Ok(None) };
    tracing::info!("requests are traced, to {}", settings.endpoint);
    Ok(Some(Traces::start(&settings, Collector::new(&settings))?))
}

/// What comes of it is in the log; signals that arrive meanwhile count once.
async fn reload_on(mut hangups: Signal, reloads: mpsc::Sender<Reload>) {
    while hangups.recv().await.is_some() {
        let (reply, done) = oneshot::channel();
        if reloads.send(Reload { model: None, reply }).await.is_err() {
            return;
        }
        let _ = done.await;
    }
}

async fn first_signal((mut terminate, mut interrupt): (Signal, Signal), readiness: Arc<Readiness>) {
    either(&mut terminate, &mut interrupt).await;
    readiness.draining();
    tracing::info!("draining: unready, requests in flight may end; a second signal ends at once");
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        tracing::warn!("second signal: ending at once");
        std::process::exit(130);
    });
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// One request through router, sandbox and model, as a client would see it.
async fn invoke(args: InvokeArguments) -> Result<ExitCode> {
    let body = args.file.as_deref().map(read_input).transpose()?;
    let capacity = Capacity { instances: 1, waiting: 0, inferences: 1, unready_after: Duration::MAX };
    let shared = Shared {
        metrics: Arc::new(Metrics::new()),
        readiness: Arc::new(Readiness::default()),
        keys: None,
        traces: None,
    };
    let (_, service) = host::open(&args.host, capacity, shared.clone()).await?;
    shared.readiness.ready(&service);
    let request = http::Request::builder()
        .method(if body.is_some() { http::Method::POST } else { http::Method::GET })
        .uri(&args.route)
        .header(http::header::HOST, "localhost")
        .body(Full::from(body.unwrap_or_default()))
        .context("the route must be a path, such as /classify?top_k=3")?;
    let (head, body) = service.answer(request).await.into_parts();
    let body = body.collect().await.map_err(|e| anyhow::anyhow!("the answer broke off: {e}"))?.to_bytes();
    let mut out = std::io::stdout().lock();
    if args.include {
        writeln!(out, "{}", head.status)?;
        for (name, value) in &head.headers {
            writeln!(out, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        writeln!(out)?;
    }
    out.write_all(&body)?;
    Ok(if head.status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plans a model. SIGTERM and SIGINT end the servers that are measured, too.
async fn plan(args: PlanArguments) -> Result<ExitCode> {
    let mut signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, format) = (stop.clone(), args.format());
    let progress = |what: &str| drop(writeln!(std::io::stderr(), "modelfn: {what}"));
    let mut planning = tokio::task::spawn_blocking(move || {
        plan::plan(&args, &host::backends(&args.models)?, &Watch { progress: &progress, stop: &stop })
    });
    let planned = tokio::select! {
        planned = &mut planning => planned,
        () = either(&mut signals.0, &mut signals.1) => {
            stopped.store(true, Ordering::Relaxed);
            planning.await
        }
    };
    let plan = planned.context("planning panicked")??;
    print_lines(&[match format {
        PlanFormat::Table => plan.to_string().trim_end().to_owned(),
        PlanFormat::Json => serde_json::to_string_pretty(&plan)?,
        PlanFormat::Patch => plan::patch::patch(&plan).trim_end().to_owned(),
    }])
}

fn read_input(path: &std::path::Path) -> Result<Vec<u8>> {
    if path.as_os_str() == "-" {
        let mut body = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut body).context("stdin")?;
        return Ok(body);
    }
    std::fs::read(path).with_context(|| format!("{} can't be read", path.display()))
}

/// Makes a key. It is printed here and kept nowhere.
fn key(args: &KeyArguments) -> Result<ExitCode> {
    let key = key_file::new_key()?;
    let line = key_file::line(&args.name, &key, args.max_in_flight)?;
    match &args.file {
        Some(file) => {
            key_file::append(file, &line)?;
            print_lines(&[key])
        }
        None => print_lines(&[format!("key   {key}"), format!("line  {line}")]),
    }
}

fn inspect(name: &str, models: &ModelArguments, json: bool) -> Result<ExitCode> {
    let found = inspect::inspect(&models.models, name, &host::backends(models)?)?;
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &found)?;
        writeln!(out)?;
    } else {
        write!(out, "{found}")?;
    }
    Ok(if found.disagreements.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list(models: &ModelArguments, json: bool) -> Result<ExitCode> {
    let names = registry::model_names(&models.models)?;
    if json {
        return print_lines(&[serde_json::to_string(&names)?]);
    }
    print_lines(&names)
}

fn print_lines(lines: &[String]) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a command to its end. Threads that still load or compute then are not waited for.
fn run(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("the runtime did not start")?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}

/// Logs go to stderr, so that stdout is for answers.
fn start_log(arguments: &Arguments) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&arguments.log)
        .with_context(|| format!("--log \"{}\"", arguments.log))?;
    let human = match arguments.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if human {
        log.with_target(false).with_ansi(std::io::stderr().is_terminal()).init();
    } else {
        log.json().flatten_event(true).init();
    }
    Ok(())
}
