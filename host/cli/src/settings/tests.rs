//! The tables of settings and limits in `docs/`, held against the definitions of the command line.

use clap::{Arg, CommandFactory};

use crate::commands::Arguments;
use crate::documents::{expect_between, read};

/// Around the table that this test writes.
const MARKERS: [&str; 2] =
    ["<!-- settings of `modelfn serve`, made from its definitions -->\n", "<!-- end of the settings -->"];

/// The flags of `modelfn serve`, as the help has them.
fn flags() -> Vec<Arg> {
    let mut program = Arguments::command();
    program.build();
    let serve = program.find_subcommand("serve").expect("there is a subcommand `serve`");
    let mut flags: Vec<_> =
        serve.get_arguments().filter(|flag| flag.get_long().is_some_and(|long| long != "help")).cloned().collect();
    let headings: Vec<_> = flags.iter().map(|flag| heading(flag).to_owned()).collect();
    let place = |flag: &Arg| headings.iter().position(|other| other == heading(flag));
    flags.sort_by_key(|flag| (place(flag), name(flag)));
    flags
}

fn name(flag: &Arg) -> String {
    format!("--{}", flag.get_long().unwrap_or_default())
}

fn heading(flag: &Arg) -> &str {
    flag.get_help_heading().unwrap_or_default()
}

/// The default as it is typed; empty where there is none, or where the program computes it.
fn default(flag: &Arg) -> String {
    flag.get_default_values().iter().map(|value| value.to_string_lossy()).collect()
}

fn expected_table() -> String {
    let mut table = "| setting | variable | default | meaning |\n|---|---|---|---|\n".to_owned();
    let mut group = String::new();
    for flag in flags() {
        if heading(&flag) != group {
            group = heading(&flag).to_owned();
            table += &format!("| **{group}** | | | |\n");
        }
        let code = |text: String| if text.is_empty() { text } else { format!("`{text}`") };
        let variable = code(flag.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default());
        let help = flag.get_long_help().or(flag.get_help()).map(ToString::to_string).unwrap_or_default();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        let (setting, default) = (code(name(&flag)), code(default(&flag)));
        table +=
            &format!("| {setting} | {variable} | {default} | {help} |\n").replace("|  |", "| |").replace("|  |", "| |");
    }
    table
}

#[test]
fn the_page_of_settings_has_every_setting_as_it_is_defined() {
    expect_between("docs/settings.md", MARKERS, &expected_table());
}

/// The rows of the table of limits: default, and the cell that names the setting.
fn limits() -> Vec<(String, String)> {
    let text = read("docs/limits.md");
    let table = text.split_once("| limit | default | setting |").expect("there is a table of limits").1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        (cells[2].to_owned(), cells[3].to_owned())
    })
    .collect()
}

/// "256 MiB" is "256MiB", "1,024" is "1024", "2 min" is "2m".
fn normalised(text: &str) -> String {
    let text = text.split(", and").next().unwrap_or(text).replace([' ', ','], "");
    text.strip_suffix("min").map_or(text.clone(), |minutes| format!("{minutes}m"))
}

#[test]
fn the_limits_that_are_documented_are_the_defaults() {
    let rows = limits();
    let flags = flags();
    let mut checked = 0;
    for (shown, setting) in &rows {
        let Some(flag) = flags.iter().find(|flag| setting.starts_with(&format!("`{}`", name(flag)))) else {
            assert!(!setting.starts_with("`--"), "there is no setting {setting}");
            continue;
        };
        checked += 1;
        let default = default(flag);
        if default.is_empty() {
            let help = flag.get_long_help().or(flag.get_help()).map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Default: "), "{setting} shows {shown}, and has no default");
        } else {
            assert_eq!(normalised(shown), default, "{setting}");
        }
    }
    assert!(checked > 10, "only {checked} rows name a setting: {rows:?}");
}

#[test]
fn every_limit_stands_in_the_table_of_limits() {
    let rows = limits();
    let is_limit = |flag: &&Arg| {
        let is_limit = |name: &str| name.starts_with("max-") || name.ends_with("-timeout");
        heading(flag).starts_with("Limits") || flag.get_long().is_some_and(is_limit)
    };
    let flags = flags();
    let limits: Vec<_> = flags.iter().filter(is_limit).map(|flag| format!("`{}`", name(flag))).collect();
    assert!(limits.len() > 10, "{limits:?}");
    let missing: Vec<_> =
        limits.iter().filter(|limit| !rows.iter().any(|(_, setting)| setting.contains(*limit))).collect();
    assert!(missing.is_empty(), "docs/limits.md lacks {missing:?}");
}
