//! A model's files, read and not loaded: for those who look at a model before it is served.

use std::path::{Path, PathBuf};

use super::backend::{self, Backend};
use super::registry::{ModelVersion, RegistryError};
use super::weights::Weights;
use modelfn_artifact::digest::sha256_hex;
use modelfn_card::Card;

/// What is in the folder of the version that would be served.
pub struct ModelFiles {
    /// The version's own folder.
    pub folder: PathBuf,
    /// As its author wrote it.
    pub card: Card,
    /// The bytes of the graph file. They have the digest of the card.
    pub graph: Vec<u8>,
}

impl ModelFiles {
    /// Reads the model `name` of `folder`.
    ///
    /// # Errors
    ///
    /// There is no such model, or one of its files can't be read.
    pub fn read(folder: &Path, name: &str) -> Result<ModelFiles, RegistryError> {
        let candidate = ModelVersion::named(folder, name)?;
        let graph = candidate.read_graph()?;
        candidate.check_digest(&sha256_hex(&graph))?;
        Ok(ModelFiles { folder: candidate.folder, card: candidate.card, graph })
    }

    /// Counts the weights of the graph. No engine is started.
    ///
    /// # Errors
    ///
    /// The file is not a graph of its engine.
    pub fn weights(&self, backends: &[Box<dyn Backend>]) -> Result<Weights, RegistryError> {
        let counted = backend::find(backends, self.card.graph.engine).and_then(|backend| backend.weights(&self.graph));
        counted.map_err(|reason| RegistryError::Load { name: self.card.name.clone(), reason })
    }
}
