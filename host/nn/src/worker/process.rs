//! One engine process, as the server sees it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::WorkerSettings;
use super::channel::{Channel, wait_readable};
use super::log_lines::LogLines;
use super::message::{Command, Event, GraphDescription, LoadCommand};
use crate::backend::LoadError;
use crate::backend::external::check_count;
use crate::external::ExternalFolder;

/// Variables of the environment that an engine process gets: how libraries are found, and the allocator's settings.
const ENVIRONMENT: &[&str] = &["LD_LIBRARY_PATH", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX"];

/// How long a process whose socket is closed may take to end by itself.
const GRACE_PERIOD: Duration = Duration::from_millis(100);

/// How long a process may take to end after it was killed, before it is no longer waited for.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// A process that has loaded its graph.
pub(super) struct Process {
    /// Sends commands; what the process sends was received while it loaded.
    control: Channel,
    pid: Pid,
    /// A handle has seen that the process does not respond any more. It is replaced soon, and not used meanwhile.
    broken: AtomicBool,
    exit: Mutex<Exit>,
    exited: Condvar,
}

/// What is known of the end of a process.
#[derive(Clone, Debug, Default)]
struct Exit {
    /// The process was told to end, so that its end is no crash.
    intended: bool,
    /// How it ended. Once this is set, its id may belong to another process.
    sentence: Option<String>,
}

/// The files of a graph that processes load.
#[derive(Clone)]
pub(super) struct GraphFiles {
    pub(super) graph: Arc<File>,
    pub(super) external: Arc<ExternalFolder>,
}

/// How far a process has come with loading a graph.
struct LoadProgress {
    deadline: Instant,
    /// Whether a computation began on shapes that nobody stated.
    warm_up_is_made_up: bool,
    /// How often the process has asked for an external file.
    wanted: usize,
}

/// What the threads of a process do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Activity {
    /// The processor time that they have used so far.
    pub(super) cpu_time: Duration,
    /// Whether one of them runs or waits for a processor.
    pub(super) runnable: bool,
}

/// A process with what its supervisor needs of it.
pub(super) struct Running {
    pub(super) process: Arc<Process>,
    /// Ends when the process does.
    pub(super) log: LogLines<ChildStderr>,
    pub(super) child: Child,
}

impl Process {
    /// Starts a process and has it load the graph in `files`.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]. The process is gone then.
    pub(super) fn start(
        settings: &WorkerSettings,
        files: &GraphFiles,
        load: LoadCommand,
        model: &str,
    ) -> Result<(Running, GraphDescription), LoadError> {
        let deadline = Instant::now() + settings.load_timeout;
        let no_process = |e: io::Error| LoadError::NoEngine(format!("no process for the engine: {e}"));
        let (control, theirs) = Channel::pair().map_err(no_process)?;
        let mut child = std::process::Command::new("/proc/self/exe")
            .arg0(format!("modelfn: {model}"))
            .args(&settings.arguments)
            .env_clear()
            .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Signals from a terminal go to the server alone, which drains.
            .process_group(0)
            .spawn()
            .map_err(no_process)?;
        let stderr = child.stderr.take().ok_or_else(|| no_process(io::Error::other("it has no stderr")))?;
        let mut log = LogLines::new(model, stderr).map_err(no_process)?;
        let pid = Pid::from_child(&child);
        let broken = AtomicBool::new(false);
        let mut process = Process { control, pid, broken, exit: Mutex::default(), exited: Condvar::new() };
        let sent = process.control.send(&Command::Load(load), &[files.graph.as_fd()]);
        let mut progress = LoadProgress { deadline, warm_up_is_made_up: false, wanted: 0 };
        let loaded = sent.and_then(|()| process.await_loaded(&files.external, &mut log, &mut progress));
        let LoadProgress { warm_up_is_made_up, .. } = progress;
        match loaded {
            Ok(Some(Event::Loaded(description))) => {
                Ok((Running { process: Arc::new(process), log, child }, description))
            }
            Ok(Some(Event::NotLoaded(error))) => {
                process.kill();
                let _ = child.wait();
                Err(error)
            }
            failed => {
                let late = Instant::now() >= deadline;
                if late || failed.is_err() {
                    process.kill();
                }
                let status = child.wait().map_err(no_process)?;
                log.drain();
                let (ending, timeout) = (describe(status), settings.load_timeout);
                Err(match failed {
                    _ if late && warm_up_is_made_up => {
                        LoadError::MadeUpWarmUp(format!("it did not end after {timeout:?}"))
                    }
                    _ if late => LoadError::Invalid(format!("it was not loaded after {timeout:?}")),
                    Ok(_) if warm_up_is_made_up => LoadError::MadeUpWarmUp(format!("the engine's process {ending}")),
                    Ok(_) => LoadError::Invalid(format!("the engine's process {ending} while it loaded the graph")),
                    Err(e) => LoadError::Invalid(format!("the engine's process is not understood: {e}")),
                })
            }
        }
    }

    /// Waits until the graph is loaded, and gives the process the external files that it asks for; `None` when the
    /// process ended or the deadline has passed.
    fn await_loaded(
        &mut self,
        external: &ExternalFolder,
        log: &mut LogLines<ChildStderr>,
        progress: &mut LoadProgress,
    ) -> io::Result<Option<Event>> {
        loop {
            let [event, line] = wait_readable([self.control.as_fd(), log.as_fd()], Some(progress.deadline))?;
            if line {
                log.read_available();
            }
            if event {
                match self.control.receive::<Event>()?.map(|received| received.message) {
                    Some(Event::MadeUpWarmUp) => progress.warm_up_is_made_up = true,
                    Some(Event::Wants(name)) => {
                        // A process that asks for ever and does not read would block this thread.
                        progress.wanted += 1;
                        let counted = check_count(progress.wanted).map_err(LoadError::Invalid);
                        match counted.and_then(|()| external.open(&name)) {
                            Ok(file) => self.control.send(&Command::External, &[file.as_fd()])?,
                            Err(error) => return Ok(Some(Event::NotLoaded(error))),
                        }
                    }
                    event => return Ok(event),
                }
            }
            if Instant::now() >= progress.deadline {
                return Ok(None);
            }
        }
    }

    /// Sends a command with its descriptors.
    ///
    /// # Errors
    ///
    /// The process is gone.
    pub(super) fn send(&self, command: &Command, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.control.send(command, descriptors)
    }

    /// Ends the process at once. That is no crash.
    pub(super) fn kill(&self) {
        self.broken.store(true, Ordering::Relaxed);
        let mut exit = self.lock();
        exit.intended = true;
        self.send_kill(&exit);
    }

    fn send_kill(&self, exit: &Exit) {
        // The id is still that of this process: it is reaped only after `sentence` is set.
        if exit.sentence.is_none()
            && let Err(e) = kill_process(self.pid, Signal::KILL)
        {
            tracing::warn!("an engine process can't be ended: {e}");
        }
    }

    /// Waits for the end of the process, and reaps it. Returns whether the end was intended, and how it ended.
    pub(super) fn reap(&self, child: &mut Child) -> (bool, String) {
        let observed = loop {
            match waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Err(rustix::io::Errno::INTR) => {}
                observed => break observed,
            }
        };
        let mut exit = self.lock();
        let status = observed.map_err(io::Error::from).and_then(|_| child.wait());
        let sentence = status.map_or_else(|e| format!("is gone ({e})"), describe);
        exit.sentence = Some(sentence.clone());
        let intended = exit.intended;
        drop(exit);
        self.exited.notify_all();
        (intended, sentence)
    }

    /// The memory of the process in bytes, with its part of what it shares with others; 0 where the kernel does not say.
    pub(super) fn memory_bytes(&self) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid.as_raw_nonzero())).ok();
        let kibibytes = text.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("Pss:")));
        let kibibytes = kibibytes.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok());
        kibibytes.unwrap_or(0).saturating_mul(1024)
    }

    /// What the threads of the process do; nothing where the kernel does not say.
    pub(super) fn activity(&self) -> Activity {
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid.as_raw_nonzero()));
        let mut activity = Activity::default();
        for thread in threads.into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // See proc_pid_stat(5): fields 3 (state), 14 (utime) and 15 (stime), behind a name that may hold anything.
            let fields: Vec<_> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let Some([state, .., utime, stime]) = fields.get(..13) else { continue };
            let ticks: u64 = [utime, stime].iter().filter_map(|field| field.parse::<u64>().ok()).sum();
            activity.runnable |= *state == "R";
            activity.cpu_time += Duration::from_millis(ticks * 1000 / ticks_per_second);
        }
        activity
    }

    /// Whether a handle has found the process gone.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// How the process ended, which is waited for: a handle has found it gone. One that only seems to be gone is ended, so
    /// that another one takes its place.
    pub(super) fn ending(&self) -> String {
        self.broken.store(true, Ordering::Relaxed);
        let mut exit = self.wait_for_exit(self.lock(), GRACE_PERIOD);
        if exit.sentence.is_none() {
            self.send_kill(&exit);
            exit = self.wait_for_exit(exit, EXIT_TIMEOUT);
        }
        exit.sentence.clone().unwrap_or_else(|| "does not respond".to_owned())
    }

    fn wait_for_exit<'a>(&self, exit: MutexGuard<'a, Exit>, timeout: Duration) -> MutexGuard<'a, Exit> {
        let waited = self.exited.wait_timeout_while(exit, timeout, |exit| exit.sentence.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, Exit> {
        self.exit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a process ended, as the rest of a sentence.
fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let name = signal_name(signal).map(|name| format!(" ({name})")).unwrap_or_default();
            format!("ended by signal {signal}{name}")
        }
        (None, Some(code)) => format!("ended with status {code}"),
        (None, None) => "ended".to_owned(),
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGABRT => "SIGABRT: it gave up",
        libc::SIGBUS => "SIGBUS: memory that is not there",
        libc::SIGFPE => "SIGFPE: a division that is not defined",
        libc::SIGILL => "SIGILL: an instruction that is not defined",
        libc::SIGKILL => "SIGKILL: it was ended from outside, perhaps for want of memory",
        libc::SIGSEGV => "SIGSEGV: memory that is not its own",
        libc::SIGXFSZ => "SIGXFSZ: outputs larger than its memory may be",
        _ => return None,
    })
}
