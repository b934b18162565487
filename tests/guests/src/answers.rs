//! Paths that behave.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bindings::wasi::cli::stdout::get_stdout;
use crate::bindings::wasi::clocks::monotonic_clock::subscribe_duration;
use crate::bindings::wasi::http::types::ResponseOutparam;
use crate::http::{Answer, Request, answer};

/// How many requests this instance has answered. It must never see a second one.
pub(crate) fn count(out: ResponseOutparam) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    answer(out, 200, count.to_string().as_bytes());
}

/// The header `name`, as the guest sees it.
pub(crate) fn header(request: &Request, out: ResponseOutparam) {
    answer(out, 200, &request.header(request.text("name").unwrap_or_default()));
}

/// The body.
pub(crate) fn echo(request: &Request, out: ResponseOutparam) {
    answer(out, 200, &request.body());
}

/// A body of `bytes` bytes, of unknown length to the client.
pub(crate) fn stream(request: &Request, out: ResponseOutparam) {
    let mut left: u64 = request.number("bytes").unwrap_or(0);
    let answer = Answer::start(out, 200, &[]);
    let chunk = [b'x'; 4096];
    while left > 0 {
        let length = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        if answer.write(&chunk[..length]).is_err() {
            break;
        }
        left -= length as u64;
    }
    answer.finish();
}

/// Answers after `ms` milliseconds, without computing meanwhile.
pub(crate) fn wait(request: &Request, out: ResponseOutparam) {
    subscribe_duration(request.number::<u64>("ms").unwrap_or(0) * 1_000_000).block();
    answer(out, 200, b"waited");
}

/// Writes a line and then `bytes` bytes more to both output streams.
pub(crate) fn log(request: &Request, out: ResponseOutparam) {
    let bytes = vec![b'.'; request.number("bytes").unwrap_or(0)];
    for (name, stream) in [("stdout", &mut std::io::stdout() as &mut dyn Write), ("stderr", &mut std::io::stderr())] {
        let written = writeln!(stream, "the probe writes to {name}")
            .and_then(|()| stream.write_all(&bytes))
            .and_then(|()| stream.flush());
        written.expect("output is taken, if only to be dropped");
    }
    answer(out, 200, b"logged");
}

/// Takes stdout `n` times and writes `bytes` bytes to each of the streams.
pub(crate) fn log_streams(request: &Request, out: ResponseOutparam) {
    let line = vec![b'.'; request.number("bytes").unwrap_or(0)];
    for _ in 0..request.number("n").unwrap_or(0) {
        get_stdout().blocking_write_and_flush(&line).expect("output is taken, if only to be dropped");
    }
    answer(out, 200, b"logged");
}
