//! The type of a response's body, whatever made it.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

/// The body of a response: a guest's, a model's or a text.
pub type ResponseBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;
