//! What commands of builds need that may not be here: found, or named with the command that installs it.

use std::path::Path;

use anyhow::{Context, Result};

use super::surroundings::{Environment, Install};
use super::{ComponentBuild, python_tools, rust_tools};

/// A tool that commands name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tool {
    /// cargo, with Rust's standard library for components.
    CargoForWasm,
    /// cargo, for this machine.
    Cargo,
    ComponentizePy,
}

/// The environment in which `components` can be built.
///
/// # Errors
///
/// A tool is missing: what it is, and the command that installs it.
pub(crate) fn environment(components: &[&ComponentBuild], install: Install) -> Result<Environment> {
    let mut environment = Environment::default();
    let mut wanted: Vec<(Tool, &ComponentBuild)> = Vec::new();
    for component in components {
        wanted.extend(component.commands.iter().flat_map(|command| tools(command)).map(|tool| (tool, *component)));
    }
    wanted.sort_by_key(|(tool, _)| *tool);
    wanted.dedup_by_key(|(tool, _)| *tool);
    for (tool, component) in wanted {
        let found = match tool {
            Tool::CargoForWasm => rust_tools::for_wasm(&mut environment, &component.workdir, install),
            Tool::Cargo => rust_tools::cargo().map(drop),
            Tool::ComponentizePy => python_tools::componentize_py(&mut environment, install),
        };
        found.with_context(|| format!("component \"{}\" can't be built", component.id))?;
    }
    Ok(environment)
}

/// The tools that a command names.
fn tools(command: &str) -> Vec<Tool> {
    let words = command.split(|c: char| c.is_whitespace() || ";&|()'\"".contains(c));
    let names = |word: &str, tool: &str| Path::new(word).file_name().is_some_and(|name| name == tool);
    let is_for_wasm = command.contains(rust_tools::TARGET);
    words
        .filter_map(|word| match word {
            word if names(word, "cargo") && is_for_wasm => Some(Tool::CargoForWasm),
            word if names(word, "cargo") => Some(Tool::Cargo),
            word if names(word, "componentize-py") => Some(Tool::ComponentizePy),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_their_tools() {
        assert_eq!(tools("cargo build --target wasm32-wasip2 --release"), [Tool::CargoForWasm]);
        assert_eq!(tools("cd x && ~/.cargo/bin/cargo run"), [Tool::Cargo]);
        assert_eq!(tools("componentize-py -d wit componentize app"), [Tool::ComponentizePy]);
        assert_eq!(tools("make guest; echo cargos"), []);
    }
}
