//! The signals that end the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit_now;

/// SIGTERM and SIGINT, which mean the same here.
pub(crate) struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    /// Catches both from now on.
    ///
    /// # Errors
    ///
    /// The system does not let this process catch signals.
    pub(crate) fn catch() -> Result<EndSignals> {
        Ok(EndSignals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Resolves when one of them arrives.
    pub(crate) async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Runs `work`, which blocks, on a thread of its own. At a signal `is_ending` tells it to end, and the process ends after it.
///
/// # Errors
///
/// The system does not let this process catch signals.
pub(crate) async fn until_signal<T: Send + 'static>(
    is_ending: Arc<AtomicBool>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let mut signals = EndSignals::catch()?;
    let mut working = tokio::task::spawn_blocking(work);
    tokio::select! {
        done = &mut working => Ok(done?),
        () = signals.recv() => {
            is_ending.store(true, Ordering::Relaxed);
            let _ = working.await;
            exit_now(130)
        }
    }
}
