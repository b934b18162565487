//! The log: lines on stderr, so that stdout is for results.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

/// How much is logged, and in which form.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log", next_display_order = None)]
pub(crate) struct LogSettings {
    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value_t, env = "MODELFN_LOG_FORMAT")]
    log_format: LogFormat,
    /// What is logged: a level, or a filter such as `warn,modelfn=debug`.
    #[arg(long, global = true, default_value = "info", env = "MODELFN_LOG", value_name = "FILTER")]
    log: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// `human` on a terminal, `json` elsewhere.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Starts the log of this process.
///
/// # Errors
///
/// `--log` is not a filter.
pub(crate) fn start(settings: &LogSettings) -> Result<()> {
    let filter =
        tracing_subscriber::EnvFilter::try_new(&settings.log).with_context(|| format!("--log \"{}\"", settings.log))?;
    let is_terminal = std::io::stderr().is_terminal();
    let is_human = match settings.log_format {
        LogFormat::Auto => is_terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if is_human {
        log.with_target(false).with_ansi(is_terminal).init();
    } else {
        log.json().flatten_event(true).init();
    }
    Ok(())
}
