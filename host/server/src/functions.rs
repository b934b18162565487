//! What the manifest says: components, routes, and what needs no API key.

pub mod manifest;
pub mod public_route;
pub mod route;
pub(crate) mod without_function;
