//! An application whose components are built here: the part of its manifest that says how.
//!
//! The format is Spin's: `[component.<id>.build]` with `command`, `workdir` and `watch`. The server reads the rest of the
//! manifest, and passes over this.

pub(crate) mod builder;
mod process;
mod python_tools;
mod rust_tools;
pub(crate) mod surroundings;
pub(crate) mod tools;
pub(crate) mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::bundle::{self, SDK_FOLDER};

/// What is watched of a component that does not say it: the sources of Rust and Python.
const USUAL_SOURCES: [&str; 4] = ["src/**/*", "*.py", "Cargo.toml", "build.rs"];

/// An application, and how its components are built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Project {
    pub(crate) manifest: PathBuf,
    /// The manifest's folder.
    pub(crate) folder: PathBuf,
    pub(crate) components: Vec<ComponentBuild>,
}

/// A component of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ComponentBuild {
    pub(crate) id: String,
    /// Its file, where it is one.
    pub(crate) source: Option<PathBuf>,
    /// What builds it, one after the other; empty where it comes built.
    pub(crate) commands: Vec<String>,
    /// Where the commands run.
    pub(crate) workdir: PathBuf,
    /// The patterns of its sources, relative to `workdir`.
    pub(crate) watch: Vec<String>,
}

#[derive(Deserialize)]
struct ManifestTable {
    #[serde(default)]
    component: BTreeMap<String, ComponentTable>,
}

#[derive(Deserialize)]
struct ComponentTable {
    source: toml::Value,
    build: Option<BuildTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BuildTable {
    command: Commands,
    workdir: Option<PathBuf>,
    #[serde(default)]
    watch: Vec<String>,
    /// Of Spin's variants for debugging. They are no concern of this program.
    #[serde(default, rename = "environment")]
    _environment: Option<toml::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Commands {
    One(String),
    Several(Vec<String>),
}

impl Project {
    /// Reads the manifest.
    ///
    /// # Errors
    ///
    /// It can't be read, or says something wrong of builds.
    pub(crate) fn open(manifest: &Path) -> Result<Project> {
        let text = std::fs::read_to_string(manifest).with_context(|| {
            format!("the manifest {} can't be read; `modelfn new NAME` makes a folder with one", manifest.display())
        })?;
        let folder = match manifest.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Project::parse(&text, manifest, folder).with_context(|| format!("in the manifest {}", manifest.display()))
    }

    fn parse(text: &str, manifest: &Path, folder: PathBuf) -> Result<Project> {
        let table: ManifestTable = toml::from_str(text)?;
        let components = table.component.into_iter().map(|(id, table)| {
            let place = format!("[component.{id}.build]");
            table.check(id, &folder).context(place)
        });
        let components = components.collect::<Result<_>>()?;
        Ok(Project { manifest: manifest.to_owned(), folder, components })
    }

    /// The components that are built, of these ids, or all where none is named.
    ///
    /// # Errors
    ///
    /// No component has such an id, or one is not built.
    pub(crate) fn builds(&self, ids: &[String]) -> Result<Vec<&ComponentBuild>> {
        let is_built = |component: &&ComponentBuild| !component.commands.is_empty();
        if ids.is_empty() {
            return Ok(self.components.iter().filter(is_built).collect());
        }
        let have = || self.components.iter().map(|component| component.id.as_str()).collect::<Vec<_>>().join(", ");
        let named = ids.iter().map(|id| {
            let found = self.components.iter().find(|component| component.id == *id);
            let found = found.with_context(|| format!("no component \"{id}\"; have: {}", have()))?;
            ensure!(is_built(&found), "component \"{id}\" has no [component.{id}.build]; add its command there");
            Ok(found)
        });
        named.collect()
    }

    /// Whether its sources name the SDK that the program carries.
    pub(crate) fn uses_sdk(&self) -> bool {
        let names = |file: PathBuf| std::fs::read_to_string(file).is_ok_and(|text| text.contains(SDK_FOLDER));
        let workdirs = self.components.iter().map(|component| component.workdir.join("Cargo.toml"));
        self.folder.join(SDK_FOLDER).exists()
            || self.components.iter().any(|component| component.commands.iter().any(|text| text.contains(SDK_FOLDER)))
            || workdirs.into_iter().any(names)
    }

    /// Writes the SDK where sources name it and it is missing, or that of another program.
    ///
    /// # Errors
    ///
    /// It can't be written.
    pub(crate) fn restore_sdk(&self) -> Result<()> {
        if self.uses_sdk() {
            bundle::unpack_sdk(&self.folder)?;
        }
        Ok(())
    }
}

impl ComponentTable {
    fn check(self, id: String, folder: &Path) -> Result<ComponentBuild> {
        let source = self.source.as_str().map(|source| folder.join(source));
        let Some(build) = self.build else {
            let workdir = folder.to_owned();
            return Ok(ComponentBuild { id, source, commands: Vec::new(), workdir, watch: Vec::new() });
        };
        let commands = match build.command {
            Commands::One(command) => vec![command],
            Commands::Several(commands) => commands,
        };
        ensure!(
            !commands.is_empty() && commands.iter().all(|command| !command.trim().is_empty()),
            "`command` is empty; write what builds the component, such as \"cargo build --target wasm32-wasip2 --release\""
        );
        let workdir = build.workdir.map_or_else(|| folder.to_owned(), |workdir| folder.join(workdir));
        ensure!(workdir.is_dir(), "workdir: {} is not a folder", workdir.display());
        let usual = || USUAL_SOURCES.map(str::to_owned).to_vec();
        let watch = if build.watch.is_empty() { usual() } else { build.watch };
        Ok(ComponentBuild { id, source, commands, workdir, watch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(build: &str) -> Result<Project> {
        let text = format!("[component.a]\nsource = \"a.wasm\"\n{build}\n[component.b]\nsource = \"b.wasm\"\n");
        Project::parse(&text, Path::new("/tmp/spin.toml"), "/tmp".into())
    }

    fn error(build: &str) -> String {
        format!("{:#}", parse(build).unwrap_err())
    }

    #[test]
    fn builds_are_read_as_spin_has_them() {
        let project = parse("build = { command = \"make\" }").unwrap();
        let [a, b] = &project.components[..] else { panic!("{project:?}") };
        assert_eq!((&a.commands[..], a.workdir.as_path()), (&["make".to_owned()][..], Path::new("/tmp")));
        assert_eq!(a.source.as_deref(), Some(Path::new("/tmp/a.wasm")));
        assert_eq!(a.watch, USUAL_SOURCES);
        assert!(b.commands.is_empty());
        assert_eq!(project.builds(&[]).unwrap(), [a]);
        let project = parse("build = { command = [\"x\", \"y\"], workdir = \".\", watch = [\"*.c\"] }").unwrap();
        assert_eq!(project.components[0].commands, ["x", "y"]);
        assert_eq!(project.components[0].watch, ["*.c"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(error("build = { command = \" \" }").contains("[component.a.build]: `command` is empty; write"));
        assert!(error("build = { command = [] }").contains("`command` is empty"));
        assert!(error("build = { command = \"x\", workdir = \"no-such\" }").contains("/tmp/no-such is not a folder"));
        assert!(error("build = { command = \"x\", watches = [] }").contains("watches"));
        let project = parse("").unwrap();
        let error = |id: &str| format!("{:#}", project.builds(&[id.to_owned()]).unwrap_err());
        assert_eq!(error("c"), "no component \"c\"; have: a, b");
        assert!(error("b").contains("has no [component.b.build]"));
    }
}
