//! Every manifest and every card that is shipped starts, and so do the snippets of the documents.

use std::path::{Path, PathBuf};

use modelfn_artifact::Digest;
use modelfn_card::Card;

use crate::harness::{Scratch, Setup, guest, model_with, root};

/// The files of the repository for which `wanted` holds, but not what was built.
fn files(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_owned();
        if path.is_dir() && name != "target" && name != ".git" {
            found.extend(files(&path, wanted));
        } else if path.is_file() && wanted(&path) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The manifest `text` with the files of this checkout instead of those of an image or of the manifest's own folder.
fn here(text: &str) -> String {
    let (component, models) = (guest("classify"), root().join("models"));
    let component = component.to_str().unwrap();
    text.replace("\"/app/classify.wasm\"", &format!("\"{component}\""))
        .replace("\"target/guest/classify.wasm\"", &format!("\"{component}\""))
        .replace("\"../../", &format!("\"{}/", root().display()))
        .replace("\"/models/", &format!("\"{}/", models.display()))
        .replace("\"models/", &format!("\"{}/", models.display()))
}

/// A server of the manifest `text` with the example's model.
fn serve(text: &str) -> Setup {
    Setup::app(&here(text)).models(root().join("models")).args(&["--load-model", "efficientnet-lite0-int8"])
}

/// The models that the components of a manifest name.
fn models_of(manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().unwrap();
    let components = manifest.get("component").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    let models = components.values().filter_map(|component| component.get("tool")?.get("modelfn")?.get("models"));
    models.flat_map(|models| models.as_array().unwrap()).map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_manifest_starts() {
    let manifests = files(root(), &|path| path.ends_with("spin.toml"));
    assert!(manifests.len() >= 3, "{manifests:?}");
    for path in manifests {
        let text = std::fs::read_to_string(&path).unwrap();
        let others = models_of(&text).into_iter().filter(|model| model != "efficientnet-lite0-int8");
        let setup = others.fold(serve(&text), |setup, model| setup.args(&["--load-model", &model]));
        let server = setup.start();
        assert_eq!(server.admin("/readyz").await.text(), "ready\n", "{}", path.display());
        let has_function = text.contains(".wasm\"");
        assert_eq!(server.get("/").await.status, if has_function { 200 } else { 404 }, "{}", path.display());
        assert_eq!(server.get("/v2/models/efficientnet-lite0-int8").await.status, 200, "{}", path.display());
    }
}

#[tokio::test]
async fn every_card_starts_with_its_graph() {
    let cards = files(root(), &|path| path.ends_with("model.toml") || path.parent().unwrap().ends_with("cards"));
    assert!(cards.len() >= 7, "{cards:?}");
    let mut started = 0;
    for path in cards {
        let text = std::fs::read_to_string(&path).unwrap();
        let card = Card::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = &card.name;
        // A card of k8s/ replaces that of a model of the image.
        let replaced = path.starts_with(root().join("k8s")).then(|| model_with(name, |_| text.clone()));
        let folder = replaced.as_ref().map_or(path.parent().and_then(Path::parent).unwrap(), Scratch::path);
        let is_elsewhere = ["bench", "tests/fixtures/hostile"].iter().any(|other| path.starts_with(root().join(other)));
        if is_elsewhere {
            // Models that are made for measurements, and hostile ones: their own tests start them.
            continue;
        }
        let server = Setup::models_only().models(folder).args(&["--load-model", name]).start();
        started += 1;
        assert_eq!(server.get(&format!("/v2/models/{name}/ready")).await.status, 200, "{}", path.display());
        assert_eq!(server.admin("/readyz").await.text(), "ready\n", "{}", path.display());
    }
    assert!(started >= 5, "only {started} cards were started");
}

/// The blocks of `language` in a document.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    text.split(&begin).skip(1).filter_map(|rest| rest.split("\n```").next()).map(|block| format!("{block}\n")).collect()
}

/// Snippets show a part of a file. What they leave out is that of the example.
#[tokio::test]
async fn every_snippet_of_the_documents_starts() {
    let example = std::fs::read_to_string(root().join("spin.toml")).unwrap();
    let table = "[component.classify.tool.modelfn]\n";
    let (head, _) = example.split_once(table).unwrap();
    let digest = Digest::of(&std::fs::read(guest("classify")).unwrap());
    let mut started = 0;
    for path in files(root(), &|path| path.extension().is_some_and(|extension| extension == "md")) {
        for block in blocks(&std::fs::read_to_string(&path).unwrap(), "toml") {
            let block = block.replace("sha256:…", &format!("sha256:{digest}"));
            if block.contains(table) {
                let server = serve(&format!("{head}{block}")).start();
                assert_eq!(server.get("/").await.status, 200, "{}:\n{block}", path.display());
                started += 1;
            } else {
                // Of a card or of `versions.toml`: that it is TOML is seen here, what it does in tests of its own.
                let parsed: Result<toml::Table, _> = block.parse();
                assert!(parsed.is_ok(), "{}: {parsed:?}\n{block}", path.display());
            }
        }
    }
    assert!(started >= 2, "only {started} snippets were started");
}
