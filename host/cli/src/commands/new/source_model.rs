//! The model of a new function: a person's, copied with what belongs to it, or the one that a template brings.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use modelfn_card::{Engine, Labels};
use modelfn_nn::backend;
use modelfn_nn::registry::EngineSettings;

use super::template::Template;
use crate::bundle;

/// The graph's name in a model's folder.
pub(super) const GRAPH_FILE: &str = "model.onnx";

/// The names of classes, one a line.
const LABELS_FILE: &str = "labels.txt";

/// What functions may need beside a graph.
const COMPANIONS: [&str; 2] = [LABELS_FILE, "vocab.txt"];

/// The largest graph that is copied, in bytes: no ONNX file is larger, since its weights are files of their own then.
const MAX_GRAPH: u64 = 2 << 30;

/// Copies `graph`, its weights and its companions into the folder `model`.
///
/// # Errors
///
/// A file can't be read or written, or its weights lie outside of its folder.
pub(super) fn copy(graph: &Path, model: &Path, engines: &EngineSettings) -> Result<()> {
    let unreadable = || format!("--model {}: it can't be read", graph.display());
    ensure!(!graph.is_dir(), "--model {} is a folder; name the .onnx file in it", graph.display());
    ensure!(graph.is_file(), "--model {}: no such file; export a model to ONNX, and name its file", graph.display());
    let mut bytes = Vec::new();
    let length = std::fs::File::open(graph).and_then(|file| file.take(MAX_GRAPH).read_to_end(&mut bytes));
    let length = length.with_context(unreadable)?;
    ensure!((length as u64) < MAX_GRAPH, "--model {}: more than 2 GiB is no ONNX file", graph.display());
    write(&model.join(GRAPH_FILE), &bytes)?;
    let folder = graph.parent().unwrap_or(Path::new("."));
    let external = backend::find(&engines.backends, Engine::Onnx)?.external_files(&bytes);
    let external = external.with_context(|| format!("--model {}", graph.display()))?;
    let companions = COMPANIONS.iter().map(PathBuf::from).filter(|file| folder.join(file).is_file());
    for file in external.into_iter().map(PathBuf::from).chain(companions) {
        let is_inside = file.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !is_inside {
            bail!("--model {}: its weights are in {}, outside of its folder", graph.display(), file.display());
        }
        let (from, to) = (folder.join(&file), model.join(&file));
        to.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::copy(&from, &to).with_context(|| format!("{} can't be copied", from.display()))?;
    }
    Ok(())
}

/// Writes the model that comes with `template` into the folder `model`.
///
/// # Errors
///
/// A file can't be written.
pub(super) fn example(template: Template, model: &Path) -> Result<()> {
    let files = bundle::template(&format!("{template}/model"))?;
    ensure!(!files.is_empty(), "the template {template} brings no model; name one with --model");
    files.iter().try_for_each(|(file, bytes)| write(&model.join(file), bytes))
}

/// The label file of the folder `model`, and how many classes it names.
///
/// # Errors
///
/// It is no text.
pub(super) fn labels(model: &Path) -> Result<Option<(String, usize)>> {
    let file = model.join(LABELS_FILE);
    if !file.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&file).with_context(|| format!("{LABELS_FILE} beside the model is no text"))?;
    Ok(Some((LABELS_FILE.to_owned(), Labels::new(text).len())))
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(file, bytes).with_context(|| format!("{} can't be written", file.display()))
}
