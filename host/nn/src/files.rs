//! The files of a model, read without loading the graph: for tools that analyze a model before it is served.

use std::path::PathBuf;

use super::backend::{self, Backend};
use super::registry::{ModelVersion, RegistryError, Source};
use super::weights::Weights;
use modelfn_card::Card;

/// The files of the version that would be served.
pub struct ModelFiles {
    /// The folder of the version.
    pub folder: PathBuf,
    /// The model card.
    pub card: Card,
    /// The bytes of the graph file, whose digest is the card's.
    pub graph: Vec<u8>,
}

impl ModelFiles {
    /// Reads the model `name` of `sources`.
    ///
    /// # Errors
    ///
    /// There is no such model, one of its files can't be read, or the graph's digest is not the card's.
    pub fn read(sources: &[Source], name: &str) -> Result<ModelFiles, RegistryError> {
        let version = ModelVersion::named(sources, name)?;
        let graph = version.read_file(&version.card.graph.sha256)?;
        Ok(ModelFiles { folder: version.folder, card: version.card, graph: graph.bytes })
    }

    /// The names of the files beside the graph that hold its weights.
    ///
    /// # Errors
    ///
    /// The file is not a graph of its engine.
    pub fn external_files(&self, backends: &[Box<dyn Backend>]) -> Result<Vec<String>, RegistryError> {
        let found = backend::find(backends, self.card.graph.engine);
        let names = found.and_then(|backend| backend.external_files(&self.graph));
        names.map_err(|reason| RegistryError::Load { name: self.card.name.clone(), reason })
    }

    /// Counts the weights of the graph without starting an engine.
    ///
    /// # Errors
    ///
    /// The file is not a graph of its engine.
    pub fn weights(&self, backends: &[Box<dyn Backend>]) -> Result<Weights, RegistryError> {
        let counted = backend::find(backends, self.card.graph.engine).and_then(|backend| backend.weights(&self.graph));
        counted.map_err(|reason| RegistryError::Load { name: self.card.name.clone(), reason })
    }
}
