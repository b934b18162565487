//! The arrow of the crates: `cli -> server -> wasm -> nn`, never back, with one outside technology for each layer.
//!
//! The compiler refuses what a crate does not declare, so that these tests read the declarations. They search sources
//! only for what a declaration cannot say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::harness::root;

/// Each crate of the host and the crates of this workspace that it may use.
const ARROW: &[(&str, &[&str])] = &[
    ("host/telemetry", &[]),
    ("host/artifact", &[]),
    ("host/nn", &["modelfn-artifact", "modelfn-card", "modelfn-telemetry"]),
    ("host/wasm", &["modelfn-artifact", "modelfn-nn", "modelfn-telemetry"]),
    ("host/server", &["modelfn-artifact", "modelfn-nn", "modelfn-telemetry", "modelfn-wasm"]),
    ("host/plan", &["modelfn-card", "modelfn-nn"]),
    (
        "host/cli",
        &["modelfn-card", "modelfn-nn", "modelfn-plan", "modelfn-server", "modelfn-telemetry", "modelfn-wasm"],
    ),
];

/// Outside technologies, and the only crates that may declare them.
const TECHNOLOGIES: &[(&str, &[&str])] = &[
    ("hyper", &["host/server", "host/plan"]),
    ("hyper-util", &["host/server", "host/plan"]),
    ("wasmtime", &["host/wasm"]),
    ("wasmtime-wasi", &["host/wasm"]),
    ("wasmtime-wasi-http", &["host/wasm"]),
    ("ort", &["host/nn"]),
    ("opentelemetry", &["host/telemetry"]),
    ("prometheus-client", &["host/telemetry"]),
    ("clap", &["host/cli"]),
];

/// The crates of the product, on both sides.
const PRODUCT: &[&str] = &["host", "guest", "models"];

/// The names under `[dependencies]` of a crate.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    manifest["dependencies"].as_table().unwrap().keys().cloned().collect()
}

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

fn product_sources() -> Vec<PathBuf> {
    PRODUCT.iter().flat_map(|folder| sources(&root().join(folder))).collect()
}

/// The lines of a file without those that are comments.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

#[test]
fn a_layer_uses_only_the_layers_below_it() {
    for (folder, allowed) in ARROW {
        let used: BTreeSet<_> = dependencies(folder).into_iter().filter(|name| name.starts_with("modelfn-")).collect();
        let allowed = allowed.iter().map(ToString::to_string).collect();
        assert_eq!(used, allowed, "{folder}");
    }
    let listed: BTreeSet<_> = ARROW.iter().map(|(folder, _)| root().join(folder)).collect();
    let crates = std::fs::read_dir(root().join("host")).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(listed, crates.collect(), "a crate of the host is missing in this test");
}

#[test]
fn each_technology_belongs_to_its_layer() {
    for (technology, owners) in TECHNOLOGIES {
        let users: Vec<_> = ARROW
            .iter()
            .map(|(folder, _)| *folder)
            .filter(|folder| dependencies(folder).contains(*technology))
            .collect();
        assert!(!users.is_empty(), "nobody uses {technology}");
        assert!(users.iter().all(|user| owners.contains(user)), "{technology} is used by {users:?}");
    }
}

#[test]
fn only_the_onnx_backend_knows_the_engine() {
    let of_engine = ["onnx.rs", "onnx/runs.rs", "onnx/session.rs", "onnx/signature.rs", "onnx/strings.rs"];
    let of_engine = of_engine.map(|file| format!("backend/{file}"));
    for path in sources(&root().join("host/nn/src")) {
        let named = code(&path)
            .split("ort::")
            .zip(code(&path).split("ort::").skip(1))
            .any(|(before, _)| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_'));
        assert!(!named || of_engine.iter().any(|file| path.ends_with(file)), "{} names the engine", relative(&path));
    }
}

#[test]
fn unsafe_code_is_where_c_is_called() {
    let with: Vec<_> = product_sources()
        .iter()
        .filter(|path| !path.ends_with("tests.rs") && code(path).contains("unsafe {"))
        .map(|path| relative(path))
        .collect();
    let allowed = [
        "host/cli/src/allocator.rs",
        "host/nn/src/backend/onnx.rs",
        "host/nn/src/backend/onnx/session.rs",
        "host/nn/src/backend/onnx/strings.rs",
        "host/nn/src/worker/memory.rs",
        "host/wasm/src/code_cache.rs",
    ];
    assert!(!with.is_empty() && with.iter().all(|file| allowed.contains(&file.as_str())), "{with:#?}");
}

#[test]
fn no_file_is_longer_than_400_lines() {
    for path in product_sources().iter().filter(|path| !path.ends_with("tests.rs")) {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.split("#[cfg(test)]\nmod tests {").next().unwrap().lines().count();
        assert!(lines <= 400, "{} has {lines} lines without its tests: split it", relative(path));
    }
}
