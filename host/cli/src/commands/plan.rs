//! `modelfn plan`: what a model needs.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use modelfn_nn::registry::Source;
use modelfn_plan::measure::Progress;
use modelfn_plan::settings::{Method, PlanSettings, RouteRequest};
use modelfn_server::units::parse_duration;

use super::model::place;
use crate::engines::{engines, onnxruntime};
use crate::print_lines;
use crate::settings::{ModelSettings, default_model_instances, server_defaults};
use crate::signals::EndSignals;

pub(super) const EXAMPLES: &str = "Examples:
  modelfn plan efficientnet-lite0-int8
  modelfn plan resnet/model.onnx
  modelfn plan efficientnet-lite0-int8 --rate 200 --p99 50ms
  modelfn plan efficientnet-lite0-int8 --rate 200 --route /classify --body cat.jpg --kustomize > plan.yaml
  modelfn plan efficientnet-lite0-int8 --static --time 10ms --rate 200 --json

Starts servers of its own on free ports for some seconds. Leave the machine alone meanwhile.";

/// The manifest of the application where none is named.
const DEFAULT_APP: &str = "spin.toml";

/// The arguments of `modelfn plan`.
#[derive(Clone, Debug, Args)]
#[command(next_display_order = None)]
pub(crate) struct PlanArguments {
    /// The model: a name of the folder of models, an .onnx file, or a model's folder. One that is named by its path is
    /// served without functions, unless --app names some.
    #[arg(value_name = "NAME|PATH")]
    model: String,
    /// Requests a second to plan for. Default: what one replica can do.
    #[arg(long, value_parser = parse_positive, value_name = "R")]
    rate: Option<f64>,
    /// The time in which 99 of 100 requests must be answered.
    #[arg(long, requires = "rate", value_parser = parse_duration, value_name = "TIME")]
    p99: Option<Duration>,
    /// Rows of one request: the size of axis 0 of its tensors.
    #[arg(long, default_value = "1", value_name = "B")]
    batch: NonZeroUsize,
    /// The shape of an input whose axes the graph leaves open, such as image=1x3x320x320 (may be repeated). Default: that
    /// of the model's warm-up.
    #[arg(long, value_parser = parse_shape, value_name = "INPUT=SHAPE")]
    shape: Vec<NamedShape>,
    /// Engine instances of one replica. Default: the card's, else one a core, at most 4.
    #[arg(long, env = "MODELFN_MODEL_INSTANCES", value_name = "N")]
    instances: Option<NonZeroUsize>,
    /// How busy the engines of a replica may be, from 0 to 1; the rest absorbs what comes unevenly.
    #[arg(long, default_value = "0.7", value_parser = parse_share, value_name = "SHARE")]
    utilisation: f64,
    /// The application that is served beside the model. Default: spin.toml.
    #[arg(long, env = "MODELFN_APP", value_name = "FILE")]
    app: Option<PathBuf>,
    /// Serve the model alone, without functions.
    #[arg(long, conflicts_with_all = ["app", "route"])]
    no_app: bool,
    /// Plan for requests to this route of the application. Default: tensors of zeros to /v2.
    #[arg(long, requires = "body", conflicts_with_all = ["estimate", "batch"], value_name = "PATH")]
    route: Option<String>,
    /// The body of each request to --route.
    #[arg(long, requires = "route", value_name = "FILE")]
    body: Option<PathBuf>,
    /// Run nothing: estimate with coefficients that were measured on other models.
    #[arg(long = "static")]
    estimate: bool,
    /// The time that one row takes, for --static; it can't be known without running.
    #[arg(long, requires = "estimate", value_parser = parse_duration, value_name = "TIME")]
    time: Option<Duration>,
    /// How long to measure; starting the server comes on top.
    #[arg(long, default_value = "8", value_parser = clap::value_parser!(u32).range(1..=600), value_name = "N")]
    seconds: u32,
    /// What to print.
    #[arg(long, value_enum, default_value_t, conflicts_with_all = ["json", "kustomize"])]
    format: PlanFormat,
    /// Print JSON; as --format json.
    #[arg(long, conflicts_with = "kustomize")]
    json: bool,
    /// Print a kustomize patch; as --format patch.
    #[arg(long)]
    kustomize: bool,
    #[command(flatten)]
    models: ModelSettings,
}

/// What `modelfn plan` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum PlanFormat {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// A strategic-merge patch of the Deployment and HorizontalPodAutoscaler `modelfn`.
    Patch,
}

impl PlanArguments {
    /// Whether a program reads the plan.
    pub(super) fn prints_json(&self) -> bool {
        self.format() == PlanFormat::Json
    }

    /// What to print.
    fn format(&self) -> PlanFormat {
        match (self.json, self.kustomize) {
            (true, _) => PlanFormat::Json,
            (_, true) => PlanFormat::Patch,
            _ => self.format,
        }
    }

    fn settings(self) -> Result<PlanSettings> {
        let found = place::model(&self.model, &self.models)?;
        let (source, default_app) = if found.demanded {
            (Source::Model(found.path), None)
        } else {
            (Source::Folder(self.models.folder()), Some(PathBuf::from(DEFAULT_APP)))
        };
        let onnxruntime = onnxruntime(&self.models).ok();
        let method = if self.estimate {
            Method::Estimate(self.time)
        } else {
            Method::Measure(Duration::from_secs(self.seconds.into()))
        };
        Ok(PlanSettings {
            model: found.name,
            source,
            onnxruntime,
            app: if self.no_app { None } else { self.app.or(default_app) },
            rate: self.rate,
            p99: self.p99,
            shapes: self.shape.into_iter().map(|NamedShape { input, shape }| (input, shape)).collect(),
            batch: self.batch,
            instances: self.instances,
            default_instances: default_model_instances(),
            utilisation: self.utilisation,
            route: self.route.zip(self.body).map(|(path, body)| RouteRequest { path, body }),
            method,
            server: server_defaults(),
        })
    }
}

/// Plans a model. SIGTERM and SIGINT end the servers that are measured, too.
pub(super) async fn plan(arguments: PlanArguments) -> Result<ExitCode> {
    let mut signals = EndSignals::catch()?;
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, format) = (stop.clone(), arguments.format());
    let engines = engines(&arguments.models)?;
    let settings = arguments.settings()?;
    let report = |what: &str| drop(writeln!(std::io::stderr(), "modelfn: {what}"));
    let mut planning = tokio::task::spawn_blocking(move || {
        modelfn_plan::plan(&settings, &engines, &Progress { report: &report, stop: &stop })
    });
    let planned = tokio::select! {
        planned = &mut planning => planned,
        () = signals.recv() => {
            stopped.store(true, Ordering::Relaxed);
            planning.await
        }
    };
    let plan = planned.context("planning panicked")??;
    print_lines(&[match format {
        PlanFormat::Table => plan.to_string().trim_end().to_owned(),
        PlanFormat::Json => serde_json::to_string_pretty(&plan)?,
        PlanFormat::Patch => modelfn_plan::patch::patch(&plan).trim_end().to_owned(),
    }])
}

/// The shape of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NamedShape {
    input: String,
    shape: Vec<usize>,
}

fn parse_shape(text: &str) -> Result<NamedShape> {
    let remedy = || format!("\"{text}\" is no input with its shape; write image=1x3x320x320");
    let (input, sizes) = text.rsplit_once('=').filter(|(input, _)| !input.is_empty()).with_context(remedy)?;
    let shape = sizes.split('x').map(str::parse).collect::<Result<_, _>>().with_context(remedy)?;
    Ok(NamedShape { input: input.to_owned(), shape })
}

fn parse_positive(text: &str) -> Result<f64> {
    let number = text.parse().unwrap_or(f64::NAN);
    ensure!(number > 0.0 && number < 1e9, "\"{text}\" is not a number above zero; write 50 or 0.5");
    Ok(number)
}

fn parse_share(text: &str) -> Result<f64> {
    let number = text.parse().unwrap_or(f64::NAN);
    ensure!((0.01..=0.99).contains(&number), "\"{text}\" is not a share; write 0.7 (0.01 to 0.99)");
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_named_and_counted_by_x() {
        let image = NamedShape { input: "a=b".to_owned(), shape: vec![1, 3, 320] };
        assert_eq!(parse_shape("a=b=1x3x320").unwrap(), image);
        for text in ["", "x", "=1x2", "x=", "x=1xy", "x=-1x3"] {
            assert!(format!("{:#}", parse_shape(text).unwrap_err()).contains("write image=1x3x320x320"), "{text}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused_with_what_to_write() {
        assert_eq!(parse_positive("0.5").unwrap(), 0.5);
        for text in ["0", "-1", "many", "inf", "NaN"] {
            assert!(parse_positive(text).unwrap_err().to_string().contains("write 50"), "{text}");
        }
        assert_eq!(parse_share("0.99").unwrap(), 0.99);
        for text in ["0", "1", "70", "half"] {
            assert!(parse_share(text).unwrap_err().to_string().contains("write 0.7"), "{text}");
        }
    }
}
