//! The errors of the registry.

use std::io;
use std::path::PathBuf;

use crate::backend::LoadError;
use modelfn_card::{CARD_FILE, CardError};

/// Why the registry, or one of its models, could not be loaded. Every message names the remedy.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what the variant is")]
pub enum RegistryError {
    #[error("the model folder {} can't be read: {reason}; name another with --models", folder.display())]
    Folder { folder: PathBuf, reason: io::Error },
    #[error("{} {reason}", path.display())]
    Source { path: PathBuf, reason: String },
    #[error("no model '{name}' in {places}; have: {have}")]
    Unknown { name: String, places: String, have: String },
    #[error("two models are called '{name}': {} and {}; rename one of them", paths[0].display(), paths[1].display())]
    Twice { name: String, paths: [PathBuf; 2] },
    #[error("model '{name}': {reason}")]
    Versions { name: String, reason: String },
    #[error("model '{name}': {} can't be read: {reason}", path.display())]
    Unreadable { name: String, path: PathBuf, reason: io::Error },
    #[error("model '{name}': {} is missing; put the graph there, or name another file in the card (graph.file). In a clone, `make models` makes those of the example", path.display())]
    NoGraph { name: String, path: PathBuf },
    #[error("model '{name}': {CARD_FILE}: {reason}")]
    Card { name: String, reason: Box<CardError> },
    #[error("model '{name}': {} has sha256 {actual}, the card says {expected}; take the right file, or correct graph.sha256 in the card", path.display())]
    Digest { name: String, path: PathBuf, expected: String, actual: String },
    #[error("model '{name}': card and graph disagree: {reason}; `modelfn model inspect {name}` shows both")]
    Disagree { name: String, reason: String },
    #[error("model '{name}': {reason}")]
    Load { name: String, reason: LoadError },
    #[error("model '{name}': the warm-up failed: {reason}")]
    WarmUp { name: String, reason: String },
}

impl RegistryError {
    /// The message without the model's name, and of several lines the first.
    pub(super) fn without_name(&self) -> String {
        without_name(&self.to_string()).lines().next().unwrap_or_default().to_owned()
    }

    /// Whether the model's engine is not there at all.
    pub(super) fn is_no_engine(&self) -> bool {
        matches!(self, RegistryError::Load { reason: LoadError::NoEngine(_), .. })
    }

    /// Whether the model's files are there but damaged. Other errors are mistakes in the configuration.
    pub(super) fn is_broken_model(&self) -> bool {
        match self {
            RegistryError::Unreadable { .. } | RegistryError::Digest { .. } | RegistryError::WarmUp { .. } => true,
            RegistryError::Load { reason, .. } => matches!(reason, LoadError::Invalid(_)),
            _ => false,
        }
    }
}

/// An error's message without the model's name, where that is shown anyway.
pub(crate) fn without_name(message: &str) -> &str {
    let rest = message.strip_prefix("model '").and_then(|rest| rest.split_once("': "));
    rest.map_or(message, |(_, reason)| reason)
}
