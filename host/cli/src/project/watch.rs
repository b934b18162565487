//! Which changes of files concern an application: sources of its components, its manifest, its models.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use globset::{GlobBuilder, GlobMatcher};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::{ComponentBuild, Project};

/// How long nothing may change until what changed is told: editors and copies write in several steps.
const QUIET: Duration = Duration::from_millis(50);

/// How long changes may go on until they are told all the same.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// How often it is looked whether the program ends.
const LOOK: Duration = Duration::from_millis(100);

/// What has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// The components whose sources have changed.
    pub(crate) components: BTreeSet<String>,
    /// Whether the manifest has.
    pub(crate) manifest: bool,
    /// Whether models have, or components that are not built here.
    pub(crate) served: bool,
}

/// Watches the files of an application.
pub(crate) struct Watcher {
    /// Ends with the watcher.
    _watcher: RecommendedWatcher,
    events: Receiver<notify::Result<Event>>,
    rules: Vec<Rule>,
    pending: Changes,
}

/// Files, and what it means that one of them changes.
#[derive(Debug)]
struct Rule {
    files: GlobMatcher,
    /// The folder that has them.
    folder: PathBuf,
    recursive: bool,
    means: Meaning,
}

#[derive(Clone, Debug)]
enum Meaning {
    Sources(String),
    Manifest,
    Served,
}

impl Changes {
    fn is_empty(&self) -> bool {
        *self == Changes::default()
    }
}

impl Watcher {
    /// Watches the files of `project`, if there is one, and the models at these paths.
    ///
    /// # Errors
    ///
    /// A pattern is wrong, or the system watches no more files.
    pub(crate) fn start(project: Option<&Project>, models: &[PathBuf]) -> Result<Watcher> {
        let mut rules = models.iter().map(|path| Rule::of_path(path, Meaning::Served)).collect::<Result<Vec<_>>>()?;
        if let Some(project) = project {
            rules.push(Rule::of_path(&project.manifest, Meaning::Manifest)?);
            for component in &project.components {
                rules.extend(Rule::of_component(component)?);
            }
        }
        let (sender, events) = channel();
        let mut watcher = notify::recommended_watcher(sender).context("files can't be watched")?;
        for rule in &rules {
            let mode = if rule.recursive { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
            watcher.watch(&rule.folder, mode).with_context(|| {
                let shown = rule.folder.display();
                format!("{shown} can't be watched; where the system watches no more files: sysctl fs.inotify.max_user_watches")
            })?;
        }
        Ok(Watcher { _watcher: watcher, events, rules, pending: Changes::default() })
    }

    /// Waits until something has changed, and then nothing more for a moment. `None` when the program ends.
    pub(crate) fn wait(&mut self, is_ending: &AtomicBool) -> Option<Changes> {
        let mut first = None;
        loop {
            if is_ending.load(Ordering::Relaxed) {
                return None;
            }
            let timeout = if self.pending.is_empty() { LOOK } else { QUIET };
            match self.events.recv_timeout(timeout) {
                Ok(event) => self.note(event),
                Err(RecvTimeoutError::Timeout) if self.pending.is_empty() => continue,
                Err(RecvTimeoutError::Timeout) => return Some(std::mem::take(&mut self.pending)),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
            if !self.pending.is_empty() && first.get_or_insert_with(Instant::now).elapsed() > MAX_DELAY {
                return Some(std::mem::take(&mut self.pending));
            }
        }
    }

    /// Whether something has changed that [`Watcher::wait`] will tell.
    pub(crate) fn is_pending(&mut self) -> bool {
        while let Ok(event) = self.events.try_recv() {
            self.note(event);
        }
        !self.pending.is_empty()
    }

    fn note(&mut self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => return tracing::warn!("watching files: {error}"),
        };
        if event.need_rescan() {
            // More changed than the system could tell.
            self.rules.iter().for_each(|rule| rule.means.note(&mut self.pending));
        }
        if matches!(event.kind, EventKind::Access(_)) {
            return;
        }
        for path in event.paths.iter().filter(|path| !is_temporary(path)) {
            let rules = self.rules.iter().filter(|rule| rule.files.is_match(path));
            rules.for_each(|rule| rule.means.note(&mut self.pending));
        }
    }
}

impl Meaning {
    fn note(&self, changes: &mut Changes) {
        match self {
            Meaning::Sources(id) => drop(changes.components.insert(id.clone())),
            Meaning::Manifest => changes.manifest = true,
            Meaning::Served => changes.served = true,
        }
    }
}

impl Rule {
    /// A file, or all below a folder. It is the folder of a file that is watched: who saves a file often puts a new one in
    /// its place.
    fn of_path(path: &Path, means: Meaning) -> Result<Rule> {
        let path = std::path::absolute(path)?;
        let shown = path.to_str().with_context(|| format!("{} is not UTF-8; rename it", path.display()))?;
        let exact = globset::escape(shown);
        if path.is_dir() {
            let files = matcher(&format!("{exact}/**"))?;
            return Ok(Rule { files, folder: path, recursive: true, means });
        }
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Rule { files: matcher(&exact)?, folder, recursive: false, means })
    }

    /// The sources of a component, or its file where it comes built.
    fn of_component(component: &ComponentBuild) -> Result<Vec<Rule>> {
        if component.commands.is_empty() {
            return component.source.iter().map(|source| Rule::of_path(source, Meaning::Served)).collect();
        }
        let rules = component.watch.iter().map(|pattern| {
            let means = Meaning::Sources(component.id.clone());
            Rule::of_pattern(pattern, &component.workdir, means)
                .with_context(|| format!("[component.{}.build]: watch = \"{pattern}\"", component.id))
        });
        // What is usually watched need not all be there.
        Ok(rules.collect::<Result<Vec<_>>>()?.into_iter().filter(|rule| rule.folder.is_dir()).collect())
    }

    /// A pattern such as `src/**/*.rs` within `workdir`.
    fn of_pattern(pattern: &str, workdir: &Path, means: Meaning) -> Result<Rule> {
        let is_plain = |part: &&str| !part.contains(['*', '?', '[', '{']);
        let parts: Vec<&str> = pattern.split('/').collect();
        let plain = parts.iter().take_while(|part| is_plain(part)).count().min(parts.len() - 1);
        let workdir = std::path::absolute(workdir)?;
        let folder = workdir.join(parts[..plain].join("/"));
        let prefix = folder.to_str().with_context(|| format!("{} is not UTF-8; rename it", folder.display()))?;
        let rest = parts[plain..].join("/");
        let files = matcher(&format!("{}/{rest}", globset::escape(prefix.trim_end_matches('/'))))?;
        let recursive = rest.contains('/') || rest.contains("**");
        Ok(Rule { files, folder, recursive, means })
    }
}

fn matcher(pattern: &str) -> Result<GlobMatcher> {
    Ok(GlobBuilder::new(pattern).literal_separator(true).build()?.compile_matcher())
}

/// Whether a file is one that editors make beside what they edit.
fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || name.ends_with('~') || name.ends_with(".swp") || name.ends_with(".tmp")
}

#[cfg(test)]
mod tests;
