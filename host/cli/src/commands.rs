//! The subcommands: one file each, with its arguments and what it does.

mod build;
mod compile;
mod completions;
mod dev;
mod engine_worker;
mod invoke;
mod key;
mod model;
mod new;
mod plan;
mod serve;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::block_on;
use crate::engines::ENGINE_WORKER;
use crate::log::{self, LogSettings, Reader, RequestLines};

/// Machine-learning models as sandboxed WebAssembly functions.
#[derive(Debug, Parser)]
#[command(name = "modelfn", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) log: LogSettings,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a folder with a function of your own, which builds and answers by itself.
    #[command(after_help = new::EXAMPLES)]
    New(new::NewArguments),
    /// Build the components of an application.
    #[command(after_help = build::EXAMPLES)]
    Build(build::BuildArguments),
    /// Serve an application, and build and load it again when a file changes.
    #[command(after_help = dev::EXAMPLES)]
    Dev(Box<dev::DevArguments>),
    /// Send the requests of an application's tests, and compare the responses.
    #[command(after_help = test::EXAMPLES)]
    Test(Box<test::TestArguments>),
    /// Serve the functions of an application over HTTP.
    #[command(after_help = serve::EXAMPLES)]
    Serve(Box<serve::ServeArguments>),
    /// Send one request through the whole path, without a server.
    #[command(after_help = invoke::EXAMPLES)]
    Invoke(Box<invoke::InvokeArguments>),
    /// Compile an application's components ahead of time, for images.
    #[command(after_help = compile::EXAMPLES)]
    Compile(compile::CompileArguments),
    /// Make an API key.
    #[command(after_help = key::EXAMPLES)]
    Key(key::KeyArguments),
    /// Plan CPU, memory and replicas of a model, by measuring it here.
    #[command(after_help = plan::EXAMPLES)]
    Plan(Box<plan::PlanArguments>),
    /// Look at models.
    Model {
        #[command(subcommand)]
        command: model::ModelCommand,
    },
    /// Print a completion script for a shell.
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::CompletionsArguments),
    /// Run one model's engine for a server.
    #[command(name = ENGINE_WORKER, hide = true)]
    EngineWorker(engine_worker::EngineWorkerArguments),
}

impl Command {
    /// Starts the log, but for an engine process, whose lines the server logs.
    ///
    /// # Errors
    ///
    /// The settings of the log are wrong.
    pub(crate) fn start_log(&self, settings: &LogSettings) -> Result<()> {
        match self {
            Command::EngineWorker(_) => Ok(()),
            Command::Model { command: model::ModelCommand::Check(_) } | Command::Test(_) => {
                log::start(settings, RequestLines::Hidden)
            }
            _ => log::start(settings, RequestLines::Logged),
        }
    }

    /// Who reads its log, and why it ends.
    pub(crate) fn reader(&self) -> Reader {
        let prints_json = match self {
            Command::Serve(_) | Command::EngineWorker(_) => return Reader::Server,
            Command::Plan(arguments) => arguments.prints_json(),
            Command::Model { command } => command.prints_json(),
            Command::Test(arguments) => arguments.prints_json(),
            Command::New(_)
            | Command::Build(_)
            | Command::Dev(_)
            | Command::Invoke(_)
            | Command::Compile(_)
            | Command::Key(_)
            | Command::Completions(_) => false,
        };
        if prints_json { Reader::Program } else { Reader::Person }
    }

    /// Runs the subcommand to its end.
    ///
    /// # Errors
    ///
    /// A message for the person who typed it, with the remedy.
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self {
            Command::New(arguments) => new::new(&arguments),
            Command::Build(arguments) => block_on(build::build(arguments)),
            Command::Dev(arguments) => block_on(dev::dev(*arguments)),
            Command::Test(arguments) => test::test(*arguments),
            Command::Serve(arguments) => block_on(serve::serve(*arguments)),
            Command::Invoke(arguments) => block_on(invoke::invoke(*arguments)),
            Command::Compile(arguments) => compile::compile(&arguments),
            Command::Key(arguments) => key::key(&arguments),
            Command::Plan(arguments) => block_on(plan::plan(*arguments)),
            Command::Model { command } => command.run(),
            Command::Completions(arguments) => completions::completions(&arguments),
            Command::EngineWorker(arguments) => engine_worker::engine_worker(arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_single_request_obeys_the_limits_of_bodies_as_a_server_does() {
        for command in [&["modelfn", "serve"][..], &["modelfn", "invoke", "/"]] {
            let limits = ["--max-body", "2MiB", "--max-bodies", "3MiB"];
            assert!(Arguments::try_parse_from(command.iter().chain(&limits)).is_ok(), "{command:?}");
        }
    }

    #[test]
    fn an_empty_folder_of_code_keeps_none() {
        assert!(Arguments::try_parse_from(["modelfn", "serve", "--code-cache", ""]).is_ok());
    }

    /// The headings of a help text, each with its flags, in the order in which they are printed.
    fn groups(help: &str) -> Vec<(&str, Vec<&str>)> {
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in help.lines() {
            let flag =
                line.trim_start().split_once("--").filter(|(short, _)| short.is_empty() || short.starts_with('-'));
            match (line.strip_suffix(':').filter(|heading| !heading.starts_with(' ')), flag, groups.last_mut()) {
                (Some(heading), ..) => groups.push((heading, Vec::new())),
                (_, Some((_, flag)), Some((_, flags))) => flags.push(flag.split([' ', ',']).next().unwrap_or(flag)),
                _ => {}
            }
        }
        groups
    }

    #[test]
    fn the_help_is_grouped_and_sorted() {
        let mut program = Arguments::command();
        program.build();
        let subcommand = |name: &str| program.find_subcommand(name).unwrap().clone().render_long_help().to_string();
        for name in ["new", "build", "dev", "test", "serve", "invoke", "compile", "key", "plan"] {
            let help = subcommand(name);
            for (heading, flags) in groups(&help) {
                let own: Vec<_> = flags.into_iter().filter(|flag| *flag != "help").collect();
                assert!(own.is_sorted(), "{name}: {heading}: {own:?}");
            }
        }
        let help = subcommand("serve");
        let headings: Vec<_> = groups(&help).into_iter().map(|(heading, _)| heading).collect();
        let expected = [
            "Arguments",
            "Options",
            "Application",
            "Models",
            "Limits of a request",
            "Limits of the server",
            "Connections",
            "Security",
            "Log",
            "Examples",
            "Then",
        ];
        assert_eq!(headings[..expected.len()], expected);
    }
}
