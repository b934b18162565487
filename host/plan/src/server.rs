//! The server that is measured: `modelfn serve` of this program, in a child process, so that its memory and CPU time can
//! be told apart.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::client::{self, Client};
use super::load::{self, Load, LoadResult};
use super::machine::{self, EngineSeconds};
use super::settings::ServerDefaults;
use modelfn_card::{CARD_FILE, Card};
use modelfn_nn::registry::Source;

/// The longest that a server may take to be ready.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// The manifest of an application without functions.
const NO_FUNCTIONS: &str = "spin_manifest_version = 2\napplication.name = \"none\"\n[[trigger.http]]\nroute = \"/\"\n\
     static_response = { status_code = 404, body = \"\" }\n";

/// What a measured server serves, and how much it admits.
pub(super) struct Deployment<'a> {
    pub(super) card: Card,
    /// The folder that the card's other files are in.
    pub(super) folder: &'a Path,
    /// The names of the files beside the graph that hold its weights.
    pub(super) external: &'a [String],
    /// Where the model was found.
    pub(super) source: &'a Source,
    pub(super) onnxruntime: Option<&'a Path>,
    /// The manifest; `None` is an application without functions.
    pub(super) app: Option<&'a Path>,
    /// Default limits of a server, which this one keeps where they suffice.
    pub(super) defaults: ServerDefaults,
    /// Bytes of the largest request body.
    pub(super) max_body: usize,
    /// The most requests in flight.
    pub(super) max_requests: usize,
    /// Told of the engines' CPU time when the server is ended.
    pub(super) engines: EngineSeconds,
}

/// A running server. Dropping it ends the process and removes its files.
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    files: Overlay,
    engines: EngineSeconds,
}

impl Server {
    /// Starts a server and waits until it is ready.
    ///
    /// # Errors
    ///
    /// It ended or was not ready in time; with the last line of its log.
    pub(super) fn start(deployment: &Deployment<'_>) -> Result<Server> {
        let files = Overlay::make(deployment).context("a scratch folder for the server to be measured")?;
        let mut child = command(deployment, &files)?.spawn().context("the server to be measured did not start")?;
        let (line, lines) = channel();
        if let Some(stderr) = child.stderr.take() {
            std::thread::spawn(move || forward(stderr, &line));
        }
        // Made before the wait, so that an error drops it, which ends the process.
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { child, address: unknown, admin: unknown, files, engines: deployment.engines.clone() };
        (server.address, server.admin) = addresses(&lines)?;
        Ok(server)
    }

    /// Sends the server load and waits for its end.
    ///
    /// # Errors
    ///
    /// A request failed, or `stop` became true.
    pub(super) fn load(&self, load: &Load, stop: &Arc<AtomicBool>) -> Result<LoadResult> {
        let result = load::send(self.address, load, || machine::process_seconds(self.child.id()), stop)?;
        ensure!(!result.latencies.is_empty() && result.wall > 0.0, "nothing was measured; give it more --seconds");
        Ok(result)
    }

    /// Whether any request so far has used the model.
    ///
    /// # Errors
    ///
    /// The server's metrics can't be read.
    pub(super) fn has_computed(&self, model: &str) -> Result<bool> {
        let request = client::get("/metrics")?;
        let metrics = client::runtime()?.block_on(async { Client::connect(self.admin).await?.send(&request).await })?;
        let label = format!("model=\"{model}\"");
        let text = String::from_utf8_lossy(&metrics);
        let mut counts = text.lines().filter(|line| line.starts_with("modelfn_compute_duration_seconds_count{"));
        Ok(counts.any(|line| line.contains(&label) && !line.ends_with(" 0")))
    }

    /// The peak of memory so far, in bytes, that of engine processes included.
    ///
    /// # Errors
    ///
    /// The process is gone, or the system does not tell.
    pub(super) fn peak_bytes(&self) -> Result<f64> {
        machine::peak_bytes(self.child.id()).context("the memory of the server to be measured")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.engines.add_children_of(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.files.0);
    }
}

fn command(deployment: &Deployment<'_>, files: &Overlay) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("this program's own path")?);
    // Settings in the environment are meant for this command, not for the servers that it starts.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MODELFN_")) {
        command.env_remove(name);
    }
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command.args(["--log", "info", "--log-format", "json", "--load-model", &deployment.card.name]);
    command.arg("--models").arg(files.models());
    command.arg("--app").arg(deployment.app.map_or_else(|| files.manifest(), Path::to_owned));
    if let Some(library) = deployment.onnxruntime {
        command.arg("--onnxruntime").arg(library);
    }
    let body = deployment.max_body.max(deployment.defaults.max_body);
    command.args(["--max-body", &body.to_string(), "--max-bodies", &(body * deployment.max_requests).to_string()]);
    command.args(["--max-instances", &deployment.max_requests.max(deployment.defaults.max_instances).to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Ok(command)
}

/// Forwards the lines of a child's log, and reads on when nobody listens any more: a full pipe would stop the child.
fn forward(stderr: ChildStderr, to: &Sender<String>) {
    for line in BufReader::new(stderr).lines().map_while(io::Result::ok) {
        let _ = to.send(line);
    }
}

/// The two addresses that a server logs once it is ready: for clients, and of the admin port.
fn addresses(lines: &Receiver<String>) -> Result<(SocketAddr, SocketAddr)> {
    let until = Instant::now() + START_TIMEOUT;
    let mut last = String::new();
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if let (Some(address), Some(admin)) = (entry["address"].as_str(), entry["admin"].as_str()) {
                    return Ok((address.parse()?, admin.parse()?));
                }
                last = entry["message"].as_str().map(str::to_owned).unwrap_or(line);
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("the server to be measured ended: {}", last.trim_start_matches("modelfn: "))
            }
            Err(RecvTimeoutError::Timeout) => {
                bail!("the server to be measured was not ready after {START_TIMEOUT:?}: {last}")
            }
        }
    }
}

/// A copy of the folder of models, made of links as far as possible, in which one card has the settings that are measured.
struct Overlay(PathBuf);

impl Overlay {
    fn make(deployment: &Deployment<'_>) -> Result<Overlay> {
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
        let overlay = Overlay(std::env::temp_dir().join(format!("modelfn-plan-{}-{nanos}", std::process::id())));
        fs::create_dir(&overlay.0)?;
        let filled = overlay.fill(deployment);
        if filled.is_err() {
            let _ = fs::remove_dir_all(&overlay.0);
        }
        filled.map(|()| overlay)
    }

    fn fill(&self, deployment: &Deployment<'_>) -> Result<()> {
        fs::write(self.manifest(), NO_FUNCTIONS)?;
        let name = &deployment.card.name;
        let model_folder = self.models().join(name);
        fs::create_dir_all(&model_folder)?;
        let file = format!("{name}.onnx");
        // A model that is a file has no others but its weights and its labels.
        let is_file = match deployment.source {
            Source::Folder(models) | Source::OptionalFolder(models) => {
                link_all(models, &self.models(), |entry| entry != name.as_str() && entry != file.as_str())?;
                deployment.folder.canonicalize()? == models.canonicalize()?
            }
            Source::Model(path) => path.is_file(),
        };
        let own = own_files(deployment)?;
        let belongs = |entry: &str| if is_file { own.contains(entry) } else { entry != CARD_FILE };
        link_all(deployment.folder, &model_folder, belongs)?;
        fs::write(model_folder.join(CARD_FILE), toml::to_string(&deployment.card)?)?;
        Ok(())
    }

    fn models(&self) -> PathBuf {
        self.0.join("models")
    }

    fn manifest(&self) -> PathBuf {
        self.0.join("spin.toml")
    }
}

/// The entries of the model's folder that its graph and its card name.
fn own_files(deployment: &Deployment<'_>) -> Result<BTreeSet<String>> {
    let Deployment { card, external, .. } = deployment;
    let labels = card.classification()?.and_then(|table| table.labels);
    let paths = external.iter().map(Path::new).chain([card.graph.file.as_path()]).chain(labels.as_deref());
    let entries = paths.filter_map(|path| path.components().next());
    Ok(entries.map(|entry| entry.as_os_str().to_string_lossy().into_owned()).collect())
}

/// Links every entry of `from` whose name is `wanted` into `to`. Files are linked so that they are files of the
/// new folder, or copied where the file system can't: a model's files may not lie outside of its folder.
fn link_all(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
    for entry in fs::canonicalize(from)?.read_dir()? {
        let entry = entry?;
        if wanted(&entry.file_name().to_string_lossy()) {
            let (from, to) = (entry.path().canonicalize()?, to.join(entry.file_name()));
            if from.is_dir() {
                symlink(from, to)?;
            } else if fs::hard_link(&from, &to).is_err() {
                fs::copy(&from, &to)?;
            }
        }
    }
    Ok(())
}
