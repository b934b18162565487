//! Guests that want memory, and handles.

use std::hint::black_box;

use crate::bindings::wasi::clocks::monotonic_clock::subscribe_duration;
use crate::bindings::wasi::http::types::{Fields, ResponseOutparam};
use crate::http::{Request, answer};

/// The unit in which linear memory grows.
const PAGE_BYTES: usize = 64 << 10;

/// Allocates and touches `bytes` bytes, then holds them for `hold` milliseconds. When they are refused, the
/// allocator aborts.
pub(crate) fn allocate(request: &Request, out: ResponseOutparam) {
    let bytes = vec![1_u8; request.number("bytes").unwrap_or(0)];
    black_box(&bytes);
    if let Some(hold) = request.number::<u64>("hold") {
        subscribe_duration(hold * 1_000_000).block();
    }
    answer(out, 200, b"allocated");
}

/// Copes when `bytes` bytes are refused.
pub(crate) fn try_allocate(request: &Request, out: ResponseOutparam) {
    let mut bytes = Vec::<u8>::new();
    let result = bytes.try_reserve_exact(request.number("bytes").unwrap_or(0));
    black_box(&bytes);
    answer(out, 200, if result.is_ok() { b"granted" } else { b"refused" });
}

/// Makes the whole linear memory exactly `bytes` bytes, if it may.
pub(crate) fn grow_to(request: &Request, out: ResponseOutparam) {
    let more = request.number::<usize>("bytes").unwrap_or(0).saturating_sub(memory_bytes());
    answer(out, 200, if grow(more / PAGE_BYTES).is_some() { b"granted" } else { b"refused" });
}

/// Takes `pages` fresh pages, says whether somebody has used them before, and leaves a mess in them.
pub(crate) fn scribble(request: &Request, out: ResponseOutparam) {
    let pages = request.number("pages").unwrap_or(1);
    let start = grow(pages).expect("pages within the limit");
    // SAFETY: `grow` made these pages, and nothing else knows of them.
    #[expect(unsafe_code, reason = "the allocator would zero them first")]
    let fresh = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, pages * PAGE_BYTES) };
    let clean = fresh.iter().all(|&byte| byte == 0);
    fresh.fill(0xA5);
    black_box(fresh);
    answer(out, 200, if clean { b"clean" } else { b"dirty" });
}

/// Holds `n` handles of the host at once.
pub(crate) fn handles(request: &Request, out: ResponseOutparam) {
    let handles: Vec<_> = (0..request.number("n").unwrap_or(0)).map(|_: usize| Fields::new()).collect();
    answer(out, 200, handles.len().to_string().as_bytes());
}

/// The address of the first new byte.
fn grow(pages: usize) -> Option<usize> {
    #[cfg(target_family = "wasm")]
    let before = core::arch::wasm32::memory_grow::<0>(pages);
    #[cfg(not(target_family = "wasm"))]
    let before = { usize::MAX | pages };
    (before != usize::MAX).then(|| before * PAGE_BYTES)
}

fn memory_bytes() -> usize {
    #[cfg(target_family = "wasm")]
    return core::arch::wasm32::memory_size::<0>() * PAGE_BYTES;
    #[cfg(not(target_family = "wasm"))]
    return 0;
}
