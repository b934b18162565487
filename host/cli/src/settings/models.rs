//! The settings of models and of what runs them.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use modelfn_nn::backend::Isolation;
use modelfn_server::units::{ByteSize, parse_duration};

use super::cores;
use crate::memory_limit;

/// The most engine instances of a model that nobody chose: more compete for the cores, and each holds memory for its
/// computations.
const MAX_DEFAULT_MODEL_INSTANCES: usize = 4;

/// The folder of models where none is named.
pub(super) const DEFAULT_FOLDER: &str = "models";

/// Which models there are, and what runs them.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Models")]
pub(crate) struct ModelSettings {
    /// The folder of models: folders with a card or an .onnx file, and .onnx files. Default: models.
    #[arg(long, env = "MODELFN_MODELS", value_name = "FOLDER")]
    models: Option<PathBuf>,
    /// The ONNX Runtime library. Default: the one beside this program, or of an onnxruntime package
    /// of Python.
    #[arg(long, env = "MODELFN_ONNXRUNTIME", value_name = "FILE")]
    pub(crate) onnxruntime: Option<PathBuf>,
    /// Where engines run: in a process for each model, or on threads of the server. A card may say otherwise for its
    /// model.
    #[arg(
        long,
        default_value = "process",
        env = "MODELFN_MODEL_ISOLATION",
        value_parser = parse_isolation,
        value_name = "process|thread"
    )]
    pub(crate) model_isolation: Isolation,
    /// How long loading a model in a process may take, its warm-up included.
    #[arg(
        long,
        default_value = "2m",
        env = "MODELFN_MODEL_LOAD_TIMEOUT",
        value_parser = parse_duration,
        value_name = "TIME"
    )]
    pub(crate) model_load_timeout: Duration,
    /// The most memory of an engine's process. Default: that of the container (its cgroup's limit), else 80 % of the
    /// machine's.
    #[arg(long, env = "MODELFN_MAX_MODEL_MEMORY", value_name = "SIZE")]
    max_model_memory: Option<ByteSize>,
}

impl ModelSettings {
    /// The folder of models.
    pub(crate) fn folder(&self) -> PathBuf {
        self.models.clone().unwrap_or_else(|| DEFAULT_FOLDER.into())
    }

    /// Whether the folder of models was named, so that all its models are meant.
    pub(super) fn names_folder(&self) -> bool {
        self.models.is_some()
    }

    /// The most memory of an engine's process, in bytes.
    pub(crate) fn max_model_memory(&self) -> u64 {
        self.max_model_memory.map_or_else(|| memory_limit::available() as u64, |size| size.bytes() as u64)
    }
}

fn parse_isolation(text: &str) -> Result<Isolation> {
    match text {
        "process" => Ok(Isolation::Process),
        "thread" => Ok(Isolation::Thread),
        _ => bail!("`process` or `thread`"),
    }
}

/// Engine instances of a model where neither its card nor a setting says a number.
pub(crate) fn default_model_instances() -> NonZeroUsize {
    cores().min(NonZeroUsize::new(MAX_DEFAULT_MODEL_INSTANCES).expect("the constant is not zero"))
}
