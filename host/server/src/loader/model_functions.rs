//! The functions of models that no manifest gives one: an image classifier gets the one that the program carries.
//!
//! Such a function is at `/models/{model}/`, in place of the page of tensors. Where the model is the server's only one, it
//! is at `/` as well, so that `POST /classify` is what it is with the example's manifest.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use modelfn_nn::model::Model;
use modelfn_nn::registry::Registry;
use percent_encoding::{AsciiSet, utf8_percent_encode};
use tempfile::TempDir;

use crate::functions::manifest::{CodeSource, Component};
use crate::functions::public_route::PublicRoute;
use crate::functions::route::Route;
use crate::functions::without_function::WithoutFunction;
use crate::oip::example::UNRESERVED;

/// What JavaScript's `encodeURIComponent` encodes, so that links of pages lead here.
const SEGMENT: &AsciiSet = &UNRESERVED.remove(b'!').remove(b'*').remove(b'\'').remove(b'(').remove(b')');

/// The folder of the guest in which functions look for their model.
const MODEL_FOLDER: &str = "/model";

/// Functions that come with models.
#[derive(Default)]
pub(super) struct ModelFunctions {
    /// By id, which no component of a manifest has.
    pub(super) components: BTreeMap<String, Component>,
    /// The ids of components by route.
    pub(super) routes: Vec<(Route, String)>,
    /// Folders that exist for these functions only.
    pub(super) folders: Vec<TempDir>,
    /// Why the other models have none.
    pub(super) without: WithoutFunction,
}

impl ModelFunctions {
    /// The functions for the models of `registry`. `classify` is the component that classifies pictures, if this program
    /// has one. A model that can't have its function keeps its page of tensors, and the log says why.
    pub(super) fn of(registry: &Registry, classify: Option<&'static [u8]>) -> ModelFunctions {
        let mut functions = ModelFunctions::default();
        let is_only = registry.models().count() + registry.broken().len() == 1;
        let mut without = BTreeMap::new();
        for model in registry.models() {
            if !model.card().is_image_classifier() {
                without.insert(model.name().to_owned(), no_classifier(model));
                continue;
            }
            if let Err(reason) = functions.add_classifier(model, registry, classify) {
                tracing::warn!("model '{}' has a page of tensors, not of pictures: {reason:#}", model.name());
                without
                    .insert(model.name().to_owned(), format!("model '{}' has no function: {reason:#}", model.name()));
                continue;
            }
            let id = id(model);
            let below = format!("/models/{}/...", utf8_percent_encode(model.name(), SEGMENT));
            let at_root = is_only.then(|| "/...".to_owned());
            let routes = [Some(below), at_root].into_iter().flatten().filter_map(|route| route.parse().ok());
            functions.routes.extend(routes.map(|route| (route, id.clone())));
        }
        functions.without = WithoutFunction::new(without, is_only);
        functions
    }

    fn add_classifier(&mut self, model: &Model, registry: &Registry, classify: Option<&'static [u8]>) -> Result<()> {
        let wasm = classify.context(
            "this program was built without the function for that; run `guest/build.sh classify` and build it again",
        )?;
        let folder = match model.folder() {
            Some(folder) if registry.has_own_folder(model.name()) => folder.to_owned(),
            _ => self.folder_of_file(model).context("its card and labels can't be given to a function")?,
        };
        let page: PublicRoute = "GET /".parse()?;
        let component = Component {
            source: CodeSource::Embedded(wasm),
            sha256: None,
            environment: model.card_variable().into_iter().collect(),
            files: vec![(folder, MODEL_FOLDER.to_owned())],
            models: vec![model.name().to_owned()],
            allow_load: false,
            timeout: None,
            memory: None,
            max_instances: None,
            public: vec![page],
        };
        self.components.insert(id(model), component);
        Ok(())
    }

    /// A folder of card and labels alone, for a model whose file lies beside files that are not the model's.
    fn folder_of_file(&mut self, model: &Model) -> Result<PathBuf> {
        let folder =
            tempfile::Builder::new().prefix("modelfn-").tempdir().context("TMPDIR names a folder to write to")?;
        let card = model.card();
        std::fs::write(folder.path().join(modelfn_nn::registry::CARD_FILE), toml::to_string(card)?)?;
        if let Some(labels) = card.classification()?.and_then(|table| table.labels) {
            let labels = folder.path().join(labels);
            std::fs::create_dir_all(labels.parent().unwrap_or(folder.path()))?;
            std::fs::write(labels, model.labels().join("\n") + "\n")?;
        }
        let path = folder.path().to_owned();
        self.folders.push(folder);
        Ok(path)
    }
}

/// Why a model is no image classifier, and what makes it one.
fn no_classifier(model: &Model) -> String {
    let (name, file) = (model.name(), model.card().graph.file.display());
    let missing = if model.has_card() {
        "the card does not say how a picture becomes the only input and what the scores mean"
    } else {
        "it has no card, which would say how a picture becomes its input and what the classes are called"
    };
    format!(
        "model '{name}' does not classify pictures: {missing}; in its folder, write one with `modelfn model card {file} \
         --task image-classification --preset imagenet --output .`, or another --preset, and --force over a card"
    )
}

fn id(model: &Model) -> String {
    format!("classify({})", model.name())
}

#[cfg(test)]
mod tests;
