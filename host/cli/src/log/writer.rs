//! Where log lines go: through a bounded queue to a thread that writes them to stderr.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that wait to be written. Further ones are lost.
const MAX_WAITING: usize = 4096;

/// Lines that stderr did not take.
static FAILED: AtomicU64 = AtomicU64::new(0);

/// Lines that did not fit the queue.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Ends the thread when it is dropped.
static THREAD: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// stderr, whose errors are counted instead of returned: there is nowhere to report them.
struct CountingStderr;

/// Starts the thread.
pub(super) fn start() -> NonBlocking {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_WAITING).thread_name("log");
    let (writer, guard) = builder.finish(CountingStderr);
    // The log starts once, so there is no earlier counter.
    let _ = DROPPED.set(writer.error_counter());
    *THREAD.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    writer
}

/// Writes what still waits, for about a second at most. Lines that come later are lost.
pub(crate) fn end() {
    drop(THREAD.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// How many lines were lost so far.
pub(crate) fn lost_lines() -> u64 {
    let dropped = DROPPED.get().map_or(0, ErrorCounter::dropped_lines);
    FAILED.load(Ordering::Relaxed).saturating_add(u64::try_from(dropped).unwrap_or(u64::MAX))
}

impl Write for CountingStderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if io::stderr().write_all(line).is_err() {
            FAILED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = io::stderr().flush();
        Ok(())
    }
}
