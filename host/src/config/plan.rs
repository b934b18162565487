//! The arguments of `modelfn plan`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use super::{MAX_DEFAULT_INSTANCES, ModelArguments, parse_duration};

/// What is to be planned, and for what.
#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "clap shows the help texts of the fields")]
pub struct PlanArguments {
    /// The model's folder name.
    pub model: String,
    #[command(flatten)]
    pub models: ModelArguments,
    /// Requests a second to plan for. Without it: what one replica can do.
    #[arg(long, value_parser = parse_positive, value_name = "R")]
    pub rate: Option<f64>,
    /// The time in which 99 of 100 requests must be answered.
    #[arg(long, requires = "rate", value_parser = parse_duration, value_name = "TIME")]
    pub p99: Option<Duration>,
    /// Rows of one request: the size of axis 0 of its tensors.
    #[arg(long, default_value = "1", value_name = "B")]
    pub batch: NonZeroUsize,
    /// Engine instances of one replica. Without it: the card's, else one a core, at most 4.
    #[arg(long, env = "MODELFN_MODEL_INSTANCES", value_name = "N")]
    pub instances: Option<NonZeroUsize>,
    /// How busy the engines of a replica may be, from 0 to 1; the rest absorbs what comes unevenly.
    #[arg(long, default_value = "0.7", value_parser = parse_share, value_name = "SHARE")]
    pub utilisation: f64,
    /// The application that is served beside the model.
    #[arg(long, default_value = "spin.toml", env = "MODELFN_APP", value_name = "FILE")]
    pub app: PathBuf,
    /// Serve the model alone, without functions.
    #[arg(long, conflicts_with_all = ["app", "route"])]
    pub no_app: bool,
    /// Plan for requests to this route of the application. Without it: tensors of zeros to /v2.
    #[arg(long, requires = "body", conflicts_with_all = ["estimate", "batch"], value_name = "PATH")]
    pub route: Option<String>,
    /// The body of each request to --route.
    #[arg(long, requires = "route", value_name = "FILE")]
    pub body: Option<PathBuf>,
    /// Run nothing: estimate with coefficients that were measured on other models.
    #[arg(long = "static")]
    pub estimate: bool,
    /// The time that one row takes, for --static; it can't be known without running.
    #[arg(long, requires = "estimate", value_parser = parse_duration, value_name = "TIME")]
    pub time: Option<Duration>,
    /// How long to measure; starting the server comes on top.
    #[arg(long, default_value = "8", value_parser = clap::value_parser!(u32).range(1..=600), value_name = "N")]
    pub seconds: u32,
    /// What to print.
    #[arg(long, value_enum, default_value_t, conflicts_with_all = ["json", "kustomize"])]
    pub format: PlanFormat,
    /// Print JSON; as --format json.
    #[arg(long, conflicts_with = "kustomize")]
    pub json: bool,
    /// Print a kustomize patch; as --format patch.
    #[arg(long)]
    pub kustomize: bool,
}

/// What `modelfn plan` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// A strategic-merge patch of the Deployment and HorizontalPodAutoscaler `modelfn`.
    Patch,
}

impl PlanArguments {
    /// What to print.
    pub fn format(&self) -> PlanFormat {
        match (self.json, self.kustomize) {
            (true, _) => PlanFormat::Json,
            (_, true) => PlanFormat::Patch,
            _ => self.format,
        }
    }

    /// Engine instances of one replica of a model whose card says `card`.
    pub fn instances(&self, card: Option<NonZeroUsize>) -> NonZeroUsize {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let most = NonZeroUsize::new(MAX_DEFAULT_INSTANCES).unwrap_or(NonZeroUsize::MIN);
        self.instances.or(card).unwrap_or_else(|| cores.min(most))
    }
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
