//! Where models come from: folders of models, a model's own folder, and `.onnx` files.
//!
//! A model is a folder with a card, or with an `.onnx` file, or with folders `1/`, `2/` … of its versions; or it is an
//! `.onnx` file itself. Its name is the folder's, or the file's without `.onnx`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::RegistryError;
use super::versions::{GRAPH_EXTENSION, USUAL_GRAPH, graph_files, has_card, is_model, numbered};

/// Where models come from. A reload looks there again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder whose folders and `.onnx` files are models. What is in it is not demanded: a model there that can't be
    /// loaded is left out.
    Folder(PathBuf),
    /// Such a folder that need not be there, for an application that may have no models.
    OptionalFolder(PathBuf),
    /// One model that must be there: its folder, or its `.onnx` file.
    Model(PathBuf),
}

/// A model that was found in a [`Source`], and of which nothing was read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundModel {
    /// The name by which clients and functions ask for it.
    pub name: String,
    /// Its folder, or its `.onnx` file.
    pub path: PathBuf,
    /// Whether it was named by its path, so that it must be there.
    pub demanded: bool,
}

impl Source {
    /// What a path that a person typed means: a model, or a folder of models.
    ///
    /// # Errors
    ///
    /// There is nothing at `path`, or a file that is no `.onnx`.
    pub fn at(path: &Path) -> Result<Source, RegistryError> {
        let problem = |reason: &str| RegistryError::Source { path: path.to_owned(), reason: reason.to_owned() };
        if path.is_file() {
            let is_graph = path.extension().is_some_and(|extension| extension == GRAPH_EXTENSION);
            let remedy =
                "is no .onnx file; export the model to ONNX, or name its folder if a card says what the file is";
            return if is_graph { Ok(Source::Model(path.to_owned())) } else { Err(problem(remedy)) };
        }
        if !path.is_dir() {
            return Err(problem(
                "is neither a file nor a folder; name an .onnx file, a model's folder or a folder of models",
            ));
        }
        let graphs = graph_files(path);
        let is_whole = has_card(path) || !numbered(path).is_empty() || path.join(USUAL_GRAPH).is_file();
        let is_single = || graphs.len() == 1 && !has_model_folders(path);
        Ok(if is_whole || is_single() { Source::Model(path.to_owned()) } else { Source::Folder(path.to_owned()) })
    }

    /// The path of the source.
    pub fn path(&self) -> &Path {
        match self {
            Source::Folder(path) | Source::OptionalFolder(path) | Source::Model(path) => path,
        }
    }

    fn models(&self) -> Result<Vec<FoundModel>, RegistryError> {
        match self {
            Source::OptionalFolder(folder) if !folder.exists() => Ok(Vec::new()),
            Source::Folder(folder) | Source::OptionalFolder(folder) => models_in(folder),
            Source::Model(path) => Ok(vec![FoundModel { name: name_of(path)?, path: path.clone(), demanded: true }]),
        }
    }
}

/// The models of all sources, sorted by name.
///
/// # Errors
///
/// A source can't be read, a name is no text, or two models have one name.
pub fn find_models(sources: &[Source]) -> Result<Vec<FoundModel>, RegistryError> {
    let mut found: BTreeMap<String, FoundModel> = BTreeMap::new();
    for source in sources {
        for model in source.models()? {
            match found.get(&model.name) {
                Some(first) if !is_same(&first.path, &model.path) => {
                    let paths = [first.path.clone(), model.path];
                    return Err(RegistryError::Twice { name: model.name, paths });
                }
                Some(first) if first.demanded => {}
                _ => drop(found.insert(model.name.clone(), model)),
            }
        }
    }
    Ok(found.into_values().collect())
}

/// The names of the folders in the sources' folders that hold no model.
pub(super) fn folders_without_model(sources: &[Source]) -> Vec<String> {
    let folders = sources.iter().filter_map(|source| match source {
        Source::Folder(folder) | Source::OptionalFolder(folder) => std::fs::read_dir(folder).ok(),
        Source::Model(_) => None,
    });
    let paths = folders.flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir() && !is_model(path));
    let names = paths.filter(|path| !is_hidden(path));
    names.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect()
}

/// The error that `sources` have no model `name`, but those that are `present`.
pub(super) fn unknown(name: &str, sources: &[Source], present: &[FoundModel]) -> RegistryError {
    let places = sources.iter().map(|source| source.path().display().to_string()).collect::<Vec<_>>().join(", ");
    let have = present.iter().map(|model| model.name.as_str()).collect::<Vec<_>>().join(", ");
    let have = if have.is_empty() { "none".to_owned() } else { have };
    RegistryError::Unknown { name: name.to_owned(), places, have }
}

fn models_in(folder: &Path) -> Result<Vec<FoundModel>, RegistryError> {
    let unreadable = |reason| RegistryError::Folder { folder: folder.to_owned(), reason };
    let mut models = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        // Hidden folders are not for people, such as those behind a mounted ConfigMap. A name that is no text can't be
        // asked for.
        if !is_hidden(&path)
            && is_model(&path)
            && let Ok(name) = name_of(&path)
        {
            models.push(FoundModel { name, path, demanded: false });
        }
    }
    models.extend(graph_files(folder).into_iter().filter_map(|file| {
        let path = folder.join(file);
        Some(FoundModel { name: name_of(&path).ok()?, path, demanded: false })
    }));
    Ok(models)
}

/// The name of the model at `path`.
fn name_of(path: &Path) -> Result<String, RegistryError> {
    let unnamed = || RegistryError::Source { path: path.to_owned(), reason: "has no name that is text".to_owned() };
    let name = if path.is_dir() {
        // Of `.` and `..` only the real path says the name.
        let real = path.canonicalize().map_err(|reason| RegistryError::Folder { folder: path.to_owned(), reason })?;
        if path.file_name().is_some() { path.file_name() } else { real.file_name() }.map(ToOwned::to_owned)
    } else {
        path.file_stem().map(ToOwned::to_owned)
    };
    name.and_then(|name| name.into_string().ok()).ok_or_else(unnamed)
}

fn has_model_folders(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path.is_dir() && !is_hidden(&path) && is_model(&path))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    one.canonicalize().ok().is_some_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}
