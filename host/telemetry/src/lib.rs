//! Observability of the host: metrics for Prometheus, traces by OpenTelemetry, and the saturation of queues.
//!
//! This crate is a leaf: every layer records here, and nothing here depends on a layer. No other crate names
//! `prometheus-client` or `opentelemetry`.

#![forbid(unsafe_code)]

pub mod metrics;
pub mod saturation;
pub mod traces;
