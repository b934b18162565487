//! The resource `error` of wasi-nn.

use wasmtime::component::Resource;

use super::State;
use super::bindings::wasi::nn::errors::{self, ErrorCode};

/// The most bytes of an error's text.
const MAX_ERROR_TEXT: usize = 1024;

/// The resource `error`.
#[derive(Debug)]
pub struct NnError {
    code: ErrorCode,
    data: String,
}

impl NnError {
    /// An error whose text is truncated to [`MAX_ERROR_TEXT`], since it may quote the guest and is kept by the host.
    pub(super) fn new(code: ErrorCode, data: impl Into<String>) -> Self {
        let mut data = data.into();
        data.truncate(data.floor_char_boundary(MAX_ERROR_TEXT));
        data.shrink_to_fit();
        NnError { code, data }
    }

    pub(super) fn log(&self) {
        match self.code {
            ErrorCode::RuntimeError | ErrorCode::Unknown => tracing::warn!("wasi-nn: {:?}", self.data),
            code => tracing::debug!(?code, "wasi-nn: {:?}", self.data),
        }
    }
}

impl errors::Host for State {}

impl errors::HostError for State {
    fn code(&mut self, error: Resource<NnError>) -> wasmtime::Result<ErrorCode> {
        Ok(self.table.get(&error)?.code)
    }

    fn data(&mut self, error: Resource<NnError>) -> wasmtime::Result<String> {
        Ok(self.table.get(&error)?.data.clone())
    }

    fn drop(&mut self, error: Resource<NnError>) -> wasmtime::Result<()> {
        self.table.delete(error)?;
        Ok(())
    }
}
