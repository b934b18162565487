//! Which models a person means who types a name or a path.

use std::path::{MAIN_SEPARATOR, Path, PathBuf};

use anyhow::{Result, bail};
use modelfn_nn::registry::{FoundModel, Source, find_models};

use crate::settings::ModelSettings;

/// The model that `text` names: one of the folder of models, else the one at that path.
///
/// # Errors
///
/// There is no such model, or several. Says what there is.
pub(in crate::commands) fn model(text: &str, settings: &ModelSettings) -> Result<FoundModel> {
    let path = Path::new(text);
    if !text.contains(MAIN_SEPARATOR) {
        let found = find_models(&[Source::Folder(settings.folder())]).unwrap_or_default();
        if let Some(model) = found.into_iter().find(|model| model.name == text) {
            return Ok(model);
        }
    }
    if !path.exists() {
        let folder = settings.folder();
        let have = find_models(&[Source::Folder(folder.clone())])?;
        let have: Vec<_> = have.iter().map(|model| model.name.as_str()).collect();
        let have = if have.is_empty() { "none".to_owned() } else { have.join(", ") };
        bail!(
            "no model '{text}' in {}; have: {have}; a file or folder of that name is not here, either",
            folder.display()
        );
    }
    let mut models = models(&[path.to_owned()], settings)?;
    match (models.pop(), models.is_empty()) {
        (Some(model), true) => Ok(model),
        (None, _) => bail!("{text} has no model: neither a card nor an .onnx file"),
        (Some(last), false) => {
            let names: Vec<_> = models.iter().chain([&last]).map(|model| model.path.display().to_string()).collect();
            bail!("{text} has several models; name one of them: {}", names.join(", "))
        }
    }
}

/// The models at these paths; those of the folder of models where there is no path.
///
/// # Errors
///
/// There is nothing at a path, or no folder of models.
pub(in crate::commands) fn models(paths: &[PathBuf], settings: &ModelSettings) -> Result<Vec<FoundModel>> {
    if paths.is_empty() {
        return Ok(find_models(&[Source::Folder(settings.folder())])?);
    }
    let sources = paths.iter().map(|path| Source::at(path)).collect::<Result<Vec<_>, _>>()?;
    Ok(find_models(&sources)?)
}
