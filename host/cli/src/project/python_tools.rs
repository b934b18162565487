//! componentize-py, which makes components of Python: one pinned version in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::surroundings::{self, Environment, Install};
use crate::bundle;

const PACKAGE: &str = "componentize-py";

/// The pinned packages with their digests.
const REQUIREMENTS: &str = "sdk/guest/python/requirements.txt";

/// Adds to `environment` what the command `componentize-py` needs.
///
/// # Errors
///
/// It is missing, and is not to be installed or can't be.
pub(super) fn componentize_py(environment: &mut Environment, install: Install) -> Result<()> {
    let requirements = String::from_utf8(bundle::file(REQUIREMENTS)?)?;
    let version =
        version(&requirements).context("this program names no version of componentize-py; install another")?;
    let folder = surroundings::folder()?.join(format!("{PACKAGE}-{version}"));
    if !folder.join("bin").join(PACKAGE).is_file() {
        if install == Install::Never {
            bail!("{PACKAGE} {version} is missing; run: modelfn build --install");
        }
        install_packages(&requirements, &folder)?;
    }
    environment.prepend("PATH", &folder.join("bin"))?;
    // A folder that pip was given is no place where Python looks by itself.
    environment.set("PYTHONPATH", &folder);
    environment.set("VIRTUAL_ENV", empty_environment(&folder)?);
    Ok(())
}

/// An environment without packages: what is installed for other programs would become a part of the component.
fn empty_environment(folder: &Path) -> Result<PathBuf> {
    let environment = folder.join("empty");
    let packages = environment.join("lib/python3/site-packages");
    std::fs::create_dir_all(&packages).with_context(|| format!("{} can't be made", packages.display()))?;
    Ok(environment)
}

/// Installs packages into a folder of their own, beside its place and renamed, so that an interrupted installation is not
/// taken for a whole one.
fn install_packages(requirements: &str, folder: &Path) -> Result<()> {
    let python = python()?;
    let unfinished = folder.with_extension(format!("unfinished-{}", std::process::id()));
    std::fs::create_dir_all(&unfinished).with_context(|| format!("{} can't be made", unfinished.display()))?;
    let list = unfinished.join("requirements.txt");
    std::fs::write(&list, requirements)?;
    let options = ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"];
    let pinned = ["--require-hashes", "--only-binary", ":all:"];
    let mut pip = Command::new(python);
    pip.args(options).args(pinned).arg("--target").arg(&unfinished).arg("--requirement").arg(&list);
    pip.env("PIP_ROOT_USER_ACTION", "ignore");
    let installed = surroundings::run(&mut pip).and_then(|()| {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::rename(&unfinished, folder).with_context(|| format!("{} can't be written", folder.display()))
    });
    if installed.is_err() {
        let _ = std::fs::remove_dir_all(&unfinished);
    }
    installed
}

/// A Python that has pip.
fn python() -> Result<PathBuf> {
    let python = surroundings::program("python3").context(
        "python3 is not installed, which componentize-py runs on; install Python 3.10 or newer, with pip \
         (on Debian, as root: apt-get install python3-pip)",
    )?;
    let has_pip = Command::new(&python).args(["-m", "pip", "--version"]).output().is_ok_and(|pip| pip.status.success());
    if !has_pip {
        bail!(
            "{} has no pip; run: python3 -m ensurepip, or on Debian, as root: apt-get install python3-pip",
            python.display()
        );
    }
    Ok(python)
}

/// The version that a list of requirements pins.
fn version(requirements: &str) -> Option<&str> {
    let line = requirements.lines().find_map(|line| line.trim().strip_prefix(PACKAGE)?.strip_prefix("=="))?;
    line.split(|c: char| c.is_whitespace() || c == '\\' || c == ';').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_list() {
        let list = "# a comment\ncomponentize-py==0.25.1 \\\n    --hash=sha256:00\n";
        assert_eq!(version(list), Some("0.25.1"));
        assert_eq!(version("componentize-pyx==1\nother==2"), None);
    }
}
