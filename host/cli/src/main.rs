//! The program `modelfn`: reads the arguments, starts the log, and runs one subcommand.

mod allocator;
mod bundle;
mod commands;
#[cfg(test)]
mod documents;
mod embedded;
mod engines;
mod library;
mod log;
mod memory_limit;
mod project;
mod settings;
mod signals;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use self::commands::Arguments;

fn main() -> ExitCode {
    allocator::return_large_blocks();
    let Arguments { command, mut log } = Arguments::parse();
    log.choose(command.reader());
    let result = command.start_log(&log).and_then(|()| command.run());
    log::end();
    result.unwrap_or_else(|error| {
        log::report(log.format(), &error);
        ExitCode::FAILURE
    })
}

/// Ends the process in the middle of what it does, once its log is written.
fn exit_now(code: i32) -> ! {
    log::end();
    std::process::exit(code)
}

/// Runs `command` to its end on a new runtime. Threads that still load or compute then are not waited for.
fn block_on(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("the runtime did not start")?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}

/// Prints lines to stdout, which is for results; everything else goes to stderr.
fn print_lines(lines: &[String]) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The rows as lines with aligned columns.
fn aligned<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        // Names of files and graphs must not write to a terminal as they like.
        cells.join("  ").trim_end().replace(char::is_control, "\u{FFFD}")
    };
    rows.iter().map(line).collect()
}
