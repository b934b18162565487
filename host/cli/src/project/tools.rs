//! What commands of builds need that may not be here: found, or named with the command that installs it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{ComponentBuild, python_tools, rust_tools};

/// Variables that are set for a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment(Vec<(OsString, OsString)>);

/// Whether what is missing may be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Install {
    /// It is an error that names the remedy.
    Never,
    /// It is installed, where a package manager does that.
    Missing,
}

/// A tool that commands name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tool {
    /// cargo, with Rust's standard library for components.
    CargoForWasm,
    /// cargo, for this machine.
    Cargo,
    ComponentizePy,
}

impl Environment {
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.into(), value.into()));
    }

    /// Puts `folder` before all others in which `variable`, a list such as `PATH`, has folders.
    ///
    /// # Errors
    ///
    /// The folder's name has a colon.
    pub(crate) fn prepend(&mut self, variable: &str, folder: &Path) -> Result<()> {
        let own = self.0.iter().find(|(name, _)| name == variable).map(|(_, value)| value.clone());
        let rest = own.or_else(|| std::env::var_os(variable)).unwrap_or_default();
        let folders = [folder.to_owned()].into_iter().chain(std::env::split_paths(&rest));
        let joined = std::env::join_paths(folders.filter(|folder| !folder.as_os_str().is_empty()));
        self.set(variable, joined.with_context(|| format!("{} can't be in {variable}", folder.display()))?);
        Ok(())
    }
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
    let mut words = command.split(|c: char| c.is_whitespace() || ";&|()'\"".contains(c));
    let names = |word: &str, tool: &str| Path::new(word).file_name().is_some_and(|name| name == tool);
    let is_for_wasm = command.contains(rust_tools::TARGET);
    words
        .by_ref()
        .filter_map(|word| match word {
            word if names(word, "cargo") && is_for_wasm => Some(Tool::CargoForWasm),
            word if names(word, "cargo") => Some(Tool::Cargo),
            word if names(word, "componentize-py") => Some(Tool::ComponentizePy),
            _ => None,
        })
        .collect()
}

/// The program `name` of the folders of `PATH`.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The folder of tools that this program installs; shared with the scripts of its repository.
///
/// # Errors
///
/// There is no home.
pub(crate) fn folder() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("MODELFN_CACHE").or_else(|| Some(variable("HOME")?.join(".cache/modelfn")));
    Ok(cache.context("there is no place for tools: set HOME, or MODELFN_CACHE to a folder")?.join("tools"))
}

/// Runs an installation, with its output on stderr.
///
/// # Errors
///
/// It failed, or the program is not here.
pub(crate) fn run(command: &mut std::process::Command) -> Result<()> {
    let shown = format!("{} {}", command.get_program().to_string_lossy(), {
        let arguments = command.get_args().map(|argument| argument.to_string_lossy());
        arguments.collect::<Vec<_>>().join(" ")
    });
    tracing::info!("installing: {shown}");
    command.stdout(std::io::stderr());
    let status = command.status().with_context(|| format!("`{shown}` can't be run"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status}); what it said is above");
    }
    Ok(())
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

    #[test]
    fn variables_are_set_once_and_lists_grow_at_their_front() {
        let mut environment = Environment::default();
        environment.set("A", "1");
        environment.set("A", "2");
        environment.prepend("MODELFN_NO_SUCH_LIST", Path::new("/b")).unwrap();
        environment.prepend("MODELFN_NO_SUCH_LIST", Path::new("/a")).unwrap();
        let shown: Vec<_> =
            environment.variables().map(|(name, value)| (name.to_str().unwrap(), value.to_str().unwrap())).collect();
        assert_eq!(shown, [("A", "2"), ("MODELFN_NO_SUCH_LIST", "/a:/b")]);
        assert!(environment.prepend("PATH", Path::new("/a:b")).is_err());
    }
}
