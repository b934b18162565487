//! Functions.

pub mod compile;
pub mod loader;
pub mod manifest;
pub mod public_route;
pub mod route;
