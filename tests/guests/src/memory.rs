//! Guests that want memory, and handles.

use std::hint::black_box;

use crate::bindings::wasi::clocks::monotonic_clock::subscribe_duration;
use crate::bindings::wasi::http::types::{Fields, OutgoingResponse, ResponseOutparam};
use crate::http::{Request, answer};

/// The unit in which linear memory grows.
const PAGE_BYTES: usize = 64 << 10;

/// Allocates and touches `bytes` bytes, then holds them for `hold` milliseconds. When they are refused, the
/// allocator aborts.
pub(crate) fn allocate(request: &Request, out: ResponseOutparam) {
    let bytes = vec![1_u8; request.number("bytes").unwrap_or(0)];
    black_box(&bytes);
    hold(request);
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

/// Creates `n` sets of fields, puts a header of `bytes` bytes into each that takes it, and holds them for `hold`
/// milliseconds. Says how many took it.
pub(crate) fn fields(request: &Request, out: ResponseOutparam) {
    let value = vec![b'x'; request.number("bytes").unwrap_or(0)];
    let fill = |_: usize| {
        let fields = Fields::new();
        let taken = fields.append("x-filled", &value).is_ok();
        (fields, taken)
    };
    let filled: Vec<_> = (0..request.number("n").unwrap_or(0)).map(fill).collect();
    hold(request);
    let taken = filled.iter().filter(|(_, taken)| *taken).count();
    answer(out, 200, taken.to_string().as_bytes());
}

/// Creates `n` responses, writes to the body of each until it takes no more, and holds them for `hold` milliseconds. Says
/// how many bytes they took.
pub(crate) fn bodies(request: &Request, out: ResponseOutparam) {
    let mut taken = 0;
    let mut fill = |_: usize| {
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("a body is taken once");
        let stream = body.write().expect("a body has one stream");
        while let Ok(room @ 1..) = stream.check_write() {
            if stream.write(&vec![b'x'; usize::try_from(room).unwrap_or(0)]).is_err() {
                break;
            }
            taken += room;
        }
        (stream, body, response)
    };
    let filled: Vec<_> = (0..request.number("n").unwrap_or(0)).map(&mut fill).collect();
    hold(request);
    drop(filled);
    answer(out, 200, taken.to_string().as_bytes());
}

fn hold(request: &Request) {
    if let Some(hold) = request.number::<u64>("hold") {
        subscribe_duration(hold * 1_000_000).block();
    }
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
