//! How many lines of the log were lost, which the log itself counts.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;

/// Asks the log at each scrape.
#[derive(Clone, Debug, Default)]
pub(super) struct LogLines(Arc<OnceLock<fn() -> u64>>);

impl LogLines {
    pub(super) fn expose(&self, lost: fn() -> u64) {
        // A process has one log, so a second source is ignored.
        let _ = self.0.set(lost);
    }
}

impl Collector for LogLines {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let counter = ConstCounter::new(self.0.get().map_or(0, |lost| lost()));
        let help = "Lines of the log that were lost, since they could not be written or not quickly enough.";
        counter.encode(encoder.encode_descriptor("log_lines_lost", help, None, counter.metric_type())?)
    }
}
