//! Reads a file and verifies its digest.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// A file that was read, with its digest.
#[derive(Clone, Debug)]
pub struct VerifiedFile {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// The digest of `bytes`.
    pub digest: Digest,
}

/// Why a file is not an artifact that can be used.
#[derive(Debug)]
pub enum ReadError {
    /// The file can't be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why it can't be read.
        reason: io::Error,
    },
    /// The file has another digest than expected.
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The file's digest.
        actual: Digest,
        /// The digest that the file should have.
        expected: Digest,
    },
}

/// Reads the file `path` as a whole. It must have the digest `expected` if there is one.
///
/// # Errors
///
/// The file can't be read, or its digest is another one.
pub fn read_verified(path: &Path, expected: Option<&Digest>) -> Result<VerifiedFile, ReadError> {
    let bytes = std::fs::read(path).map_err(|reason| ReadError::Unreadable { path: path.to_owned(), reason })?;
    let digest = Digest::of(&bytes);
    match expected {
        Some(expected) if *expected != digest => {
            Err(ReadError::Mismatch { path: path.to_owned(), actual: digest, expected: *expected })
        }
        _ => Ok(VerifiedFile { bytes, digest }),
    }
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReadError::Unreadable { path, reason } => write!(f, "{} can't be read: {reason}", path.display()),
            ReadError::Mismatch { path, actual, expected } => {
                write!(f, "{} has sha256 {actual}, not {expected}", path.display())
            }
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReadError::Unreadable { reason, .. } => Some(reason),
            ReadError::Mismatch { .. } => None,
        }
    }
}
