//! The options of a handle's runs, which other threads use to cancel them.

use ort::session::RunOptions;

use crate::backend::Canceller;

/// Options for ordinary runs, and for those after which the engine frees memory.
pub(super) struct Runs {
    ordinary: RunOptions,
    shrinking: RunOptions,
}

impl Runs {
    pub(super) fn new() -> ort::Result<Runs> {
        let mut shrinking = RunOptions::new()?;
        shrinking.set("memory.enable_memory_arena_shrinkage", "cpu:0")?;
        Ok(Runs { ordinary: RunOptions::new()?, shrinking })
    }

    pub(super) fn ordinary(&self) -> &RunOptions {
        &self.ordinary
    }

    /// Options of a run after which the engine frees the memory of its arena that is not in use.
    pub(super) fn shrinking(&self) -> &RunOptions {
        &self.shrinking
    }

    fn each(&self, change: impl Fn(&RunOptions) -> ort::Result<()>) {
        for options in [&self.ordinary, &self.shrinking] {
            if let Err(e) = change(options) {
                tracing::warn!("a computation can't be cancelled: {e}");
            }
        }
    }
}

impl Canceller for Runs {
    fn cancel(&self) {
        self.each(RunOptions::terminate);
    }

    fn reset(&self) {
        self.each(RunOptions::unterminate);
    }
}
