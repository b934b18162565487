//! How much memory requests may take together: what the program, its models and its code leave of the whole.

use anyhow::{Result, ensure};
use modelfn_wasm::engine::KEEP_RESIDENT;
use modelfn_wasm::process_memory::{ProcessMemory, resident};

/// The part of the whole that is kept for what nobody counts: stacks, sockets' buffers, and what allocators waste.
const HEADROOM: usize = 10;

/// The least that requests must be able to take.
const MIN_FOR_REQUESTS: usize = 16 << 20;

/// Limits `memory` so that the process stays below `total` bytes with so many `instances`. Nothing else may be loading.
///
/// # Errors
///
/// The process takes nearly all of it by itself.
pub(super) fn set(memory: &ProcessMemory, total: usize, instances: usize) -> Result<()> {
    // What requests have reserved is counted as theirs, though not all of it needs to be resident.
    let own = resident().saturating_sub(memory.reserved()) + instances.saturating_mul(KEEP_RESIDENT);
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
