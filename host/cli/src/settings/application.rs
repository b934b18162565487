//! What is served: models that were named by their paths, an application, or both.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use modelfn_nn::registry::{Source, find_models};
use modelfn_server::loader::ModelChoice;

use super::ModelSettings;

/// The manifest that is read where none is named.
const DEFAULT_MANIFEST: &str = "spin.toml";

/// The manifest: the one that was named, else `spin.toml` of the working folder. Models that were named need none.
///
/// # Errors
///
/// There is neither a manifest nor a model. Says what to type.
pub(super) fn manifest(named: Option<&Path>, paths: &[PathBuf], settings: &ModelSettings) -> Result<Option<PathBuf>> {
    if let Some(named) = named {
        return Ok(Some(named.to_owned()));
    }
    if !paths.is_empty() {
        return Ok(None);
    }
    if Path::new(DEFAULT_MANIFEST).exists() {
        return Ok(Some(DEFAULT_MANIFEST.into()));
    }
    if settings.names_folder() {
        return Ok(None);
    }
    bail!("there is no {DEFAULT_MANIFEST} here, and no model was named; {}", what_to_type())
}

/// Where models come from: the paths that were named, else the folder of models, which must be there if it was named.
///
/// # Errors
///
/// There is no model at a path.
pub(super) fn sources(paths: &[PathBuf], settings: &ModelSettings) -> Result<Vec<Source>> {
    if paths.is_empty() {
        let folder = settings.folder();
        return Ok(vec![if settings.names_folder() { Source::Folder(folder) } else { Source::OptionalFolder(folder) }]);
    }
    Ok(paths.iter().map(|path| Source::at(path)).collect::<Result<_, _>>()?)
}

/// Which models are loaded.
pub(super) fn choice(only: &[String], paths: &[PathBuf], settings: &ModelSettings) -> ModelChoice {
    if !only.is_empty() {
        return ModelChoice::Named(only.to_vec());
    }
    if paths.is_empty() && !settings.names_folder() { ModelChoice::OfManifest } else { ModelChoice::All }
}

/// The command that serves what is in the working folder.
fn what_to_type() -> String {
    let here = find_models(&[Source::Folder(".".into())]).unwrap_or_default();
    let graph = here.iter().find(|model| model.path.is_file()).or(here.first());
    if let Some(model) = graph {
        let path = model.path.strip_prefix(".").unwrap_or(&model.path);
        return format!("`modelfn serve {}` serves the model that is here", path.display());
    }
    let folder = super::models::DEFAULT_FOLDER;
    if find_models(&[Source::Folder(folder.into())]).is_ok_and(|models| !models.is_empty()) {
        return format!("`modelfn serve {folder}` serves the models in the folder {folder}");
    }
    "type `modelfn serve model.onnx`, or name another file, a model's folder, a folder of models, or an application's \
     manifest (--app FILE)"
        .to_owned()
}
