//! Reads files by path through the `wasi:filesystem` bindings.
//!
//! Not `std::fs`: the libc that some toolchains link behind it is older than components and dies
//! while it looks for its preopened folders. Only reading is here, and only of small files.

use crate::bindings::wasi::filesystem::preopens::get_directories;
use crate::bindings::wasi::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};

/// Larger than any card or labels file should be.
const MAX_BYTES: usize = 4 << 20;

/// A folder of the function's file system that a host mounted.
#[derive(Debug)]
pub(crate) struct Mounted {
    path: String,
    preopen: Descriptor,
    /// `path` relative to the preopened folder; ends with a slash unless empty.
    prefix: String,
}

impl Mounted {
    /// The folder at an absolute `path`, wherever in or above it the host mounted something.
    ///
    /// # Errors
    ///
    /// Nothing is mounted there: a sentence with the remedy.
    pub(crate) fn open(path: &str) -> Result<Self, String> {
        get_directories()
            .into_iter()
            .filter_map(|(preopen, mount)| Some((mount.len(), preopen, relative(path, &mount)?)))
            .max_by_key(|(specificity, ..)| *specificity)
            .map(|(_, preopen, prefix)| Self { path: path.to_owned(), preopen, prefix })
            .ok_or_else(|| format!("nothing is mounted at {path}: mount the model's folder there, read-only"))
    }

    /// Reads the whole text of a file of the folder, of at most 4 MiB.
    ///
    /// # Errors
    ///
    /// The file is missing, unreadable, too large or not UTF-8: a sentence that names it.
    pub(crate) fn read_text(&self, name: &str) -> Result<String, String> {
        String::from_utf8(self.read(name)?).map_err(|_| format!("{}/{name} is not UTF-8 text", self.path))
    }

    /// Reads a whole file of the folder, of at most 4 MiB.
    ///
    /// # Errors
    ///
    /// The file is missing, unreadable or too large: a sentence that names it.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        self.read_at(&format!("{}{name}", self.prefix)).map_err(|code| {
            format!(
                "{path}/{name} cannot be read ({}): mount the model's folder at {path}",
                code.name(),
                path = self.path
            )
        })
    }

    fn read_at(&self, path: &str) -> Result<Vec<u8>, ErrorCode> {
        let file = self.preopen.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ)?;
        // Knowing the size makes one read enough: each call to the host costs about as much as the copy.
        let size = usize::try_from(file.stat()?.size).unwrap_or(usize::MAX);
        if size > MAX_BYTES {
            return Err(ErrorCode::FileTooLarge);
        }
        let mut bytes = Vec::new();
        while bytes.len() < size {
            let (chunk, end) = file.read((size - bytes.len()) as u64, bytes.len() as u64)?;
            append(&mut bytes, chunk);
            if end {
                break;
            }
        }
        Ok(bytes)
    }
}

/// Appends a chunk. The first one, which is usually the only one, is taken over without a copy.
pub(crate) fn append(bytes: &mut Vec<u8>, chunk: Vec<u8>) {
    if bytes.capacity() == 0 {
        *bytes = chunk;
    } else {
        bytes.extend_from_slice(&chunk);
    }
}

/// `path` relative to `mount`, followed by a slash unless it is empty; `None` where it lies outside of `mount`.
fn relative(path: &str, mount: &str) -> Option<String> {
    let rest = path.strip_prefix(mount.trim_end_matches('/'))?;
    match rest.strip_prefix('/') {
        Some(inside) => Some(format!("{inside}/")),
        None => rest.is_empty().then(String::new),
    }
}

#[cfg(test)]
mod tests {
    use super::relative;

    #[test]
    fn a_mount_is_a_prefix_by_whole_names() {
        assert_eq!(relative("/model", "/model").as_deref(), Some(""));
        assert_eq!(relative("/model", "/model/").as_deref(), Some(""));
        assert_eq!(relative("/model", "/").as_deref(), Some("model/"));
        assert_eq!(relative("/a/model", "/a").as_deref(), Some("model/"));
        assert_eq!(relative("/model", "/mod"), None);
        assert_eq!(relative("/model", "."), None);
        assert_eq!(relative("/model", "/model/x"), None);
    }
}
