//! Any error to an answer: status, and a problem document (RFC 9457) with text for the public.
//!
//! The one place that maps errors to status codes. What a guest or engine said stays in the log.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::metrics::Outcome;
use crate::wasm::function::InvokeError;

/// When a client that was shed should come back.
const RETRY_AFTER_SECONDS: u64 = 1;

/// What can go wrong with a request before and around the guest.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// No route has this path.
    #[error("no function answers {0}")]
    NoRoute(String),
    /// `content-length` is above the limit, in bytes.
    #[error("the body is {actual} bytes; this server takes {limit}")]
    BodyTooLarge {
        /// What the client announced.
        actual: u64,
        /// What the server takes.
        limit: u64,
    },
    /// Too many requests wait already.
    #[error("{0} requests wait for an instance already")]
    Shed(usize),
    /// Waiting for an instance took until the deadline.
    #[error("no instance was free within {0:?}")]
    NoInstance(Duration),
    /// The guest gave no answer.
    #[error(transparent)]
    Invoke(#[from] InvokeError),
}

impl Problem {
    /// The answer for the client.
    pub fn response(&self) -> Response<Full<Bytes>> {
        let status = self.status();
        let body = serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "detail": self.public_text(),
        });
        let mut response = Response::new(Full::from(format!("{body}\n")));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }

    /// For the metrics.
    pub fn outcome(&self) -> Outcome {
        match self {
            Problem::NoRoute(_) | Problem::BodyTooLarge { .. } => Outcome::ClientError,
            Problem::Shed(_) | Problem::NoInstance(_) | Problem::Invoke(InvokeError::Overloaded(_)) => Outcome::Shed,
            Problem::Invoke(InvokeError::Deadline(_)) => Outcome::TimedOut,
            Problem::Invoke(InvokeError::OutOfMemory(_)) => Outcome::OutOfMemory,
            Problem::Invoke(InvokeError::Trapped(_) | InvokeError::NoAnswer | InvokeError::Refused(_)) => {
                Outcome::FunctionError
            }
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Problem::NoRoute(_) => StatusCode::NOT_FOUND,
            Problem::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Problem::Shed(_) | Problem::NoInstance(_) => StatusCode::SERVICE_UNAVAILABLE,
            Problem::Invoke(InvokeError::Overloaded(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Problem::Invoke(InvokeError::Deadline(_)) => StatusCode::GATEWAY_TIMEOUT,
            Problem::Invoke(InvokeError::OutOfMemory(_)) => StatusCode::INSUFFICIENT_STORAGE,
            Problem::Invoke(InvokeError::Trapped(_) | InvokeError::NoAnswer | InvokeError::Refused(_)) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    fn public_text(&self) -> String {
        match self {
            Problem::Invoke(InvokeError::Trapped(_)) => "The function failed while it handled this request.".to_owned(),
            Problem::Invoke(InvokeError::Refused(_)) => "The function could not handle this request.".to_owned(),
            Problem::Invoke(InvokeError::OutOfMemory(_)) => {
                "The function needed more memory for this request than it may use; send a smaller one.".to_owned()
            }
            Problem::Invoke(InvokeError::Overloaded(_)) | Problem::Shed(_) | Problem::NoInstance(_) => {
                "The server is busy; try again in a moment.".to_owned()
            }
            Problem::Invoke(InvokeError::Deadline(_)) => "The function did not answer in time.".to_owned(),
            Problem::Invoke(InvokeError::NoAnswer) => "The function ended without an answer.".to_owned(),
            Problem::NoRoute(_) | Problem::BodyTooLarge { .. } => {
                let mut text = self.to_string();
                text[..1].make_ascii_uppercase();
                text + "."
            }
        }
    }
}
