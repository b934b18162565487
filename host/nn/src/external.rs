//! External data: weights that a graph keeps in files beside its own.
//!
//! A graph names these files, and graphs are not trusted. A name is a relative path below the folder of the graph's file,
//! links may not leave the folder of the model, and only regular files are read. Each file is read once, and its digest
//! is that of the bytes that the engine gets.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use modelfn_artifact::{Digest, open_within};

use crate::backend::LoadError;
use crate::backend::external::{EMBED, ExternalFile, check_count, check_name};

/// The digests of external files by name, in hexadecimal digits.
pub(crate) type Digests = BTreeMap<String, String>;

/// Where the external files of one graph are. A file is opened once, so that what is loaded again later is the same.
#[derive(Debug, Default)]
pub(crate) struct ExternalFolder {
    /// The folders in which the files are looked for, in this order; none for a graph that has no folder.
    folders: Vec<PathBuf>,
    /// The folders that links may lead to.
    roots: Vec<PathBuf>,
    opened: Mutex<BTreeMap<String, Arc<File>>>,
}

/// External files that were read.
#[derive(Debug, Default)]
pub(crate) struct ReadFiles {
    pub(crate) files: Vec<ExternalFile>,
    pub(crate) digests: Digests,
}

impl ExternalFolder {
    /// The folder of the graph file `graph`, in the model's folder `root`.
    pub(crate) fn of(graph: &Path, root: &Path) -> ExternalFolder {
        let folder = graph.parent().unwrap_or(root).to_owned();
        ExternalFolder { folders: vec![folder], roots: vec![root.to_owned()], opened: Mutex::default() }
    }

    /// The folder of a graph file that a person named. If that is a link, its weights may lie beside the link or beside
    /// what it leads to, as in caches whose files have names of their own.
    pub(crate) fn of_file(graph: &Path) -> ExternalFolder {
        let paths = [std::path::absolute(graph).ok(), graph.canonicalize().ok()];
        let folders = paths.iter().flatten().filter_map(|path| path.parent());
        let folders: Vec<_> = folders.map(Path::to_owned).collect();
        ExternalFolder { roots: folders.clone(), folders, opened: Mutex::default() }
    }

    /// Opens the file that the graph calls `name`.
    ///
    /// # Errors
    ///
    /// [`LoadError::Invalid`]: the name may not be used, there is no such regular file in the folder, or there are too
    /// many.
    pub(crate) fn open(&self, name: &str) -> Result<Arc<File>, LoadError> {
        check_name(name).map_err(LoadError::Invalid)?;
        let Some(first) = self.folders.first() else {
            let reason = format!("its weights are in another file, '{name}', which did not come with it; {EMBED}");
            return Err(LoadError::Invalid(reason));
        };
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = opened.get(name) {
            return Ok(file.clone());
        }
        check_count(opened.len() + 1).map_err(LoadError::Invalid)?;
        let Some(path) = self.folders.iter().map(|folder| folder.join(name)).find(|path| path.exists()) else {
            let folder = first.display();
            let reason = format!("its weights are in '{name}', which is missing; copy that file into {folder}");
            return Err(LoadError::Invalid(reason));
        };
        let file = self.open_path(&path).map_err(|e| {
            LoadError::Invalid(format!("its weights are in '{name}', and {} can't be read: {e}", path.display()))
        })?;
        let file = Arc::new(file);
        opened.insert(name.to_owned(), file.clone());
        Ok(file)
    }

    /// Opens a file that links may lead to only within one of the roots.
    fn open_path(&self, path: &Path) -> io::Result<File> {
        let mut refused = io::Error::from(io::ErrorKind::NotFound);
        for root in &self.roots {
            match open_within(root, path) {
                Ok(file) => return Ok(file),
                Err(e) => refused = e,
            }
        }
        Err(refused)
    }
}

/// Reads the external files `names`, which `open` opens, and compares them with the digests that are `expected`. Files
/// without an expected digest are accepted as they are.
///
/// # Errors
///
/// A file can't be opened or read, or has another digest; a digest is expected of a file that the graph does not name.
pub(crate) fn read_files(
    names: &[String],
    expected: &Digests,
    mut open: impl FnMut(&str) -> Result<Arc<File>, LoadError>,
) -> Result<ReadFiles, LoadError> {
    if let Some(name) = expected.keys().find(|&name| !names.contains(name)) {
        return Err(LoadError::Invalid(format!(
            "the card has a digest of '{name}', which is not a file of the graph's weights; remove it from \
             graph.external"
        )));
    }
    let mut read = ReadFiles::default();
    for name in names {
        let unreadable = |e: io::Error| LoadError::Invalid(format!("its weights in '{name}' can't be read: {e}"));
        let bytes = read_file(&*open(name)?).map_err(unreadable)?;
        let actual = Digest::of(&bytes).to_string();
        if let Some(expected) = expected.get(name)
            && *expected != actual
        {
            return Err(LoadError::ExternalDigest { file: name.clone(), expected: expected.clone(), actual });
        }
        read.digests.insert(name.clone(), actual);
        read.files.push(ExternalFile { name: name.clone(), bytes });
    }
    Ok(read)
}

/// Reads a file from its start, wherever the position of its descriptor is.
fn read_file(file: &File) -> io::Result<Arc<[u8]>> {
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    // Asked first, since a shared slice that can't be had would end the process.
    Vec::<u8>::new().try_reserve_exact(length).map_err(io::Error::other)?;
    let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, length).collect();
    if let Some(bytes) = Arc::get_mut(&mut bytes) {
        file.read_exact_at(bytes, 0)?;
    }
    Ok(bytes)
}
