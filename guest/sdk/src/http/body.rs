//! Reads the body of a request, within a bound.

use crate::bindings::wasi::http::types::{ErrorCode, IncomingRequest, http_error_code};
use crate::bindings::wasi::io::streams::{InputStream, StreamError};
use crate::files::append;
use crate::problem::Problem;

/// Most bytes of a request's body.
const MAX_BODY_BYTES: usize = 16 << 20;

/// Bytes asked for in one host call where the length of the body is not known.
const READ_BYTES: u64 = 256 << 10;

/// A body that is about to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body<'a> {
    /// The value of `Content-Length`, if the request has one.
    pub(super) declared_length: Option<&'a str>,
    /// What clients are asked for when theirs is too large: `a smaller picture`.
    pub(super) smaller: &'a str,
}

impl Body<'_> {
    /// Reads the whole body. The declared length is checked first, so that nothing unfit is uploaded.
    pub(super) fn read(self, request: &IncomingRequest) -> Result<Vec<u8>, Problem> {
        let declared = self.declared_length.and_then(|length| length.parse::<u64>().ok()).unwrap_or(0);
        let declared = usize::try_from(declared).ok().filter(|&bytes| bytes <= MAX_BODY_BYTES);
        let declared = declared.ok_or_else(|| self.too_large())?;
        let body = request.consume().map_err(|()| Problem::internal("the body of a request can be read only once"))?;
        let stream = body.stream().map_err(|()| Problem::internal("the host gave no body to read"))?;
        self.read_stream(&stream, declared)
    }

    fn read_stream(self, stream: &InputStream, declared: usize) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        loop {
            match stream.blocking_read(READ_BYTES.max(declared as u64)) {
                Ok(chunk) if bytes.len() + chunk.len() > MAX_BODY_BYTES => return Err(self.too_large()),
                Ok(chunk) => {
                    if bytes.is_empty() && chunk.len() < declared {
                        bytes.reserve_exact(declared);
                    }
                    append(&mut bytes, chunk);
                }
                Err(StreamError::Closed) => return Ok(bytes),
                Err(StreamError::LastOperationFailed(error)) => {
                    return Err(self.broken_off(http_error_code(&error)));
                }
            }
        }
    }

    /// The problem of a body that ended early, by the host's error code.
    fn broken_off(self, code: Option<ErrorCode>) -> Problem {
        match code {
            Some(ErrorCode::HttpRequestBodySize(_)) => {
                Problem::too_large(format!("the body has more bytes than this host takes; send {}", self.smaller))
            }
            Some(ErrorCode::ConnectionReadTimeout | ErrorCode::ConnectionTimeout) => {
                Problem::request_timeout("the body did not arrive in time; send it again")
            }
            Some(code) => Problem::bad_request(format!("the body broke off ({code:?}); send it again")),
            None => Problem::bad_request("the body broke off; send it again"),
        }
    }

    fn too_large(self) -> Problem {
        Problem::too_large(format!("the body has more than {} MiB; send {}", MAX_BODY_BYTES >> 20, self.smaller))
    }
}
