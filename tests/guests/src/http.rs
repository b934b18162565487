//! The edges of `wasi:http`: what a request asks for, and answers whole or in parts.

use std::str::FromStr;

use crate::bindings::wasi::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use crate::bindings::wasi::io::streams::{OutputStream, StreamError};

/// Bytes asked for in one host call.
const READ_BYTES: u64 = 256 << 10;

/// What `blocking-write-and-flush` takes at once, by its documentation.
const WRITE_BYTES: usize = 4096;

/// A request, of which the body is still to be read.
pub(crate) struct Request {
    inner: IncomingRequest,
    target: String,
}

impl Request {
    pub(crate) fn new(inner: IncomingRequest) -> Self {
        let target = inner.path_with_query().unwrap_or_default();
        Self { inner, target }
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A query parameter as it was written; nothing is decoded.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// A query parameter as a number; a test that mistypes it must not pass by chance.
    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
    }

    /// The values of a header, each a line.
    pub(crate) fn header(&self, name: &str) -> Vec<u8> {
        self.inner.headers().get(name).join(&b'\n')
    }

    /// The whole body. A request whose body breaks off must not have reached the guest.
    pub(crate) fn body(&self) -> Vec<u8> {
        let body = self.inner.consume().expect("a body is consumed once");
        let stream = body.stream().expect("a body has one stream");
        let mut bytes = Vec::new();
        loop {
            match stream.blocking_read(READ_BYTES) {
                Ok(chunk) => bytes.extend_from_slice(&chunk),
                Err(StreamError::Closed) => return bytes,
                Err(StreamError::LastOperationFailed(error)) => panic!("{}", error.to_debug_string()),
            }
        }
    }
}

/// An answer whose head was sent.
pub(crate) struct Answer {
    stream: OutputStream,
    body: OutgoingBody,
}

impl Answer {
    pub(crate) fn start(out: ResponseOutparam, status: u16, headers: &[(&str, &str)]) -> Self {
        let fields = Fields::new();
        for (name, value) in headers {
            fields.append(name, value.as_bytes()).expect("a header that guests may set");
        }
        let response = OutgoingResponse::new(fields);
        response.set_status_code(status).expect("a status that exists");
        let body = response.body().expect("a body is taken once");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("a body has one stream");
        Self { stream, body }
    }

    /// Fails when the client is gone.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), StreamError> {
        bytes.chunks(WRITE_BYTES).try_for_each(|chunk| self.stream.blocking_write_and_flush(chunk))
    }

    pub(crate) fn finish(self) {
        drop(self.stream);
        // Fails when the body is not as long as announced; the host tells the client by itself.
        let _ = OutgoingBody::finish(self.body, None);
    }
}

/// A whole answer.
pub(crate) fn answer(out: ResponseOutparam, status: u16, body: &[u8]) {
    answer_with(out, (status, &[]), body);
}

/// A whole answer with headers.
pub(crate) fn answer_with(out: ResponseOutparam, (status, headers): (u16, &[(&str, &str)]), body: &[u8]) {
    let length = body.len().to_string();
    let headers = [&[("content-length", length.as_str())], headers].concat();
    let answer = Answer::start(out, status, &headers);
    // When the client is gone there is nobody to tell.
    let _ = answer.write(body);
    answer.finish();
}
