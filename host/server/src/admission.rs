//! Admission.

pub mod body;
pub mod concurrency_limit;
pub mod deadline;
pub mod key_file;
pub mod keys;
pub mod memory_budget;
pub mod queue_wait;
