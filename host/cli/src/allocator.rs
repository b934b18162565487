//! Memory that was freed goes back to the system: requests come in waves, and what one wave took others may need.
//!
//! The engine allocates by the C library like we do, so that its allocator is told rather than replaced.

use std::time::Duration;

use modelfn_wasm::process_memory::{ProcessMemory, resident};

/// Blocks from this size on are mapped by themselves and go back when they are freed. By itself glibc raises this bound to
/// the largest block that was freed, and then keeps what bodies and tensors took.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: libc::c_int = 1 << 20;

/// How often it is looked whether memory can go back.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);

/// Memory that may stay with the allocator, beyond what was resident before there were requests and what they reserve now.
const MAX_UNUSED: usize = 16 << 20;

/// The same while there are no requests, when giving it back costs nobody anything.
const MAX_UNUSED_AT_REST: usize = 4 << 20;

/// Makes large blocks go back to the system as soon as they are freed.
pub(crate) fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt is called before this process has other threads, with a parameter of mallopt(3).
    #[expect(unsafe_code, reason = "a call of the C library")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
    }
}

/// Gives small blocks back whenever requests have left much behind. Runs for as long as the process.
pub(crate) async fn return_unused(memory: ProcessMemory) {
    let mut least = resident();
    loop {
        tokio::time::sleep(TRIM_INTERVAL).await;
        let (now, reserved) = (resident(), memory.reserved());
        let unused = if reserved == 0 { MAX_UNUSED_AT_REST } else { MAX_UNUSED };
        if now > least.saturating_add(reserved).saturating_add(unused) {
            // A large heap takes a while.
            let trimmed = tokio::task::spawn_blocking(trim).await;
            least = if trimmed.is_ok() && memory.reserved() == 0 { resident() } else { least };
        }
        least = least.min(now);
    }
}

fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim has no preconditions and is thread-safe (malloc_trim(3)).
    #[expect(unsafe_code, reason = "a call of the C library")]
    unsafe {
        libc::malloc_trim(0);
    }
}
