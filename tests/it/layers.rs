//! The rule that the folders show: `server -> wasm -> nn`, never back, and one outside technology each. `plan` stands
//! beside them, on `nn`; nothing in the path of a request knows of it.

use std::path::{Path, PathBuf};

use crate::harness::root;

/// What the files of a layer must not mention.
const RULES: &[(&str, &[&str])] = &[
    (
        "nn",
        &[
            "hyper",
            "wasmtime",
            "http::",
            "opentelemetry",
            "crate::server",
            "crate::plan",
            "crate::wasm",
            "crate::app",
            "crate::host",
        ],
    ),
    (
        "wasm",
        &[
            "hyper::",
            "hyper_util",
            "ort::",
            "opentelemetry",
            "StatusCode",
            "crate::server",
            "crate::plan",
            "crate::app",
            "crate::host",
        ],
    ),
    ("server", &["wasmtime", "ort::", "crate::plan", "crate::host"]),
    (
        "plan",
        &["hyper", "wasmtime", "ort::", "opentelemetry", "crate::server", "crate::wasm", "crate::app", "crate::host"],
    ),
];

/// Leaves, which depend on no layer.
const LEAVES: &[&str] = &[
    "app.rs",
    "config.rs",
    "digest.rs",
    "key_file.rs",
    "metrics.rs",
    "metrics/admission.rs",
    "metrics/process.rs",
    "metrics/statistics.rs",
    "metrics/triton.rs",
    "pressure.rs",
    "public.rs",
    "route.rs",
    "traces.rs",
    "traces/request.rs",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code of a file: without comments, and without what is behind `#[cfg(test)]`.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn mentions(path: &Path, forbidden: &[&str]) -> Vec<String> {
    let code = code(path);
    forbidden
        .iter()
        .filter(|word| code.contains(*word))
        .map(|word| format!("{} mentions {word}", path.display()))
        .collect()
}

#[test]
fn each_layer_keeps_to_its_technology_and_direction() {
    let src = root().join("host/src");
    let mut broken = Vec::new();
    for (layer, forbidden) in RULES {
        let files: Vec<_> = sources(&src.join(layer)).into_iter().chain([src.join(format!("{layer}.rs"))]).collect();
        assert!(files.len() > 3, "{layer} has moved");
        broken.extend(files.iter().flat_map(|file| mentions(file, forbidden)));
    }
    for leaf in LEAVES {
        broken.extend(mentions(
            &src.join(leaf),
            &["crate::server", "crate::wasm", "crate::nn", "crate::plan", "wasmtime", "hyper", "ort::"],
        ));
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn only_the_onnx_backend_knows_the_engine() {
    let src = root().join("host/src");
    let its = ["nn/backend/onnx.rs", "nn/backend/onnx/session.rs"];
    let others = sources(&src).into_iter().filter(|path| !its.iter().any(|file| path.ends_with(file)));
    let broken: Vec<_> =
        others.flat_map(|file| mentions(&file, &["ort::"])).filter(|line| !line.contains("export::")).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn unsafe_code_is_where_the_engines_are() {
    let files = [root().join("host/src"), root().join("guest/src")]
        .iter()
        .flat_map(|folder| sources(folder))
        .collect::<Vec<_>>();
    let product = files.iter().filter(|file| !file.ends_with("tests.rs"));
    let with: Vec<_> = product.filter(|file| code(file).contains("unsafe {")).collect();
    let allowed = ["nn/backend/onnx.rs", "nn/backend/onnx/session.rs", "wasm/code_cache.rs"]
        .map(|file| root().join("host/src").join(file));
    assert!(!with.is_empty() && with.iter().all(|file| allowed.contains(file)), "{with:#?}");
}

#[test]
fn no_file_has_outgrown_a_head() {
    for file in [root().join("host/src"), root().join("guest/src")].iter().flat_map(|folder| sources(folder)) {
        let lines = std::fs::read_to_string(&file).unwrap().split("#[cfg(test)]").next().unwrap().lines().count();
        assert!(lines <= 400, "{} has {lines} lines without its tests: split it", file.display());
    }
}
