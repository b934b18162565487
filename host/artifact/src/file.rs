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
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file can't be read.
    #[error("{} can't be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why it can't be read.
        reason: io::Error,
    },
    /// The file has another digest than expected.
    #[error("{} has sha256 {actual}, not {expected}", path.display())]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_only_if_it_has_the_expected_digest() {
        let path = std::env::temp_dir().join(format!("modelfn-artifact-{}", std::process::id()));
        std::fs::write(&path, "abc").unwrap();
        let expected = Digest::of(b"abc");
        let file = read_verified(&path, Some(&expected)).unwrap();
        assert_eq!((file.bytes.as_slice(), file.digest), (&b"abc"[..], expected));
        assert_eq!(read_verified(&path, None).unwrap().digest, expected);
        let other = Digest::of(b"abd");
        let error = read_verified(&path, Some(&other)).unwrap_err().to_string();
        assert_eq!(error, format!("{} has sha256 {expected}, not {other}", path.display()));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read_verified(&path, None), Err(ReadError::Unreadable { .. })));
    }
}
