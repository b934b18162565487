//! What runs beside a server in development: it waits for changes, builds, and asks for a reload.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use modelfn_server::admin::Reload;
use tokio::sync::oneshot;

use super::code_folder::CodeFolder;
use crate::commands::serve::Running;
use crate::log::{self, LogFormat};
use crate::project::Project;
use crate::project::builder::{Builder, Unbuilt};
use crate::project::surroundings::{Environment, Install};
use crate::project::tools;
use crate::project::watch::{Changes, Watcher};

/// An application in development.
pub(super) struct Workshop {
    /// `None` where models are served without a manifest.
    project: Option<Project>,
    models: Vec<PathBuf>,
    builder: Builder,
    watcher: Watcher,
    /// The components whose last build is older than their sources.
    outdated: BTreeSet<String>,
    is_ending: Arc<AtomicBool>,
}

/// How far the application is built.
enum Outcome {
    /// Everything is.
    Built,
    /// Something else changed meanwhile.
    Changed,
    Failed(Failure),
}

/// Why it is not, for people.
struct Failure {
    /// A sentence.
    what: String,
    /// What the build said.
    output: String,
}

impl Workshop {
    /// The application of this manifest, with the models at these paths.
    ///
    /// # Errors
    ///
    /// The manifest is wrong, or a tool is missing.
    pub(super) fn open(
        manifest: Option<PathBuf>,
        models: Vec<PathBuf>,
        is_ending: Arc<AtomicBool>,
    ) -> Result<Workshop> {
        let project = manifest.map(|manifest| Project::open(&manifest)).transpose()?;
        let watcher = Watcher::start(project.as_ref(), &models)?;
        let builder = Builder { environment: Environment::default() };
        let mut workshop = Workshop { project, models, builder, watcher, outdated: BTreeSet::new(), is_ending };
        workshop.prepare()?;
        Ok(workshop)
    }

    /// Builds everything, again after each change until it succeeds.
    ///
    /// # Errors
    ///
    /// The program was told to end.
    pub(super) fn first_build(mut self) -> Result<Workshop> {
        loop {
            match self.build() {
                Outcome::Built => return Ok(self),
                Outcome::Changed => {}
                Outcome::Failed(failure) => {
                    tracing::error!("{}; nothing is served until it is mended", failure.what);
                }
            }
            let Some(changes) = self.watcher.wait(&self.is_ending) else { bail!("told to end while building") };
            if let Err(error) = self.note(changes) {
                tracing::error!("{error:#}");
            }
        }
    }

    /// Builds and reloads after each change, until the program ends.
    pub(super) fn run(mut self, running: &Running, code: Option<&CodeFolder>) {
        while let Some(changes) = self.watcher.wait(&self.is_ending) {
            let is_served_changed = changes.served;
            let outcome = match self.note(changes) {
                Ok(()) => self.build(),
                Err(error) => {
                    let (what, output) = ("the manifest is wrong".to_owned(), format!("{error:#}"));
                    // Unlike the output of a build, this was not on the terminal yet.
                    tracing::error!("{output}");
                    Outcome::Failed(Failure { what, output })
                }
            };
            if let Some(code) = code {
                code.forget_old();
            }
            match outcome {
                Outcome::Built => match reload(running) {
                    Ok(()) => running.services.build_failure.clear(),
                    Err(output) => show(running, &Failure { what: "it can't be loaded".to_owned(), output }),
                },
                Outcome::Changed => {}
                Outcome::Failed(failure) => {
                    tracing::error!("{}", failure.what);
                    show(running, &failure);
                    if is_served_changed {
                        let _ = reload(running);
                    }
                }
            }
        }
    }

    /// Takes note of what changed.
    fn note(&mut self, changes: Changes) -> Result<()> {
        let Changes { components, manifest, .. } = changes;
        self.outdated.extend(components);
        if let (true, Some(project)) = (manifest, &self.project) {
            let project = Project::open(&project.manifest)?;
            self.watcher = Watcher::start(Some(&project), &self.models)?;
            self.project = Some(project);
            self.prepare()?;
        }
        Ok(())
    }

    /// Finds what builds need, and has everything built.
    fn prepare(&mut self) -> Result<()> {
        let Some(project) = &self.project else { return Ok(()) };
        project.restore_sdk()?;
        let builds = project.builds(&[])?;
        self.builder.environment = tools::environment(&builds, Install::Never)?;
        if log::format() == LogFormat::Human && std::io::stderr().is_terminal() {
            // It would not show colors on a pipe by itself.
            self.builder.environment.set("CARGO_TERM_COLOR", "always");
        }
        self.outdated = builds.into_iter().map(|component| component.id.clone()).collect();
        Ok(())
    }

    /// Builds what is outdated. A change meanwhile ends that, and what runs for it.
    fn build(&mut self) -> Outcome {
        let Some(project) = &self.project else { return Outcome::Built };
        if let Err(error) = project.restore_sdk() {
            let (what, output) = ("the SDK can't be written".to_owned(), format!("{error:#}"));
            return Outcome::Failed(Failure { what, output });
        }
        for component in project.components.iter().filter(|component| !component.commands.is_empty()) {
            if !self.outdated.contains(&component.id) {
                continue;
            }
            tracing::info!("building {}", component.id);
            let (watcher, is_ending) = (&mut self.watcher, &self.is_ending);
            let built = self.builder.build(component, || watcher.is_pending() || is_ending.load(Ordering::Relaxed));
            match built {
                Ok(Ok(built)) => {
                    tracing::info!("{built}");
                    self.outdated.remove(&component.id);
                }
                Ok(Err(Unbuilt::Cancelled)) => return Outcome::Changed,
                Ok(Err(Unbuilt::Failed(failed))) => {
                    let output = anstream::adapter::strip_str(&failed.output).to_string();
                    return Outcome::Failed(Failure { what: failed.to_string(), output });
                }
                Err(error) => {
                    let what = format!("the build of \"{}\" failed", component.id);
                    return Outcome::Failed(Failure { what, output: format!("{error:#}") });
                }
            }
        }
        Outcome::Built
    }
}

/// Has the server read everything again.
fn reload(running: &Running) -> Result<(), String> {
    let ending = || "the server ends".to_owned();
    let (reply, done) = oneshot::channel();
    running.reloads.blocking_send(Reload { model: None, reply }).map_err(|_| ending())?;
    done.blocking_recv().unwrap_or_else(|_| Err(ending())).map(drop)
}

/// Shows a failure to browsers, but not where a server asks for keys: the page needs none.
fn show(running: &Running, failure: &Failure) {
    if running.services.keys.is_none() {
        running.services.build_failure.set(&failure.what, &failure.output);
    }
}
