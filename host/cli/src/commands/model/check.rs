//! `modelfn model check`: how many labelled pictures a classifier gets right, and whether another usual preprocessing would
//! get more.
//!
//! Each picture takes the whole path of a request: sandbox, function, model. Wrong numbers in `[preprocessing]` are no
//! error that anybody could find otherwise: the model answers, and is wrong more often.

mod class_names;
mod pictures;
mod progress;
mod report;
mod sign_test;
mod trial;
mod trial_folder;
mod variants;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail, ensure};
use clap::Args;
use modelfn_card::image::Preprocessing;
use modelfn_nn::inspect::{self, ModelFiles};
use modelfn_nn::registry::{Source, find_models};

use self::class_names::ClassNames;
use self::pictures::LabelledPicture;
use self::progress::Progress;
use self::report::{Comparison, Report, Unreadable};
use self::trial::{Outcome, Trial};
use crate::engines::engines;
use crate::settings::{ModelSettings, RequestSettings};

pub(super) const EXAMPLES: &str = "Examples:
  modelfn model check flowers pictures/         # pictures/rose/1.jpg, pictures/tulip/2.png, ...
  modelfn model check flowers --csv test.csv    # lines such as: 1.jpg,rose
  modelfn model check flowers pictures/ --min-top1 0.8 --json

Exits 1 if --min-top1 is missed.";

/// A change of the preprocessing is told if chance alone makes such a difference in fewer than one of twenty checks.
const SIGNIFICANT: f64 = 0.05;

/// Keys that are wrong at the same time are found one after the other, at most so many.
const MAX_ROUNDS: usize = 3;

/// The arguments of `modelfn model check`.
#[derive(Clone, Debug, Args)]
#[command(next_display_order = None)]
pub(crate) struct CheckArguments {
    /// The model's name in the folder of models, or its path.
    model: String,
    /// A folder with a folder of pictures for each class, named by the class's label, its first name, or its index.
    #[arg(required_unless_present = "csv")]
    folder: Option<PathBuf>,
    /// A list of pictures, with `path,label` a line. Paths are relative to FOLDER, or to the folder of the list.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// The component that classifies. Default: the one in this program.
    #[arg(long, value_name = "FILE")]
    function: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Exit 1 if a smaller part of the pictures is right, from 0 to 1.
    #[arg(long, value_parser = parse_share, value_name = "SHARE")]
    min_top1: Option<f64>,
    /// Pictures on which other usual preprocessings are tried; 0 tries none.
    #[arg(long, default_value = "200", value_name = "N")]
    tries: usize,
    #[command(flatten)]
    models: ModelSettings,
    #[command(flatten)]
    request: RequestSettings,
}

/// Measures the model, tries other preprocessings, and prints what was found.
pub(super) async fn check(arguments: CheckArguments) -> Result<ExitCode> {
    let model = CheckedModel::find(&arguments.model, &arguments.models)?;
    let files = &model.files;
    let (Some(preprocessing), Some(_)) = (files.card.image_preprocessing()?, files.card.classification()?) else {
        bail!(
            "the card of '{}' is not that of an image classifier: it needs [preprocessing] and [postprocessing] \
             (models/README.md)",
            arguments.model
        );
    };
    let pictures = find_pictures(&arguments, files)?;
    let trial = Trial::open(&arguments, &model).await?;
    let progress = Progress::new("checking", pictures.len());
    let outcomes = trial.run(&pictures, &progress).await?;
    drop(progress);

    let mut report = Report::new(files, &pictures, &outcomes);
    ensure!(
        report.read > 0,
        "none of the {} pictures can be read: {}",
        pictures.len(),
        first_reason(&report.unreadable)
    );
    let readable = pictures.iter().zip(&outcomes).filter(|(_, outcome)| !matches!(outcome, Outcome::Unreadable(_)));
    let (sample, first): (Vec<_>, Vec<_>) = evenly(readable.collect(), arguments.tries).into_iter().unzip();
    if !sample.is_empty() {
        let sample: Vec<LabelledPicture> = sample.into_iter().cloned().collect();
        let first = first.into_iter().zip(&sample).map(|(outcome, picture)| outcome.is_first(picture.class)).collect();
        try_others(&trial, Current { preprocessing, right: first }, &sample, &mut report).await?;
    }
    report.print(arguments.json)?;
    let is_enough = arguments.min_top1.is_none_or(|least| report.top1_share() >= least);
    Ok(if is_enough { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A model, and where it was found.
struct CheckedModel {
    /// Its path, if it was named by one; empty where it is in the folder of models.
    paths: Vec<PathBuf>,
    /// Its card has a name, inputs and outputs.
    files: ModelFiles,
}

impl CheckedModel {
    /// The model of that name in the folder of models, or that at the path `named`. Where its card does not say what the
    /// graph's inputs and outputs are, the graph is loaded to find out.
    fn find(named: &str, settings: &ModelSettings) -> Result<Self> {
        let folder = Source::Folder(settings.folder());
        let is_there = find_models(std::slice::from_ref(&folder)).is_ok_and(|all| all.iter().any(|m| m.name == named));
        let path = Path::new(named);
        let (paths, sources) = match path.exists() && !is_there {
            true => (vec![path.to_owned()], vec![Source::at(path)?]),
            false => (vec![], vec![folder]),
        };
        let name = match &sources[..] {
            [Source::Model(_)] => find_models(&sources)?.remove(0).name,
            _ => named.to_owned(),
        };
        let mut files = inspect::model_files(&sources, &name)?;
        if files.card.inputs.is_empty() || files.card.outputs.is_empty() {
            let graph = inspect::try_out(&sources, &name, &engines(settings)?)?.signature;
            files.card = files.card.completed(&name, &graph);
        }
        Ok(Self { paths, files })
    }
}

/// The preprocessing that others are compared with, and which pictures of the sample it gets right.
struct Current {
    preprocessing: Preprocessing,
    right: Vec<bool>,
}

/// Tries the usual preprocessings that differ in one point, takes the best one that is significantly better, and goes on
/// from there until there is none.
async fn try_others(
    trial: &Trial,
    mut current: Current,
    sample: &[LabelledPicture],
    report: &mut Report,
) -> Result<()> {
    let original = current.preprocessing.clone();
    for _ in 0..MAX_ROUNDS {
        let variants = variants::usual(&current.preprocessing, trial.dtype());
        let progress = Progress::new("trying other preprocessings", variants.len() * sample.len());
        let mut best: Option<(Comparison, Current)> = None;
        for variant in &variants {
            trial.use_preprocessing(&variant.preprocessing)?;
            let outcomes = trial.run(sample, &progress).await?;
            let right: Vec<bool> =
                outcomes.iter().zip(sample).map(|(outcome, of)| outcome.is_first(of.class)).collect();
            let comparison = Comparison::new(variant, &current.right, &right, variants.len());
            let is_best = best.as_ref().is_none_or(|(best, _)| comparison.right > best.right);
            if comparison.p < SIGNIFICANT && comparison.better > comparison.worse && is_best {
                best = Some((comparison.clone(), Current { preprocessing: variant.preprocessing.clone(), right }));
            }
            report.tried.push(comparison);
        }
        let Some((comparison, better)) = best else { break };
        report.suggest(comparison, variants::card_lines(&original, &better.preprocessing));
        current = better;
    }
    report.sample = sample.len();
    Ok(())
}

fn find_pictures(arguments: &CheckArguments, files: &ModelFiles) -> Result<Vec<LabelledPicture>> {
    let classes = ClassNames::new(files.labels.as_ref(), files.card.classes());
    match (&arguments.csv, &arguments.folder) {
        (Some(list), folder) => pictures::in_list(list, folder.as_deref(), &classes),
        (None, Some(folder)) => pictures::in_folder(folder, &classes),
        (None, None) => Err(anyhow!("name a folder of pictures, or a list with --csv")),
    }
}

fn first_reason(unreadable: &[Unreadable]) -> &str {
    unreadable.first().map_or("", |first| &first.reason)
}

/// At most `count` of them, evenly spread, so that all classes are among them.
fn evenly<T>(all: Vec<T>, count: usize) -> Vec<T> {
    let (have, want) = (all.len(), count.min(all.len()));
    let is_taken = |n: usize| (n + 1) * want / have > n * want / have;
    all.into_iter().enumerate().filter_map(|(n, item)| is_taken(n).then_some(item)).collect()
}

fn parse_share(text: &str) -> Result<f64> {
    let share: f64 = text.parse()?;
    ensure!((0.0..=1.0).contains(&share), "it must be from 0 to 1");
    Ok(share)
}

#[cfg(test)]
mod tests {
    use super::evenly;

    #[test]
    fn a_sample_is_spread_evenly() {
        assert_eq!(evenly((0..10).collect(), 5), [1, 3, 5, 7, 9]);
        assert_eq!(evenly((0..3).collect(), 200), [0, 1, 2]);
        assert_eq!(evenly((0..1000).collect(), 7).len(), 7);
        assert!(evenly((0..3).collect(), 0).is_empty() && evenly::<u8>(vec![], 5).is_empty());
    }
}
