//! Why a card is refused.

use std::path::{Component, Path, PathBuf};

/// Why a card is refused. Each message names the key.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// No TOML, a key that is missing or unknown, or a value of the wrong type.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// Nothing is written in the file, as where writing it was interrupted.
    #[error("it is empty; write one with `modelfn model card FOLDER --output FOLDER --force`, or remove the file")]
    Empty,
    /// The model's name is not that of its folder.
    #[error("name = \"{name}\" must be the folder's name, \"{folder}\"; rename one of them, or leave `name` out")]
    Name {
        /// The name that the card has.
        name: String,
        /// The name that it must have.
        folder: String,
    },
    /// `serving.max_queue_delay_ms` is negative, too long or not a number.
    #[error("serving.max_queue_delay_ms = {0} must be 0 to 60000")]
    QueueDelay(f64),
    /// A number that no machine has use for.
    #[error("serving.{key} = {value} must be at most {most}")]
    TooMany {
        /// The key in `[serving]`.
        key: &'static str,
        /// The number, as written.
        value: usize,
        /// The largest that is accepted.
        most: usize,
    },
    /// A path that leads out of the model's folder.
    #[error("{key} = \"{path}\" must be a path inside of the model's folder", path = path.display())]
    Path {
        /// The key that holds the path.
        key: &'static str,
        /// The path, as written.
        path: PathBuf,
    },
    /// A task table that a function needs is missing.
    #[error("missing field `{0}`")]
    NoTable(String),
    /// A task table has a key that is missing, unknown or of the wrong type.
    #[error("[{table}]: {reason}", reason = reason.to_string().trim_end())]
    Table {
        /// The table's name.
        table: String,
        /// Which key, and what is wrong with it.
        reason: toml::de::Error,
    },
    /// Keys of a task table that contradict each other or the model, are out of range, or are missing: a sentence each.
    #[error("{}", .0.join("; "))]
    Mistakes(Vec<String>),
}

/// Refuses a path that leads out of the model's folder.
pub(crate) fn relative_path(path: &Path, key: &'static str) -> Result<(), CardError> {
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if is_plain && !path.as_os_str().is_empty() {
        return Ok(());
    }
    Err(CardError::Path { key, path: path.to_owned() })
}
