//! A bound on what one request logs: a guest can make the host write a line as often as it likes.
//!
//! The lines of `server` are not bounded, since each request has few of them: among them is the one that says how it
//! ended.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The most bytes of log lines of one request.
const MAX_BYTES: usize = 128 << 10;

/// Lines from here are written, however many bytes their request has logged.
const UNLIMITED: &str = "modelfn_server";

/// Where the line that says that lines are dropped comes from.
const SELF: &str = "modelfn::log";

/// Formats lines as the inner format does, but drops those of a request that has logged too much.
pub(super) struct RequestLimit<F>(F);

/// Bytes that a request has logged.
#[derive(Clone, Default)]
struct Logged(Arc<AtomicUsize>);

impl<F> RequestLimit<F> {
    /// Wraps `inner`, which has to know by itself whether lines are coloured.
    pub(super) fn new(inner: F) -> Self {
        RequestLimit(inner)
    }
}

impl<S, N, F> FormatEvent<S, N> for RequestLimit<F>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
    F: FormatEvent<S, N>,
{
    /// An error is a line that is not written.
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let target = event.metadata().target();
        let request = context.event_scope().and_then(|scope| scope.from_root().next());
        let Some(request) = request.filter(|_| !target.starts_with(UNLIMITED) && target != SELF) else {
            return self.0.format_event(context, writer, event);
        };
        let logged = {
            let mut extensions = request.extensions_mut();
            if extensions.get_mut::<Logged>().is_none() {
                extensions.insert(Logged::default());
            }
            extensions.get_mut::<Logged>().cloned().unwrap_or_default()
        };
        if logged.0.load(Ordering::Relaxed) > MAX_BYTES {
            return Err(fmt::Error);
        }
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let before = logged.0.fetch_add(line.len(), Ordering::Relaxed);
        if before + line.len() <= MAX_BYTES {
            return writer.write_str(&line);
        }
        if before <= MAX_BYTES {
            let parent = request.id();
            tracing::warn!(target: SELF, parent: parent, "further lines of this request are dropped: over {MAX_BYTES} bytes");
        }
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_request_logs_no_more_than_its_bytes_and_says_so_once() {
        let lines = Lines::default();
        let writer = lines.clone();
        // Installed for the whole process: a subscriber of one thread would drop the line that is made within another.
        let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).log_internal_errors(false);
        log.json().flatten_event(true).map_event_format(RequestLimit::new).init();
        let request = tracing::error_span!("request", id = "one");
        let inner = tracing::error_span!(parent: &request, "inner");
        let long = "x".repeat(1000);
        for _ in 0..1000 {
            tracing::info!(target: "guest", parent: &inner, "{long}");
        }
        tracing::info!(target: "modelfn_server::request_recorder", parent: &request, "answered");
        let text = lines.text();
        assert!(text.len() < MAX_BYTES + 2000 && text.len() > MAX_BYTES - 2000, "{} bytes", text.len());
        assert_eq!(text.matches("further lines of this request are dropped").count(), 1);
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
        assert!(text.lines().last().unwrap().contains("answered"), "how it ended is always there");

        let other = tracing::error_span!("request", id = "two");
        tracing::info!(target: "guest", parent: &other, "hello");
        tracing::info!("of no request");
        assert!(lines.text().contains("hello") && lines.text().contains("of no request"));
    }
}
