//! The parts of documents that are made from the definitions of the command line.
//!
//! Each test compares what is written with what is defined. `WRITE_DOCUMENTS=1 cargo test -p modelfn --bins` writes it.

use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};

use crate::commands::Arguments;

/// The path of a document of the repository.
pub(crate) fn path(document: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(document)
}

/// The text of a document of the repository.
pub(crate) fn read(document: &str) -> String {
    std::fs::read_to_string(path(document)).unwrap_or_else(|e| panic!("{document}: {e}"))
}

/// Holds what stands between the two `markers` of a document against `expected`, or writes it where that was asked for.
pub(crate) fn expect_between(document: &str, markers: [&str; 2], expected: &str) {
    let text = read(document);
    let found = text.split_once(markers[0]).and_then(|(head, rest)| Some((head, rest.split_once(markers[1])?)));
    let Some((head, (written, tail))) = found else { panic!("{document} lacks the markers {markers:?}") };
    if std::env::var_os("WRITE_DOCUMENTS").is_some() {
        std::fs::write(path(document), [head, markers[0], expected, markers[1], tail].concat()).unwrap();
        return;
    }
    assert!(
        written == expected,
        "{document} is not what the command line is; `WRITE_DOCUMENTS=1 cargo test -p modelfn --bins` writes between its \
         markers:\n{expected}"
    );
}

/// The help of `command` and of its subcommands, which are called by `words`.
fn help(command: &mut Command, words: &str, found: &mut String) {
    // What has a variable is a setting, and stands in `docs/settings.md`.
    let mut alone = command.clone().mut_args(|flag| if flag.get_env().is_some() { flag.hide(true) } else { flag });
    alone = alone.bin_name(words);
    let lines: Vec<String> = alone.render_help().to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    *found += &format!("\n## `{words}`\n\n```text\n{}\n```\n", lines.join("\n").trim_end());
    for subcommand in command.get_subcommands_mut() {
        let name = subcommand.get_name().to_owned();
        if !subcommand.is_hide_set() && name != "help" {
            help(subcommand, &format!("{words} {name}"), found);
        }
    }
}

#[test]
fn the_page_of_the_command_line_is_what_the_help_says() {
    let mut program = Arguments::command();
    program.build();
    let mut expected = String::new();
    help(&mut program, "modelfn", &mut expected);
    assert!(expected.matches("\n## ").count() > 8, "{expected}");
    expect_between("docs/cli.md", ["<!-- made from the help -->\n", "<!-- end of the help -->"], &expected);
}
