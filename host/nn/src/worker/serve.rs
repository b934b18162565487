//! The engine process: it loads one graph, and computes for the server until that closes the control socket.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use modelfn_artifact::Digest;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getpid, kill_process};

use super::channel::{Channel, Received};
use super::confine;
use super::memory::{Mapping, SharedMemory, view};
use super::message::{Command, Computation, Event, GraphDescription, LoadCommand, Outcome, TensorHeader};
use crate::backend::GraphBytes;
use crate::backend::{self, Backend, Canceller, ComputeError, Graph, LoadError, LoadOptions};
use crate::external::{Digests, ReadFiles, read_files};
use crate::warm_up::{WarmUpOutcome, warm_up};

/// The longest message of an engine that is sent on, in bytes.
const MAX_ENGINE_MESSAGE: usize = 4096;

/// Serves one graph on the control socket `control`, with at most `memory` bytes. Returns when the server is gone.
///
/// # Errors
///
/// The kernel can't confine this process, or what comes from the server is not understood.
pub fn serve(control: OwnedFd, backends: &[Box<dyn Backend>], memory: u64) -> io::Result<()> {
    let mut control = Channel::new(control);
    // Not the program's name, by which people send signals to the server.
    rustix::thread::set_name(c"engine")?;
    confine::limit_memory(memory)?;
    end_with_server(control.as_fd().try_clone_to_owned()?)?;
    let Some(received) = control.receive::<Command>()? else { return Ok(()) };
    let mut descriptors = received.descriptors.into_iter();
    let (Command::Load(command), Some(file)) = (received.message, descriptors.next()) else {
        return Err(unexpected("the first message is not a graph"));
    };
    let graph = match load(&command, &File::from(file), &mut control, backends) {
        Ok(Loaded { graph, sha256, external, warm_up }) => {
            let (signature, metadata) = (graph.signature().clone(), graph.metadata());
            let description = GraphDescription { signature, metadata, sha256, external, warm_up };
            match control.send(&Event::Loaded(description), &[]) {
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                    let error = LoadError::Invalid("it has too many inputs and outputs".to_owned());
                    return control.send(&Event::NotLoaded(error), &[]);
                }
                sent => sent?,
            }
            graph
        }
        Err(error) => return control.send(&Event::NotLoaded(error), &[]),
    };
    let mut runs: HashMap<u32, Arc<CurrentRun>> = HashMap::new();
    while let Some(received) = control.receive::<Command>()? {
        let mut descriptors = received.descriptors.into_iter();
        match received.message {
            Command::Load(_) | Command::External => return Err(unexpected("a second graph")),
            Command::Cancel { handle, run } => {
                if let Some(current) = runs.get(&handle) {
                    CurrentRun::cancel(current, run);
                }
            }
            Command::Open { handle } => {
                let (Some(socket), Some(inputs), Some(outputs)) =
                    (descriptors.next(), descriptors.next(), descriptors.next())
                else {
                    return Err(unexpected("a handle without descriptors"));
                };
                let graph = graph.share();
                let run = Arc::new(CurrentRun { number: Mutex::default(), canceller: graph.canceller() });
                runs.insert(handle, run.clone());
                let handle = Handle {
                    channel: Channel::new(socket),
                    graph,
                    run,
                    inputs: SharedMemory::from_descriptor(inputs),
                    outputs: SharedMemory::from_descriptor(outputs),
                    mapping: None,
                };
                std::thread::Builder::new().name("engine".to_owned()).spawn(move || handle.serve())?;
            }
        }
    }
    Ok(())
}

/// Ends this process as soon as the server is gone, whatever it computes or loads.
fn end_with_server(control: OwnedFd) -> io::Result<()> {
    let watch = move || {
        // Nothing is asked for but the end of the other side, which is always told.
        let mut polled = [PollFd::new(&control, PollFlags::empty())];
        while !polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
            let _ = poll(&mut polled, None);
        }
        let _ = kill_process(getpid(), Signal::KILL);
    };
    std::thread::Builder::new().name("engine-watch".to_owned()).spawn(watch).map(drop)
}

/// A graph that was loaded.
struct Loaded {
    graph: Box<dyn Graph>,
    sha256: String,
    external: Digests,
    warm_up: Option<WarmUpOutcome>,
}

fn load(
    command: &LoadCommand,
    file: &File,
    control: &mut Channel,
    backends: &[Box<dyn Backend>],
) -> Result<Loaded, LoadError> {
    let LoadCommand { engine, target, threads, outputs, expected, warm_up: stated } = command;
    let backend = backend::find(backends, *engine)?;
    let read = std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().spawn_scoped(scope, || read(file))?;
        backend.prepare();
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let bytes = read.map_err(|e| LoadError::Invalid(format!("the file can't be read: {e}")))?;
    let sha256 = Digest::of(&bytes).to_string();
    if !expected.graph.is_empty() && expected.graph != sha256 {
        return Err(LoadError::Digest { actual: sha256 });
    }
    confine::confine().map_err(|e| {
        LoadError::NoEngine(format!(
            "this system can't confine the engine's process ({e}); for models that you trust, `--model-isolation thread` \
             does without a process"
        ))
    })?;
    let names = backend.external_files(&bytes)?;
    let ReadFiles { files, digests } = read_files(&names, &expected.external, |name| ask_for(name, control))?;
    let options = LoadOptions { target: *target, threads: *threads, outputs: outputs.clone() };
    let mut graph = backend.load(GraphBytes { graph: &bytes, external: &files }, &options)?;
    drop((bytes, files));
    // If the server is gone, the next message fails as well.
    let on_made_up = || drop(control.send(&Event::MadeUpWarmUp, &[]));
    let warm_up = stated.as_ref().map(|stated| warm_up(graph.as_mut(), stated, on_made_up)).transpose();
    let warm_up = warm_up.map_err(|reason| LoadError::WarmUp(shortened(reason)))?.map(|outcome| match outcome {
        WarmUpOutcome::Unknown(reason) => WarmUpOutcome::Unknown(shortened(reason)),
        computed @ WarmUpOutcome::Computed(_) => computed,
    });
    Ok(Loaded { graph, sha256, external: digests, warm_up })
}

/// Asks the server for an external file.
fn ask_for(name: &str, control: &mut Channel) -> Result<Arc<File>, LoadError> {
    let sent = control.send(&Event::Wants(name.to_owned()), &[]);
    let received = sent.and_then(|()| control.receive::<Command>());
    match received.map(|received| received.map(|Received { message, mut descriptors }| (message, descriptors.pop()))) {
        Ok(Some((Command::External, Some(file)))) => Ok(Arc::new(File::from(file))),
        _ => Err(LoadError::NoEngine(format!("the server did not give '{name}' to the engine's process"))),
    }
}

/// Reads a file from its start, wherever its position is: the server keeps the same descriptor for later processes.
fn read(file: &File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// The computation that a handle runs at the moment, so that a cancellation which comes late hits no later one.
struct CurrentRun {
    number: Mutex<Option<u64>>,
    canceller: Arc<dyn Canceller>,
}

impl CurrentRun {
    fn begin(&self, run: u64) {
        *self.lock() = Some(run);
    }

    fn end(&self) {
        let mut number = self.lock();
        *number = None;
        self.canceller.reset();
    }

    fn cancel(&self, run: u64) {
        let number = self.lock();
        if *number == Some(run) {
            self.canceller.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<u64>> {
        self.number.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One handle of the graph, which a thread of its own serves.
struct Handle {
    channel: Channel,
    graph: Box<dyn Graph>,
    run: Arc<CurrentRun>,
    inputs: SharedMemory,
    outputs: SharedMemory,
    mapping: Option<Arc<Mapping>>,
}

impl Handle {
    /// Computes until the server closes the socket.
    fn serve(mut self) {
        while let Ok(Some(received)) = self.channel.receive::<Computation>() {
            self.run.begin(received.message.run);
            let outcome = match self.compute(received.message) {
                Ok(outputs) => Outcome::Computed(outputs),
                Err(message) => Outcome::Failed(shortened(message)),
            };
            self.run.end();
            let sent = match self.channel.send(&outcome, &[]) {
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                    let message = "the names and shapes of the outputs are too long".to_owned();
                    self.channel.send(&Outcome::Failed(message), &[])
                }
                sent => sent,
            };
            if let Err(e) = sent {
                tracing::warn!("a result can't be sent: {e}");
                return;
            }
        }
    }

    fn compute(&mut self, computation: Computation) -> Result<Vec<TensorHeader>, String> {
        let Computation { inputs, memory, .. } = computation;
        let length = usize::try_from(memory).map_err(|e| e.to_string())?;
        if length > self.mapping.as_ref().map_or(0, |mapping| mapping.len()) {
            let mapping = Mapping::new(&self.inputs, length).map_err(|e| format!("the inputs: {e}"))?;
            self.mapping = Some(Arc::new(mapping));
        }
        let inputs = view(inputs, self.mapping.as_ref()).map_err(|e| format!("the inputs: {e}"))?;
        let graph = &mut self.graph;
        let outputs = catch_unwind(AssertUnwindSafe(|| graph.compute(&inputs)))
            .unwrap_or_else(|_| Err(ComputeError::Failed("the engine panicked; its message is in the log".to_owned())))
            .map_err(|e| match e {
                ComputeError::Failed(message) => message,
                other => other.to_string(),
            })?;
        self.outputs.write(&outputs).map_err(|e| format!("the outputs: {e}"))
    }
}

fn shortened(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MAX_ENGINE_MESSAGE));
    message
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
