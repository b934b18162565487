//! Where compiled code is kept in development: of the last builds only, in the folder of what is built.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The files that are kept, the newest ones. An application of more components compiles some of them at each start.
const MAX_FILES: usize = 16;

/// A folder of compiled code.
pub(super) struct CodeFolder(PathBuf);

impl CodeFolder {
    /// That of the project in `folder`.
    pub(super) fn of(folder: &Path) -> CodeFolder {
        CodeFolder(folder.join("target/modelfn-code"))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.clone()
    }

    /// Removes the files of old builds.
    pub(super) fn forget_old(&self) {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut files: Vec<(SystemTime, PathBuf)> =
            entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
        files.sort();
        let old = files.len().saturating_sub(MAX_FILES);
        for (_, file) in files.drain(..old) {
            // What is loaded stays in memory. What can't be removed costs a little room.
            let _ = std::fs::remove_file(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_files_stay() {
        let project = std::env::temp_dir().join(format!("modelfn-code-{}", std::process::id()));
        let code = CodeFolder::of(&project);
        std::fs::create_dir_all(code.path()).unwrap();
        for n in 0..MAX_FILES + 3 {
            let file = std::fs::File::create(code.path().join(format!("{}.cwasm", 99 - n))).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(n as u64)).unwrap();
        }
        code.forget_old();
        let is_there = |n: usize| code.path().join(format!("{}.cwasm", 99 - n)).exists();
        assert_eq!(
            (0..MAX_FILES + 3).map(is_there).collect::<Vec<_>>(),
            [vec![false; 3], vec![true; MAX_FILES]].concat()
        );
        std::fs::remove_dir_all(project).unwrap();
    }
}
