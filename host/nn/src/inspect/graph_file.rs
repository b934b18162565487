//! What the engine says of a graph that has no card yet.

use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use modelfn_artifact::{Digest, open_regular};
use modelfn_card::{Engine, GraphFile, Target};

use crate::backend::GraphBytes;
use crate::backend::{self, Graph, GraphMetadata, LoadOptions};
use crate::external::{Digests, ExternalFolder, read_files};
use crate::registry::{EngineSettings, RegistryError, graph_file};
use crate::tensor::{AxisNames, ClassNames, Signature};
use crate::worker::{self, Expected, RemoteFiles, RemoteLoad};

/// What a graph says of itself.
pub struct GraphFacts {
    /// Its inputs and outputs.
    pub signature: Signature,
    /// The names of the inputs' axes.
    pub axis_names: AxisNames,
    /// A sentence for each output that is not served, with the remedy.
    pub omitted: Vec<String>,
    /// The names of the classes of some outputs.
    pub classes: Vec<ClassNames>,
    /// The digest of its file, in hexadecimal digits.
    pub sha256: String,
}

/// The graph that a path means: the file itself, or the one of a model's folder.
///
/// # Errors
///
/// The folder has no `.onnx` file, or several of which none is called `model.onnx`.
pub fn graph_at(path: &Path) -> Result<PathBuf, RegistryError> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let problem = |reason| RegistryError::Source { path: path.to_owned(), reason };
    let graph = path.join(graph_file(path).map_err(|reason| problem(format!("is no single model: {reason}")))?);
    if graph.exists() { Ok(graph) } else { Err(problem("has no .onnx file; name the graph itself".to_owned())) }
}

/// Loads the ONNX graph `file` where its engine runs, without computing anything.
///
/// # Errors
///
/// The file can't be read, or the engine can't load it.
pub fn graph_facts(file: &Path, engines: &EngineSettings) -> Result<GraphFacts, RegistryError> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let failed = |reason| RegistryError::Load { name: name.clone(), reason };
    let unreadable = |reason| RegistryError::Unreadable { name: name.clone(), path: file.to_owned(), reason };
    let mut opened = open_regular(file).map_err(unreadable)?;
    let (engine, target) = (Engine::Onnx, Target::Cpu);
    let folder = ExternalFolder::of_file(file);
    let options = LoadOptions { target, threads: NonZeroUsize::MIN, outputs: Vec::new() };
    let graph = GraphFile { file: file.to_owned(), engine, target, ..GraphFile::default() };
    let Some(settings) = engines.worker_for(&graph).map_err(failed)? else {
        let mut bytes = Vec::new();
        opened.read_to_end(&mut bytes).map_err(unreadable)?;
        let backend = backend::find(&engines.backends, engine).map_err(failed)?;
        backend.prepare();
        let names = backend.external_files(&bytes).map_err(failed)?;
        let external = read_files(&names, &Digests::new(), |name| folder.open(name)).map_err(failed)?;
        let files = GraphBytes { graph: &bytes, external: &external.files };
        let graph = backend.load(files, &options).map_err(failed)?;
        return Ok(GraphFacts::of(graph.as_ref(), Digest::of(&bytes)));
    };
    let graph = RemoteFiles { graph: opened, external: folder, expected: Expected::default() };
    let load = RemoteLoad { model: &name, graph, engine, options, warm_up: None };
    let loaded = worker::load(settings, load).map_err(failed)?;
    Ok(GraphFacts::of(loaded.graph.as_ref(), loaded.digest))
}

impl GraphFacts {
    fn of(graph: &dyn Graph, digest: Digest) -> GraphFacts {
        let GraphMetadata { axis_names, omitted, classes } = graph.metadata();
        GraphFacts { signature: graph.signature().clone(), axis_names, omitted, classes, sha256: digest.to_string() }
    }
}
