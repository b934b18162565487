//! Failed requests, as the client is told them: `application/problem+json` (RFC 9457).
//!
//! A handler returns `Result<Response, Problem>`, so that `?` ends a request. A detail always names the remedy, and never
//! quotes the body of the request.

use serde::Serialize;

/// A failed request: a status and one sentence for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status, 400 to 599.
    pub status: u16,
    /// What went wrong and what to do about it.
    pub detail: String,
    /// Value of the header `Allow`, which only 405 carries.
    pub allow: Option<&'static str>,
}

/// RFC 9457, section 3.1.
///
/// The type is always `about:blank`: the status then says what kind of problem it is, and no client
/// has to learn another vocabulary.
#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    /// 400: the request cannot be understood as it is.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, detail)
    }

    /// 404: no such path. The detail should say which paths there are.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, detail)
    }

    /// 405: the path exists, the method does not fit it.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("this path answers {allow} only");
        Self { allow: Some(allow), ..Self::new(405, detail) }
    }

    /// 408: the client was too slow.
    pub fn request_timeout(detail: impl Into<String>) -> Self {
        Self::new(408, detail)
    }

    /// 413: the body, or what it decodes to, is too large.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(413, detail)
    }

    /// 415: a body of a type or format that the function does not read.
    pub fn unsupported_media(detail: impl Into<String>) -> Self {
        Self::new(415, detail)
    }

    /// 500: the function or the model's card is wrong; the client can only report it.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(500, detail)
    }

    /// 502: the host's engine failed or answered nonsense.
    pub fn bad_gateway(detail: impl Into<String>) -> Self {
        Self::new(502, detail)
    }

    /// 503: the host does not have the model.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(503, detail)
    }

    /// 504: the host gave the computation up.
    pub fn gateway_timeout(detail: impl Into<String>) -> Self {
        Self::new(504, detail)
    }

    /// 507: the host has not enough memory for the computation.
    pub fn insufficient_storage(detail: impl Into<String>) -> Self {
        Self::new(507, detail)
    }

    /// The body of the response.
    pub(crate) fn document(&self) -> impl Serialize + '_ {
        Document { r#type: "about:blank", title: self.title(), status: self.status, detail: &self.detail }
    }

    fn new(status: u16, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), allow: None }
    }

    /// The status' own phrase, as `about:blank` demands.
    fn title(&self) -> &'static str {
        match self.status {
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            413 => "Content Too Large",
            415 => "Unsupported Media Type",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            507 => "Insufficient Storage",
            _ => "Internal Server Error",
        }
    }
}
