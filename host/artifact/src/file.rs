//! Opens, reads and verifies files that others wrote.
//!
//! A file is opened only if it is a regular one: a pipe would be waited for, and a device is not a file at all.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::digest::Digest;

/// Opens the regular file `path`.
///
/// # Errors
///
/// There is no such file, or it is a pipe, a device, a socket or a folder.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Before it is opened, since opening a device may do something; a pipe is opened without waiting for its writer.
    check_regular(&std::fs::metadata(path)?)?;
    let file = File::from(rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?);
    check_regular(&file.metadata()?)?;
    Ok(file)
}

/// Opens the regular file `path`, which must be below `folder` once all links are followed.
///
/// # Errors
///
/// As [`open_regular`], or a link leads out of the folder.
pub fn open_within(folder: &Path, path: &Path) -> io::Result<File> {
    let real = path.canonicalize()?;
    if !real.starts_with(folder.canonicalize()?) {
        let reason = format!(
            "it is a link to {}, which is not below {}; put the file itself there, or name it by its real path",
            real.display(),
            folder.display()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    open_regular(&real)
}

/// Reads the text of a regular file below `folder`, of at most `most` bytes.
///
/// # Errors
///
/// As [`open_within`]; the file is longer, or not UTF-8.
pub fn read_text_within(folder: &Path, path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = open_within(folder, path)?.take(most + 1).read_to_string(&mut text)?;
    if read as u64 > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is longer than {most} bytes")));
    }
    Ok(text)
}

fn check_regular(metadata: &std::fs::Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
}

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

/// Reads the regular file `path` as a whole. It must have the digest `expected` if there is one.
///
/// # Errors
///
/// The file can't be read, or its digest is another one.
pub fn read_verified(path: &Path, expected: Option<&Digest>) -> Result<VerifiedFile, ReadError> {
    let unreadable = |reason| ReadError::Unreadable { path: path.to_owned(), reason };
    let mut file = open_regular(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(unreadable)?;
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

    #[test]
    fn only_regular_files_inside_of_the_folder_are_opened() {
        let root = std::env::temp_dir().join(format!("modelfn-artifact-within-{}", std::process::id()));
        let folder = root.join("model");
        std::fs::create_dir_all(folder.join("inner")).unwrap();
        std::fs::write(folder.join("inner/file"), "abc").unwrap();
        std::fs::write(root.join("outside"), "secret").unwrap();
        std::os::unix::fs::symlink("inner/file", folder.join("link-inside")).unwrap();
        std::os::unix::fs::symlink("../outside", folder.join("link-out")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.join("link-to-device")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        let read = |name: &str, most| read_text_within(&folder, &folder.join(name), most).map_err(|e| e.to_string());
        assert_eq!(read("inner/file", 3).as_deref(), Ok("abc"));
        assert_eq!(read("link-inside", 3).as_deref(), Ok("abc"));
        assert_eq!(read("inner/file", 2), Err("it is longer than 2 bytes".to_owned()));
        for (name, says) in [
            ("link-out", "not below"),
            ("link-to-device", "not below"),
            ("../outside", "not below"),
            ("pipe", "not a regular file"),
            ("inner", "not a regular file"),
        ] {
            let error = read(name, 100).unwrap_err();
            assert!(error.contains(says), "{name}: {error}");
        }
        std::fs::remove_dir_all(&root).unwrap();
    }
}
