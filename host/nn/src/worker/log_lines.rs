//! What an engine process writes to stderr, line by line into the server's log.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// The longest line, in bytes. The rest of a longer one is left out.
const MAX_LINE: usize = 2048;

/// The most lines in each [`INTERVAL`]. Others are counted, and left out.
const MAX_LINES: usize = 20;

/// How long lines are counted.
const INTERVAL: Duration = Duration::from_secs(10);

/// Reads the lines of one process.
pub(super) struct LogLines<R> {
    model: String,
    source: R,
    line: Vec<u8>,
    ended: bool,
    /// When lines began to be counted, and how many have come since.
    since: Instant,
    count: usize,
}

impl<R: Read + AsFd> LogLines<R> {
    /// Reads `source`, which from now on does not block.
    pub(super) fn new(model: &str, source: R) -> io::Result<LogLines<R>> {
        fcntl_setfl(&source, fcntl_getfl(&source)? | OFlags::NONBLOCK)?;
        let model = model.to_owned();
        Ok(LogLines { model, source, line: Vec::new(), ended: false, since: Instant::now(), count: 0 })
    }

    /// Whether the process has closed its end.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Logs what can be read without waiting.
    pub(super) fn read_available(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.source.read(&mut buffer) {
                Ok(0) => break self.ended = true,
                Ok(read) => buffer[..read].iter().for_each(|&byte| self.push(byte)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break self.ended = true,
            }
        }
    }

    /// Logs what is left, also where the last line has no end.
    pub(super) fn drain(&mut self) {
        self.read_available();
        self.log();
    }

    fn push(&mut self, byte: u8) {
        if byte == b'\n' {
            self.log();
        } else if self.line.len() < MAX_LINE {
            self.line.push(byte);
        }
    }

    fn log(&mut self) {
        let line = String::from_utf8_lossy(&self.line).trim().to_owned();
        self.line.clear();
        if line.is_empty() {
            return;
        }
        if self.since.elapsed() > INTERVAL {
            let left_out = self.count.saturating_sub(MAX_LINES);
            if left_out > 0 {
                tracing::warn!(model = self.model, "{left_out} lines of the engine were left out");
            }
            (self.since, self.count) = (Instant::now(), 0);
        }
        self.count += 1;
        if self.count <= MAX_LINES {
            tracing::warn!(model = self.model, "engine: {line}");
        }
    }
}

impl<R: AsFd> AsFd for LogLines<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn lines_are_bounded_in_length_and_number() {
        let (source, mut writer) = io::pipe().unwrap();
        let mut log = LogLines::new("m", source).unwrap();
        writer.write_all(&[b'x'; 3 * MAX_LINE]).unwrap();
        log.read_available();
        assert_eq!(log.line.len(), MAX_LINE);
        writer.write_all("\n".repeat(3).as_bytes()).unwrap();
        writer.write_all("line\n".repeat(MAX_LINES).as_bytes()).unwrap();
        log.read_available();
        assert_eq!((log.count, log.ended()), (MAX_LINES + 1, false), "empty lines don't count");
        drop(writer);
        log.read_available();
        assert!(log.ended());
    }
}
