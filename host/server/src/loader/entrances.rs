//! What people are told of what was loaded: where to look first, or why there is nothing to look at.

use modelfn_nn::registry::{Registry, Source};

use super::{AppLoader, Loaded};
use crate::oip::example::{Access, curl};

/// Where people look first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrance {
    /// A word for it.
    pub what: &'static str,
    /// An address or a command.
    pub how: String,
}

/// Why there is no model at all.
pub(super) fn nothing(registry: &Registry, sources: &[Source]) -> String {
    let reasons: Vec<_> =
        registry.broken().values().chain(registry.left_out().values()).map(ToString::to_string).collect();
    if !reasons.is_empty() {
        return reasons.join("; ");
    }
    let paths: Vec<_> = sources.iter().map(|source| source.path().display().to_string()).collect();
    format!(
        "there is no model in {}: neither an .onnx file, nor a folder with one or with model.toml; export a model to ONNX, \
         and name its file or its folder",
        paths.join(", ")
    )
}

impl AppLoader {
    /// Where people look first, on the server at `address` (host and port): what it is, and what to open or to type.
    pub fn entrances(&self, address: &str, access: Access) -> Vec<Entrance> {
        let Loaded { app, registry, .. } = &self.loaded;
        let has_page =
            app.model_pages || app.routes.iter().any(|(route, _)| ["/", "/..."].contains(&&*route.to_string()));
        let page = has_page.then(|| Entrance { what: "page", how: format!("http://{address}/") });
        let models = Entrance { what: "protocol", how: format!("http://{address}/v2/models") };
        let example = registry.models().next().map(|model| Entrance { what: "try", how: curl(model, address, access) });
        page.into_iter().chain([models]).chain(example).collect()
    }
}
