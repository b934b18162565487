//! The surroundings of builds: variables, programs, and where tools are installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

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
pub(crate) fn run(command: &mut Command) -> Result<()> {
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
