//! How much of a body of known length is still to come.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http_body::Frame;

/// Bytes of a body that have not been read yet, where the length is known. hyper stops reading when there are none left,
/// and does not ask for the end of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemainingLength(Option<u64>);

impl RemainingLength {
    /// A body of this many bytes; `None` is an unknown length.
    pub fn new(length: Option<u64>) -> Self {
        RemainingLength(length)
    }

    /// The length that `content-length` announces, if it is there and a number.
    pub fn announced(headers: &HeaderMap) -> Self {
        RemainingLength(headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok()))
    }

    /// The bytes that are still to come, where that is known.
    pub fn get(self) -> Option<u64> {
        self.0
    }

    /// Counts a frame that was read.
    pub fn read(&mut self, frame: &Frame<Bytes>) {
        let bytes = frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
        self.0 = self.0.map(|remaining| remaining.saturating_sub(bytes));
    }

    /// Whether nothing more is to come. False where the length is unknown.
    pub fn is_zero(self) -> bool {
        self.0 == Some(0)
    }
}
