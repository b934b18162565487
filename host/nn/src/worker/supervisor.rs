//! Keeps an engine process running: starts it again after a crash, more and more slowly if it crashes without having
//! computed anything in between.

use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::WorkerSettings;
use super::channel::wait_readable;
use super::message::{Expected, GraphDescription, LoadCommand};
use super::process::{GraphFiles, Process, Running};
use crate::backend::LoadError;
use crate::warm_up::WarmUp;

/// Crashes in a row, without a computation in between, after which starts are delayed.
const IMMEDIATE_RESTARTS: u32 = 4;

/// The first delay; each further one is twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(250);

/// The longest delay after a process that had loaded the graph. It is short, since a client's data may have ended it.
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// The longest delay after a process that did not come to load the graph.
const LONGEST_LOAD_DELAY: Duration = Duration::from_secs(60);

/// How long a computation waits for a process that starts.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// The engine process of one model, which is replaced when it crashes. Dropping this ends it.
pub(crate) struct Worker {
    shared: Arc<Shared>,
}

struct Shared {
    model: String,
    settings: WorkerSettings,
    /// The graph's files, which each process reads again and compares with the digests of the first one.
    files: GraphFiles,
    load: LoadCommand,
    state: Mutex<State>,
    changed: Condvar,
    /// Told of each process that takes the place of another one.
    on_restart: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

struct State {
    phase: Phase,
    /// Crashes since the last computation.
    crashes: u32,
}

enum Phase {
    /// A process starts and loads the graph.
    Starting,
    Ready(Arc<Process>),
    /// The process has crashed so often that the next one starts only later.
    Delayed {
        until: Instant,
        reason: String,
        /// Whether the last one had loaded the graph before it ended.
        had_loaded: bool,
    },
    Closed,
}

/// Why there is no process at the moment.
#[derive(Debug)]
pub(crate) struct Unavailable {
    /// A sentence for people.
    pub(crate) reason: String,
    /// When the next process is started.
    pub(crate) retry_after: Duration,
    /// Whether no process could load the graph, so that no request is to blame.
    pub(crate) is_unloadable: bool,
}

impl Worker {
    /// Starts a process that loads the graph in `files`, and waits until it has.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub(super) fn start(
        model: &str,
        settings: WorkerSettings,
        files: GraphFiles,
        load: LoadCommand,
    ) -> Result<(Arc<Worker>, GraphDescription), LoadError> {
        let (first, description) = Process::start(&settings, &files, load.clone(), model)?;
        let process = first.process.clone();
        // Later processes repeat what worked, and make up nothing.
        let again = description.warm_up.as_ref().and_then(|outcome| WarmUp::again(outcome, &description.signature));
        let expected = Expected { graph: description.sha256.clone(), external: description.external.clone() };
        let shared = Arc::new(Shared {
            model: model.to_owned(),
            settings,
            files,
            load: LoadCommand { expected, warm_up: again, ..load },
            state: Mutex::new(State { phase: Phase::Ready(process.clone()), crashes: 0 }),
            changed: Condvar::new(),
            on_restart: OnceLock::new(),
        });
        let supervised = shared.clone();
        let spawned = std::thread::Builder::new()
            .name(format!("nn-{model}-process"))
            .spawn(move || supervise(&supervised, first));
        if let Err(e) = spawned {
            process.kill();
            return Err(LoadError::NoEngine(format!("no thread for the engine's process: {e}")));
        }
        Ok((Arc::new(Worker { shared }), description))
    }

    /// Calls `on_restart` for each process that takes the place of another one from now on. Only the first call counts.
    pub(crate) fn on_restart(&self, on_restart: impl Fn() + Send + Sync + 'static) {
        let _ = self.shared.on_restart.set(Box::new(on_restart));
    }

    /// The process that runs at the moment. Waits for one that starts.
    ///
    /// # Errors
    ///
    /// The process crashed so often that the next one starts later.
    pub(super) fn process(&self) -> Result<Arc<Process>, Unavailable> {
        let starting = |state: &mut State| match &state.phase {
            Phase::Starting => true,
            Phase::Ready(process) => process.is_broken(),
            Phase::Delayed { .. } | Phase::Closed => false,
        };
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), START_TIMEOUT, starting);
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        match &state.phase {
            Phase::Ready(process) if !process.is_broken() => Ok(process.clone()),
            phase => Err(phase.unavailable().unwrap_or_else(Unavailable::starting)),
        }
    }

    /// Why computations fail at the moment, if they do.
    pub(crate) fn unavailable(&self) -> Option<Unavailable> {
        self.shared.lock().phase.unavailable()
    }

    /// The memory of the process that runs at the moment, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let process = match &self.shared.lock().phase {
            Phase::Ready(process) => Some(process.clone()),
            _ => None,
        };
        process.map_or(0, |process| process.memory_bytes())
    }

    /// Notes that `process` has computed something, so that its next crash is the first one in a row.
    pub(super) fn computed(&self) {
        self.shared.lock().crashes = 0;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let phase = std::mem::replace(&mut self.shared.lock().phase, Phase::Closed);
        if let Phase::Ready(process) = phase {
            process.kill();
        }
        self.shared.changed.notify_all();
    }
}

impl Phase {
    fn unavailable(&self) -> Option<Unavailable> {
        match self {
            Phase::Starting | Phase::Ready(_) => None,
            Phase::Delayed { until, reason, had_loaded } => {
                let retry_after = until.saturating_duration_since(Instant::now());
                Some(Unavailable { reason: reason.clone(), retry_after, is_unloadable: !had_loaded })
            }
            Phase::Closed => {
                let reason = "the model is unloaded".to_owned();
                Some(Unavailable { reason, retry_after: Duration::ZERO, is_unloadable: false })
            }
        }
    }
}

impl Unavailable {
    fn starting() -> Unavailable {
        let (reason, retry_after) = ("the engine's process still starts".to_owned(), Duration::from_secs(1));
        Unavailable { reason, retry_after, is_unloadable: false }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a phase, unless the worker was closed meanwhile. Returns whether it was entered.
    fn enter(&self, phase: Phase) -> bool {
        let mut state = self.lock();
        let open = !matches!(state.phase, Phase::Closed);
        if open {
            state.phase = phase;
        }
        drop(state);
        self.changed.notify_all();
        open
    }

    /// Counts a crash, and waits as long as the next start is delayed. Returns whether another process is to start.
    fn delay(&self, crash: &Crash) -> bool {
        let mut state = self.lock();
        state.crashes = state.crashes.saturating_add(1);
        let crashes = state.crashes;
        let Some(doublings) = crashes.checked_sub(IMMEDIATE_RESTARTS + 1) else { return true };
        let longest = if crash.had_loaded { LONGEST_DELAY } else { LONGEST_LOAD_DELAY };
        let delay = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(doublings)).min(longest);
        if matches!(state.phase, Phase::Closed) {
            return false;
        }
        let reason = format!("the engine's process {}, {crashes} times in a row", crash.sentence);
        tracing::error!(model = self.model, "unready for {delay:?}: {reason}");
        let until = Instant::now() + delay;
        state.phase = Phase::Delayed { until, reason, had_loaded: crash.had_loaded };
        self.changed.notify_all();
        let open = |state: &mut State| !matches!(state.phase, Phase::Closed);
        let waited = self.changed.wait_timeout_while(state, delay, open).unwrap_or_else(PoisonError::into_inner);
        waited.1.timed_out()
    }
}

/// Why another process is started.
struct Crash {
    /// What the process did, as the rest of a sentence.
    sentence: String,
    /// Whether it had loaded the graph.
    had_loaded: bool,
}

/// Follows the processes of a worker until that is closed.
fn supervise(shared: &Shared, mut running: Running) {
    loop {
        follow_log(&mut running);
        let (intended, ending) = running.process.reap(&mut running.child);
        if !shared.enter(Phase::Starting) {
            return;
        }
        if !intended {
            tracing::error!(model = shared.model, "the engine's process {ending}; another one starts");
        }
        let mut crash = (!intended).then_some(Crash { sentence: ending, had_loaded: true });
        running = loop {
            if crash.is_some_and(|crash| !shared.delay(&crash)) || !shared.enter(Phase::Starting) {
                return;
            }
            match start(shared) {
                Ok(started) => break started,
                Err(e) => {
                    let sentence = format!("does not start: {e}");
                    crash = Some(Crash { sentence, had_loaded: false });
                }
            }
        };
        if let Some(on_restart) = shared.on_restart.get() {
            on_restart();
        }
        if !shared.enter(Phase::Ready(running.process.clone())) {
            running.process.kill();
        }
    }
}

fn start(shared: &Shared) -> Result<Running, LoadError> {
    let Shared { settings, files, load, model, .. } = shared;
    Process::start(settings, files, load.clone(), model).map(|(running, _)| running)
}

/// Logs what the process writes until it closes its end.
fn follow_log(running: &mut Running) {
    while !running.log.ended() {
        if wait_readable([running.log.as_fd()], None).is_err() {
            break;
        }
        running.log.read_available();
    }
    running.log.drain();
}
