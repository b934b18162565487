//! Requests and responses over `wasi:http`, each with a whole body in memory.

mod body;
mod file;
mod request;
mod response;

pub use file::{FileKind, Upload};
pub use request::Request;
pub use response::Response;

/// The type without its parameters, in lower case: `text/html` of `Text/HTML; charset=utf-8`.
pub(crate) fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

pub(crate) fn is_form(content_type: &str) -> bool {
    essence(content_type) == "multipart/form-data"
}
