//! A graph in an engine process, as a handle that the batcher's threads use like any other.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use super::channel::{Channel, wait_readable};
use super::memory::SharedMemory;
use super::message::{Command, Computation, GraphDescription, Outcome};
use super::process::Process;
use super::supervisor::Worker;
use crate::backend::{Canceller, ComputeError, Graph, GraphMetadata};
use crate::tensor::{Signature, Tensors};

/// How long the engine may take to stop a computation that was cancelled. After that its process is ended.
const CANCEL_TIMEOUT: Duration = Duration::from_millis(80);

/// How long it may take where it wants to run and others keep the processors busy. It may still not use more processor
/// time than [`CANCEL_TIMEOUT`].
const LONGEST_CANCEL_TIMEOUT: Duration = Duration::from_secs(1);

/// A handle to the graph of a [`Worker`].
pub(super) struct RemoteGraph {
    worker: Arc<Worker>,
    description: Arc<GraphDescription>,
    cancelled: Arc<CancelEvent>,
    connection: Option<Connection>,
}

/// A handle in one process.
struct Connection {
    process: Arc<Process>,
    handle: u32,
    /// Counts the computations.
    runs: u64,
    channel: Channel,
    inputs: SharedMemory,
    outputs: SharedMemory,
}

/// Tells the thread that waits for a computation that nobody wants it any more.
struct CancelEvent(Option<OwnedFd>);

impl RemoteGraph {
    pub(super) fn new(worker: Arc<Worker>, description: Arc<GraphDescription>) -> RemoteGraph {
        let cancelled = Arc::new(CancelEvent::new());
        RemoteGraph { worker, description, cancelled, connection: None }
    }

    fn process(&self) -> Result<Arc<Process>, ComputeError> {
        self.worker.process().map_err(|e| ComputeError::Crashed(e.reason))
    }

    /// The connection to the process that runs now.
    fn connection(&mut self) -> Result<&mut Connection, ComputeError> {
        let process = self.process()?;
        let connection = match self.connection.take() {
            Some(connection) if Arc::ptr_eq(&connection.process, &process) => connection,
            _ => match Connection::open(&process) {
                // The process has just ended; the next one is waited for.
                Err(e) if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                    process.ending();
                    Connection::open(&self.process()?)
                }
                opened => opened,
            }
            .map_err(|e| ComputeError::Failed(format!("no handle to the engine's process: {e}")))?,
        };
        Ok(self.connection.insert(connection))
    }
}

impl Graph for RemoteGraph {
    fn signature(&self) -> &Signature {
        &self.description.signature
    }

    fn metadata(&self) -> GraphMetadata {
        self.description.metadata.clone()
    }

    fn share(&self) -> Box<dyn Graph> {
        Box::new(RemoteGraph::new(self.worker.clone(), self.description.clone()))
    }

    fn canceller(&self) -> Arc<dyn Canceller> {
        self.cancelled.clone()
    }

    fn compute(&mut self, inputs: &Tensors) -> Result<Tensors, ComputeError> {
        let cancelled = self.cancelled.clone();
        let result = self.connection()?.compute(inputs, &cancelled);
        match &result {
            Ok(_) => self.worker.computed(),
            Err(ComputeError::Failed(_) | ComputeError::Cancelled) => {}
            Err(ComputeError::Crashed(_)) => self.connection = None,
        }
        result
    }
}

impl Connection {
    fn open(process: &Arc<Process>) -> io::Result<Connection> {
        static HANDLES: AtomicU32 = AtomicU32::new(0);
        let handle = HANDLES.fetch_add(1, Ordering::Relaxed);
        let (channel, theirs) = Channel::pair()?;
        let (inputs, outputs) = (SharedMemory::create()?, SharedMemory::create()?);
        process.send(&Command::Open { handle }, &[theirs.as_fd(), inputs.as_fd(), outputs.as_fd()])?;
        Ok(Connection { process: process.clone(), handle, runs: 0, channel, inputs, outputs })
    }

    fn compute(&mut self, inputs: &Tensors, cancelled: &CancelEvent) -> Result<Tensors, ComputeError> {
        self.runs += 1;
        let headers = self.inputs.write(inputs).map_err(|e| ComputeError::Failed(format!("the inputs: {e}")))?;
        let computation = Computation { run: self.runs, inputs: headers, memory: self.inputs.size() };
        match self.channel.send(&computation, &[]) {
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => return Err(ComputeError::Failed(e.to_string())),
            Err(_) => return Err(self.crashed()),
            Ok(()) => {}
        }
        let outcome = self.outcome(cancelled)?;
        let result = match outcome {
            Outcome::Computed(headers) => self.outputs.read(headers).map_err(|e| self.misbehaved(&e)),
            Outcome::Failed(message) => Err(ComputeError::Failed(message)),
        };
        self.trim();
        result
    }

    /// Gives back what a computation needed that is over.
    fn trim(&self) {
        self.inputs.trim();
        self.outputs.trim();
    }

    /// Waits for the outcome. A cancelled computation is stopped by the engine, and else with its process.
    fn outcome(&mut self, cancelled: &CancelEvent) -> Result<Outcome, ComputeError> {
        if let Some(event) = &cancelled.0 {
            let [ended, stop] = wait_readable([self.channel.as_fd(), event.as_fd()], None)
                .map_err(|e| ComputeError::Failed(e.to_string()))?;
            if stop && !ended {
                return Err(self.stop());
            }
        }
        match self.channel.receive::<Outcome>() {
            Ok(Some(received)) => Ok(received.message),
            Ok(None) => Err(self.crashed()),
            Err(e) => Err(self.misbehaved(&e)),
        }
    }

    fn stop(&mut self) -> ComputeError {
        let _ = self.process.send(&Command::Cancel { handle: self.handle, run: self.runs }, &[]);
        // What it computed or why it failed is of no interest, but must not be taken for the next outcome.
        if !self.stops() || !matches!(self.channel.receive::<Outcome>(), Ok(Some(_))) {
            tracing::warn!("a computation that nobody waits for does not stop: its process is ended");
            self.process.kill();
        }
        self.trim();
        ComputeError::Cancelled
    }

    /// Waits for the end of a computation that was cancelled, for as long as the engine may take.
    fn stops(&self) -> bool {
        let (started, before) = (Instant::now(), self.process.activity());
        let mut wait = CANCEL_TIMEOUT;
        loop {
            match wait_readable([self.channel.as_fd()], Some(Instant::now() + wait)) {
                Ok([true]) => return true,
                Ok([false]) => {}
                Err(_) => return false,
            }
            let now = self.process.activity();
            wait = CANCEL_TIMEOUT.saturating_sub(now.cpu_time.saturating_sub(before.cpu_time));
            if !now.runnable || wait.is_zero() || started.elapsed() >= LONGEST_CANCEL_TIMEOUT {
                return false;
            }
        }
    }

    fn crashed(&self) -> ComputeError {
        ComputeError::Crashed(format!("the engine's process {}", self.process.ending()))
    }

    /// The process sends what no engine process of this program sends. It is not trusted any more.
    fn misbehaved(&self, error: &io::Error) -> ComputeError {
        self.process.kill();
        ComputeError::Crashed(format!("the engine's process is not understood: {error}"))
    }
}

impl CancelEvent {
    /// Without descriptors left, computations can't be cancelled.
    fn new() -> CancelEvent {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        CancelEvent(event.inspect_err(|e| tracing::warn!("computations can't be cancelled: {e}")).ok())
    }
}

impl Canceller for CancelEvent {
    fn cancel(&self) {
        if let Some(event) = &self.0 {
            let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
        }
    }

    fn reset(&self) {
        if let Some(event) = &self.0 {
            let _ = rustix::io::read(event, &mut [0_u8; 8]);
        }
    }
}
