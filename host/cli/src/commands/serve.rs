//! `modelfn serve`: the server, from its sockets to its drain.

mod welcome;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use modelfn_server::admin::{self, Admin, Reload};
use modelfn_server::admission::keys::Keys;
use modelfn_server::connection::{self, GracefulShutdown};
use modelfn_server::loader::AppLoader;
use modelfn_server::oip::example::Access;
use modelfn_server::readiness::Readiness;
use modelfn_server::services::Services;
use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::traces::Traces;
use modelfn_telemetry::traces::collector::Collector;
use modelfn_telemetry::traces::settings::TraceSettings;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::model::card::{Preset, write_missing};
use crate::allocator;
use crate::engines::engines;
use crate::settings::{AdmissionSettings, ApplicationSettings, ConnectionSettings, RequestSettings, SecuritySettings};
use crate::signals::EndSignals;
use crate::{exit_now, log};

pub(super) const EXAMPLES: &str = "Examples:
  modelfn serve model.onnx
  modelfn serve models/resnet models/bert
  modelfn serve resnet --preset imagenet
  modelfn serve --app k8s/spin.toml --listen 0.0.0.0:8080 --admin-listen 0.0.0.0:8081
  MODELFN_REQUEST_TIMEOUT=2s modelfn serve --load-model efficientnet-lite0-int8

SIGHUP reads manifest, components and models again; SIGTERM drains.

Then:
  curl http://127.0.0.1:8080/v2/models/model
  curl --data-binary @cat.jpg http://127.0.0.1:8080/classify
  curl http://127.0.0.1:8081/readyz

Traces go to a collector by OTLP over HTTP if the environment names one:
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 modelfn serve
Further variables: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG,
OTEL_EXPORTER_OTLP_HEADERS, _PROTOCOL (http/protobuf or http/json) and _TIMEOUT, each also with TRACES_ before
its last word; OTEL_BSP_*; OTEL_SDK_DISABLED.";

/// The arguments of `modelfn serve`.
#[derive(Clone, Debug, Args)]
#[command(next_display_order = None)]
pub(crate) struct ServeArguments {
    /// The models to serve, instead of --models: .onnx files, models' folders, or folders of models. Without one, the
    /// application's manifest says what is served.
    #[arg(value_name = "MODEL")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    application: ApplicationSettings,
    /// How the pictures were prepared on which the models at those paths were trained, of image classifiers without a
    /// card: it is written beside them, as `modelfn model card` does.
    #[arg(long, value_enum, requires = "paths", help_heading = "Models")]
    preset: Option<Preset>,
    #[command(flatten)]
    request: RequestSettings,
    #[command(flatten)]
    admission: AdmissionSettings,
    #[command(flatten)]
    connections: ConnectionSettings,
    #[command(flatten)]
    security: SecuritySettings,
}

/// How long the last spans may take to be sent. Together with `--drain-timeout` it fits the 30 s that Kubernetes waits.
const TRACES_FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Requests to reload that may wait.
const MAX_WAITING_RELOADS: usize = 4;

/// Serves until SIGTERM or SIGINT, then drains. A second signal ends the process at once, and so does a first one
/// during start-up. SIGHUP reads all files again.
pub(super) async fn serve(arguments: ServeArguments) -> Result<ExitCode> {
    let file_limit = raise_file_limit();
    let signals = EndSignals::catch()?;
    let hangups = signal(SignalKind::hangup())?;
    let ServeArguments { paths, preset, application, connections, request, admission, security } = arguments;
    let metrics = Arc::new(Metrics::new());
    metrics.expose_lost_log_lines(log::lost_lines);
    let keys = security.api_keys.map(|path| Keys::open(path, metrics.clone())).transpose()?;
    let services = Services { keys, traces: start_traces()?, ..Services::new(metrics) };
    let (reloads, reload_requests) = mpsc::channel(MAX_WAITING_RELOADS);
    // Liveness can be probed from here on; readiness only when every model and function has been loaded.
    let admin_listener = connection::bind(connections.admin_listen, "--admin-listen").await?;
    let admin_address = admin_listener.local_addr()?;
    let admin =
        Admin { metrics: services.metrics.clone(), readiness: services.readiness.clone(), reloads: reloads.clone() };
    admin::spawn(admin_listener.into_std()?, admin)?;
    let listener = connection::bind(connections.listen, "--listen").await?;
    let address = listener.local_addr()?;

    // Loading blocks this thread, the process's first: glibc gives it memory in larger steps than others.
    let (loaded, loading) = oneshot::channel();
    let signals = tokio::spawn(end_while_loading(loading, signals));
    let limits = admission.request_limits(&request)?;
    if let Some(preset) = preset {
        write_missing(&paths, preset, &application.models)?;
    }
    let settings = application.app_settings(&paths, &request)?;
    let engines = engines(&application.models)?;
    let (loader, service) = AppLoader::open(settings, limits, engines, services.clone()).await?;
    let _ = loaded.send(());
    let signals = signals.await?;
    let access = if services.keys.is_some() { Access::Key } else { Access::Open };
    let entrances = loader.entrances(&welcome::reachable(address), access);
    welcome::show_models(&loader.reports());
    loader.serve_reloads(service.clone(), reload_requests)?;
    services.readiness.ready(service.readiness_check());
    tokio::spawn(reload_on_hangup(hangups, reloads));
    tokio::spawn(allocator::return_unused(services.memory.clone()));
    tracing::info!(%address, admin = %admin_address, "serving on http://{address}");
    welcome::show_entrances(&entrances);

    let grace = connections.grace_periods();
    let shutdown = GracefulShutdown { signal: first_signal(signals, services.readiness), grace };
    let limits = connections.limits(request.request_timeout, file_limit);
    let still_open = connection::serve(listener, service.clone(), limits, shutdown).await;
    service.end();
    if still_open > 0 {
        tracing::warn!("{still_open} connections were still open after {:?}", grace.drain);
    }
    if let Some(traces) = services.traces {
        tokio::task::spawn_blocking(move || traces.end(TRACES_FLUSH_TIMEOUT)).await?;
    }
    tracing::info!("drained, goodbye");
    Ok(ExitCode::SUCCESS)
}

/// Raises the soft limit of open files to the hard one: connections and components need more than shells allow by
/// themselves. Returns the limit from then on; `None` is no limit.
fn raise_file_limit() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(e) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!("the limit of open files stays as it is: {e}");
    }
    getrlimit(Resource::Nofile).current
}

/// Ends the process at a signal while it is `loading`; then gives the signals back.
async fn end_while_loading(loading: oneshot::Receiver<()>, mut signals: EndSignals) -> EndSignals {
    tokio::select! {
        _ = loading => signals,
        () = signals.recv() => {
            tracing::info!("told to end while loading: ending at once");
            exit_now(130);
        }
    }
}

/// Starts sending traces if the environment names a collector.
fn start_traces() -> Result<Option<Traces>> {
    let Some(settings) = TraceSettings::read(|name| std::env::var(name).ok())? else { return Ok(None) };
    tracing::info!("requests are traced, to {}", settings.endpoint);
    Ok(Some(Traces::start(&settings, Collector::new(&settings))?))
}

/// Reloads at each SIGHUP. The outcome is in the log; signals that arrive during a reload count once.
async fn reload_on_hangup(mut hangups: Signal, reloads: mpsc::Sender<Reload>) {
    while hangups.recv().await.is_some() {
        let (reply, done) = oneshot::channel();
        if reloads.send(Reload { model: None, reply }).await.is_err() {
            return;
        }
        let _ = done.await;
    }
}

/// Resolves at the first signal; from then on a second one ends the process.
async fn first_signal(mut signals: EndSignals, readiness: Arc<Readiness>) {
    signals.recv().await;
    readiness.draining();
    tracing::info!("draining: unready, requests in flight may end; a second signal ends at once");
    tokio::spawn(async move {
        signals.recv().await;
        tracing::warn!("second signal: ending at once");
        exit_now(130);
    });
}
