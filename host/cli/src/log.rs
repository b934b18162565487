//! The log: lines on stderr, so that stdout is for results.
//!
//! Lines are written by a thread of their own, and lost where stderr can't be written or is read too slowly: no request
//! waits for the log. Lost lines are counted. With `--log-format json` every line on stderr is a JSON object, also those
//! about panics and about errors that end the program.

mod request_limit;
mod writer;

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use self::request_limit::RequestLimit;
pub(crate) use self::writer::{end, lost_lines};

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
pub(crate) enum LogFormat {
    /// Of a server `human` on a terminal and `json` elsewhere; of other commands `human`, unless they print JSON.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl LogSettings {
    /// Chooses the form of the lines of a command, where nobody chose one.
    pub(crate) fn choose(&mut self, reader: Reader) {
        if self.log_format != LogFormat::Auto {
            return;
        }
        self.log_format = match reader {
            Reader::Program => LogFormat::Json,
            Reader::Server if !std::io::stderr().is_terminal() => LogFormat::Json,
            Reader::Person | Reader::Server => LogFormat::Human,
        };
    }

    /// [`LogFormat::Human`] or [`LogFormat::Json`], once it was chosen.
    pub(crate) fn format(&self) -> LogFormat {
        self.log_format
    }
}

/// Who reads what a command writes to stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Whoever typed the command.
    Person,
    /// A program that asked for JSON.
    Program,
    /// Nobody, while a server runs: its lines are collected.
    Server,
}

/// The form of the lines of this process, once its log has started.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// The form of the lines of this process.
pub(crate) fn format() -> LogFormat {
    FORMAT.get().copied().unwrap_or_default()
}

/// Whether each request that is answered has a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestLines {
    Logged,
    /// For a program that sends the requests itself, and tells their result.
    Hidden,
}

/// Starts the log of this process.
///
/// # Errors
///
/// `--log` is not a filter, or there is no thread for the log.
pub(crate) fn start(settings: &LogSettings, requests: RequestLines) -> Result<()> {
    let filter =
        tracing_subscriber::EnvFilter::try_new(&settings.log).with_context(|| format!("--log \"{}\"", settings.log))?;
    let filter = match requests {
        RequestLines::Logged => filter,
        RequestLines::Hidden => filter.add_directive("modelfn_server::request_recorder=warn".parse()?),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer::start());
    // The log starts once.
    let _ = FORMAT.set(settings.format());
    // A line that is dropped for its request's limit is no error.
    let log = log.log_internal_errors(false);
    if settings.format() == LogFormat::Human {
        let is_terminal = std::io::stderr().is_terminal();
        let log = log.with_target(false).with_ansi(is_terminal);
        log.map_event_format(|format| RequestLimit::new(format.with_ansi(is_terminal))).init();
    } else {
        log.json().flatten_event(true).map_event_format(RequestLimit::new).init();
    }
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        tracing::error!(location, thread, "panic: {}", panic.payload_as_str().unwrap_or("without words"));
    }));
    Ok(())
}

/// Tells the person at the terminal, or the program that reads JSON, why the program ends. No filter hides that.
pub(crate) fn report(format: LogFormat, error: &anyhow::Error) {
    let text = format!("{error:#}");
    let line = match format {
        LogFormat::Json => {
            let timestamp = humantime::format_rfc3339_micros(std::time::SystemTime::now()).to_string();
            serde_json::json!({ "timestamp": timestamp, "level": "ERROR", "message": text, "target": "modelfn" })
                .to_string()
        }
        LogFormat::Auto | LogFormat::Human => format!("modelfn: {text}"),
    };
    let _ = writeln!(std::io::stderr(), "{line}");
}
