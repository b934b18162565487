//! What the host records of itself: metrics for Prometheus, traces by OpenTelemetry, and how long queues have been full.
//!
//! A leaf: every layer may record here, and nothing here knows a layer. The outside technologies are `prometheus-client`
//! and `opentelemetry`, which no other crate names.

pub mod metrics;
pub mod saturation;
pub mod traces;
