//! Which functions come with which models, without running them.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use modelfn_nn::backend::fake::Fake;
use modelfn_nn::registry::{EngineSettings, RegistryOptions, Source};
use modelfn_telemetry::metrics::Metrics;

use super::*;

const GRAPH: &str = "compute = \"echo\"\n\
    inputs = [{ name = \"x\", dtype = \"FP32\", shape = [1, 3, 8, 8] }]\n\
    outputs = [{ name = \"y\", dtype = \"FP32\", shape = [1, 3, 8, 8] }]\n";

const CARD: &str = "graph = { file = \"graph\", engine = \"fake\" }\n";

const PICTURES: &str = "[preprocessing]\nsize = [8, 8]\ncrop = 1.0\nfilter = \"bilinear\"\nlayout = \"NCHW\"\n\
    color = \"RGB\"\nmean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\n";

const CLASSES: &str = "[postprocessing]\nlabels = \"labels.txt\"\nscores = \"logits\"\ntop_k = 1\n";

/// The registry of models with these names and tables of their cards, and the folder that they are in.
fn registry(models: &[(&str, &str)]) -> (Registry, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for (name, tables) in models {
        let model = folder.path().join(name);
        std::fs::create_dir(&model).unwrap();
        std::fs::write(model.join("model.toml"), format!("{CARD}{tables}")).unwrap();
        std::fs::write(model.join("graph"), GRAPH).unwrap();
        std::fs::write(model.join("labels.txt"), "label\n".repeat(3 * 8 * 8)).unwrap();
    }
    (load(folder.path()), folder)
}

fn load(folder: &Path) -> Registry {
    let sources = [Source::Folder(folder.to_owned())];
    let options = RegistryOptions { sources: &sources, only: &[], required: &[], instances: NonZeroUsize::MIN };
    let registry = Registry::new(EngineSettings::on_threads(vec![Box::new(Fake)]), Arc::new(Metrics::new()));
    registry.reload(&options).unwrap()
}

fn routes(registry: &Registry, classify: Option<&'static [u8]>) -> Vec<String> {
    let functions = ModelFunctions::of(registry, classify);
    assert!(functions.routes.iter().all(|(_, id)| functions.components.contains_key(id)));
    let mut routes: Vec<_> = functions.routes.iter().map(|(route, _)| route.to_string()).collect();
    routes.sort();
    routes
}

#[test]
fn classifiers_have_functions_where_the_program_carries_one() {
    let classifier = format!("{PICTURES}{CLASSES}");
    let (alone, _folder) = registry(&[("m", &classifier)]);
    assert_eq!(routes(&alone, Some(b"")), ["/...", "/models/m/..."]);
    assert_eq!(routes(&alone, None), [""; 0]);
    let (beside, _folder) =
        registry(&[("a b%:é", &classifier), ("pictures", PICTURES), ("scores", CLASSES), ("plain", "")]);
    assert_eq!(beside.models().count(), 4);
    assert_eq!(routes(&beside, Some(b"")), ["/models/a%20b%25%3A%C3%A9/..."]);
}

#[test]
fn a_function_may_load_its_own_model_and_answers_the_page_alone_without_a_key() {
    let (registry, _folder) = registry(&[("m", &format!("{PICTURES}{CLASSES}"))]);
    let functions = ModelFunctions::of(&registry, Some(b""));
    let component = &functions.components["classify(m)"];
    assert_eq!((component.models.as_slice(), component.allow_load), (&["m".to_owned()][..], false));
    assert_eq!(component.files.len(), 1);
    assert!(component.files[0].0.ends_with("m") && functions.folders.is_empty());
    assert!(component.public.iter().any(|public| public.has("GET", "/")));
    assert!(!component.public.iter().any(|public| public.has("POST", "/classify") || public.has("GET", "/model")));
}
