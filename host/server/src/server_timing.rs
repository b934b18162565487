//! `Server-Timing`: where a response's time went, as the host sees it.
//!
//! Phases don't overlap, so that they can be summed; `total` is the whole, from the request's head to the response's.
//! Guests that measure add phases of their own. The host leaves those out: a function's own phases include what its
//! model took.

use std::fmt::Write;
use std::time::Duration;

use http::Response;
use http::header::{HeaderName, HeaderValue};

use modelfn_wasm::function::Phases;

static SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Adds the header to a response that took `total`. Errors and static responses have no phases.
pub(crate) fn add<B>(response: &mut Response<B>, total: Duration) {
    let text = text(response.extensions().get::<Phases>(), total);
    let value = HeaderValue::try_from(text).expect("names and numbers make a header value");
    response.headers_mut().append(SERVER_TIMING.clone(), value);
}

fn text(phases: Option<&Phases>, total: Duration) -> String {
    let mut text = String::with_capacity(96);
    if let Some(phases) = phases {
        put(&mut text, "body", phases.body);
        // Below /v2 there is no guest that adds its own phases.
        let rest = if phases.instantiate.is_zero() {
            [("queue", phases.queue), ("compute", phases.compute)]
        } else {
            [("admission", phases.admission), ("sandbox", phases.instantiate)]
        };
        rest.into_iter().for_each(|(name, time)| put(&mut text, name, time));
    }
    put(&mut text, "total", total);
    text
}

/// In milliseconds, with three decimals.
fn put(text: &mut String, name: &str, time: Duration) {
    let comma = if text.is_empty() { "" } else { ", " };
    let microseconds = time.as_micros();
    // Writing to a String does not fail.
    let _ = write!(text, "{comma}{name};dur={}.{:03}", microseconds / 1000, microseconds % 1000);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_milliseconds_and_come_before_their_total() {
        let total = Duration::from_micros(12_034);
        let body = Duration::from_micros(7);
        assert_eq!(text(None, total), "total;dur=12.034");
        let function = Phases { body, instantiate: Duration::from_millis(2), ..Phases::default() };
        let expected = "body;dur=0.007, admission;dur=0.000, sandbox;dur=2.000, total;dur=12.034";
        assert_eq!(text(Some(&function), total), expected);
        let model = Phases { body, compute: Duration::from_millis(9), ..Phases::default() };
        let expected = "body;dur=0.007, queue;dur=0.000, compute;dur=9.000, total;dur=12.034";
        assert_eq!(text(Some(&model), total), expected);
    }
}
