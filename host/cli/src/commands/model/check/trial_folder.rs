//! A temporary folder: the manifest of the function that is tried, and what it sees of the model.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A folder that nobody else may look into, which is removed when this is dropped.
pub(super) struct TrialFolder(PathBuf);

impl TrialFolder {
    /// Makes a new folder where the system keeps temporary ones.
    ///
    /// # Errors
    ///
    /// It can't be made.
    pub(super) fn new() -> Result<Self> {
        let parent = std::env::temp_dir();
        let mut number = 0_u32;
        loop {
            let path = parent.join(format!("modelfn-check-{}-{number}", std::process::id()));
            // Never one that is there already, which may be another's.
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(error) => {
                    let what = format!("no temporary folder can be made in {}; set TMPDIR", parent.display());
                    return Err(error).context(what);
                }
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, with its folder.
    ///
    /// # Errors
    ///
    /// It can't be written.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.0.join(name);
        let write = || {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(&path, bytes)
        };
        write().with_context(|| format!("{} can't be written", path.display()))
    }
}

impl Drop for TrialFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
