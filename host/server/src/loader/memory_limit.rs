//! How much memory requests may take together: what the program, its models and its code leave of the whole.

use anyhow::{Result, ensure};
use modelfn_wasm::engine::KEEP_RESIDENT;
use modelfn_wasm::process_memory::{ProcessMemory, resident};

/// The part of the whole that is kept for what nobody counts: stacks, sockets' buffers, and what allocators waste.
const HEADROOM: usize = 10;

/// The least that requests must be able to take.
const MIN_FOR_REQUESTS: usize = 16 << 20;

/// All memory that the server may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    pub(super) bytes: usize,
    /// What the processes of engines take of it.
    pub(super) engines: usize,
}

/// Limits `memory` so that all processes stay below the whole with so many `instances`. Nothing else may be loading.
///
/// # Errors
///
/// The processes take nearly all of it by themselves.
pub(super) fn set(memory: &ProcessMemory, whole: Whole, instances: usize) -> Result<()> {
    let Whole { bytes: total, engines } = whole;
    // What requests have reserved is counted as theirs, though not all of it needs to be resident.
    let own = resident().saturating_sub(memory.reserved()) + engines + instances.saturating_mul(KEEP_RESIDENT);
    let left = total.saturating_sub(total / HEADROOM).saturating_sub(own);
    let mebibytes = |bytes: usize| bytes >> 20;
    ensure!(
        left >= MIN_FOR_REQUESTS,
        "--max-memory-total is {} MiB, but the program with its models takes {} MiB of them: raise it, or load less",
        mebibytes(total),
        mebibytes(own)
    );
    memory.set_limit(left);
    tracing::debug!("requests may take {} MiB of memory together", mebibytes(left));
    Ok(())
}
