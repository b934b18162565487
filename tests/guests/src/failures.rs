//! Guests that fail: before, while and after they answer.

use std::hint::black_box;

use crate::bindings::wasi::clocks::monotonic_clock::subscribe_duration;
use crate::bindings::wasi::http::types::{ErrorCode, Fields, OutgoingResponse, ResponseOutparam};
use crate::http::{Answer, Request, answer};

const HOUR_NANOSECONDS: u64 = 3_600_000_000_000;

/// Executes `unreachable`.
pub(crate) fn trap() {
    #[cfg(target_family = "wasm")]
    core::arch::wasm32::unreachable();
}

/// Computes for ever.
pub(crate) fn spin() {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

/// Waits for ever, without computing.
pub(crate) fn never() {
    loop {
        subscribe_duration(HOUR_NANOSECONDS).block();
    }
}

/// Calls itself until the stack ends.
pub(crate) fn overflow(out: ResponseOutparam) {
    #[expect(unconditional_recursion, reason = "told to")]
    fn deeper(n: u64) -> u64 {
        black_box(deeper(black_box(n + 1))) + 1
    }
    answer(out, 200, deeper(0).to_string().as_bytes());
}

/// Answers with an error in place of a response.
pub(crate) fn error_answer(out: ResponseOutparam) {
    ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some("told to".to_owned()))));
}

/// Sends a head and 5 bytes of its body, of which it announced `length` if at all; then does `then`.
pub(crate) fn head_then(request: &Request, out: ResponseOutparam, then: fn()) {
    let _answer = head_and_part(request, out);
    then();
}

/// The same, and then returns without having finished, or dropped, the body.
pub(crate) fn head_then_return(request: &Request, out: ResponseOutparam) {
    std::mem::forget(head_and_part(request, out));
}

fn head_and_part(request: &Request, out: ResponseOutparam) -> Answer {
    let length = request.text("length").map(|length| ("content-length", length));
    let answer = Answer::start(out, 200, length.as_slice());
    // When the client is gone there is nobody to tell.
    let _ = answer.write(b"part.");
    answer
}

/// Answers well and then does not end.
pub(crate) fn finish_then_spin(out: ResponseOutparam) {
    answer(out, 200, b"finished");
    spin();
}

/// Answers well and then a second time, with a handle that is no longer its own.
pub(crate) fn finish_then_set_again(out: ResponseOutparam) {
    let handle = out.handle();
    answer(out, 200, b"finished");
    // SAFETY: unsound by the bindings' rules, and that is the point: the host has to find out.
    #[expect(unsafe_code, reason = "only a raw handle can be used twice")]
    let again = unsafe { ResponseOutparam::from_handle(handle) };
    ResponseOutparam::set(again, Ok(OutgoingResponse::new(Fields::new())));
}
