//! `modelfn new`: makes a folder with a function, which builds and answers by itself.

mod name;
mod render;
mod signature;
mod source_model;
mod template;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use modelfn_card::CARD_FILE;
use modelfn_nn::inspect::graph_facts;

use self::signature::FunctionSignature;
use self::source_model::GRAPH_FILE;
use self::template::{Language, Template};
use super::model::card::card_of;
use crate::engines::engines;
use crate::settings::ModelSettings;
use crate::{aligned, bundle, print_lines};

pub(super) const EXAMPLES: &str = "Examples:
  modelfn new iris --model iris.onnx
  modelfn new pets --template classify --model resnet/model.onnx
  modelfn new prices --language python --model prices.onnx
  modelfn new hello
  modelfn new --list

Then:
  cd iris
  modelfn dev
  modelfn test

Without --template the model decides; without --model the template brings a small one. Nothing is fetched.";

/// The arguments of `modelfn new`.
#[derive(Clone, Debug, Args)]
#[command(next_display_order = None)]
pub(crate) struct NewArguments {
    /// The folder to make. Its name is that of the function and of its model: lower-case letters, digits and hyphens.
    #[arg(value_name = "NAME", required_unless_present = "list")]
    folder: Option<PathBuf>,
    /// What the function is written in.
    #[arg(long, value_enum, default_value_t)]
    language: Language,
    /// List the templates.
    #[arg(long, conflicts_with = "folder")]
    list: bool,
    /// The graph that the function asks. It is copied, with its weights, `labels.txt` and `vocab.txt` beside it.
    #[arg(long, value_name = "FILE.onnx")]
    model: Option<PathBuf>,
    /// What the function does.
    #[arg(long, value_enum)]
    template: Option<Template>,
    #[command(flatten)]
    models: ModelSettings,
}

/// Makes the folder and prints what to do next.
///
/// # Errors
///
/// The name is wrong, the folder is not empty, or the model does not suit the template.
pub(super) fn new(arguments: &NewArguments) -> Result<ExitCode> {
    if arguments.list {
        return list();
    }
    let folder = arguments.folder.as_deref().context("name the folder to make")?;
    let name = name::of_folder(folder)?;
    ensure!(
        is_free(folder),
        "{} is there already, and is no empty folder; choose another name, or remove it",
        folder.display()
    );
    let staging = Staging::beside(folder, name)?;
    let Made { template, left_out } = make(&staging.0, name, arguments)?;
    staging.finish(folder)?;
    let shown = folder.display();
    let made = format!("made {shown}: a function of the template {template} in {}", arguments.language);
    let left_out = left_out.iter().map(|output| {
        format!("without the output '{output}', whose type functions can't receive")
            .replace(char::is_control, "\u{FFFD}")
    });
    let next = format!("run it with: cd {shown} && modelfn dev");
    print_lines(&[made].into_iter().chain(left_out).chain([next]).collect::<Vec<_>>())
}

/// Whether nothing would be overwritten.
fn is_free(folder: &Path) -> bool {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => folder.symlink_metadata().is_err(),
    }
}

/// What was made.
struct Made {
    template: Template,
    /// Outputs of the graph that functions can't receive.
    left_out: Vec<String>,
}

/// Makes the function in `folder`.
fn make(folder: &Path, name: &str, arguments: &NewArguments) -> Result<Made> {
    let model = folder.join("models").join(name);
    std::fs::create_dir_all(&model)?;
    let engines = engines(&arguments.models)?;
    let wanted = match &arguments.model {
        Some(graph) => {
            source_model::copy(graph, &model, &engines)?;
            arguments.template
        }
        None => {
            let template = arguments.template.unwrap_or(Template::Blank);
            source_model::example(template, &model)?;
            Some(template)
        }
    };
    let facts = graph_facts(&model.join(GRAPH_FILE), &engines)?;
    let (facts, signature) = FunctionSignature::of(facts)?;
    let template = wanted.unwrap_or_else(|| Template::suiting(&signature));
    if let Some(reason) = template.misfit(&signature) {
        let suiting = Template::suiting(&signature);
        bail!("the template {template} does not suit the model: {reason}; use --template {suiting}");
    }
    if let Some((file, what)) = template.companion() {
        ensure!(model.join(file).is_file(), "the template {template} needs {file}, {what}; put it beside the graph");
    }
    let purpose = template.purpose(source_model::labels(&model)?);
    std::fs::write(model.join(CARD_FILE), card_of(name, GRAPH_FILE, &facts, purpose)?)?;
    let function = render::NewFunction {
        name,
        template,
        language: arguments.language,
        signature: &signature,
        is_example: arguments.model.is_none(),
    };
    render::write(&function, folder)?;
    bundle::unpack_sdk(folder)?;
    Ok(Made { template, left_out: signature.left_out })
}

fn list() -> Result<ExitCode> {
    let head = ["TEMPLATE", "FOR", "REQUEST", "LANGUAGES"].map(str::to_owned);
    let rows = Template::ALL.map(|template| {
        let languages = template.languages().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        [template.to_string(), template.models().to_owned(), template.request().to_owned(), languages]
    });
    print_lines(&aligned(&[head].into_iter().chain(rows).collect::<Vec<_>>()))
}

/// A folder beside the one that is made, which takes its place once everything is in it.
struct Staging(PathBuf);

impl Staging {
    fn beside(folder: &Path, name: &str) -> Result<Staging> {
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let staging = parent.join(format!(".{name}.{}", std::process::id()));
        let made = std::fs::create_dir_all(parent).and_then(|()| std::fs::create_dir(&staging));
        made.with_context(|| format!("no folder can be made in {}", parent.display()))?;
        Ok(Staging(staging))
    }

    fn finish(self, folder: &Path) -> Result<()> {
        // Takes the place of an empty folder, too.
        std::fs::rename(&self.0, folder).with_context(|| format!("{} can't be made", folder.display()))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Gone once it was renamed.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
