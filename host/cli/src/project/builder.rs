//! Builds components: the commands of each, one component after the other.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::ComponentBuild;
use super::process::{self, BuildProcess, Ended};
use super::surroundings::Environment;

/// How often it is looked whether a command has ended.
const LOOK: Duration = Duration::from_millis(10);

/// The build of a component that succeeded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Built {
    pub(crate) id: String,
    pub(crate) took: Duration,
    /// Bytes of the component's file.
    pub(crate) size: Option<u64>,
}

/// A build that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) id: String,
    pub(crate) command: String,
    /// How the command ended.
    pub(crate) how: String,
    /// What it wrote.
    pub(crate) output: String,
}

/// Why there is no build.
#[derive(Clone, Debug)]
pub(crate) enum Unbuilt {
    /// A command failed.
    Failed(Failed),
    /// Nobody wants it any more.
    Cancelled,
}

/// Runs builds in an environment. What they write is shown on stderr.
pub(crate) struct Builder {
    pub(crate) environment: Environment,
}

impl Builder {
    /// Builds `component`, unless `is_cancelled` says meanwhile that nobody wants that; the command ends then.
    ///
    /// # Errors
    ///
    /// A command can't be started. That one fails is a result.
    pub(crate) fn build(
        &self,
        component: &ComponentBuild,
        mut is_cancelled: impl FnMut() -> bool,
    ) -> Result<Result<Built, Unbuilt>> {
        let started = Instant::now();
        for command in &component.commands {
            let folder = &component.workdir;
            let mut process = BuildProcess::start(command, folder, &self.environment, process::show)
                .with_context(|| format!("`{command}` can't be started in {}", folder.display()))?;
            let ended = loop {
                if is_cancelled() {
                    return Ok(Err(Unbuilt::Cancelled));
                }
                if let Some(ended) = process.try_wait()? {
                    break ended;
                }
                std::thread::sleep(LOOK);
            };
            let Ended { status, output } = ended;
            if !status.success() {
                let (id, command) = (component.id.clone(), command.clone());
                return Ok(Err(Unbuilt::Failed(Failed { id, command, how: status.to_string(), output })));
            }
        }
        let size = component.source.as_ref().map(|source| {
            let file = std::fs::metadata(source);
            ensure!(
                file.is_ok(),
                "component \"{}\" was built, but {} is not there; `source` must be the file that the command writes",
                component.id,
                source.display()
            );
            Ok(file?.len())
        });
        Ok(Ok(Built { id: component.id.clone(), took: started.elapsed(), size: size.transpose()? }))
    }
}

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "built {} in {:.1} s", self.id, self.took.as_secs_f64())?;
        self.size.map_or(Ok(()), |size| write!(f, ", {} KiB", size.div_ceil(1024)))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the build of \"{}\" failed: `{}` ({})", self.id, self.command, self.how)
    }
}
