//! A command of a build: a process group of its own, so that what it started ends with it.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::surroundings::Environment;
use crate::log::{self, LogFormat};

/// The shell, by its path: a build may lack everything else.
const SHELL: &str = "/bin/sh";

/// The most bytes of a command's output that are kept. Of more it is the end, where compilers sum up.
const MAX_OUTPUT: usize = 256 << 10;

/// How long a command that was told to end may take.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// A command that runs. Dropping it ends it.
pub(crate) struct BuildProcess {
    child: Child,
    output: Option<JoinHandle<Vec<u8>>>,
}

/// What became of a command.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What it wrote, as far as it is kept.
    pub(crate) output: String,
}

impl BuildProcess {
    /// Starts `command` in a shell. What it writes goes to `show`, too.
    ///
    /// # Errors
    ///
    /// There is no shell, or no such folder.
    pub(crate) fn start(
        command: &str,
        folder: &Path,
        environment: &Environment,
        show: impl FnMut(&[u8]) + Send + 'static,
    ) -> io::Result<BuildProcess> {
        let (reader, writer) = io::pipe()?;
        let mut shell = Command::new(SHELL);
        shell.arg("-c").arg(command).current_dir(folder).envs(environment.variables());
        shell.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
        let child = shell.spawn()?;
        // The command holds the writing end, too. Without this the output would never end.
        drop(shell);
        let output = std::thread::Builder::new().name("build output".to_owned()).spawn(|| read(reader, show))?;
        Ok(BuildProcess { child, output: Some(output) })
    }

    /// What became of it, once it has ended.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<Ended>> {
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        // Of what it left running nothing is wanted, and it would keep the output open.
        self.signal(Signal::KILL);
        let output = self.output.take().and_then(|output| output.join().ok()).unwrap_or_default();
        Ok(Some(Ended { status, output: String::from_utf8_lossy(&output).into_owned() }))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for BuildProcess {
    fn drop(&mut self) {
        if self.output.is_none() {
            return;
        }
        self.signal(Signal::TERM);
        let until = Instant::now() + END_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Reads what a command writes to its end, shows it line by line, and keeps the last of it.
fn read(reader: PipeReader, mut show: impl FnMut(&[u8])) -> Vec<u8> {
    let (mut reader, mut kept) = (BufReader::new(reader), VecDeque::new());
    while let Ok(bytes @ [_, ..]) = reader.fill_buf() {
        // A line that is longer than the buffer comes in pieces.
        let length = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
        show(&bytes[..length]);
        kept.extend(&bytes[..length]);
        reader.consume(length);
        let excess = kept.len().saturating_sub(MAX_OUTPUT);
        kept.drain(..excess);
    }
    kept.into()
}

/// Shows what commands write on stderr: as it is, and as lines of the log where stderr is for programs.
pub(crate) fn show(line: &[u8]) {
    if log::format() == LogFormat::Json {
        tracing::info!(target: "build", "{}", String::from_utf8_lossy(line).trim_end());
        return;
    }
    // Where nobody reads, nobody misses it.
    let _ = io::stderr().lock().write_all(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(mut process: BuildProcess) -> Ended {
        loop {
            if let Some(ended) = process.try_wait().unwrap() {
                return ended;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn start(command: &str) -> BuildProcess {
        BuildProcess::start(command, Path::new("/"), &Environment::default(), |_| {}).unwrap()
    }

    #[test]
    fn both_outputs_are_kept_in_order_and_only_the_end_of_long_ones() {
        let ended = end(start("echo one; echo two >&2; pwd; exit 3"));
        assert_eq!((ended.status.code(), ended.output.as_str()), (Some(3), "one\ntwo\n/\n"));
        let long = end(start("yes | head -c 1000000; printf end")).output;
        assert!(long.len() == MAX_OUTPUT && long.ends_with("end"), "{}", long.len());
    }

    #[test]
    fn what_a_command_left_running_neither_lasts_nor_delays_its_end() {
        let started = Instant::now();
        assert!(end(start("sleep 60 & echo left")).output.contains("left"));
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_command_that_is_dropped_ends_with_all_that_it_started() {
        let (reader, writer) = io::pipe().unwrap();
        let process = BuildProcess::start("sleep 60 & sleep 60", Path::new("/"), &Environment::default(), move |_| {
            let _keeps = &writer;
        });
        drop(process);
        // The pipe ends when the thread that reads the output has ended, and that is when nobody can write any more.
        let mut rest = Vec::new();
        let started = Instant::now();
        io::Read::read_to_end(&mut { reader }, &mut rest).unwrap();
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
