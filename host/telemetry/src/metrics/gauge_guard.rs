//! A gauge that counts what exists at the moment.

use prometheus_client::metrics::gauge::Gauge;

/// Increments a gauge, and decrements it when dropped.
pub struct GaugeGuard(Gauge);

impl GaugeGuard {
    pub(super) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        GaugeGuard(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
