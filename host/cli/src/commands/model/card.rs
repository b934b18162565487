//! `modelfn model card`: writes a commented card from a graph.

mod draft;
mod picture;
mod preset;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use modelfn_card::{CARD_FILE, Card, Labels, TensorSpec};
use modelfn_nn::inspect::{GraphFacts, graph_at, graph_facts};

use self::draft::{Draft, Naming};
use self::picture::{LabelFile, PictureInput, PictureTask};
pub(crate) use self::preset::Preset;
use crate::engines::engines;
use crate::print_lines;
use crate::settings::ModelSettings;

pub(super) const EXAMPLES: &str = "Examples:
  modelfn model card resnet
  modelfn model card resnet/model.onnx --output resnet/model.toml
  modelfn model card resnet/model.onnx --task image-classification --labels resnet/labels.txt --preset imagenet";

/// The largest file of labels, in bytes: as large as the registry reads.
const MAX_LABELS: u64 = 16 << 20;

/// A graph, and what a card needs to say that the graph does not.
#[derive(Debug, Args)]
pub(crate) struct CardArguments {
    /// The graph, or the folder that it is in. Card, graph and labels of a model lie in one folder.
    #[arg(value_name = "FILE.onnx|FOLDER")]
    graph: PathBuf,
    /// Overwrite a card that is there.
    #[arg(long, requires = "output")]
    force: bool,
    /// The names of the classes, one a line, for an image classifier. Default: `labels.txt` beside the graph.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// The model's name, which must be that of its folder; a card may leave it out.
    #[arg(long)]
    name: Option<String>,
    /// Write the card to this file, or as `model.toml` to this folder, instead of printing it.
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// How the pictures were prepared on which an image classifier was trained.
    #[arg(long, value_enum)]
    preset: Option<Preset>,
    /// What the model is for. `--labels` and `--preset` say it as well.
    #[arg(long, value_enum)]
    task: Option<Task>,
    #[command(flatten)]
    models: ModelSettings,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Task {
    /// A picture goes in, and scores of classes come out.
    ImageClassification,
}

/// Prints or writes the card.
///
/// # Errors
///
/// The graph can't be loaded, does not suit the task, or lies outside of the card's folder.
pub(super) fn card(arguments: &CardArguments) -> Result<ExitCode> {
    let graph = graph_at(&arguments.graph)?;
    let place = Place::of(&graph, arguments.output.as_deref());
    let facts = graph_facts(&graph, &engines(&arguments.models)?)?;
    let wants_pictures = arguments.task.is_some() || arguments.labels.is_some() || arguments.preset.is_some();
    let task = wants_pictures
        .then(|| PictureTask::of(&facts.signature, arguments.preset, place.labels(arguments.labels.as_deref())?))
        .transpose()?;
    let sha256 = facts.sha256.clone();
    let naming = Naming { name: arguments.name.clone(), file: place.within(&graph)?, sha256 };
    let text = text(naming, &facts, task)?;
    let Some(output) = place.output else {
        return print_lines(&[text.trim_end().to_owned()]);
    };
    write(&output, &text, arguments.force)?;
    print_lines(&[
        format!("wrote {}", output.display()),
        format!("check it with: modelfn model inspect {}", place.folder.display()),
    ])
}

/// Writes cards with `preset` for those of the models at `paths` that have none. A card that is there stays as it is.
///
/// # Errors
///
/// A folder has no graph or several, or its graph is no image classifier's.
pub(crate) fn write_missing(paths: &[PathBuf], preset: Preset, models: &ModelSettings) -> Result<()> {
    for path in paths {
        let graph = graph_at(path)?;
        let folder = folder_of(&graph);
        let card_path = folder.join(CARD_FILE);
        if card_path.symlink_metadata().is_ok() {
            tracing::info!(
                "{} is there already, and stays as it is: --preset is for models without a card",
                card_path.display()
            );
            continue;
        }
        let (preset, models) = (Some(preset), models.clone());
        let output = Some(folder);
        card(&CardArguments { graph, output, preset, models, force: false, labels: None, name: None, task: None })?;
    }
    Ok(())
}

/// What the model of a function does, as far as a card tells it.
pub(in crate::commands) enum Purpose {
    /// Anything.
    Tensors,
    /// It says what a picture shows. The label file of the model's folder, and how many classes it names.
    Classification(Option<(String, usize)>),
    /// It finds things in a picture.
    Detection,
}

/// The card of the model `name` with the graph `file`, a path within the model's folder.
///
/// # Errors
///
/// The graph does not suit the purpose.
pub(in crate::commands) fn card_of(name: &str, file: &str, facts: &GraphFacts, purpose: Purpose) -> Result<String> {
    let task = match purpose {
        Purpose::Tensors => None,
        Purpose::Classification(labels) => {
            let labels = labels.map(|(path, count)| LabelFile { path, count });
            Some(PictureTask::of(&facts.signature, None, labels)?)
        }
        Purpose::Detection => Some(PictureTask::detection(&facts.signature)?),
    };
    text(Naming { name: Some(name.to_owned()), file: file.to_owned(), sha256: facts.sha256.clone() }, facts, task)
}

/// Whether a tensor may be a picture, by its type and axes.
pub(in crate::commands) fn is_picture(spec: &TensorSpec) -> bool {
    PictureInput::of(spec).is_some()
}

/// The text of a card, which agrees with the graph.
fn text(naming: Naming, facts: &GraphFacts, task: Option<PictureTask>) -> Result<String> {
    let GraphFacts { signature, axis_names, omitted, .. } = facts;
    let text = Draft { naming, signature, axis_names, omitted, task }.text();
    let written = Card::parse(&text).context("the card that was made is not right, which is a fault of modelfn")?;
    let disagreements = written.disagreements(signature, None);
    ensure!(disagreements.is_empty(), "the card that was made and the graph disagree: {}", disagreements.join("; "));
    Ok(text)
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Where the card belongs.
struct Place {
    /// The file to write; `None` where the card is printed.
    output: Option<PathBuf>,
    /// The model's folder, as it was typed.
    folder: PathBuf,
}

impl Place {
    fn of(graph: &Path, output: Option<&Path>) -> Place {
        match output {
            None => Place { output: None, folder: folder_of(graph) },
            Some(folder) if folder.is_dir() => {
                Place { output: Some(folder.join(CARD_FILE)), folder: folder.to_owned() }
            }
            Some(file) => Place { output: Some(file.to_owned()), folder: folder_of(file) },
        }
    }

    /// The path of `file` within the model's folder.
    fn within(&self, file: &Path) -> Result<String> {
        let found = file.canonicalize().with_context(|| format!("{} can't be read", file.display()))?;
        let Ok(path) = found.strip_prefix(self.canonical_folder()?) else {
            bail!(
                "{} lies outside of the card's folder {}; a model is one folder, so copy the file there",
                file.display(),
                self.folder.display()
            );
        };
        path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8; rename it", file.display()))
    }

    /// The label file that was named, else `labels.txt` in the folder if that is there.
    fn labels(&self, named: Option<&Path>) -> Result<Option<LabelFile>> {
        let usual = self.folder.join("labels.txt");
        let Some(file) = named.or_else(|| usual.is_file().then_some(usual.as_path())) else { return Ok(None) };
        let unreadable = || format!("{} can't be read as text of at most {MAX_LABELS} bytes", file.display());
        let mut text = String::new();
        let opened = std::fs::File::open(file).with_context(unreadable)?;
        let length = opened.take(MAX_LABELS + 1).read_to_string(&mut text).with_context(unreadable)?;
        ensure!(length as u64 <= MAX_LABELS, unreadable());
        Ok(Some(LabelFile { path: self.within(file)?, count: Labels::new(text).len() }))
    }

    fn canonical_folder(&self) -> Result<PathBuf> {
        self.folder.canonicalize().with_context(|| format!("the folder {} can't be read", self.folder.display()))
    }
}

/// Writes the card. A file that is there is only overwritten where that was asked for.
fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let mut options = OpenOptions::new();
    if force {
        options.write(true).create(true).truncate(true);
    } else {
        options.write(true).create_new(true);
    }
    let mut file = match options.open(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            bail!("{} is there already; overwrite it with --force", path.display())
        }
        opened => opened.with_context(|| format!("{} can't be written", path.display()))?,
    };
    file.write_all(text.as_bytes()).with_context(|| format!("{} can't be written", path.display()))
}
