//! The functions of models that no manifest gives one: an image classifier gets the one that the program carries.
//!
//! Such a function is at `/models/{model}/`, in place of the page of tensors. Where the model is the server's only one, it
//! is at `/` as well, so that `POST /classify` is what it is with the example's manifest.

use std::collections::BTreeMap;

use modelfn_nn::model::Model;
use modelfn_nn::registry::Registry;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::functions::manifest::{CodeSource, Component};
use crate::functions::public_route::PublicRoute;
use crate::functions::route::Route;

/// What JavaScript's `encodeURIComponent` encodes, so that links of pages lead here.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// The folder of the guest in which functions look for their model.
const MODEL_FOLDER: &str = "/model";

/// Functions that come with models.
#[derive(Default)]
pub(super) struct ModelFunctions {
    /// By id, which no component of a manifest has.
    pub(super) components: BTreeMap<String, Component>,
    /// The ids of components by route.
    pub(super) routes: Vec<(Route, String)>,
}

impl ModelFunctions {
    /// The functions for the models of `registry`. `classify` is the component that classifies pictures, if this program
    /// has one.
    pub(super) fn of(registry: &Registry, classify: Option<&'static [u8]>) -> ModelFunctions {
        let mut functions = ModelFunctions::default();
        let is_only = registry.models().count() + registry.broken().len() == 1;
        for model in registry.models().filter(|model| model.card().is_image_classifier()) {
            let name = model.name();
            let Some(wasm) = classify else {
                tracing::warn!(
                    "model '{name}' classifies pictures, but this program was built without the function for that, so that its page takes tensors; run `guest/build.sh classify` and build the program again"
                );
                continue;
            };
            let Some(component) = classifier(model, wasm) else { continue };
            let id = format!("classify({name})");
            let below = format!("/models/{}/...", utf8_percent_encode(name, SEGMENT));
            let at_root = is_only.then(|| "/...".to_owned());
            let routes = [Some(below), at_root].into_iter().flatten().filter_map(|route| route.parse().ok());
            functions.routes.extend(routes.map(|route| (route, id.clone())));
            functions.components.insert(id, component);
        }
        functions
    }
}

/// The function of an image classifier, which sees nothing but the model's own folder: a model without one has no card,
/// and so nothing that says how it classifies.
fn classifier(model: &Model, wasm: &'static [u8]) -> Option<Component> {
    let page: PublicRoute = "GET /".parse().ok()?;
    Some(Component {
        source: CodeSource::Embedded(wasm),
        sha256: None,
        environment: model.card_variable().into_iter().collect(),
        files: vec![(model.folder()?.to_owned(), MODEL_FOLDER.to_owned())],
        models: vec![model.name().to_owned()],
        allow_load: false,
        timeout: None,
        memory: None,
        max_instances: None,
        public: vec![page],
    })
}
