//! Why a picture is refused.

/// What kind of failure it is; each corresponds to one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The bytes are no picture, or one of a format that is not decoded here.
    Unsupported,
    /// Decoding would take too much memory.
    TooLarge,
    /// The file is damaged, cut off or empty.
    Damaged,
    /// A fault of this crate.
    Internal,
}

/// A refused picture: what kind of failure, and one sentence with the remedy for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Error {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What is wrong and what to do about it.
    pub detail: String,
}

impl Error {
    pub(crate) fn unsupported(detail: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Unsupported, detail: detail.into() }
    }

    pub(crate) fn too_large(detail: impl Into<String>) -> Self {
        Self { kind: ErrorKind::TooLarge, detail: detail.into() }
    }

    pub(crate) fn damaged(detail: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Damaged, detail: detail.into() }
    }

    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Internal, detail: detail.into() }
    }
}
